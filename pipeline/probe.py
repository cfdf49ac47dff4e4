"""`probe`: train and score probes on features that the store has. The encoder and its images are never touched."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadInput, ReadOnly, Unavailable
from ..progress import Reporter
from ..stores.feature_set import FeatureSet
from ..stores.names import matching
from ..stores.store import Store, open_store
from .answers import answers, origins_of, remarks_on
from .asking import VAL_FRACTION, other_than_prescribed, plan_of, scored, sets_of, several
from .datasets import dataset_pattern
from .options import check_ranges
from .probes import Draw, ProbeOutcome, make_estimator
from .resolve import Sets, changed_since
from .saved import check_savable, check_writable, save_probe
from .stored_trials import is_stored
from .sweep import draws_of, seeds_of, summarised
from .trial_keys import TrialSpec, code_in, specify
from .trial_plan import PLAIN, Plan
from .trial_rows import TrialRows
from .trials import departures, run_all, run_trial
from .wanted import Request


def probe(
    store: str | Path | Store,
    *,
    model: str | None = None,
    dataset: str | None = None,
    train: str | None = None,
    test: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    val_split: str | None = None,
    protocol: str = PLAIN,
    probe: str | None = None,
    params: Mapping[str, Any] | None = None,
    C: float | Sequence[float] = (),
    grid: Mapping[str, Sequence[float]] | None = None,
    choose_by: str | None = None,
    shots: int | Sequence[int] = (),
    fractions: float | Sequence[float] = (),
    seeds: int | None = None,
    seed: int = 0,
    tap: str | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    untrained: bool = False,
    checkpoint: str | Path | None = None,
    data_root: str | Path | None = None,
    memory: int | None = None,
    jobs: int | None = None,
    save: str | Path | None = None,
    rerun: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train and score a probe, or answer from the store what has been run there.

    Parameters
    ----------
    store : str, Path or Store
    model, dataset : str
        Names as given to `extract`; which sets they mean, `meaning` says.
    train, test : str
        Or set ids. Instead of a test set: a fraction to hold out of train, by default `resolve.HOLDOUT`.
    train_split, test_split : str, optional
        ``train`` and ``test`` by default; for a data set without splits ``all``, of which a stratified fifth is held
        out. `test_split` may be a fraction, to be held out of train.
    val_split : str, optional
        What chooses: a split, or a stratified fraction of train. By default what the protocol prescribes; else the
        data set's validation split if the store has it, or a tenth of train.
    protocol : str
        What a paper prescribes (`list_protocols`), or ``plain``: the probe that the next parameters describe.
    probe : str, optional
        ``logreg`` (the default), ``knn`` … (`list_probes`), or the dotted path of a scikit-learn classifier.
    params : mapping, optional
        Parameters of the estimator, or of the protocol.
    C : sequence of float
        One value, or several to choose from; the probe's default grid by default.
    grid : mapping, optional
        The same for a parameter of another name: ``{"alpha": [0.1, 1, 10]}``.
    choose_by : {"nll", "top1"}, optional
        The validation score that chooses: mean negative log-likelihood (the default), or top-1 (of ``knn``).
    shots, fractions : sequence, optional
        Sizes of training sets to draw: rows of every class, or shares of the rows.
    seeds : int, optional
        Draws of each size, from `seed` on; `sweep.DRAWS` where rows are drawn, or what the protocol prescribes. Without
        sizes: repetitions with other hold-outs and another ``random_state``.
    seed : int
        Draws the hold-outs, and is the estimator's ``random_state``.
    tap, image_size, limit, untrained, checkpoint, data_root
        Tell sets of one name apart; see `extract`. What is not given means its default, or the only extraction that
        fits; random weights are taken only if asked for.
    memory : int, optional
        Bytes that this process may take. Where features do not fit, they are read from the store for every pass
        (logistic regression only); the solution is the same.
    jobs : int, optional
        Processes for many trials; see `run_all`.
    save : str or Path, optional
        Where to write the trained probe (one trial only); it is fitted anew where the store has only its result.
    rerun : bool
        Run the trials even if the store has their results, which are replaced.
    reporter : Reporter, optional

    Returns
    -------
    dict
        The trial as it is stored (see docs/trials.md), with ``cached``, ``seconds`` and ``notes`` of this call. Where
        several trials are asked for: ``summary`` over the draws, ``trials``, and how many of them were ``cached``.

    Raises
    ------
    BadInput, NotFound, Conflict, Corrupt
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    opened = open_store(store)
    check_ranges(("memory", memory, 1), ("jobs", jobs, 1), ("seed", seed, 0))
    plan = plan_of(protocol, probe, params, C, grid, choose_by, seed)
    _draws(plan, shots, fractions, seeds, seed)  # refuses what is out of range before anything is looked for

    asked = Request(
        model or "",
        dataset or "",
        tap,
        image_size,
        limit,
        None if checkpoint is None else Path(checkpoint),
        None if data_root is None else Path(data_root),
        untrained,
    )
    by = None if model is None and dataset is None else (model, dataset)
    sets = sets_of(opened, by, asked, plan, train, test, train_split, test_split, val_split)
    notes = [*sets.doubts, *_changes(sets, asked.data_root)]
    draws, all_seeds = _draws(plan, shots, fractions, seeds, seed, multilabel=sets.train.multilabel)
    if save is not None:
        _check_save(plan, save, len(draws) * len(all_seeds))
    sets, about_validation = _validated(plan, sets, val_split, draws)
    notes += about_validation
    plan, about_metric = scored(plan, sets, dataset if by is not None and train is None else None)
    notes += about_metric
    code = code_in(plan)
    notes += [f"{probe} is fitted anew each time: {doubt}" for doubt in code.doubts]
    asked_for = [specify(plan, sets, draw, one, code) for draw in draws for one in all_seeds]
    specs = list({spec.id: spec for spec in reversed(asked_for)}.values())[::-1]  # the first of the same
    if len(specs) < len(asked_for):
        notes.append(f"nothing is random here: {len(asked_for)} trials would be the same as {len(specs)}")
    described = _described(sets)
    if save is not None and plan.request is not None:
        check_savable(make_estimator(plan.request), multilabel=sets.train.multilabel)

    other_tap = other_than_prescribed(plan, sets)
    remarks = {spec.id: [*departures(plan, sets, spec.draw), *other_tap] for spec in specs}
    origins = origins_of(opened, sets)
    stored = answers(opened, [spec.id for spec in specs], origins, rerun=rerun)
    notes += stored.notes
    missing = [spec for spec in specs if spec.id not in stored.results]
    results = {i: {**result, **described, "cached": True} for i, result in stored.results.items()}
    if len(specs) > 1:
        reporter.note(f"{len(specs)} trials, {len(specs) - len(missing)} of them in the store")
    todo = missing if save is None else specs
    for spec, body, done in _run(sets, plan, todo, memory=memory, jobs=jobs, keep=save is not None, reporter=reporter):
        result = {"trial": spec.id, **_asked(plan, spec), **described, **body}
        result["remarks"] = [*remarks[spec.id], *body["remarks"], *remarks_on(origins)]
        if origins:
            result["origins"] = origins
        if save is not None and done is not None:
            _save(save, sets, plan, done, result)
        if spec.id in stored.results:
            continue  # fitted anew to be saved: the result that the store has stays
        try:
            opened.record_trial(spec.id, result, replace=spec.id in stored.replaced)
        except (ReadOnly, Unavailable) as e:  # the result is worth more than its place in the store
            notes.append(f"This result could not be stored. {e.message}{_remedy(opened, e)}")
        results[spec.id] = {**result, "cached": False}
        if len(specs) > 1:
            reporter.note(_line(spec, result))
    # What a set is called now may differ from what it was called when the trial was run.
    seconds = round(time.monotonic() - started, 3)
    answer = _together([results[spec.id] for spec in specs], described, plan)
    return {**answer, "seconds": seconds, "notes": list(dict.fromkeys(notes))}


def results(store: str | Path | Store, *, model: str | None = None, dataset: str | None = None) -> list[dict[str, Any]]:
    """Return the trials in the store, by data set, then model, then the time when they were run.

    What is damaged, or is no result of a probe, is left out.

    Parameters
    ----------
    store : str, Path or Store
    model, dataset : str, optional
        Only trials of these: names as given to `extract`, or patterns such as ``timm:vit*``.
    """
    opened = open_store(store)
    wanted = {"model": model, "dataset": dataset_pattern(dataset)}
    whole = matching(filter(is_stored, opened.trials()), lambda trial, field: trial.get(field), wanted)
    return sorted(whole, key=lambda t: (str(t.get("dataset")), str(t.get("model")), t.get("created") or 0))


def _draws(
    plan: Plan,
    shots: int | Sequence[int],
    fractions: float | Sequence[float],
    seeds: int | None,
    seed: int,
    *,
    multilabel: bool = False,
) -> tuple[list[Draw], list[int]]:
    """Return the draws and the seeds that are asked for, or else prescribed."""
    protocol = plan.published
    prescribed = () if protocol is None else protocol.shots_of(multilabel=multilabel)
    draws = draws_of(several(shots), several(fractions), prescribed)
    drawn = any(draw.drawn for draw in draws)
    return draws, seeds_of(seeds, seed, () if protocol is None else protocol.seeds, drawn=drawn)


def _validated(plan: Plan, sets: Sets, val_split: str | None, draws: Sequence[Draw]) -> tuple[Sets, list[str]]:
    """Leave the validation part out where there is nothing to choose; return what is to be said of it."""
    if not plan.choosing(sets):
        names = {part: name for part, name in sets.names.items() if part != "val"}
        unused = [] if val_split is None else ["there is nothing to choose: --val-split is not used"]
        return replace(sets, val=None, names=names), unused
    if plan.published is None and val_split is None and isinstance(sets.val, FeatureSet):
        share = f"a share of train instead: --val-split {VAL_FRACTION:g}"
        return sets, [f"the split {sets.val.split} chooses, since the store has it; {share}"]
    if plan.published is not None and plan.published.validation == "either" and isinstance(sets.val, float):
        missing, most = "the store has no validation split of this data set", plan.carving.val_shots
        few = [draw.shots if most is None else min(draw.shots, most) for draw in draws if draw.shots is not None]
        said = [f"{min(few)}" if len(set(few)) == 1 else f"{min(few)} to {max(few)}"] if few else []
        told = [f"{missing}: {n} of the other training rows of each class choose" for n in said]
        if len(few) < len(draws):
            told.append(f"{missing}: {100 * sets.val:g} % of train choose")
        return sets, told
    return sets, []


def _together(trials: Sequence[dict[str, Any]], described: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return one trial as it is, several with a summary over their draws."""
    if len(trials) == 1:
        return trials[0]
    return {
        **{name: trials[0][name] for name in ("protocol", "probe", "params", "metric", "features")},
        **described,
        "remarks": list(dict.fromkeys(remark for trial in trials for remark in trial["remarks"])),
        "summary": summarised(trials, 1 if plan.published is None else plan.published.ddof),
        "trials": trials,
        "cached": sum(bool(trial["cached"]) for trial in trials),
    }


def _check_save(plan: Plan, save: str | Path, trials: int) -> None:
    """Refuse before any work what cannot be saved after it."""
    if trials > 1:
        raise BadInput(
            f"--save writes one trained probe, and {trials} trials are asked for.",
            hint="Give one size of the training set and --seeds 1, or leave --save out.",
            key="save",
        )
    check_writable(save)


def _run(
    sets: Sets,
    plan: Plan,
    specs: Sequence[TrialSpec],
    *,
    memory: int | None,
    jobs: int | None,
    keep: bool,
    reporter: Reporter,
) -> Iterator[tuple[TrialSpec, dict[str, Any], ProbeOutcome | None]]:
    """Load the features, if there is a trial to run, and yield each as it is done; `keep` its outcome too."""
    if not specs:
        return
    available = None if memory is None else _available(memory)
    rows = TrialRows(sets, raw=plan.raw, memory=available)
    if rows.streamed:
        plan = replace(plan, memory=available)
    try:
        if keep:
            for spec in specs:
                yield (spec, *run_trial(rows, plan, spec, reporter.note))
            return
        for spec, body in run_all(rows, plan, specs, jobs=jobs, progress=reporter.note):
            yield spec, body, None
    except BadInput as e:
        if e.key != "fit-memory" or memory is None or available is None or not isinstance(e.expected, int):
            raise
        taken = memory - available
        raise BadInput(
            f"--memory leaves {available / 2**20:.0f} MiB to a fit, beside what this process takes already.",
            hint=f"Give at least {(taken + e.expected) / 2**20 + 32:.0f} MiB.",
            key="memory",
        ) from None


def _save(path: str | Path, sets: Sets, plan: Plan, done: ProbeOutcome, result: Mapping[str, Any]) -> None:
    save_probe(
        path,
        done.estimator,
        encoder=sets.train.manifest.encoder,
        classes=result["classes"],
        multilabel=sets.train.multilabel,
        features="raw" if plan.raw else "unit",
        trial=result,
    )


def _available(memory: int) -> int:
    """Return what is left of so many bytes beside what this process takes already, torch included."""
    import torch  # noqa: F401 - so that its memory is counted

    statm = Path("/proc/self/statm")  # Linux; elsewhere the peak so far
    if statm.exists():
        resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    else:
        import resource

        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(memory - resident, 1)


def _changes(sets: Sets, data_root: Path | None) -> list[str]:
    """Say which data sets may have changed since they were extracted, or are gone."""
    return [
        note
        for part, named in sets.names.items()
        if (note := changed_since(getattr(sets, part), named, data_root)) is not None
    ]


def _remedy(store: Store, error: ReadOnly | Unavailable) -> str:
    """Say how to keep results of a store that can only be read: in one of one's own above it."""
    if not isinstance(error, ReadOnly):
        return ""
    return f" To keep results: --store FOLDER --from {shlex.quote(store.url)} --trust, a store of your own above it."


def _line(spec: TrialSpec, result: Mapping[str, Any]) -> str:
    """Say of one of many trials what it was and what it scored."""
    size = ", ".join(f"{value:g} {name}" for name, value in (spec.draw.canonical() or {}).items())
    score = result["metrics"][result["metric"]]
    said = "-" if score is None else f"{score:.4f}"
    return f"{size + ', ' if size else ''}seed {spec.seed}: {result['metric']} {said}"


def _asked(plan: Plan, spec: TrialSpec) -> dict[str, Any]:
    """Return what was asked for, with what goes without saying."""
    key, request = spec.key, plan.request
    return {
        "protocol": plan.protocol,
        "probe": request.probe if request is not None else plan.protocol,
        "params": dict(request.params if request is not None else plan.parameters),
        "grid": {request.tune: list(request.grid)} if request is not None and request.tune else {},
        "draw": key.get("draw"),
        "seed": spec.seed,
        "schema": key["schema"],
        "train": key["train"],
        "test": key["test"],
        "val": key.get("val"),
    }


def _described(sets: Sets) -> dict[str, Any]:
    """Return what was probed, as people call it."""
    recorded = sets.train.manifest.provenance.get("name", {})
    name = sets.names["train"].name.model_dump(mode="json") if "train" in sets.names else recorded
    parts: dict[str, FeatureSet | float | None] = {"train": sets.train, "test": sets.test, "val": sets.val}
    return {
        "model": name.get("model"),
        "dataset": name.get("dataset"),
        "tap": sets.train.manifest.encoder.get("tap"),
        "untrained": bool(name.get("untrained", False)),
        "name": name,
        "encoder": sets.train.encoder_id,
        "splits": {part: value.split if isinstance(value, FeatureSet) else value for part, value in parts.items()},
    }

"""`probe`: train and score probes on features that the store has. The encoder and its images are never touched."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np

from ..errors import BadInput, ReadOnly, Unavailable
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.opening import open_store
from ..stores.places import places_of
from ..stores.store import RowPredictions, Store
from .keywords import check_names, read, takes
from .options import EngineOptions, ProbeArguments, ProbeOptions, SetOptions, TrialRunOptions
from .probes import ProbeOutcome
from .rank_group import RankGroup
from .saved import save_probe
from .tasks import SINGLE_LABEL
from .trackers.registry import open_trackers, tell
from .trials.answers import answers, origins_of, remarks_on
from .trials.changed_files import changes
from .trials.find_sets import find_sets
from .trials.key import TrialKey
from .trials.memory import available, explained
from .trials.plan import plan_of
from .trials.planned import Planned, draws_and_seeds, plan_trials
from .trials.pool import run_all
from .trials.result import Trial
from .trials.rows import TrialRows
from .trials.run import RunTrial, run_trial
from .trials.sharing import ALONE, Sharing, batches, in_turn, sharing_of
from .trials.sweep import Sweep, summarised


@takes(ProbeArguments, SetOptions, ProbeOptions, TrialRunOptions, EngineOptions)
def probe(
    store: str | Path | Store,
    *,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[ProbeArguments],
) -> Sweep:
    """Train and score a probe, or answer from the store what has been run there.

    Parameters
    ----------
    store : str, Path or Store
    progress : bool
        Print what is done on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead.
    **options
        On which features, see `SetOptions`; what to fit, see `ProbeOptions`; how to run, see `TrialRunOptions`; in
        which processes, see `EngineOptions`.

    Returns
    -------
    Sweep
        The trials that were asked for, and a summary over their draws. One trial can be read from it directly:
        ``result["metrics"]["top1"]``, ``result.trial.metrics``.

    Raises
    ------
    BadInput, NotFound, Conflict, Corrupt
    """
    check_names("probe", options, SetOptions, ProbeOptions, TrialRunOptions, EngineOptions)
    where, asked, running = read(SetOptions, options), read(ProbeOptions, options), read(TrialRunOptions, options)
    reporter = reporter_for(progress, reporter)
    return probe_sets(store, where, asked, running, read(EngineOptions, options), reporter)


def probe_sets(
    store: str | Path | Store,
    where: SetOptions,
    asked: ProbeOptions,
    running: TrialRunOptions,
    engine: EngineOptions,
    reporter: Reporter,
    among: Collection[str] | None = None,
) -> Sweep:
    """Do what `probe` was asked for; see there.

    Parameters
    ----------
    store, where, asked, running, engine, reporter
    among : collection of str, optional
        Ids of the only sets that a name may mean.
    """
    started = time.monotonic()
    check_engine(engine, running)
    plan = plan_of(asked)
    # Refuses what is out of range before anything is looked for. That does not depend on the task, unknown so far.
    draws_and_seeds(plan, asked, SINGLE_LABEL)
    opened = open_store(store)
    sets = find_sets(opened, where, plan, among)
    notes = [*sets.doubts, *changes(sets, where.data_root)]
    planned = plan_trials(plan, sets, asked, where, running.save)
    trackers = open_trackers(running.log_to)
    shared = sharing_of(planned, running) if engine.engine == "serial" else ALONE
    group = RankGroup(shared.rank) if shared.rank is not None and shared.by in ("rows", "first") else None
    said = reporter if group is None or group.is_first else Reporter()
    call = _Call(opened, planned, running, engine, said, [*notes, *planned.notes], shared, group)
    trials = call.run() if group is None or group.is_first else call.help(group)
    if trackers and (shared.by == "none" or shared.rank is None or shared.rank.index == 0):
        call.notes.extend(tell(trackers, trials))
    return Sweep(
        trials,
        summarised(trials, 1 if plan.published is None else plan.published.ddof),
        seconds=round(time.monotonic() - started, 3),
        notes=tuple(dict.fromkeys(call.notes)),
        rank=None if shared.by == "none" else shared.rank,
    )


class _Call(NamedTuple):
    """The trials of a call, where they are stored, and how they are run; of several ranks, with which others."""

    store: Store
    planned: Planned
    running: TrialRunOptions
    engine: EngineOptions
    reporter: Reporter
    notes: list[str]
    shared: Sharing
    group: RankGroup | None

    def run(self) -> tuple[Trial, ...]:
        """Return the trials: those that the store has, and the others as soon as they are run and stored.

        Of ranks that share the rows, the first one calls this, and the others `help`.
        """
        planned, keys, save = self.planned, self.planned.keys, self.running.save
        origins = origins_of(self.store, planned.sets)
        stored = answers(self.store, [key.id for key in keys], origins, rerun=self.running.rerun)
        self.notes.extend(stored.notes)
        # What a set is called now may differ from what it was called when the trial was run.
        probed = planned.probed
        found = {i: trial.renamed(probed) for i, trial in stored.results.items()}
        if len(keys) > 1:
            self.reporter.note(f"{len(keys)} trials, {len(found)} of them in the store")
        if self.shared.said:
            self.reporter.note(self.shared.said)
        todo = [key for key in keys if key.id not in found or save is not None]
        departures = {key.id: planned.departures(key) for key in todo}  # code of a stranger's protocol: before the work
        if self.group is not None:
            self.group.told([key.id for key in todo])
        by_others = _ByOthers(self, found, origins) if self.shared.by == "trials" else None
        for key, done in self._fit(todo, by_others):
            remarks = [*departures[key.id], *done.measured.remarks, *remarks_on(origins)]
            more = {"remarks": remarks, "cached": False, **({"origins": origins} if origins else {})}
            trial = Trial.made(key.id, planned.asked(key), probed, done.measured, **more)
            if save is not None and done.outcome is not None:
                _save(save, planned, done.outcome, trial)
            if trial.trial in found:
                continue  # fitted again to be saved: the result that the store has stays
            found[trial.trial] = self._stored(trial, done.predictions, replaced=trial.trial in stored.replaced)
            if len(keys) > 1:
                self.reporter.note(_line(key, trial))
        trials = tuple(found[key.id] for key in keys)
        if self.group is not None:
            self.group.told([trial.document for trial in trials])
        return trials

    def help(self, group: RankGroup) -> tuple[Trial, ...]:
        """Do a later rank's part of what `run` does in the first; return what that has stored."""
        todo = group.told()
        if self.shared.by == "rows":
            keys = {key.id: key for key in self.planned.keys}
            if not keys.keys() >= set(todo):
                raise BadInput(
                    "Rank 0 runs other trials than this command asks for.",
                    hint="Start all ranks by the same command, on the same store.",
                    key="rank",
                )
            for _ in self._fit([keys[trial] for trial in todo]):
                pass
        return tuple(Trial.model_validate(trial) for trial in group.told())

    def _fit(self, keys: Sequence[TrialKey], by_others: _ByOthers | None = None) -> Iterator[tuple[TrialKey, RunTrial]]:
        """Load the features, if there is a trial to run, and yield each as it is done."""
        if not keys:
            return
        plan, memory, note = self.planned.plan, self.running.memory, self.reporter.note
        if self.engine.engine == "ray":
            from .engines.trial_task import RowsWanted
            from .engines.trials import run_on_ray

            wanted = RowsWanted.of(places_of(self.store), self.planned.sets, raw=plan.raw, memory=memory)
            yield from run_on_ray(wanted, plan, keys, self.engine, note)
            return
        left = None if memory is None else available(memory)
        group = self.group if self.shared.by == "rows" else None
        if left is not None and group is not None:
            left = -int(group.largest(np.array([-left]))[0])
        rows = TrialRows(self.planned.sets, raw=plan.raw, memory=left, ranks=group)
        if rows.streamed:
            plan = replace(plan, memory=left)
        with explained(memory, left):
            if self.running.save is not None:
                yield from ((key, run_trial(rows, plan, key, note)) for key in keys)
                return
            jobs, rank = self.running.jobs, self.shared.rank
            if by_others is None or rank is None:
                yield from run_all(rows, plan, keys, jobs=1 if group is not None else jobs, progress=note)
                return
            jobs = jobs or 1  # the ranks are the processes
            for batch in batches(in_turn(keys, rank), jobs):
                left_over = [key for key in batch if not by_others.have(key)]
                yield from run_all(rows, plan, left_over, jobs=jobs, progress=note)

    def _stored(self, trial: Trial, predictions: RowPredictions | None, *, replaced: bool) -> Trial:
        """Store a trial, after what the probe said of each row; return it as it is stored."""
        try:
            if predictions is not None:
                kept = self.store.keep_predictions(trial.trial, predictions)
                trial = trial.model_copy(update={"predictions": kept})
        except BadInput as e:  # larger than a store holds
            self.notes.append(e.message)
        except (ReadOnly, Unavailable):
            pass  # neither will the trial be stored, which says so
        try:
            self.store.record_trial(trial.trial, trial.stored, replace=replaced)
        except (ReadOnly, Unavailable) as e:  # the result is worth more than its place in the store
            if self.shared.by == "trials":
                raise  # where the other ranks look for it
            remedy = ""
            if isinstance(e, ReadOnly):
                below = shlex.quote(self.store.url)
                remedy = f" To keep results: --store FOLDER --from {below} --trust, a store of your own above it."
            self.notes.append(f"This result could not be stored. {e.message}{remedy}")
        return trial


def check_engine(engine: EngineOptions, running: TrialRunOptions) -> None:
    """Refuse what is for trials in this process or beside it, if they run elsewhere."""
    if engine.engine == "serial":
        return
    for option, value in (("jobs", running.jobs), ("save", running.save), ("rank", running.rank)):
        if value not in (None, "auto"):
            instead = {
                "jobs": "Give --worker-count instead.",
                "save": "Leave --engine out: a saved probe is one trial.",
                "rank": "Leave one of them out: the cluster numbers its own.",
            }
            raise BadInput(
                f"--{option} is for trials on this machine, and --engine {engine.engine} runs them on a cluster.",
                hint=instead[option],
                key=option,
            )


class _ByOthers:
    """Trials that other ranks have stored meanwhile."""

    def __init__(self, call: _Call, found: dict[str, Trial], origins: Mapping[str, Mapping[str, str]]) -> None:
        self._call, self._found, self._origins = call, found, origins
        # To be run again: only what is stored from now on counts.
        ids = [key.id for key in call.planned.keys] if call.running.rerun else []
        self._before = dict(answers(call.store, ids, origins).results)

    def have(self, key: TrialKey) -> bool:
        """Return whether another rank has stored a trial, which is then found."""
        now = answers(self._call.store, [key.id], self._origins).results.get(key.id)
        if now is None or now == self._before.get(key.id):
            return False
        self._found[key.id] = now.renamed(self._call.planned.probed)
        return True


def _save(path: Path, planned: Planned, done: ProbeOutcome, trial: Trial) -> None:
    train = planned.sets.train
    save_probe(
        path,
        done.estimator,
        encoder=train.manifest.encoder,
        classes=trial.classes,
        multilabel=train.multilabel,
        features="raw" if planned.plan.raw else "unit",
        trial=trial.document,
    )


def _line(key: TrialKey, trial: Trial) -> str:
    """Say of one of many trials what it was and what it scored."""
    size = ", ".join(f"{value:g} {name}" for name, value in (key.draw.canonical() or {}).items())
    said = "-" if trial.score is None else f"{trial.score:.4f}"
    return f"{size + ', ' if size else ''}seed {key.seed}: {trial.metric} {said}"

"""`probe`: train and score a probe on features that the store has. The encoder and its images are never touched."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..canonical import digest
from ..errors import BadInput, ReadOnly, Unavailable
from ..stores.feature_set import FeatureSet
from ..stores.store import Store, open_store
from .probes import Part, ProbeRequest, needs_validation, run_probe, source_digest, stratified_holdout
from .progress import Reporter
from .provenance import provenance
from .resolve import Request, Sets, by_id, by_name, changed_since

PROTOCOL = "plain"
VAL_FRACTION = "0.1"
TRIAL_SCHEMA = 1
"""Raised when a change of Cryoprobe changes the results of trials."""


def probe(
    store: str | Path | Store,
    *,
    model: str | None = None,
    dataset: str | None = None,
    train: str | None = None,
    test: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    val_split: str = VAL_FRACTION,
    probe: str = "logreg",
    params: Mapping[str, Any] | None = None,
    C: float | Sequence[float] = (),
    choose_by: str = "nll",
    seed: int = 0,
    tap: str | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    untrained: bool = False,
    checkpoint: str | Path | None = None,
    data_root: str | Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train and score one probe, or answer from the store where that trial has been run.

    Parameters
    ----------
    store : str, Path or Store
    model, dataset : str
        Names as given to `extract`: the newest sets of that name.
    train, test : str
        Or set ids. Instead of a test set: a fraction to hold out of train, by default `resolve.HOLDOUT`.
    train_split, test_split : str, optional
        ``train`` and ``test`` by default; for a data set without splits ``all``, of which a stratified fifth is held
        out. `test_split` may be a fraction, to be held out of train.
    val_split : str
        What chooses among several C: a split, or a stratified fraction of train.
    probe : str
        ``logreg``, ``knn`` or the dotted path of a scikit-learn estimator.
    params : mapping, optional
        The estimator's parameters.
    C : sequence of float
        One value, or several to choose from; the probe's default grid by default.
    choose_by : {"nll", "top1"}
        The validation score that chooses: mean negative log-likelihood, or top-1.
    seed : int
        Draws the hold-outs, and is the estimator's ``random_state``.
    tap, image_size, limit, untrained, checkpoint, data_root
        Tell sets of one name apart; see `extract`. Of several that fit, the newest is taken, and a note says so; random
        weights only where asked for, or where there are no others.
    reporter : Reporter, optional

    Returns
    -------
    dict
        The trial as it is stored (see docs/trials.md), with ``cached``, ``seconds`` and ``notes`` of this call.

    Raises
    ------
    BadInput, NotFound, Conflict, Corrupt
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    opened = store if isinstance(store, Store) else open_store(store)
    if choose_by not in ("nll", "top1"):
        raise BadInput(f"C is chosen by nll or by top1, not by {choose_by}.", key="choose-by")
    request = ProbeRequest(
        probe=probe,
        params=dict(params or {}),
        C=tuple(C) if isinstance(C, Sequence) else (C,),
        choose_by="top1" if choose_by == "top1" else "nll",
        seed=seed,
    )
    if (model is None) != (dataset is None) or (model is None) == (train is None):
        raise BadInput(
            "A probe needs either a model and a data set, or a train set.",
            hint="Give --model and --dataset, or --train SET [--test SET].",
        )
    checkpoint = None if checkpoint is None else Path(checkpoint)
    data_root = None if data_root is None else Path(data_root)
    if model is not None and dataset is not None:
        if test is not None:
            raise BadInput("--test goes with --train; by name it is --test-split.", key="test")
        wanted = Request(model, dataset, tap, image_size, limit, checkpoint, data_root, untrained)
        sets = by_name(opened, wanted, train_split, test_split, val_split)
    else:
        assert train is not None
        by_names: dict[str, Any] = {"train-split": train_split, "tap": tap, "image-size": image_size, "limit": limit}
        by_names |= {"checkpoint": checkpoint, "untrained": untrained or None}
        if ignored := [f"--{option}" for option, value in by_names.items() if value is not None]:
            raise BadInput(f"{', '.join(ignored)} cannot go with --train: an id says it all.", key=ignored[0])
        if test is not None and test_split is not None:
            raise BadInput("--test and --test-split are the same here.", hint="Give one of them.", key="test")
        sets = by_id(opened, train, test or test_split, val_split)
    notes = list(sets.doubts)
    notes += [
        note
        for part, named in sets.names.items()
        if (note := changed_since(getattr(sets, part), named, data_root)) is not None
    ]
    choosing = needs_validation(request)
    key: dict[str, Any] = {
        "train": sets.train.id,
        "test": _identity(sets.test),
        "val": _identity(sets.val) if choosing else None,
        "protocol": PROTOCOL,
        "request": request.canonical(),
        "seed": seed,
        "schema": TRIAL_SCHEMA,
    }
    if (source := source_digest(request)) is not None:
        key["source"] = source
    trial_id = digest(key)
    described = _described(sets, choosing)
    result = opened.trial(trial_id)
    cached = result is not None
    if result is None:
        result = {"trial": trial_id, **_asked(key), **described, **_run(sets, request, choosing, reporter)}
        try:
            opened.record_trial(trial_id, result)
        except (ReadOnly, Unavailable) as e:  # the result is worth more than its place in the store
            notes.append(f"This result could not be stored. {e.message}")
    # What a set is called now may differ from what it was called when the trial was run.
    return {**result, **described, "cached": cached, "seconds": round(time.monotonic() - started, 3), "notes": notes}


def results(store: str | Path | Store) -> list[dict[str, Any]]:
    """Return every trial in the store, by data set, then model, then the time when it was run."""
    opened = store if isinstance(store, Store) else open_store(store)
    return sorted(opened.trials(), key=lambda t: (str(t.get("dataset")), str(t.get("model")), t.get("created") or 0))


def _identity(part: FeatureSet | float) -> str | dict[str, float]:
    return part.id if isinstance(part, FeatureSet) else {"fraction": part}


def _run(sets: Sets, request: ProbeRequest, choosing: bool, reporter: Reporter) -> dict[str, Any]:
    """Load the features, carve out what is held out, train and score."""
    train, train_samples = _load(sets.train), sets.train.samples()
    classes = list(sets.train.classes)
    if isinstance(sets.test, FeatureSet):
        test, test_samples = _load(sets.test, classes), sets.test.samples()
    else:
        keep, held = stratified_holdout(train.y, sets.test, request.seed)
        test, test_samples = _take(train, held), train_samples[held]
        train, train_samples = _take(train, keep), train_samples[keep]
    val = None
    warnings: list[str] = []
    rows = {"train": len(train.x), "test": len(test.x), "val": 0}
    if choosing:
        if isinstance(sets.val, FeatureSet):
            val, val_samples = _load(sets.val, classes), sets.val.samples()
            if seen := _shared(val_samples, train_samples):
                warnings.append(f"{seen} of {len(val_samples)} validation images stand in train too")
            train_samples = np.concatenate([train_samples, val_samples])
        else:
            keep, held = stratified_holdout(train.y, sets.val, request.seed)
            val, train = _take(train, held), _take(train, keep)
        rows = {"train": len(train.x), "test": len(test.x), "val": len(val.x)}
    train, test = _widen(train, len(classes)), _widen(test, len(classes))
    val = None if val is None else _widen(val, len(classes))
    outcome = run_probe(request, train, val, test, len(classes), progress=reporter.note)
    warnings += outcome.warnings
    shared = _shared(test_samples, train_samples)
    if shared:
        warnings.append(f"{shared} of {rows['test']} test images stand in the training data too")
    return {
        "chosen": outcome.chosen,
        "chosen_by": outcome.chosen_by,
        "metrics": outcome.metrics,
        "curve": list(outcome.curve),
        "converged": outcome.converged,
        "warnings": warnings,
        "test_in_train": shared,
        "rows": rows,
        "dim": sets.train.dim,
        "classes": classes,
        "fit_seconds": round(outcome.fit_seconds, 3),
        **provenance(("scikit-learn", "numpy")),
    }


def _asked(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked for."""
    return {
        "protocol": key["protocol"],
        "probe": key["request"]["probe"],
        "params": key["request"]["params"],
        "grid": key["request"]["C"],
        "seed": key["seed"],
        "schema": key["schema"],
        "train": key["train"],
        "test": key["test"],
        "val": key["val"],
    }


def _described(sets: Sets, choosing: bool) -> dict[str, Any]:
    """Return what was probed, as people call it."""
    recorded = sets.train.manifest.provenance.get("name", {})
    name = sets.names["train"].name.model_dump(mode="json") if "train" in sets.names else recorded
    parts: dict[str, FeatureSet | float | None] = {"train": sets.train, "test": sets.test}
    parts["val"] = sets.val if choosing else None
    return {
        "model": name.get("model"),
        "dataset": name.get("dataset"),
        "tap": sets.train.manifest.encoder.get("tap"),
        "untrained": bool(name.get("untrained", False)),
        "name": name,
        "encoder": sets.train.encoder_id,
        "splits": {part: value.split if isinstance(value, FeatureSet) else value for part, value in parts.items()},
    }


def _load(feature_set: FeatureSet, classes: list[str] | None = None) -> Part:
    """Load a set; with `classes`, bring its labels to them by name and add those that are new to the list."""
    x, y = feature_set.load()
    if classes is None or list(feature_set.classes) == classes:
        return Part(x, y)
    classes += [c for c in feature_set.classes if c not in classes]
    column = np.array([classes.index(c) for c in feature_set.classes], np.int64)
    if y.ndim == 1:
        return Part(x, np.asarray(column[y], np.int64))
    flags = np.zeros((len(y), len(classes)), np.uint8)
    flags[:, column] = y
    return Part(x, flags)


def _widen(part: Part, n_classes: int) -> Part:
    """Give multi-label flags a column for every class, also for those that only another part has."""
    if part.y.ndim == 1 or part.y.shape[1] == n_classes:
        return part
    flags = np.zeros((len(part.y), n_classes), np.uint8)
    flags[:, : part.y.shape[1]] = part.y
    return Part(part.x, flags)


def _take(part: Part, rows: npt.NDArray[np.int64]) -> Part:
    return Part(part.x[rows], part.y[rows])


def _shared(samples: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> int:
    """Return how many of `samples` [n, 32] are among `others` [m, 32]."""
    return int(np.isin(_as_void(samples), _as_void(others)).sum())


def _as_void(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """View sample ids [n, 32] as n items that can be compared."""
    return np.ascontiguousarray(samples).view("V32").reshape(-1)

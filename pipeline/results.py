"""`results`: the trials that a store has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import BadInput, Corrupt, NotFound
from ..stores.feature_set import FeatureSet
from ..stores.format.names import matching
from ..stores.opening import open_store
from ..stores.store import Store
from .datasets import dataset_pattern
from .joined_taps import BETWEEN
from .trials.result import Trial, check_stored
from .trials.tables import Trials


def results(
    store: str | Path | Store,
    *,
    model: str | None = None,
    dataset: str | None = None,
    probe: str | None = None,
    protocol: str | None = None,
) -> Trials:
    """Return the trials in the store, by data set, then model, then the time when they were run.

    What is damaged, or is not the result of a probe, is left out.

    Parameters
    ----------
    store : str, Path or Store
    model, dataset : str, optional
        Only trials of these: names as given to `extract`, or patterns such as ``timm:vit*``. A data set has all the
        names of the set that was trained on.
    probe, protocol : str, optional
        Only trials of these, or of those that fit a pattern; ``plain`` is the protocol of a probe by itself.

    Returns
    -------
    Trials
        A list, which shows itself as a table in notebooks; ``.to_pandas()`` has every score in a column,
        ``.pivot()`` is the matrix of models by data sets.
    """
    wanted = {"model": model, "dataset": dataset_pattern(dataset), "probe": probe, "protocol": protocol}
    opened = open_store(store)
    datasets = _datasets(opened) if dataset is not None else {}

    def field(trial: Trial, name: str) -> object:
        return [str(trial.dataset), *datasets.get(str(trial.train), ())] if name == "dataset" else trial.get(name)

    fitting = matching(_read(opened), field, wanted)
    return Trials(sorted(fitting, key=lambda t: (str(t.dataset), str(t.model), t.created)), opened)


def trial(store: str | Path | Store, trial_id: str) -> Trial:
    """Return one trial of the store.

    Parameters
    ----------
    store : str, Path or Store
    trial_id : str
        Its id, or the first digits of it that no other trial has.

    Raises
    ------
    NotFound, BadInput
        If there is no such trial, or several.
    Corrupt
        If it is damaged.
    """
    opened = open_store(store)
    found = opened.trial(opened.trial_id(trial_id))
    if found is None:
        raise NotFound(f"Trial {trial_id} was removed this instant.", key=trial_id)
    result, place = check_stored(found, opened.url), opened.arrival_of_trial(str(found["trial"]))
    return result if place is None else result.model_copy(update={"origin": place})


def set_with_samples(store: str | Path | Store, digits: str) -> FeatureSet:
    """Return the set whose samples are asked for, given the first digits of its id.

    Raises
    ------
    NotFound, Conflict
        If there is no such set, or several.
    BadInput
        If it is a trial; the message has the ids of its sets.
    """
    opened = open_store(store)
    if opened.kind_of(digits) == "set":
        return opened.open(digits)
    found = trial(opened, digits)
    parts = {"train": found.train, "test": found.test, "val": found.val}
    ids = [f"{part} {one[:12]}" for part, of in parts.items() if isinstance(of, str) for one in of.split(BETWEEN)]
    raise BadInput(
        f"{found.trial[:12]} is a trial, and samples are of sets.",
        hint=f"Show those of one of its sets: {', '.join(ids)}",
        key=digits,
    )


def _datasets(store: Store) -> dict[str, set[str]]:
    """Return the data sets whose name each set of a store goes by, and their paths."""
    found: dict[str, set[str]] = {}
    for n in store.names():
        found.setdefault(n.set, set()).update(n.datasets)
    return found


def _read(store: Store) -> Iterator[Trial]:
    for trial in store.trials():
        with suppress(Corrupt):
            yield check_stored(trial, store.url)

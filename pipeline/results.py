"""`results`: the trials that a store has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import Corrupt
from ..stores.format.names import matching
from ..stores.opening import open_store
from ..stores.store import Store
from .datasets import dataset_pattern
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
        Only trials of these: names as given to `extract`, or patterns such as ``timm:vit*``.
    probe, protocol : str, optional
        Only trials of these, or of those that fit a pattern; ``plain`` is the protocol of a probe by itself.

    Returns
    -------
    Trials
        A list, which shows itself as a table in notebooks; ``.to_pandas()`` has every score in a column.
    """
    wanted = {"model": model, "dataset": dataset_pattern(dataset), "probe": probe, "protocol": protocol}
    fitting = matching(_read(open_store(store)), lambda trial, field: trial.get(field), wanted)
    return Trials(sorted(fitting, key=lambda t: (str(t.dataset), str(t.model), t.created)))


def _read(store: Store) -> Iterator[Trial]:
    for trial in store.trials():
        with suppress(Corrupt):
            yield check_stored(trial, store.url)

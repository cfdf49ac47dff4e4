"""Whether a split is extracted already: told by its files' stamps and the store's seals, without the encoder.

Files that the sample index does not know are read, for as long as all that is found by it is in the store too. What is
learned on the way is handed on to the run that encodes the rest: nothing is looked up or read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ...progress import Reporter
from ...stores.feature_set import FeatureSet
from ...stores.local.looks import Look
from ...stores.local.sample_index import SampleIndex
from ...stores.store import RowIndex, Store
from ..datasets.base import Split
from ..specs import DatasetSpec, EncoderSpec
from .health import DataHealth
from .sample_ids import Identified, Identifier, Known

_BLOCK_ROWS = 4096


class KeptSet(NamedTuple):
    """A set that the store has, and what was found to be odd about its data when it was made."""

    spec: EncoderSpec
    feature_set: FeatureSet
    health: DataHealth


def kept_sets(store: Store, specs: Sequence[EncoderSpec], dataset: DatasetSpec) -> list[KeptSet] | None:
    """Return the sets of a data set at each tap, if the store has all of them and nothing is left to find out."""
    kept = []
    for spec in specs:
        feature_set = store.sealed(spec.id, dataset.id)
        if feature_set is None:
            return None
        health = DataHealth.recorded(feature_set.manifest.provenance.document, feature_set.rows)
        if health is None:
            return None
        kept.append(KeptSet(spec, feature_set, health))
    return kept


def look_up(
    split: Split,
    look: Look,
    samples: SampleIndex,
    threads: int,
    indexes: Callable[[], Sequence[RowIndex]],
    reporter: Reporter,
) -> Known:
    """Find sample ids, up to the first that the store has no row for.

    Parameters
    ----------
    split : Split
    look : Look
        What its files looked like just now.
    samples : SampleIndex
        Some of what it knows is checked.
    threads : int
        That read files.
    indexes : callable
        Returns the rows of the store at each tap; called if files have to be read.
    reporter : Reporter

    Returns
    -------
    Known
        All of them, unless something is missing or cannot be read.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="cryoprobe-load") as pool:
        known = _looked_up(split, look, samples, pool, reporter)
        if known.there.all():
            return known
        there = known.ids[known.there]
        if not all(index.has(there).all() for index in indexes()):
            return known
        identifier = Identifier(split, samples, pool, known)
        for found in _identified(identifier, known):
            ids = [sample_id for sample_id in found.ids if sample_id is not None]
            if found.errors or any(index.missing(ids) for index in indexes()):
                ahead = identifier.identify_ahead()
                known.learn(ahead)
                known.raw = {**found.raw, **ahead.raw}
                return known
    return known


class AllIdentified(NamedTuple):
    """The samples of a split, without those that cannot be read; and how many files were read."""

    known: Known
    read: int


def identify_all(split: Split, look: Look, samples: SampleIndex, pool: Executor, reporter: Reporter) -> AllIdentified:
    """Find the sample ids of a whole split; read what the sample index does not know, and keep none of it."""
    known, read = _looked_up(split, look, samples, pool, reporter), 0
    for found in _identified(Identifier(split, samples, pool, known), known):
        read += len(found.rows)
    return AllIdentified(known, read)


def _looked_up(split: Split, look: Look, samples: SampleIndex, pool: Executor, reporter: Reporter) -> Known:
    identifier = Identifier(split, samples, pool)
    identifier.distrust_if_changed(reporter)
    return identifier.look_up_all(look)


def _identified(identifier: Identifier, known: Known) -> Iterator[Identified]:
    """Read and hash what is not known, block by block, and let it be known."""
    unknown = np.flatnonzero(~known.there)
    at = 0
    while at < len(unknown):
        found = identifier.identify(unknown[at : at + _BLOCK_ROWS].tolist())
        known.learn(found)
        yield found
        at += len(found.rows)

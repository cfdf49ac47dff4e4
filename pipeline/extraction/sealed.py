"""The set of a split that a store has: of all its samples, or without those that could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from ...amounts import count
from ...arrays import Mask, SampleIds
from ...errors import CryoprobeError
from ...stores.feature_set import FeatureSet
from ...stores.store import FailedSample, Store
from ..datasets.base import Split
from ..specs import EncoderSpec
from .content import spec_of
from .sample_ids import Known


def sealed_set(store: Store, spec: EncoderSpec, split: Split, known: Known) -> FeatureSet | None:
    """Return the set of a split that the store has; None if it has none.

    Which samples cannot be used is not known before they are decoded. So the sets of this encoder that were sealed
    without some samples are compared: the one that is of this split without the same samples is returned.

    Parameters
    ----------
    store : Store
    spec : EncoderSpec
    split : Split
    known : Known
        The ids of its samples; not of those that cannot be read.
    """
    labels, rows = split.labels, np.flatnonzero(known.there)
    if known.there.all() and (whole := store.sealed(spec.id, spec_of(split, known.ids, labels).id)) is not None:
        return whole
    has = store.rows_of(spec.id).has(known.ids[rows])
    sets = {n.set for n in store.names() if n.encoder == spec.id and n.failed and n.rows + n.failed == len(split)}
    for set_ in sorted(sets):
        with suppress(CryoprobeError):  # a damaged one
            failed = store.open(set_).manifest.failed
            bad = among(known.ids[rows], failed)
            if (bad & has).any():  # it could be encoded since then: another set would be made
                continue
            dataset = spec_of(split, known.ids[rows[~bad]], labels[rows[~bad]], failed)
            if (found := store.sealed(spec.id, dataset.id)) is not None:
                return found
    return None


def among(ids: SampleIds, failed: Sequence[FailedSample]) -> Mask:
    """Return which of the samples are among those that failed, bool [n]."""
    known = {f.sample for f in failed}
    return np.array([i.tobytes().hex() in known for i in ids], bool) if known else np.zeros(len(ids), bool)


def about_failed(split: Split, kept: FeatureSet) -> str:
    """Say what a set was sealed without, and what `extract` does about it."""
    failed = kept.manifest.failed
    them = "it" if len(failed) == 1 else "them"
    return (
        f"{split.name}: set {kept.id[:12]} is there without {count(len(failed), 'sample')} that could not be used, "
        f"such as {failed[0].name}: {failed[0].error}. extract tries {them} again: --max-bad {len(failed)}"
    )

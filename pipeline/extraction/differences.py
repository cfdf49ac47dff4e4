"""Why a feature set is not there: what differs from the nearest one that the store has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from ...amounts import count
from ...arrays import Targets
from ...differing_fields import fields_that_differ
from ...errors import CryoprobeError
from ...id_arrays import AnyIds, distinct_ids, sample_array
from ...stores.feature_set import FeatureSet
from ...stores.store import RowTable, Store
from ..specs import ADDED, DatasetSpec, EncoderSpec

_CANDIDATES = 50


def explain_encoder(store: Store, spec: EncoderSpec) -> str | None:
    """Say which fields of `spec` differ from the nearest encoder in the store; None for a store without sets."""
    nearest: tuple[list[str], FeatureSet] | None = None
    for feature_set in _one_per_encoder(store):
        fields = differences(feature_set.manifest.encoder, spec)
        if fields and (nearest is None or len(fields) < len(nearest[0])):
            nearest = fields, feature_set
    if nearest is None:
        return None
    return f"New to the store: the encoder differs from that of set {nearest[1].id[:12]} in " + ", ".join(nearest[0])


def differences(before: Mapping[str, Any], after: EncoderSpec) -> list[str]:
    """Return the fields in which a stored spec and another differ, as ``name (before → after)``."""
    try:
        was: Mapping[str, Any] = EncoderSpec.model_validate(before).model_dump(mode="json")
    except ValidationError:  # of a later version
        was = before
    fields = fields_that_differ(was, after.model_dump(mode="json"))
    return [f"{k} ({_short(old)} → {_short(new)})" for k, (old, new) in fields.items()]


def explain_dataset(previous: FeatureSet, spec: DatasetSpec, ids: AnyIds, labels: Targets, split: str) -> str | None:
    """Say how a data set differs from the one of an earlier set of the same encoder; None where it does not."""
    differences = []
    before, now = previous.sample_ids(), sample_array(ids)
    table = RowTable()
    table.insert(0, before)
    at = table.find(now)  # where the rows before are that have these samples
    there = at >= 0
    shared = np.zeros(len(table), bool)
    shared[at[there]] = True
    if added := distinct_ids(now[~there]):
        differences.append(f"{count(added, 'sample')} added")
    if removed := distinct_ids(before) - int(shared.sum()):
        differences.append(f"{count(removed, 'sample')} removed")
    if spec.classes != previous.classes:
        differences.append(f"classes ({len(previous.classes)} → {len(spec.classes)})")
    elif labels.ndim == (earlier := previous.labels()).ndim:
        other = earlier[table.where(at[there])[:, 1]] != labels[there]
        if changed := int((other if labels.ndim == 1 else other.any(axis=1)).sum()):
            differences.append(f"{count(changed, 'label')} changed")
    if spec.multilabel != previous.multilabel:
        differences.append("one label ↔ several labels a sample")
    if spec.failed != tuple(previous.manifest.dataset.get("failed", ())):
        differences.append("failed samples")
    if not differences and not np.array_equal(before, now):
        differences.append("order of samples")
    if not differences:
        return None
    return f"{split}: the data differ from set {previous.id[:12]} in " + ", ".join(differences)


def _one_per_encoder(store: Store) -> Iterable[FeatureSet]:
    """Yield the newest set of each of the newest encoders in the store."""
    seen: set[str] = set()
    for named in store.names():
        if named.encoder not in seen and len(seen) < _CANDIDATES:
            seen.add(named.encoder)
            try:
                feature_set = store.open(named.set)
            except CryoprobeError:  # an explanation is a courtesy: what is damaged is reported where it is used
                continue
            if feature_set.manifest.encoder.get("family") != ADDED:  # with which no encoder has anything in common
                yield feature_set


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text

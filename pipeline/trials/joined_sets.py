"""Sets of several taps of one encoder, on the same rows, read as one set; see `joined_taps`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...arrays import Array, Float32, SampleIds, Targets
from ...canonical import digest
from ...errors import BadInput, Conflict
from ...stores.feature_set import FeatureSet, Float, RowChoice
from ...stores.format.names import NamedSet
from ...stores.store import Provenance, Samples, Store
from ..joined_taps import BETWEEN, side_by_side
from .sets import HeldOut, TrialSets


class JoinedSet(FeatureSet):
    """Sets of several taps as one.

    Its id is those of the sets, with ``+`` between them; its encoder is that of the sets, read at a tap that is called
    ``cls+patch_mean``.

    Parameters
    ----------
    parts : sequence of FeatureSet
        Of the same rows, by one encoder that is read at several taps.

    Raises
    ------
    Conflict
        If they are not.
    """

    def __init__(self, parts: Sequence[FeatureSet]) -> None:
        first = parts[0]
        for other in parts[1:]:
            _check_fit(first, other)
        self.parts = tuple(parts)
        tap = BETWEEN.join(str(part.manifest.encoder.get("tap")) for part in parts)
        encoder = {**first.manifest.encoder, "tap": tap}
        made = first.manifest.provenance
        name = {"name": {**made.name, "tap": tap}} if made.name else {}
        provenance = Provenance.model_validate({**made.document, **name})
        changed = {"encoder": encoder, "encoder_id": digest(encoder), "provenance": provenance}
        self.manifest = first.manifest.model_copy(update=changed)

    @property
    def id(self) -> str:
        """Ids of the sets, with ``+`` between them."""
        return BETWEEN.join(part.id for part in self.parts)

    @property
    def dim(self) -> int:
        """Width of all together."""
        return sum(part.dim for part in self.parts)

    @property
    def home(self) -> str:
        """Which store the first is in."""
        return self.parts[0].home

    def load(self, rows: RowChoice = None, dtype: Float = "float32", *, raw: bool = False) -> tuple[Array, Targets]:
        """Read embeddings and labels into memory; see `FeatureSet.load`."""
        loaded = [part.load(rows, raw=True) for part in self.parts]
        return side_by_side([x for x, _ in loaded], unit=not raw).astype(dtype, copy=False), loaded[0][1]

    def batches(self, n: int, dtype: Float = "float32", *, raw: bool = False) -> Iterator[tuple[Array, Targets]]:
        """Yield (x [≤ n, d], y) from first row to last; see `FeatureSet.batches`."""
        for several in zip(*(part.batches(n, raw=True) for part in self.parts), strict=True):
            x = side_by_side([x for x, _ in several], unit=not raw)
            yield x.astype(dtype, copy=False), several[0][1]

    def labels(self, rows: RowChoice = None) -> Targets:
        """Return labels, int64 [n] or uint8 [n, C]."""
        return self.parts[0].labels(rows)

    def norms(self, rows: RowChoice = None) -> Float32:
        """Return the norms of the raw rows, float32 [n]."""
        squares = sum(part.norms(rows).astype(np.float64) ** 2 for part in self.parts)
        return np.sqrt(squares).astype(np.float32)

    def sample_ids(self, rows: RowChoice = None) -> SampleIds:
        """Return sample ids, uint8 [n, 32]."""
        return self.parts[0].sample_ids(rows)

    def sample_names(self) -> list[str] | None:
        """Return what the samples are called; see `FeatureSet.sample_names`."""
        return self.parts[0].sample_names()

    def samples(self, rows: RowChoice = None) -> Samples:
        """Return id, name and label of each row; see `FeatureSet.samples`."""
        return self.parts[0].samples(rows)


def joined(found: Sequence[TrialSets]) -> TrialSets:
    """Return the sets of several taps as those of one.

    Parameters
    ----------
    found : sequence of TrialSets
        Of each tap.

    Raises
    ------
    Conflict
        If they are not on the same rows.
    """
    first = found[0]
    parts: dict[str, Any] = {}
    for name in ("train", "test", "val"):
        several = [getattr(sets, name) for sets in found]
        if all(isinstance(one, FeatureSet) for one in several):
            parts[name] = JoinedSet(several)
        elif all(one == several[0] for one in several):
            parts[name] = several[0]
        else:
            raise BadInput(
                f"The {name} set of one tap is a split, and that of another is not.",
                hint=f"Name it: --{name}-split SPLIT, or a fraction of train.",
                key=f"{name}-split",
            )
    tap = BETWEEN.join(sets.names["train"].name.tap for sets in found)
    doubts = tuple(dict.fromkeys(doubt for sets in found for doubt in sets.doubts))
    names = {part: _at(tap, named) for part, named in first.names.items()}
    return replace(first, **parts, names=names, doubts=doubts)


def opened(store: Store, text: str) -> FeatureSet:
    """Open the set of an id, or of several with ``+`` between them."""
    parts = [store.open(one) for one in text.split(BETWEEN)]
    return parts[0] if len(parts) == 1 else JoinedSet(parts)


def stored_parts(part: FeatureSet | HeldOut | None) -> tuple[FeatureSet, ...]:
    """Return the sets of the store that a part is made of."""
    if isinstance(part, JoinedSet):
        return part.parts
    return (part,) if isinstance(part, FeatureSet) else ()


def _at(tap: str, named: NamedSet) -> NamedSet:
    return named.model_copy(update={"name": named.name.model_copy(update={"tap": tap})})


def _check_fit(one: FeatureSet, other: FeatureSet) -> None:
    """Refuse sets of other rows, or of another encoder."""
    encoders = [{k: v for k, v in s.manifest.encoder.items() if k != "tap"} for s in (one, other)]
    taps = " and ".join(f"{s.manifest.encoder.get('tap')} (set {s.id[:12]})" for s in (one, other))
    if encoders[0] != encoders[1]:
        raise Conflict(
            f"{taps} are taps of two different encoders: they cannot be read as one.",
            hint="Extract both taps in one run: --tap TAP,TAP",
            key=other.id,
        )
    if one.dataset_id != other.dataset_id:
        raise Conflict(
            f"{taps} have other rows, labels or classes: they cannot be read as one.",
            hint="Extract both taps in one run: --tap TAP,TAP",
            key=other.id,
            expected=one.dataset_id,
            found=other.dataset_id,
        )

"""Rows of embeddings from elsewhere: whether they can be stored, and under which sample ids, names and norms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...amounts import count
from ...arrays import Array, Float64, Mask
from ...canonical import canonical_json
from ...errors import BadInput, Conflict
from ...stores.store import RowIndex
from ..specs import StoredDtype
from .embedding_files import EmbeddingPart

_BLOCK = 1 << 16
_NEAR = {"float16": 2e-3, "float32": 1e-5}
"""How far apart two roundings of one embedding of unit norm can be."""

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Norms are kept in float32: below the first they lose their digits, and then are 0."""


@dataclass(frozen=True)
class AddedRows:
    """The part of a split, whose rows can be stored."""

    split: str
    part: EmbeddingPart
    ids: list[bytes]
    names: list[str]
    norms: Float64


def checked_rows(split: str, part: EmbeddingPart) -> AddedRows:
    """Check the rows of a split; tell sample ids, names and norms.

    Raises
    ------
    BadInput
        If they cannot be stored; it names the first row.
    """
    x, what = part.embeddings, f"{part.file} ({split})"
    if x.ndim == 2 and not len(x):
        raise BadInput(f"{what} has no rows.", hint="Save one embedding a row.", key=str(part.file))
    if x.ndim != 2 or not x.size or x.dtype not in (np.float16, np.float32, np.float64):
        raise BadInput(
            f"The embeddings of {what} are {x.dtype} {list(x.shape)}.",
            hint="Save them as float16, float32 or float64, [rows, width].",
            key=str(part.file),
        )
    norms = np.empty(len(x), np.float64)
    for start in range(0, len(x), _BLOCK):
        rows = np.asarray(x[start : start + _BLOCK], np.float64)
        norms[start : start + _BLOCK] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    names = _names(part, what)
    for bad, problem in (
        (~np.isfinite(norms), "is not finite"),
        (norms == 0, "is zero, and has no direction"),
        (norms < _SMALLEST, "is too small: its norm is below what float32 holds"),
        (norms > _LARGEST, "is too large: its norm is beyond float32"),
    ):
        if bad.any():
            row, more = int(bad.argmax()), int(bad.sum()) - 1
            others = f", and so are {count(more, 'other')}" if more else ""
            raise BadInput(
                f"{what}: the embedding of row {row}{_called(names, row)} {problem}{others}.",
                hint="Leave such rows out, with their labels.",
                key=str(part.file),
                found=row,
            )
    if part.norms is not None:
        norms = _given_norms(part, norms, what)
    return AddedRows(split, part, _ids(part, what), names, norms)


def _names(part: EmbeddingPart, what: str) -> list[str]:
    """Return what the samples are called: as the file says, else by their rows."""
    n, names = len(part.embeddings), part.names
    if names is None and part.samples is not None and part.samples.dtype.kind in "US" and not _are_ids(part.samples):
        names = [s if isinstance(s, str) else s.decode("utf-8", "backslashreplace") for s in part.samples.tolist()]
    if names is not None and len(names) != n:
        raise BadInput(f"{what} has {n} embeddings and {len(names)} names.", hint="Save one a row.", key=str(part.file))
    return names if names is not None else [f"row {i}" for i in range(n)]


def _called(names: Sequence[str], row: int) -> str:
    return "" if names[row] == f"row {row}" else f" ({names[row]})"


def _given_norms(part: EmbeddingPart, found: Float64, what: str) -> Float64:
    """Return the norms that a file gives of embeddings of unit norm."""
    given = np.asarray(part.norms, np.float64)
    if given.shape != found.shape or not ((given >= _SMALLEST) & (given <= _LARGEST)).all():
        raise BadInput(f"{what}: the norms are not positive numbers of float32, one a row.", key=str(part.file))
    if np.abs(found - 1).max() > 0.01:
        if np.allclose(found, given, rtol=0.01):  # raw embeddings, with their own norms beside
            return found
        raise BadInput(
            f"{what} has norms, but its embeddings are not of unit norm ({found.min():.3g} to {found.max():.3g}).",
            hint="Save embeddings as they are, without norms; or of unit norm, with their norms before.",
            key=str(part.file),
        )
    return given


def _are_ids(samples: Array) -> bool:
    if samples.dtype == np.uint8:
        return samples.ndim == 2 and samples.shape[1] == 32
    if samples.dtype.kind not in "US" or samples.ndim != 1:
        return False
    texts = [s if isinstance(s, str) else s.decode("latin-1") for s in samples.tolist()]
    return all(re.fullmatch(r"[0-9a-f]{64}", text) for text in texts)


def _ids(part: EmbeddingPart, what: str) -> list[bytes]:
    """Return sample ids: those in the file, or made of the rows.

    Of a row: sha256 of the canonical JSON of its dtype and shape, a line feed, and its values, little-endian.
    """
    n, samples = len(part.embeddings), part.samples
    if samples is not None and _are_ids(samples):
        if len(samples) != n:
            raise BadInput(f"{what} has {n} embeddings and {len(samples)} samples.", key=str(part.file))
        if samples.dtype == np.uint8:
            return [row.tobytes() for row in samples]
        return [bytes.fromhex(s if isinstance(s, str) else s.decode()) for s in samples.tolist()]
    if samples is not None and samples.dtype.kind not in "US":
        raise BadInput(
            f"{what}: samples are {samples.dtype} {list(samples.shape)}.",
            hint="Save sha256 as uint8 [n, 32] or as 64 hexadecimal digits each, or names as texts.",
            key=str(part.file),
        )
    x = part.embeddings
    head = canonical_json({"dtype": x.dtype.name, "shape": [x.shape[1]]}) + b"\n"
    little = x.dtype.newbyteorder("<")
    return [hashlib.sha256(head + np.ascontiguousarray(row, little).tobytes()).digest() for row in x]


def check_together(parts: Sequence[AddedRows], stored_dtype: StoredDtype) -> None:
    """Refuse parts of other widths, and rows that one part or two have twice with different embeddings."""
    for part in (one.part for one in parts):
        width, first_width = part.embeddings.shape[1], parts[0].part.embeddings.shape[1]
        if width != first_width:
            raise BadInput(
                f"The embeddings of {part.file} are {width:,} wide, those of {parts[0].part.file} {first_width:,}.",
                hint="Files of one call are of one model.",
                key=str(part.file),
            )
    first: dict[bytes, tuple[int, int]] = {}
    for n, one in enumerate(parts):
        found = np.array([first.setdefault(i, (n, row)) for row, i in enumerate(one.ids)])
        for m, other in enumerate(parts[: n + 1]):
            again = np.flatnonzero((found[:, 0] == m) & ((m < n) | (found[:, 1] != np.arange(len(found)))))
            for start in range(0, len(again), _BLOCK):
                rows = again[start : start + _BLOCK]
                before = found[rows, 1]
                known = unit_rows(other, before), other.norms[before]
                if (differ := _differ((unit_rows(one, rows), one.norms[rows]), known, stored_dtype)).any():
                    at = int(differ.argmax())
                    raise _repeated(one, int(rows[at]), other, int(before[at]))


def _repeated(one: AddedRows, row: int, other: AddedRows, before: int) -> BadInput:
    sample = f"one sample id and different embeddings (sample {one.ids[row].hex()[:12]}…)"
    both = f"rows {before} and {row} have {sample}"
    if other is not one:
        of = f"{other.part.file} ({other.split})"
        both = f"row {row}{_called(one.names, row)} of {one.split} and row {before} of {of} have {sample}"
    return BadInput(
        f"{one.part.file}: {both}.", hint="Give every sample one id, or leave samples out.", key=str(one.part.file)
    )


def check_known(index: RowIndex, one: AddedRows, stored_dtype: StoredDtype) -> None:
    """Refuse rows that the store has under that version with another embedding."""
    there = np.flatnonzero(index.find(one.ids) >= 0)
    for start in range(0, len(there), _BLOCK):
        rows = there[start : start + _BLOCK]
        known = index.gather([one.ids[i] for i in rows.tolist()])
        stored = known.embeddings.astype(np.float64), known.norms.astype(np.float64)
        if (differ := _differ((unit_rows(one, rows), one.norms[rows]), stored, stored_dtype)).any():
            row = int(rows[int(differ.argmax())])
            raise Conflict(
                f"{one.part.file}: row {row}{_called(one.names, row)} is in the store with another embedding of the "
                "same model and version.",
                hint="Give another --model-version: what is stored never changes.",
                key=one.ids[row].hex(),
            )


def _differ(some: tuple[Float64, Float64], others: tuple[Float64, Float64], stored_dtype: StoredDtype) -> Mask:
    """Return which rows, embeddings of unit norm and norms, are not roundings of one embedding."""
    (unit, norms), (other_unit, other_norms) = some, others
    if unit.shape != other_unit.shape:
        return np.ones(len(unit), bool)
    apart = np.abs(unit - other_unit).max(axis=1) > _NEAR[stored_dtype]
    return np.asarray(apart | (np.abs(other_norms / norms - 1) > 1e-3), bool)


def unit_rows(one: AddedRows, rows: Any) -> Float64:
    """Return embeddings of unit norm, [n, d], of the rows with these numbers."""
    x = np.asarray(one.part.embeddings[rows], np.float64)
    unit: Float64 = x / np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return unit

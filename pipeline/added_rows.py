"""Rows of embeddings from elsewhere: whether they can be stored, and under which sample ids, names and norms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..amounts import count
from ..arrays import Array, Float64
from ..canonical import canonical_json
from ..errors import BadInput, Conflict
from ..stores.store import RowIndex
from .embedding_files import EmbeddingPart
from .specs import StoredDtype

_BLOCK = 1 << 16
_NEAR = {"float16": 2e-3, "float32": 1e-5}
"""How far apart two roundings of one embedding of unit norm can be."""


@dataclass(frozen=True)
class AddedRows:
    """A part whose rows can be stored."""

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
        (norms > np.finfo(np.float32).max, "is too large: its norm is beyond float32"),
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
    return AddedRows(part, _ids(part, what), names, norms)


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
    if given.shape != found.shape or not np.isfinite(given).all() or (given <= 0).any():
        raise BadInput(f"{what}: the norms are not positive numbers, one a row.", key=str(part.file))
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


def check_known(index: RowIndex, one: AddedRows, stored_dtype: StoredDtype) -> None:
    """Refuse rows that the file, or the store under that version, has with another embedding."""
    first: dict[bytes, int] = {}
    again = [(row, first[i]) for row, i in enumerate(one.ids) if first.setdefault(i, row) != row]
    for row, before in again:
        if not np.array_equal(one.part.embeddings[row], one.part.embeddings[before]):
            raise BadInput(
                f"{one.part.file}: rows {before} and {row} have one sample id and different embeddings.",
                hint="Give every sample one id, or leave samples out.",
                key=str(one.part.file),
            )
    there = np.flatnonzero(index.find(one.ids) >= 0)
    for start in range(0, len(there), _BLOCK):
        rows = there[start : start + _BLOCK]
        known = index.gather([one.ids[i] for i in rows.tolist()])
        unit = unit_rows(one, rows)
        same_width = known.embeddings.shape[1] == unit.shape[1]
        apart = np.abs(known.embeddings.astype(np.float64) - unit).max(axis=1) if same_width else np.ones(len(rows))
        norms_apart = np.abs(known.norms / one.norms[rows] - 1)
        if (differ := (apart > _NEAR[stored_dtype]) | (norms_apart > 1e-3)).any():
            row = int(rows[int(differ.argmax())])
            raise Conflict(
                f"{one.part.file}: row {row}{_called(one.names, row)} is in the store with another embedding of the "
                "same model and version.",
                hint="Give another --model-version: what is stored never changes.",
                key=one.ids[row].hex(),
            )


def unit_rows(one: AddedRows, rows: Any) -> Float64:
    """Return embeddings of unit norm, [n, d], of the rows with these numbers."""
    x = np.asarray(one.part.embeddings[rows], np.float64)
    unit: Float64 = x / np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return unit

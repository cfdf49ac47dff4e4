"""What people call a set: model and data set as they were typed, and the options beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ...canonical import digest
from ...validation import Count, Milliseconds
from ..keys import name_key
from .manifest import Manifest
from .origins import Origin

_Item = TypeVar("_Item")

_TOLERANCE = 86_400_000
"""Milliseconds by which clocks may be apart."""


class Name(BaseModel):
    """One way in which a set was asked for. What a name means is said in `pipeline.trials.meaning`.

    Parameters
    ----------
    model, dataset, split, tap : str
        As they are named on the command line; `dataset` with an absolute path where there is one.
    image_size, limit, limit_seed : int or None
        Options that were given.
    precision, stored_dtype : str
    untrained : bool
    seed : int or None
        Of random weights.
    checkpoint : str or None
        sha256 of the checkpoint file.
    checkpoint_key : str or None
        Which part of it was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    dataset: str
    split: str
    tap: str
    image_size: int | None = None
    limit: int | None = None
    limit_seed: int | None = None
    precision: str = "fp32"
    stored_dtype: str = "float16"
    untrained: bool = False
    seed: int | None = None
    checkpoint: str | None = None
    checkpoint_key: str | None = None

    @property
    def written(self) -> dict[str, Any]:
        """The name as it is hashed and stored: without the options that have their default value."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def digits(self) -> str:
        """What tells the names of a set apart in their keys."""
        return digits_of(self.written)

    @property
    def options(self) -> dict[str, Any]:
        """The options of `extract` that the name stands for, as they are given, but for the tap; see `options_in`."""
        return options_in(self.model_dump())

    @property
    def view(self) -> str:
        """Which part of which data set: the key under which the sample index remembers what it amounted to."""
        return f"{self.dataset} {self.split} {self.limit} {self.limit_seed}"

    def view_for(self, encoder: str) -> str:
        """Return the key under which the sample index remembers what the view amounted to for one encoder.

        Samples that one encoder makes nothing of are left out of its sets alone.
        """
        return f"{self.view} {encoder}"


def options_in(name: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `extract` in the fields of a name, by their name on the command line, but for the tap.

    Options that have their default value are left out.

    Examples
    --------
    >>> options_in({"model": "m", "limit": 100, "limit_seed": 0, "untrained": True, "seed": 3})
    {'limit': 100, 'untrained': True, 'seed': 3}
    """
    checkpoint, precision, dtype = name.get("checkpoint"), name.get("precision"), name.get("stored_dtype")
    options = {
        "image-size": name.get("image_size"),
        "limit": name.get("limit"),
        "limit-seed": name.get("limit_seed"),
        "untrained": name.get("untrained"),
        "seed": name.get("seed"),
        "precision": precision if precision != "fp32" else None,
        "stored-dtype": dtype if dtype != "float16" else None,
        "checkpoint": f"FILE with sha256 {str(checkpoint)[:12]}" if checkpoint else None,
        "checkpoint-key": name.get("checkpoint_key"),
    }
    return {option: value for option, value in options.items() if value}


def spelled(options: Mapping[str, Any], between: str = " ") -> str:
    """Return options as they are typed.

    Examples
    --------
    >>> spelled({"limit": 100, "untrained": True})
    '--limit 100 --untrained'
    """
    return between.join(f"--{option}" if value is True else f"--{option} {value}" for option, value in options.items())


class NamedSet(BaseModel):
    """A name given to a set: the summary that listings and look-ups read.

    Parameters
    ----------
    name : Name
    set, encoder : str
        Ids.
    rows, dim, failed, size : int
        Counts, and the set's bytes.
    named : int
        When, in milliseconds since 1970, by the clock of whoever named it.
    below : bool
        Whether the set is in another store, from which the one that has the name was read too.
    origin : Origin or None
        Where the name or its set came from, if that is not trusted. Not part of what is written.
    checksum : str
        Of the name as it was read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    set: str
    encoder: str
    rows: Count
    dim: Count
    failed: Count
    size: Count
    named: Milliseconds
    below: bool = False
    origin: Origin | None = None
    checksum: str = Field(default="", exclude=True)

    def __eq__(self, other: object) -> bool:
        """Say whether two are the same name of the same set, however it was read."""
        return isinstance(other, NamedSet) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        """Return what equal ones have in common."""
        return hash((self.name, self.set, self.named))

    @classmethod
    def of(cls, manifest: Manifest, name: Name | None = None, named: int | None = None) -> NamedSet:
        """Return the name `name` of a set, given at the time `named`; by default as the set's provenance has both.

        Raises
        ------
        ValidationError
            If the provenance has no name.
        """
        return cls(
            name=name or Name.model_validate(manifest.provenance.name),
            set=manifest.set,
            encoder=manifest.encoder_id,
            rows=manifest.rows,
            dim=manifest.dim,
            failed=len(manifest.failed),
            size=manifest.size,
            named=manifest.provenance.created if named is None else named,
        )

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """What names are sorted by: one's own first, the newest first; others by when they arrived.

        A date in the future, such as a stranger or a wrong clock gives, has no effect.
        """
        if self.origin is not None:
            return True, False, -self.origin.arrived, self.set
        return False, is_future(self.named), -self.named, self.set

    @property
    def key(self) -> str:
        """Key of the name in the store."""
        return name_key(self.set, self.name.digits)


def matching(
    found: Iterable[_Item], field: Callable[[_Item, str], Any], patterns: Mapping[str, str | None]
) -> list[_Item]:
    """Return what fits filters: what has the very text, if anything has, else what fits it as a pattern.

    So a folder that is called ``birds [v2]`` can be named, and its signs are not taken for wildcards.

    Parameters
    ----------
    found : iterable
    field : callable
        Returns a field of one of them, by its name; None fits no filter.
    patterns : mapping
        By field: a text, or a pattern with ``*``, ``?`` and ``[…]``; None fits anything.
    """
    kept = list(found)
    for name, pattern in patterns.items():
        if pattern is not None:
            exact = [item for item in kept if field(item, name) == pattern]
            kept = exact or [item for item in kept if fnmatchcase(str(field(item, name) or ""), pattern)]
    return kept


def is_future(named: int) -> bool:
    """Return whether a time in milliseconds is more than a day ahead of this machine's clock."""
    return named > time.time_ns() // 1_000_000 + _TOLERANCE


def digits_of(written: Mapping[str, Any]) -> str:
    """Return what tells a name, as it is written, from the others of its set."""
    return digest(written)[:16]

"""What people call a set: model and data set as they were typed, and the options beside them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ...canonical import digest
from ...validation import Count, Milliseconds
from ..keys import name_key
from .manifest import Manifest
from .origins import Origin

_Item = TypeVar("_Item")

_BRACKETED = re.compile(r"\[([*?[])\]")
"""A sign that stands for itself in a pattern."""

_Text = Annotated[str | None, Field(max_length=5000)]

_TOLERANCE = 86_400_000
"""Milliseconds by which clocks may be apart."""


class Name(BaseModel):
    """One way in which a set was asked for. What a name means is said in `pipeline.trials.meaning`.

    Parameters
    ----------
    model, dataset, split, tap : str
        As they are named on the command line; `dataset` with an absolute path where there is one.
    image_size, resize, crop, limit, limit_seed : int or None
        Options that were given.
    interpolation, background, preprocess : str or None
        Options that were given; the colour as ``white``, ``black`` or ``#rrggbb``.
    fast_decode : bool or None
    decoder : str or None
        What decodes JPEGs instead of Pillow.
    image_column, label_column : str or None
        Options that were given.
    class_names : str or None
        Digest of the class names that were given, whichever file held them.
    precision, stored_dtype : str
    untrained : bool
    seed : int or None
        Of random weights.
    checkpoint : str or None
        sha256 of the checkpoint file.
    checkpoint_key : str or None
        Which part of it was asked for.
    model_version : str or None
        Of embeddings from elsewhere, what `add` was told.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    dataset: str
    split: str
    tap: str
    image_size: int | None = None
    resize: int | None = None
    crop: int | None = None
    interpolation: str | None = None
    background: str | None = None
    fast_decode: bool | None = None
    decoder: str | None = None
    preprocess: str | None = None
    limit: int | None = None
    limit_seed: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    class_names: str | None = None
    precision: str = "fp32"
    stored_dtype: str = "float16"
    untrained: bool = False
    seed: int | None = None
    checkpoint: str | None = None
    checkpoint_key: str | None = None
    model_version: str | None = None

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
        """The options of `extract` or `add` that the name stands for, but for the tap; see `options_in`."""
        return options_in(self.model_dump())

    @property
    def view(self) -> str:
        """Which part of which data set: the key under which the sample index remembers what it amounted to."""
        read = {field: getattr(self, field) for field in ("image_column", "label_column", "class_names")}
        told = "".join(f" {field}={value}" for field, value in read.items() if value is not None)
        return f"{self.dataset} {self.split} {self.limit} {self.limit_seed}{told}"

    def view_for(self, encoder: str) -> str:
        """Return the key under which the sample index remembers what the view amounted to for one encoder.

        Samples that one encoder makes nothing of are left out of its sets alone.
        """
        return f"{self.view} {encoder}"


def options_in(name: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `extract` or `add` in the fields of a name, as on the command line, but for the tap.

    Options that have their default value are left out.

    Examples
    --------
    >>> options_in({"model": "m", "limit": 100, "limit_seed": 0, "untrained": True, "seed": 3})
    {'limit': 100, 'untrained': True, 'seed': 3}
    """
    checkpoint, precision, dtype = name.get("checkpoint"), name.get("precision"), name.get("stored_dtype")
    classes = name.get("class_names")
    options = {
        "image-size": name.get("image_size"),
        "resize": name.get("resize"),
        "crop": name.get("crop"),
        "interpolation": name.get("interpolation"),
        "background": name.get("background"),
        "fast-decode": name.get("fast_decode") or None,
        "decoder": name.get("decoder"),
        "preprocess": name.get("preprocess"),
        "limit": name.get("limit"),
        "limit-seed": name.get("limit_seed"),
        "image-column": name.get("image_column"),
        "label-column": name.get("label_column"),
        "class-names": f"FILE with digest {str(classes)[:12]}" if classes else None,
        "untrained": name.get("untrained"),
        "seed": name.get("seed"),
        "precision": precision if precision != "fp32" else None,
        "stored-dtype": dtype if dtype != "float16" else None,
        "checkpoint": f"FILE with sha256 {str(checkpoint)[:12]}" if checkpoint else None,
        "checkpoint-key": name.get("checkpoint_key"),
        "model-version": name.get("model_version"),
    }
    return {option: value for option, value in options.items() if value}


def spelled(options: Mapping[str, Any], between: str = " ") -> str:
    """Return options as they are typed.

    Examples
    --------
    >>> spelled({"limit": 100, "untrained": True})
    '--limit 100 --untrained'
    >>> spelled({"background": "#f0f0f0"})
    "--background '#f0f0f0'"
    """
    words = {o: f" '{value}'" if str(value).startswith("#") else f" {value}" for o, value in options.items()}
    return between.join(f"--{o}" if value is True else f"--{o}{words[o]}" for o, value in options.items())


class Maker(BaseModel):
    """Somebody who has extracted a set under a name.

    Parameters
    ----------
    user, host : str or None
    machine : str or None
        A random number, which tells apart machines, and users of one machine, that are called alike.
    source : str or None
        Where the data were, if the name does not say so.
    named : int
        When, the last time, in milliseconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: _Text = None
    host: _Text = None
    machine: _Text = None
    source: _Text = None
    named: Milliseconds = 0

    def is_also(self, other: Maker) -> bool:
        """Return whether both are one: the same machine or, if that is not recorded, user and host of one name."""
        if self.machine is not None and other.machine is not None:
            return self.machine == other.machine
        return self.user is not None and (self.user, self.host) == (other.user, other.host)


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
    by : tuple of Maker
        Who extracted the set under that name, the last one last; empty if it is not recorded.
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
    by: tuple[Maker, ...] = ()
    origin: Origin | None = None
    checksum: str = Field(default="", exclude=True)

    def __eq__(self, other: object) -> bool:
        """Say whether two are the same name of the same set, however it was read."""
        return isinstance(other, NamedSet) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        """Return what equal ones have in common."""
        return hash((self.name, self.set, self.named))

    @classmethod
    def of(
        cls, manifest: Manifest, name: Name | None = None, named: int | None = None, by: Maker | None = None
    ) -> NamedSet:
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
            by=() if by is None else (by,),
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
    def datasets(self) -> tuple[str, ...]:
        """The data set's name, and where its makers had the data, if the name does not say so."""
        return tuple(dict.fromkeys([self.name.dataset, *(maker.source for maker in self.by if maker.source)]))

    def field(self, name: str) -> str | tuple[str, ...]:
        """Return what a filter is compared with; see `matching`."""
        value = self.datasets if name == "dataset" else getattr(self.name, name)
        return value if isinstance(value, tuple) else "" if value is None else str(value)

    @property
    def key(self) -> str:
        """Key of the name in the store."""
        return name_key(self.set, self.name.digits)


def matching(
    found: Iterable[_Item], field: Callable[[_Item, str], Any], patterns: Mapping[str, str | None]
) -> list[_Item]:
    """Return what fits filters: what has the very text, if anything has, else what fits it as a pattern.

    So a folder that is called ``birds [v2]`` can be named, and its signs are not taken for wildcards. A sign in
    brackets (``[*]``, ``[[]``) is that sign, in the very text too.

    Parameters
    ----------
    found : iterable
    field : callable
        Returns a field of one of them, by its name: a text, or a collection of texts, one of which has to fit; None
        fits no filter.
    patterns : mapping
        By field: a text, or a pattern with ``*``, ``?`` and ``[…]``; None fits anything.
    """
    kept = list(found)
    for name, pattern in patterns.items():
        if pattern is not None:
            exact = {pattern, _BRACKETED.sub(r"\1", pattern)}
            values = [(item, _texts(field(item, name))) for item in kept]
            kept = [item for item, texts in values if exact.intersection(texts)] or [
                item for item, texts in values if any(fnmatchcase(text, pattern) for text in texts)
            ]
    return kept


def _texts(value: Any) -> Sequence[str]:
    """Return the texts of a field that has one, or several."""
    return [str(text) for text in value] if isinstance(value, list | tuple | set) else [str(value or "")]


def is_future(named: int) -> bool:
    """Return whether a time in milliseconds is more than a day ahead of this machine's clock."""
    return named > time.time_ns() // 1_000_000 + _TOLERANCE


def digits_of(written: Mapping[str, Any]) -> str:
    """Return what tells a name, as it is written, from the others of its set."""
    return digest(written)[:16]

"""Data sets in webdataset's form: tar files of samples, on disks, in buckets and on web servers."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....amounts import be, count
from ....errors import BadInput
from ....parallel import each
from ....progress import Reporter
from ..base import ALL, UNLABELLED, Dataset, Place, Split
from ..label_arrays import LabelArrays
from ..split_names import split_in_name
from ..splits import LazyDataset
from .encoded import EncodedSplit
from .named_labels import class_names, text_labels
from .patterns import find
from .shards import LocalShard, RemoteShard, Shard
from .spool import Spool
from .tar_index import TarIndex, Wanted

if TYPE_CHECKING:
    from ...options import SourceOptions

_AT_ONCE = 4
"""Shards that are looked through at once."""
_CAPTIONS = 0.5
"""More classes than this share of the samples are hardly classes."""


def wds(name: str, pattern: str, asked: SourceOptions) -> Dataset:
    """Open tar files of samples; what is in them is looked at when the first split is asked for.

    The order is that of the pattern, and within a shard that of its members. Splits are told by the names of the
    shards, if those tell them all.

    Parameters
    ----------
    name : str
        Canonical name.
    pattern : str
        See `patterns.find`.
    asked : SourceOptions

    Raises
    ------
    NotFound, BadInput, Unavailable
    """
    named = class_names(asked.class_names)
    found = find(pattern, (".tar",))
    spool = Spool([file for _, file in found.remote]) if found.remote else None
    shards: list[Shard] = [LocalShard(path) for path in found.local]
    shards += [RemoteShard(file, files, spool) for files, file in found.remote if spool is not None]
    parts, note = _parts(shards, asked.unlabelled)
    return _TarDataset(name, parts, note, asked, named)


class _TarDataset(LazyDataset):
    """A data set that looks through its tar files once, when that is asked for; see `base.Preparing`."""

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Sequence[Shard]],
        note: str,
        asked: SourceOptions,
        named: tuple[str, ...] | None,
    ) -> None:
        super().__init__(name, {part: partial(self._made_part, part) for part in parts}, self._noted)
        self._parts, self._note, self._asked, self._named = parts, note, asked, named
        self._lock = threading.Lock()
        self._looked: tuple[dict[str, EncodedSplit], list[str]] | None = None

    def prepare(self, reporter: Reporter) -> None:
        """Look through the shards."""
        with self._lock:
            if self._looked is None:
                self._looked = self._look(reporter)

    def _made_part(self, part: str) -> Split:
        self.prepare(Reporter())
        assert self._looked is not None
        return self._looked[0][part]

    def _noted(self) -> Sequence[str]:
        return [self._note] if self._looked is None else self._looked[1]

    def _look(self, reporter: Reporter) -> tuple[dict[str, EncodedSplit], list[str]]:
        unlabelled = self._asked.unlabelled
        wanted = Wanted(self._asked.image_column, "" if unlabelled else self._asked.label_column)
        shards = [shard for of_part in self._parts.values() for shard in of_part]
        looked = each(lambda shard: shard.index(wanted), shards, _AT_ONCE)
        indices = list(reporter.track(looked, f"Looking through {self.name}", len(shards)))
        found = {shard.name: index for shard, index in zip(shards, indices, strict=True)}
        left_out = _left_out(found, self.name)
        if not sum(map(len, indices)):
            raise BadInput(
                f"{self.name} holds no images.",
                hint=" ".join(["A sample is an image and a label of one name: 000.jpg and 000.cls.", *left_out]),
                key=self.name,
            )
        if unlabelled:
            read = LabelArrays((), {UNLABELLED: np.full(sum(map(len, indices)), -1, np.int64)}, [])
        else:
            _check_labelled(found, self.name)
            given = {
                part: [str(label) for shard in of_part for label in found[shard.name].labels]
                for part, of_part in self._parts.items()
            }
            read = text_labels(given, self._named, self.name)
        about = [] if unlabelled else _about_labels(indices, read.classes, self.name)
        made = {
            part: EncodedSplit(
                part,
                read.classes,
                read.labels[part],
                _Members(of_part, [found[shard.name] for shard in of_part]),
                tuple(shard.file for shard in of_part if shard.file is not None),
            )
            for part, of_part in self._parts.items()
        }
        return made, [self._note, *about, *left_out, *read.notes]


class _Members:
    """The images of some shards; see `encoded.Encoded`."""

    def __init__(self, shards: Sequence[Shard], indices: Sequence[TarIndex]) -> None:
        self._shards = shards
        self._shard = np.repeat(np.arange(len(shards)), [len(index) for index in indices])
        self._offsets = np.array([offset for index in indices for offset in index.offsets], np.int64)
        self._sizes = np.array([size for index in indices for size in index.sizes], np.int64)
        self._names = [name for index in indices for name in index.names]

    def read(self, index: int) -> bytes:
        shard: Shard = self._shards[self._shard[index]]
        return shard.read(int(self._offsets[index]), int(self._sizes[index]))

    def describe(self, index: int) -> str:
        name = f"{self._shards[self._shard[index]].name.rpartition('/')[2]}/{self._names[index]}"
        return os.fsencode(name).decode("utf-8", "backslashreplace")

    def path(self, index: int) -> Path | None:
        return None

    def place(self, index: int) -> Place | None:
        shard = self._shards[self._shard[index]]
        if shard.stamp is None:
            return None
        return Place(f"{shard.name}#{self._offsets[index]}+{self._sizes[index]}", shard.stamp, shard.file is None)


def _parts(shards: Sequence[Shard], unlabelled: bool) -> tuple[dict[str, list[Shard]], str]:
    """Return the shards of each split, and a note of how these were told."""
    n = count(len(shards), "tar file")
    if unlabelled:
        return {UNLABELLED: list(shards)}, f"{n} {be(len(shards))} read as images without labels"
    told = [split_in_name(shard.name) for shard in shards]
    if None in told:
        without = shards[told.index(None)].name.rpartition("/")[2]
        but = f"; the names tell no split ({without})" if any(told) else ""
        return {ALL: list(shards)}, f"{n} {be(len(shards))} read without splits{but}"
    parts: dict[str, list[Shard]] = {}
    for split, shard in zip(told, shards, strict=True):
        parts.setdefault(str(split), []).append(shard)
    sizes = ", ".join(f"{split} {len(of_part)}" for split, of_part in parts.items())
    return parts, f"{n} {be(len(shards))} read as splits, by their names: {sizes}"


def _check_labelled(found: Mapping[str, TarIndex], name: str) -> None:
    """Refuse samples without a label, and labels that come from several kinds of members."""
    without = [(s, i.names[row]) for s, i in found.items() for row, label in enumerate(i.labels) if label is None]
    total = sum(map(len, found.values()))
    if without:
        some = f"{len(without):,} of the {total:,} samples have" if len(without) > 1 else "A sample has"
        raise BadInput(
            f"{name}: {some} no label, such as {without[0][1]} in {without[0][0].rpartition('/')[2]}.",
            hint="A label is in a member .cls, .json (label or cls) or .txt; to name another one: --label-column "
            "EXTENSION, or json.FIELD. Without labels: --unlabelled",
            key=name,
        )
    sources = Counter(source for index in found.values() for source in index.sources)
    if len(sources) > 1:
        tally = ", ".join(f".{source} {n:,}" for source, n in sources.most_common())
        raise BadInput(
            f"{name}: the labels come from several kinds of members: {tally}.",
            hint=f"Say which: --label-column {sources.most_common()[0][0]}",
            key=name,
        )


def _about_labels(indices: Sequence[TarIndex], classes: Sequence[str], name: str) -> list[str]:
    (source,) = {source for index in indices for source in index.sources}
    n = sum(map(len, indices))
    notes = [f"Labels are read from .{source}: {count(len(classes), 'class', 'classes')}"]
    if len(classes) > max(_CAPTIONS * n, 2):
        notes.append(
            f"{len(classes):,} classes of {n:,} samples are many: if .{source} holds captions, name the label by "
            "--label-column, or take --unlabelled"
        )
    return notes


def _left_out(found: Mapping[str, TarIndex], name: str) -> list[str]:
    """Return notes of what is odd, and of what is not used."""
    notes = []
    others = sum((Counter(index.others) for index in found.values()), Counter[str]())
    if others:
        kinds = ", ".join(f"{what} {n:,}" for what, n in sorted(others.items()))
        where = next(shard for shard, index in found.items() if index.others)
        notes.append(f"Left out of {name}: {kinds}, such as in {where.rpartition('/')[2]}")
    without = [key for index in found.values() for key in index.without_image]
    if without:
        notes.append(f"Left out, as they have no image: {count(len(without), 'sample')}, such as {_text(without[0])}")
    if twice := [key for index in found.values() for key in index.twice]:
        notes.append(
            f"{count(len(twice), 'key')} {'occurs' if len(twice) == 1 else 'occur'} in several places of one tar file, "
            f"such as {_text(twice[0])}: each is a sample, as in webdataset"
        )
    if unended := [shard for shard, index in found.items() if not index.ended and len(index)]:
        notes.append(
            f"{count(len(unended), 'tar file')} {'has' if len(unended) == 1 else 'have'} no mark at the end and may be "
            f"cut short, such as {unended[0]}"
        )
    return notes


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")

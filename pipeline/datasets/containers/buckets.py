"""Image folders in buckets: listed once, and read object by object.

How folders become splits and classes is `folders`' business, and the same as on a disk. An object that the listing
shows with the ETag and size that it had when it was read is not read again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

from ....amounts import count
from ....errors import BadInput, NotFound
from ....stores.backends.remote_files import RemoteFile, RemoteFiles, root_of
from ..base import Dataset, Place, Split
from ..folders import Found, class_folders, without_classes
from ..splits import LazyDataset
from ..urls import BUCKETS
from .encoded import EncodedSplit

if TYPE_CHECKING:
    from ...options import SourceOptions


def bucket_folder(name: str, url: str, asked: SourceOptions) -> Dataset:
    """Open ``URL/SPLIT/CLASS/*`` or ``URL/CLASS/*``, or with `unlabelled` all images below the URL.

    Raises
    ------
    NotFound, BadInput, Unavailable
        If there is nothing, it has neither form, or the storage does not let it be listed.
    """
    if url.partition("://")[0] not in BUCKETS:
        raise BadInput(
            f"{url} is on a web server, which does not list its files.",
            hint="Name tar files of it: wds:https://HOST/train-{000..127}.tar; or a bucket: folder:s3://BUCKET/PATH",
            key=name,
        )
    place, prefix = root_of(url)
    files = RemoteFiles(place)
    tree = _BucketTree(place, prefix.rstrip("/"), files.list(prefix.rstrip("/")))
    if not tree.files:
        raise NotFound(f"There is nothing in {url}.", hint="Check the path of the data set.", key=name)

    def made(found: Found) -> Split:
        objects = _Objects(files, [tree.files[text] for text in found.paths.texts], tree.prefix)
        return EncodedSplit(found.name, found.classes, found.labels, objects)

    if asked.unlabelled:
        read = without_classes(name, tree, made, asked.ignore)
    else:
        read = class_folders(name, tree, made, asked.layout, asked.ignore)
    if not tree.odd:
        return read
    odd = f"Left out, as their names are no paths: {count(len(tree.odd), 'object')}, such as {tree.odd[0]!r}"
    return LazyDataset(name, {split: partial(read.split, split) for split in read.splits}, lambda: [*read.notes(), odd])


class _URL(PurePosixPath):
    """A path in a bucket, which is shown as a URL."""

    def __str__(self) -> str:
        text = super().__str__()
        return text.replace(":/", "://", 1) if text.startswith(tuple(f"{scheme}:/" for scheme in BUCKETS)) else text


class _BucketTree:
    """The folders that the names of objects make; see `folders.Tree`."""

    def __init__(self, place: str, prefix: str, listed: Iterable[RemoteFile]) -> None:
        self.root: PurePath = _URL(place, prefix)
        self.prefix = f"{prefix}/" if prefix else ""
        self.files: dict[str, RemoteFile] = {}
        self.odd: list[str] = []
        self._folders: dict[PurePath, dict[PurePath, None]] = {}
        for file in listed:
            key = file.key.removeprefix(self.prefix)
            if file.key.endswith("/") and not file.size:
                continue  # stands for an empty folder
            if not file.key.startswith(self.prefix) or any(part in ("", ".", "..") for part in key.split("/")):
                self.odd.append(file.key)
                continue
            path = self.root / key
            self.files[str(path)] = file
            while path != self.root:
                inside = self._folders.setdefault(path.parent, {})
                if path in inside:
                    break
                inside[path] = None
                path = path.parent

    def entries(self, path: PurePath) -> Mapping[str, bool]:
        """Return what is in a folder."""
        return {inside.name: inside not in self._folders for inside in self._folders.get(path, ())}

    def is_folder(self, path: PurePath) -> bool:
        """Say whether the names of objects go on behind it; an object of that very name is left out then."""
        return path in self._folders

    def identity(self, path: PurePath) -> Hashable:
        """Return the path: there are no links."""
        return path


class _Objects:
    """Objects that are images; see `encoded.Encoded`."""

    def __init__(self, files: RemoteFiles, objects: Sequence[RemoteFile], prefix: str) -> None:
        self._files, self._objects, self._prefix = files, objects, prefix

    def read(self, index: int) -> bytes:
        return self._files.read(self._objects[index])

    def describe(self, index: int) -> str:
        return self._objects[index].key.removeprefix(self._prefix)

    def path(self, index: int) -> Path | None:
        return None

    def place(self, index: int) -> Place | None:
        file = self._objects[index]
        return None if file.stamp is None else Place(file.url, file.stamp, True)

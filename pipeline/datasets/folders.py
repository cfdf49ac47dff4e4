"""Data sets of image files in class folders: how a folder is read, and what of it is left out."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from ...amounts import count
from ...arrays import Labels
from ...errors import BadInput, CryoprobeError, NotFound
from ...file_lists import FileList, in_byte_order
from ..passing import patiently
from .base import ALL, UNLABELLED, Dataset, Split
from .class_names import alike, one_form
from .split_names import role_of
from .splits import FileSplit, LazyDataset, fixed, status

Layout = Literal["class", "split"]

_JUNK = {"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}

_ABOUT = {"readme", "license", "licence", "copying", "notice", "authors", "makefile"}
"""Files without an ending that people lay beside images."""

IMAGE_ENDINGS = frozenset(
    re.findall(
        r"\w+",
        "jpg jpeg jpe jfif jif jfi pjpeg pjp mpo png apng gif bmp dib tif tiff webp avif avifs heic heics heif heifs "
        "hif jxl jp2 j2k j2c jpc jpf jpx jpm jxr pgm pbm ppm pnm pam pfm tga icb vda vst ico icns cur dds pcx dcx psd "
        "psb xcf sgi rgb rgba bw ras sun xbm xpm fit fits fts spi spider im msp blp gbr pcd wal ftex iim mic fpx qoi "
        "exr hdr svg svgz wmf emf eps raw dng cr2 cr3 crw nef nrw arw sr2 orf rw2 raf pef srw x3f dcm dicom",
    )
)
"""Endings of images, those that PIL cannot open included: such a file is to be noticed, not skipped."""

_NAMED = 4
"""How many names a note lists."""


class Tree(Protocol):
    """Folders and files below a root, wherever they are."""

    @property
    def root(self) -> PurePath:
        """The folder at the top."""
        ...

    def entries(self, path: PurePath) -> Mapping[str, bool]:
        """Return the names of what is in a folder, each with whether it is a file for certain, and no link."""
        ...

    def is_folder(self, path: PurePath) -> bool:
        """Say whether it is a folder or a file."""
        ...

    def identity(self, path: PurePath) -> Hashable:
        """Return what tells a folder from all others, by whichever way one came to it."""
        ...


@dataclass(frozen=True)
class LocalTree:
    """A folder on a disk; see `Tree`."""

    root: Path

    def entries(self, path: PurePath) -> Mapping[str, bool]:
        """List a folder."""
        try:
            found = patiently(lambda: _entries(path), str(path))
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            raise BadInput(
                f"{path} cannot be listed: {e.strerror}.", hint="Check your rights.", key=str(path)
            ) from None
        if found:
            status(Path(path, min(found)))  # of a folder that may not be entered one name tells as much as all
        return found

    def is_folder(self, path: PurePath) -> bool:
        """Look what it is."""
        return _is_folder(Path(path))

    def identity(self, path: PurePath) -> Hashable:
        """Return device and inode: links can lead in circles."""
        state = Path(path).stat()
        return (state.st_dev, state.st_ino)


class Found(NamedTuple):
    """A split of class folders, before it is known how its files are read."""

    name: str
    classes: tuple[str, ...]
    labels: Labels
    paths: FileList
    folders: list[PurePath]
    """Those that were looked into."""


@dataclass
class _Looking:
    """Lists folders of a tree, and remembers the files that it leaves out."""

    tree: Tree
    ignore: Sequence[str] = ()
    others: dict[PurePath, str] = field(default_factory=dict)
    ignored: set[PurePath] = field(default_factory=set)
    listed: dict[PurePath, tuple[list[PurePath], FileList]] = field(default_factory=dict)

    @property
    def root(self) -> PurePath:
        """The folder at the top."""
        return self.tree.root

    def folders(self, path: PurePath) -> list[PurePath]:
        """Return the folders in a folder by code point, without hidden and ignored ones and litter."""
        return self._list(path)[0]

    def images(self, path: PurePath) -> FileList:
        """Return the files directly in a folder by code point, without those whose ending is not an image's too."""
        return self._list(path)[1]

    def _list(self, path: PurePath) -> tuple[list[PurePath], FileList]:
        if path in self.listed:
            return self.listed[path]
        found = self.tree.entries(path)
        folders, files = [], []
        inside = os.path.join(path, "")  # noqa: PTH118
        for name in sorted(found, key=None if "".join(found).isascii() else os.fsencode):
            if name.startswith(".") or name.lower() in _JUNK or (self.ignore and self._is_ignored(path / name)):
                continue
            if not found[name] and self.tree.is_folder(path / name):
                folders.append(path / name)
            elif (ending := _other_ending(name)) is not None:
                self.others[path / name] = ending
            else:
                files.append(inside + name)  # as text: there may be a million
        self.listed[path] = folders, FileList(files)
        return self.listed[path]

    def below(self, path: PurePath, seen: frozenset[Hashable] = frozenset()) -> Iterator[tuple[PurePath, FileList]]:
        """Yield folders at any depth with the files in each, following links but not in circles."""
        here = self.tree.identity(path)
        if here in seen:
            return
        yield path, self.images(path)
        for inner in self.folders(path):
            yield from self.below(inner, seen | {here})

    def left_out(self) -> list[str]:
        """Return notes of the files that were left out so far."""
        notes = []
        if self.others:
            endings = ", ".join(f"{ending} {n}" for ending, n in sorted(Counter(self.others.values()).items()))
            notes.append(
                f"Left out, as the ending is not an image's: {count(len(self.others), 'file')} ({endings}), such as "
                + self._inside(min(self.others))
            )
        if self.ignored:
            notes.append(f"Ignored as asked: {_some({self._inside(p) for p in self.ignored})}")
        return notes

    def _inside(self, path: PurePath) -> str:
        return _text(path.relative_to(self.root).as_posix())

    def _is_ignored(self, path: PurePath) -> bool:
        names = (self._inside(path), _text(path.name))
        if any(fnmatchcase(name, pattern.rstrip("/")) for pattern in self.ignore for name in names):
            self.ignored.add(path)
            return True
        return False


def folder(name: str, root: Path, layout: str | None = None, ignore: Sequence[str] = ()) -> Dataset:
    """Open ``root/SPLIT/CLASS/*`` or ``root/CLASS/*``, files at any depth below a class.

    Top folders that are called train, val, test … and hold folders are splits, and what lies beside them is left out.
    If there are none, the top folders are classes. Hidden files, what desktops leave behind and files whose ending is
    not an image's are left out. Every other file is a sample: one that is not an image is to be noticed, not skipped.

    Parameters
    ----------
    name : str
        Canonical name.
    root : Path
    layout : {"class", "split"}, optional
        What the top folders are, whatever they are called.
    ignore : sequence of str
        Patterns of files and folders to leave out, of their names or of their paths below `root`.

    Raises
    ------
    NotFound, BadInput
        If there is no such folder, or it has neither form.
    """
    _check_folder(root)

    def made(found: Found) -> FileSplit:
        return FileSplit(
            name=found.name,
            classes=found.classes,
            labels=found.labels,
            paths=found.paths,
            root=root,
            others=tuple(Path(path) for path in found.folders),
        )

    return class_folders(name, LocalTree(root), made, layout, ignore)


def class_folders(
    name: str, tree: Tree, made: Callable[[Found], Split], layout: str | None = None, ignore: Sequence[str] = ()
) -> LazyDataset:
    """Read a tree as `folder` does; `made` makes a split of what was found.

    Raises
    ------
    BadInput
        If it has neither form.
    """
    if layout is not None and layout not in get_args(Layout):
        raise BadInput(f"There is no layout {layout!r}.", hint="Take class or split.", key="layout")
    root, looking = tree.root, _Looking(tree, ignore)
    parts = _parts(looking, layout)
    of_split = {split: looking.folders(path) for split, path in parts.items()}
    forms = one_form(_text(c.name) for found in of_split.values() for c in found)
    classes = tuple(sorted(set(forms.values())))
    if not classes:
        raise BadInput(
            f"{root} has no class folders.",
            hint="Arrange it as PATH/CLASS/* or PATH/SPLIT/CLASS/*; images without labels are taken with --unlabelled."
            + _hint_of_layout(looking, layout),
            key=str(root),
        )
    if stray := [f for path in parts.values() for f in looking.images(path)]:
        raise BadInput(
            f"{stray[0]} lies beside the class folders of {stray[0].parent}, and so has no class.",
            hint=f"Move it into a class folder, or leave it out: --ignore {stray[0].name!r}. If no image has a class: "
            "--unlabelled",
            key=str(stray[0]),
        )

    def make(split: str) -> Split:
        found = [
            (place[forms[_text(class_.name)]], folder, files)
            for class_ in of_split[split]
            for folder, files in looking.below(class_)
        ]
        labels = np.repeat(np.array([c for c, _, _ in found], np.int64), [len(files) for _, _, files in found])
        texts = [text for _, _, files in found for text in files.texts]
        if (order := in_byte_order(texts)) is not None:
            labels, texts = labels[order], [texts[i] for i in order]
        # A folder's own date changes when a file comes or goes; that of any split, when a class does.
        folders = {root, *parts.values(), *(folder for _, folder, _ in found)}
        return made(Found(split, classes, labels, FileList(texts), sorted(folders)))

    place = {c: i for i, c in enumerate(classes)}
    named = {split: {_text(c.name) for c in found} for split, found in of_split.items()}
    reading = [_reading(looking, parts, classes), *alike(named)]
    return LazyDataset(name, {split: partial(make, split) for split in parts}, lambda: [*reading, *looking.left_out()])


def unlabelled_folder(name: str, root: Path, ignore: Sequence[str] = ()) -> Dataset:
    """Open every image in a folder, at any depth, without classes; its one split is `UNLABELLED`.

    Parameters
    ----------
    name : str
        Canonical name.
    root : Path
    ignore : sequence of str
        As for `folder`.

    Raises
    ------
    NotFound, BadInput
        If there is no such folder, or no image in it.
    """
    _check_folder(root)

    def made(found: Found) -> FileSplit:
        folders = tuple(Path(p) for p in found.folders)
        return FileSplit(found.name, found.classes, found.labels, found.paths, root, folders)

    return without_classes(name, LocalTree(root), made, ignore)


def without_classes(name: str, tree: Tree, made: Callable[[Found], Split], ignore: Sequence[str] = ()) -> LazyDataset:
    """Read a tree as `unlabelled_folder` does; `made` makes the split of what was found.

    Raises
    ------
    BadInput
        If there is no image in it.
    """
    root, looking = tree.root, _Looking(tree, ignore)
    found = list(looking.below(root))
    paths = _in_order(files for _, files in found)
    if not paths:
        raise BadInput(
            f"{root} has no images.", hint=f"Name another folder.{_hint_of_layout(looking, None)}", key=str(root)
        )
    folders = sorted(folder for folder, _ in found)
    split = made(Found(UNLABELLED, (), np.full(len(paths), -1, np.int64), paths, folders))
    reading = f"{root} is read as {count(len(paths), 'image')} without labels"
    return fixed(name, [split], [reading, *looking.left_out()])


def _check_folder(root: Path) -> None:
    if status(root) is None:
        raise NotFound(f"There is no folder {root}.", hint="Check the path of the data set.", key=str(root))
    if not root.is_dir():
        raise BadInput(
            f"{root} is a file.", hint="Name the folder: folder:PATH, or csv:FILE for a table.", key=str(root)
        )


def images_below(root: Path) -> tuple[FileList, list[str]]:
    """Return every file in a folder that `folder` would take, at any depth, and notes of those that are left out."""
    looking = _Looking(LocalTree(root))
    files = _in_order(files for _, files in looking.below(root))
    return files, looking.left_out()


def _in_order(lists: Iterable[FileList]) -> FileList:
    texts = [text for files in lists for text in files.texts]
    order = in_byte_order(texts)
    return FileList(texts if order is None else [texts[i] for i in order])


def _entries(folder: PurePath) -> dict[str, bool]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}


def _parts(looking: _Looking, layout: str | None) -> dict[str, PurePath]:
    """Return the folders of the splits by name, or the root as the only one."""
    root = looking.root
    top = looking.folders(root)
    holding = [f for f in top if looking.folders(f)]
    if layout == "split":
        return {_text(f.name): f for f in holding}
    named = [f for f in top if role_of(f.name) is not None]
    splits = [f for f in named if f in holding and (len(named) == len(top) or not looking.images(f))]
    if layout == "class" or not splits:
        return {ALL: root}
    beside = [f for f in top if f not in named and looking.images(f)]
    if len(named) == 1 and len(beside) > 1:
        raise BadInput(
            f"{splits[0]} may be a split, or a class as {_some([_text(f.name) for f in beside])} beside it.",
            hint="Say what the top folders are: --layout class, or --layout split",
            key=str(splits[0]),
        )
    return {_text(f.name): f for f in splits}


def _reading(looking: _Looking, parts: dict[str, PurePath], classes: Sequence[str]) -> str:
    """Say in one line how a folder was read, what beside its splits is left out, and how to read it otherwise."""
    root = looking.root
    which = f"{count(len(classes), 'class', 'classes')} ({_some(classes)})"
    if ALL in parts and parts[ALL] == root:
        inner = {f: [g for g in looking.folders(f) if role_of(g.name) is not None] for f in looking.folders(root)}
        nested = [f for f, splits in inner.items() if splits]
        text = f"{root} is read as {which} without splits"
        if nested and len(nested) == len(inner):
            found = _some([_text(f.name) for f in inner[nested[0]]])
            return f"{text}. But {_text(nested[0].name)} holds {found}: for these splits name folder:{nested[0]}"
        deep = any(looking.folders(f) for f in inner)
        return text + ("; for its top folders as splits: --layout split" if deep else "")
    names = [f"{_text(p.name)}/" for p in looking.folders(root) if p not in parts.values()]
    names += [_text(p.name) for p in looking.images(root)]
    left_out = f"; left out beside them: {_some(names)}" if names else ""
    return f"{root} is read as {count(len(parts), 'split')} ({_some(list(parts))}) of {which}{left_out}"


def _hint_of_layout(looking: _Looking, layout: str | None) -> str:
    if layout == "split":
        return " With --layout split the top folders hold the class folders."
    if looking.others:
        return f" {looking.left_out()[0]}."
    return ""


def _some(names: Sequence[str] | set[str]) -> str:
    ordered = sorted(names) if isinstance(names, set) else list(names)
    return ", ".join(ordered[:_NAMED]) + (f" … {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else "")


def _other_ending(name: str) -> str | None:
    """Return the ending of a file that cannot be an image by its name; None if it may be one."""
    dot = name.rfind(".")
    if dot < 0:
        return "no ending" if name.lower() in _ABOUT else None
    return _unless_image(name[dot:])


@lru_cache
def _unless_image(ending: str) -> str | None:
    found = re.search(r"\.([a-z][a-z0-9]{0,9})$", ending.lower())
    return None if found is None or found[1] in IMAGE_ENDINGS else found[0]


def _is_folder(path: Path) -> bool:
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")

"""Data sets of image files: a folder of class folders, and a table of paths and labels."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ...errors import BadInput, NotFound
from .base import ALL, Dataset
from .splits import SPLIT_NAMES, FileSplit, LazyDataset, as_flags, as_labels, class_order, fixed, status

_JUNK = {"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


def folder(name: str, root: Path) -> Dataset:
    """Open ``root/SPLIT/CLASS/*`` or ``root/CLASS/*``, files at any depth below a class.

    The top folders are splits where none has files of its own, or where all are called like one (train, val, test).
    Every file is a sample, except hidden ones and what desktops leave behind: one that is no image is to be noticed,
    not skipped.

    Raises
    ------
    NotFound, BadInput
        If there is no such folder, or it has neither form.
    """
    if status(root) is None:
        raise NotFound(f"There is no folder {root}.", hint="Check the path of the data set.", key=str(root))
    if not root.is_dir():
        raise BadInput(
            f"{root} is a file.", hint="Name the folder: folder:PATH, or csv:FILE for a table.", key=str(root)
        )
    top = _folders(root)
    with_files = [f for f in top if _files_directly_in(f)]
    with_folders = [f for f in top if _folders(f)]
    if with_folders and (not with_files or all(f.name.lower() in SPLIT_NAMES for f in top)):
        parts = {_text(f.name): f for f in top if f in with_folders or f in with_files}
    else:
        parts = {ALL: root}
    stray = _files_directly_in(root) or (
        [f for p in parts.values() for f in _files_directly_in(p)] if ALL not in parts else []
    )
    class_folders = {split: _folders(path) for split, path in parts.items()}
    classes = tuple(sorted({_text(c.name) for found in class_folders.values() for c in found}))
    if not classes:
        raise BadInput(
            f"{root} has no class folders.", hint="Arrange it as PATH/CLASS/* or PATH/SPLIT/CLASS/*.", key=str(root)
        )
    if stray:
        raise BadInput(
            f"{stray[0]} lies beside the class folders of {root}, and so has no class.",
            hint="Move it into a class folder, or away.",
            key=str(stray[0]),
        )

    def make(split: str) -> FileSplit:
        found = [
            (_text(class_.name), path, folders) for class_ in class_folders[split] for path, folders in _below(class_)
        ]
        samples = sorted(((c, p) for c, p, is_folder in found if not is_folder), key=lambda s: os.fsencode(s[1]))
        # A folder's own date changes when a file comes or goes; that of any split, when a class does.
        folders = {root, *parts.values(), *(p for _, p, is_folder in found if is_folder)}
        return FileSplit(
            name=split,
            classes=classes,
            labels=as_labels([c for c, _ in samples], classes),
            paths=[p for _, p in samples],
            root=root,
            others=tuple(sorted(folders)),
        )

    return LazyDataset(name, {split: partial(make, split) for split in parts})


def files_below(root: Path) -> list[Path]:
    """Return every file in a folder, at any depth, as `folder` takes them: neither hidden ones nor desktops' litter."""
    return sorted((path for path, is_folder in _below(root) if not is_folder), key=os.fsencode)


def table(name: str, file: Path) -> Dataset:
    """Open a CSV file with the columns ``path``, ``label`` and perhaps ``split``; paths are relative to the file.

    A ``|`` in any label makes the data set multi-label: ``a|b`` is both, an empty label none. Images that are missing
    are found when they are read.

    Raises
    ------
    NotFound, BadInput
        If there is no such file, or it is no such table; the message has the line.
    """
    if (found := status(file)) is None or not stat.S_ISREG(found.st_mode):
        raise NotFound(f"There is no file {file}.", hint="Check the path of the table.", key=str(file))
    rows = list(_table_rows(file))
    if not rows:
        raise BadInput(f"{file} has no rows.", hint="It needs a row per image: path,label", key=str(file))
    multilabel = any("|" in label for _, label, _, _ in rows)
    if not multilabel and (empty := [line for _, label, _, line in rows if not label]):
        raise _bad_line(
            file,
            empty[0],
            "the label is empty",
            "Give every image a label (only multi-label data, a|b, may have none).",
        )
    blank = [line for _, _, split, line in rows if split == ALL]
    if blank and len(blank) < len(rows):
        raise _bad_line(file, blank[0], "the split is empty", "Give every row a split, or none.")
    sets = [
        {part.strip() for part in label.split("|") if part.strip()} if multilabel else {label}
        for _, label, _, _ in rows
    ]
    classes = class_order(set().union(*sets))
    splits = []
    for split in dict.fromkeys(split for _, _, split, _ in rows):
        members = [i for i, row in enumerate(rows) if row[2] == split]
        chosen = [sets[i] for i in members]
        labels = as_flags(chosen, classes) if multilabel else as_labels([next(iter(s)) for s in chosen], classes)
        paths = [file.parent / rows[i][0] for i in members]
        splits.append(FileSplit(split, classes, labels, paths, file.parent, (file,)))
    return fixed(name, splits)


def _table_rows(file: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield path, label, split and line number of every row."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise BadInput(f"{file} cannot be read: {e.strerror}.", hint="Check your rights.", key=str(file)) from None
    except UnicodeDecodeError as e:
        raise _bad_line(file, e.object.count(b"\n", 0, e.start) + 1, str(e), "Save the table as UTF-8.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [c.strip() for c in reader.fieldnames or []]
        reader.fieldnames = columns
        if missing := [c for c in ("path", "label") if c not in columns]:
            raise _bad_line(
                file,
                1,
                f"there is no column {' and no column '.join(map(repr, missing))}",
                f"It names the columns: path,label[,split]. It has: {', '.join(columns) or 'none'}.",
            )
        for row in reader:
            path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
            if row.get(None):  # where DictReader puts what has no column
                raise _bad_line(
                    file, reader.line_num, "there are more cells than columns", 'Quote a path with a comma: "a,b.jpg".'
                )
            if not path or "\0" in path:
                wrong = "has a NUL character" if path else "is empty"
                raise _bad_line(file, reader.line_num, f"the path {wrong}", "Give every row a path.")
            yield path, label, (row.get("split") or "").strip() or ALL, reader.line_num
    except csv.Error as e:
        raise _bad_line(file, reader.reader.line_num, str(e), 'Save the table as CSV, quoted with ".') from None


def _bad_line(file: Path, line: int, what: str, hint: str) -> BadInput:
    return BadInput(f"{file}, line {line}: {what}.", hint=hint, key=str(file))


def _entries(path: Path) -> list[Path]:
    """Return what is in a folder and is not hidden or junk, by code point."""
    try:
        found = [p for p in path.iterdir() if not p.name.startswith(".") and p.name.lower() not in _JUNK]
    except OSError as e:
        raise BadInput(f"{path} cannot be listed: {e.strerror}.", hint="Check your rights.", key=str(path)) from None
    return sorted(found, key=lambda p: os.fsencode(p.name))


def _folders(path: Path) -> list[Path]:
    return [p for p in _entries(path) if _is_folder(p)]


def _files_directly_in(path: Path) -> list[Path]:
    return [p for p in _entries(path) if not _is_folder(p)]


def _is_folder(path: Path) -> bool:
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _below(path: Path, seen: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[Path, bool]]:
    """Yield files and folders (True) at any depth, following links but not in circles."""
    state = path.stat()
    here = (state.st_dev, state.st_ino)
    if here in seen:
        return
    yield path, True
    for entry in _entries(path):
        if _is_folder(entry):
            yield from _below(entry, seen | {here})
        else:
            yield entry, False


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")

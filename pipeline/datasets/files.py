"""Data sets of image files that a table lists, with their labels."""

from __future__ import annotations

import csv
import io
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...amounts import count
from ...errors import BadInput, CryoprobeError, NotFound
from ..passing import patiently
from .base import ALL, Dataset
from .class_names import alike, is_missing, one_form
from .splits import FileSplit, as_flags, as_labels, class_order, fixed, status

_COLUMNS = ("path", "label", "split")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_OTHER_SIGNS = {";": "semicolons", "\t": "tabs"}
_OTHER_NAMES = {
    "path": {"file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "id", "image_id"},
    "label": {"class", "category", "target", "labels", "classname", "class_name", "y"},
}
"""What other programs call our columns."""


class _Row(NamedTuple):
    """A row of a table; `labels` are one or, of multi-label data, any number."""

    path: str
    label: str
    split: str
    line: int


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
    multilabel = any("|" in row.label for row in rows)
    if not multilabel and (empty := [row.line for row in rows if not row.label]):
        raise _bad_line(
            file,
            empty[0],
            "the label is empty",
            "Give every image a label (only multi-label data, a|b, may have none).",
        )
    blank = [row.line for row in rows if row.split == ALL]
    if blank and len(blank) < len(rows):
        raise _bad_line(file, blank[0], "the split is empty", "Give every row a split, or none.")
    written = [
        {part.strip() for part in row.label.split("|") if part.strip()} if multilabel else {row.label} for row in rows
    ]
    for row, labels in zip(rows, written, strict=True):
        if missing := sorted(label for label in labels if is_missing(label)):
            what = f"the label is {missing[0]!r}, as pandas writes a missing one"
            raise _bad_line(file, row.line, what, "Leave the row out, or name its class.")
    forms = one_form(label for labels in written for label in labels)
    sets = [{forms[label] for label in labels} for labels in written]
    classes = class_order(set().union(*sets))
    splits, present = [], {}
    for split in dict.fromkeys(row.split for row in rows):
        members = [i for i, row in enumerate(rows) if row.split == split]
        chosen = [sets[i] for i in members]
        present[split] = set().union(*chosen)
        labels_ = as_flags(chosen, classes) if multilabel else as_labels([next(iter(s)) for s in chosen], classes)
        paths = [file.parent / rows[i].path for i in members]
        urls = {row: rows[i].path for row, i in enumerate(members) if _URL.match(rows[i].path)}
        splits.append(FileSplit(split, classes, labels_, paths, file.parent, (file,), urls))
    return fixed(name, splits, [*alike(present), *_repeated(rows, sets)])


def _repeated(rows: Sequence[_Row], sets: Sequence[set[str]]) -> Iterator[str]:
    """Yield notes of files that the table has in several splits, or with several labels."""
    splits, labels = defaultdict(set), defaultdict(set)
    for row, classes in zip(rows, sets, strict=True):
        splits[row.path].add(row.split)
        labels[row.path].add(tuple(sorted(classes)))
    for what, several in (("labels", labels), ("splits", splits)):
        found = [path for path, values in several.items() if len(values) > 1]
        if found:
            yield f"{count(len(found), 'file')} of the table stand in it with several {what}, such as {found[0]}"


def _table_rows(file: Path) -> Iterator[_Row]:
    """Yield every row."""
    raw = b""
    try:
        raw = patiently(file.read_bytes, str(file))
        text = raw.decode("utf-8-sig")
    except CryoprobeError:  # some of them are OSErrors
        raise
    except OSError as e:
        raise BadInput(f"{file} cannot be read: {e.strerror}.", hint="Check your rights.", key=str(file)) from None
    except UnicodeDecodeError as e:
        what = "it is UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else str(e)
        raise _bad_line(file, e.object.count(b"\n", 0, e.start) + 1, what, "Save the table as UTF-8.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [c.strip() for c in reader.fieldnames or []]
        columns = [c.lower() if c.lower() in _COLUMNS else c for c in columns]
        reader.fieldnames = columns
        if missing := [c for c in ("path", "label") if c not in columns]:
            what = f"there is no column {' and no column '.join(map(repr, missing))}"
            raise _bad_line(file, 1, what, _renaming(columns, missing))
        if twice := [c for c in _COLUMNS if columns.count(c) > 1]:
            raise _bad_line(
                file, 1, f"there are {columns.count(twice[0])} columns {twice[0]!r}", "Give one of them another name."
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
            yield _Row(path, label, (row.get("split") or "").strip() or ALL, reader.line_num)
    except csv.Error as e:
        raise _bad_line(file, reader.reader.line_num, str(e), 'Save the table as CSV, quoted with ".') from None


def _renaming(columns: Sequence[str], missing: Sequence[str]) -> str:
    """Return what to do about a table without the columns that are needed."""
    if len(columns) == 1 and (other := next((sign for sign in _OTHER_SIGNS if sign in columns[0]), None)):
        return f"Its columns are separated by {_OTHER_SIGNS[other]}: save it with commas."
    has = f"It names the columns: path,label[,split]. It has: {', '.join(columns) or 'none'}."
    renamed = [
        f"{column} to {ours}"
        for ours in missing
        for column in columns
        if column.lower().replace(" ", "_") in _OTHER_NAMES[ours]
    ]
    if renamed:
        return f"{has} Rename {' and '.join(renamed)}."
    if missing == ["label"] and len(columns) > 2:
        return f"{has} If columns are flags of classes, write into label the names of those that are 1: a|b."
    return has


def _bad_line(file: Path, line: int, what: str, hint: str) -> BadInput:
    return BadInput(f"{file}, line {line}: {what}.", hint=hint, key=str(file))

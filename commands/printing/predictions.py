"""How predictions are written: CSV or JSON, one image after another, so that nothing waits for the last one."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ...errors import BadInput
from ...files import check_writable, replacing
from ...printable import plain

if TYPE_CHECKING:
    from ...pipeline.predict import Predicted
    from ...pipeline.saved import SavedProbe

FORMATS = ("csv", "json")


def check_layout(form: str, top: int | None, every: bool, file: Path | None) -> None:
    """Refuse a layout that does not exist, or a file that cannot be written, before anything is computed.

    Raises
    ------
    BadInput, ReadOnly, Unavailable
    """
    if form not in FORMATS:
        raise BadInput(f"--format is csv or json, not {form}.", key="format")
    if top is not None and top < 1:
        raise BadInput(f"--top must be 1 or more, not {top}.", key="top")
    if top is not None and every:
        raise BadInput("--top and --all exclude each other.", hint="Give one of them.", key="top")
    if file is not None:
        check_writable(file)


def write(
    found: Iterable[Predicted],
    probe: SavedProbe,
    *,
    form: str = "csv",
    top: int | None = None,
    every: bool = False,
    file: Path | None = None,
) -> None:
    """Write predictions as they come.

    Parameters
    ----------
    found : iterable of Predicted
    probe : SavedProbe
        That predicted them: its classes and what it has of each.
    form : {"csv", "json"}
    top : int, optional
        The best k classes of every image, whether or not they are predicted.
    every : bool
        All classes.
    file : Path, optional
        Instead of standard output; it appears when everything is in it.

    Raises
    ------
    BadInput, ReadOnly, Unavailable
        If there is no such layout, or the file cannot be written.
    """
    check_layout(form, top, every, file)
    with _target(file) as out:
        if form == "csv":
            _write_csv(found, probe, top, every, out)
        else:
            _write_json(found, probe, top, every, out)


def _write_csv(found: Iterable[Predicted], probe: SavedProbe, top: int | None, every: bool, out: _Sink) -> None:
    rows = csv_writer(out)
    rows.writerow(["path", "label", probe.measure, *(probe.classes if every else ())])
    for p in found:
        path = _text(p.path)
        if top is not None:
            rows.writerows([path, label, _number(value)] for label, value in p.top(top))
        else:
            labels = p.of_labels()
            of_all = map(_number, p.values.tolist()) if every else ()
            joined = "|".join(label for label, _ in labels), "|".join(_number(value) for _, value in labels)
            rows.writerow([path, *joined, *of_all])
        out.flush()


def _write_json(found: Iterable[Predicted], probe: SavedProbe, top: int | None, every: bool, out: _Sink) -> None:
    separator = "[\n"
    for p in found:
        out.write(separator + json.dumps(_record(p, probe, top, every), ensure_ascii=False))
        out.flush()
        separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")
    out.flush()


def _record(p: Predicted, probe: SavedProbe, top: int | None, every: bool) -> dict[str, Any]:
    labels, measure = p.of_labels(), probe.measure
    record: dict[str, Any] = {"path": _text(p.path)}
    if probe.header.multilabel:
        plural = {"probability": "probabilities", "score": "scores"}[measure]
        record |= {"labels": [label for label, _ in labels], plural: [value for _, value in labels]}
    else:
        record |= {"label": labels[0][0], measure: labels[0][1]}
    if top is not None:
        record["top"] = [{"label": label, measure: value} for label, value in p.top(top)]
    if every:
        record["classes"] = dict(zip(p.classes, p.values.tolist(), strict=True))
    return record


def csv_writer(out: _Sink) -> Any:
    """Return what writes rows of a CSV."""
    return csv.writer(_Lines(out))


def sink(screen: TextIO) -> _Sink:
    """Return what writes to standard output: safely, if a person watches it."""
    return _Terminal(screen) if screen.isatty() else screen


class _Sink(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


class _Lines:
    """Ends the rows of a CSV with a line feed alone.

    The writer itself must be told of both characters: Python before 3.13 quotes only those that end its rows, and a
    carriage return in a file's name would break the row.
    """

    def __init__(self, out: _Sink) -> None:
        self._out = out

    def write(self, row: str) -> int:
        return self._out.write(row.removesuffix("\r\n") + "\n")


class _Terminal:
    """Standard output that a person watches: class names, which a stranger can have chosen, must not control it."""

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen

    def write(self, text: str, /) -> int:
        return self._screen.write(plain(text))

    def flush(self) -> None:
        self._screen.flush()


@contextmanager
def _target(file: Path | None) -> Iterator[_Sink]:
    """Give standard output, or what takes the place of `file` if all goes well."""
    if file is None:
        yield sink(sys.stdout)
        return
    with replacing(file) as raw:
        out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield out
        out.detach()


def _number(value: float) -> str:
    return f"{value:.6g}"


def _text(path: Path) -> str:
    # A name that is not UTF-8 must still be printable and go into JSON.
    return os.fsencode(path).decode("utf-8", "backslashreplace")

"""`read_suite`: from a TOML file, or from rows, to a `Suite`; what is wrong is named with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...errors import BadInput, CryoprobeError, NotFound
from ..keywords import read
from ..probes.build import grid_of, make_estimator
from ..trials.plan import plan_of
from .commands import value_of
from .suite import DataRow, ModelRow, ProtocolRow, Suite, fitted, named

_ROWS: dict[str, type[BaseModel]] = {"models": ModelRow, "data": DataRow, "protocols": ProtocolRow}

_OPTIONS = {
    "models": "--model NAME",
    "data": "--dataset NAME",
    "protocols": "--protocol NAME, or --probe NAME",
}
"""Of `cryoprobe run`."""

_Path = tuple[str | int, ...]


def read_suite(suite: str | Path | Mapping[str, Any] | Suite, overrides: Sequence[str] = ()) -> Suite:
    """Return a suite, checked as far as that is possible without its models and data.

    Parameters
    ----------
    suite : str, Path, mapping or Suite
        A TOML file; or its content.
    overrides : sequence of str
        ``key=value``, such as ``batch_size=64`` or ``models.0.precision=bf16``; the value is TOML, or else text.

    Raises
    ------
    NotFound
        If there is no such file.
    BadInput
        If it is not TOML, has an option that there is not, or a value that is wrong.

    Examples
    --------
    >>> rows = {"models": ["timm:resnet18.a1_in1k"], "data": ["sklearn:digits"], "protocols": ["clip"]}
    >>> read_suite(rows, ["models.0.image_size=64", "batch_size=8"]).models[0].image_size
    64
    >>> read_suite({**rows, "batchsize": 8})
    Traceback (most recent call last):
        ...
    cryoprobe.errors.BadInput: The suite has no option 'batchsize'.
    Did you mean 'batch_size'?
    """
    if isinstance(suite, Suite):
        suite = {name: getattr(suite, name) for name in suite.model_fields_set}
        for name in _ROWS:
            suite[name] = [row.model_dump(include=row.model_fields_set) for row in suite[name]]
    source = _read(Path(suite)) if isinstance(suite, str | Path) else _Source(dict(suite))
    for override in overrides:
        source.override(override)
    return source.suite()


def _read(file: Path) -> _Source:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        return _Source(tomllib.loads(text), str(file), text)
    except FileNotFoundError:
        raise NotFound(
            f"There is no suite {file}.",
            hint="Name a TOML file; models and data sets are given by --model and --dataset.",
            key=str(file),
        ) from None
    except (OSError, ValueError) as e:  # of which TOML's and UTF-8's errors are
        problem = e.strerror if isinstance(e, OSError) else e
        raise BadInput(f"{file} cannot be read: {problem}.", hint="Correct it.", key=str(file)) from None


@dataclass
class _Source:
    """What a suite is made of, and where each part of it stands.

    Parameters
    ----------
    content : dict
    file : str or None
    text : str
        Of the file.
    """

    content: dict[str, Any]
    file: str | None = None
    text: str = ""
    overridden: dict[_Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _ROWS:
            if name in self.content:
                with self._at((name,)):
                    rows = (fitted if name == "protocols" else named)(self.content[name])
                self.content[name] = [dict(row) if isinstance(row, Mapping) else row for row in rows]

    def override(self, text: str) -> None:
        """Take in a ``key=value``."""
        key, _, value = text.partition("=")
        path: _Path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        self.overridden[path] = text
        if path[0] not in _ROWS:
            _check_name(path[-1] if len(path) == 1 else key, [*Suite.model_fields], f"The override {text}: a suite")
            self.content[str(path[0])] = value_of(value)
            return
        rows = self.content.get(str(path[0]), [])
        if len(path) != 3 or not isinstance(path[1], int) or path[1] >= len(rows):
            there = f"0 to {len(rows) - 1}" if len(rows) > 1 else "0" if rows else "none"
            raise BadInput(
                f"The override {text} does not name an option of a row.",
                hint=f"Write {path[0]}.NUMBER.OPTION=VALUE; rows of {path[0]}: {there}.",
                key=key,
            )
        _check_name(path[2], [*_ROWS[str(path[0])].model_fields], f"The override {text}: a row of {path[0]}")
        rows[path[1]][path[2]] = value_of(value)

    def suite(self) -> Suite:
        """Return what it says."""
        known = [*_ROWS, *(name for name in Suite.model_fields if name not in _ROWS)]
        for name in self.content:
            with self._at((name,)):
                _check_name(name, known, "The suite")
        for name in _ROWS:
            if not self.content.get(name):
                raise BadInput(
                    f"{self.file or 'The suite'} has no {name}.",
                    hint=f'In a file: {name} = ["NAME"], or a table [[{name}]] for each. As options: {_OPTIONS[name]}',
                    key=name,
                )
        made = {**self.content, **{name: self._rows(name, model) for name, model in _ROWS.items()}}
        with self._at(()):
            return read(Suite, made)

    def _rows(self, name: str, model: type[BaseModel]) -> tuple[BaseModel, ...]:
        return tuple(self._row(name, i, row, model) for i, row in enumerate(self.content[name]))

    def _row(self, name: str, i: int, row: Any, model: type[BaseModel]) -> BaseModel:
        if isinstance(row, model):
            return row
        if not isinstance(row, dict) or (name != "protocols" and not isinstance(row.get("name"), str)):
            with self._at((name, i)):
                raise BadInput(f"A row of {name} is a name, or a table with one: name = …", key=name)
        for option in row:
            with self._at((name, i, option)):
                _check_name(option, [*model.model_fields], f"A row of {name}")
        with self._at((name, i)):
            made = read(model, row)
            if isinstance(made, ProtocolRow):
                request = plan_of(made).request  # refuses what the protocol prescribes
                if request is not None:
                    grid_of(request)  # a probe that there is not would fail only when all is encoded
                    make_estimator(request)
            return made

    def _at(self, path: _Path) -> _Stating:
        """Say in an error where what is wrong stands."""
        return _Stating(self, path)

    def place(self, path: _Path, option: str | None) -> str:
        """Return where something stands, in words; empty if that is not in a file."""
        options = [option.replace("-", "_"), f"{option.replace('-', '_')}s"] if option else []
        for longer in [(*path, o) for o in options] + [path]:
            if longer in self.overridden:
                return f"{self.overridden[longer]}: "
        row = f", {path[0]} {path[1]}" if len(path) > 1 else ""
        if self.file is None:
            return f"{row[2:]}: " if row else ""
        line = next((n for o in [*options, None] if (n := line_of(self.text, path, o)) is not None), None)
        return f"{self.file}{f', line {line}' if line else ''}{row}: "


@dataclass
class _Stating:
    """States in an error where what is wrong stands."""

    source: _Source
    path: _Path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CryoprobeError):
            known = len(self.path) in (1, 3) and isinstance(self.path[-1], str)
            place = self.source.place(self.path, None if known else error.key)
            raise type(error)(f"{place}{error.message}", hint=error.hint, key=error.key) from None


def line_of(text: str, path: Sequence[str | int], option: str | None = None) -> int | None:
    r"""Return in which line of a TOML file something stands, from 1; None if that is not found.

    Parameters
    ----------
    text : str
    path : sequence
        ``("batch_size",)``, ``("models", 1)`` or ``("models", 1, "precision")``.
    option : str, optional
        At the end of the path.

    Examples
    --------
    >>> line_of('store = "s"\n[[models]]\nname = "a"\n[[models]]\nname = "b"\n', ("models", 1), "name")
    5
    """
    path = (*path, option) if option is not None else tuple(path)
    if not path:
        return None
    lines = text.splitlines()
    header = re.compile(rf"\s*\[?\[\s*{re.escape(str(path[0]))}\s*\]")
    headers = [i for i, line in enumerate(lines) if header.match(line)]
    tables = [i for i, line in enumerate(lines) if re.match(r"\s*\[+[^=]*\]+\s*(#.*)?$", line)]
    first, last = 0, next(iter(tables), len(lines))
    if len(path) == 1 and headers:
        return headers[0] + 1
    if len(path) > 1 and headers:
        if not isinstance(path[1], int) or path[1] >= len(headers):
            return None
        first = headers[path[1]]
        last = next((i for i in tables if i > first), len(lines))
        if len(path) == 2:
            return first + 1
    key = re.compile(rf"(^|[\s{{,\"'])({re.escape(str(path[-1] if headers or len(path) > 2 else path[0]))})[\"']?\s*=")
    return next((i + 1 for i in range(first, last) if key.search(lines[i].partition("#")[0])), None)


def _check_name(name: object, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=2)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has {', '.join(known)}."
    raise BadInput(f"{what} has no option {str(name)!r}.", hint=hint, key=str(name))

"""The cells of a suite: which probe on which model and data set; and the extractions that they need."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from ...errors import BadInput
from ..joined_taps import taps_in
from ..options import EngineOptions, ExtractRunOptions, ProbeOptions, SetOptions, TrialRunOptions
from ..tap_names import normalised
from .commands import given, run_command, text_of
from .suite import DataRow, ModelRow, ProtocolRow, Suite

Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True)
class Cell:
    """A probe on one model and data set.

    Parameters
    ----------
    model : str
        The name of the model, and what tells its row apart from others of that name.
    dataset : str
    what : str
        The protocol or probe.
    where : SetOptions
    asked : ProbeOptions
    command : str
        That runs this cell alone.
    """

    model: str
    dataset: str
    what: str
    where: SetOptions
    asked: ProbeOptions
    command: str

    @property
    def title(self) -> str:
        """All three, in a line."""
        return f"{self.model} · {self.dataset} · {self.what}"


@dataclass(frozen=True)
class Pair:
    """A model and a data set of a suite, with the cells that are probed on them.

    Parameters
    ----------
    model : ModelRow
    data : DataRow
    cells : tuple of Cell
    """

    model: ModelRow
    data: DataRow
    cells: tuple[Cell, ...]

    def extraction(self, suite: Suite, taps: tuple[str, ...]) -> dict[str, Any]:
        """Return the keyword arguments of `extract`, at some taps."""
        run = {*ExtractRunOptions.model_fields, *EngineOptions.model_fields, "stored_dtype"}
        options = {**given(self.model), **given(self.data)}
        options |= {name: value for name, value in given(suite).items() if name in run}
        return {**{name: value for name, value in options.items() if name != "name"}, "taps": taps}


def pairs_of(suite: Suite, store: Sequence[str]) -> list[Pair]:
    """Return what a suite consists of, a model after the other: each is loaded once.

    Parameters
    ----------
    suite : Suite
    store : sequence of str
        The options that mean it, for commands; see `store_options`.
    """
    models, data_rows, protocols = _different(suite.models), _different(suite.data), _different(suite.protocols)
    names = [row.called for row in protocols]
    whats = [
        f"{name} ({text_of(_apart(row))})" if names.count(name) > 1 and _apart(row) else name
        for name, row in zip(names, protocols, strict=True)
    ]
    return [
        Pair(
            model,
            data,
            tuple(
                _cell(suite, store, (model, data, row), tap, (_at(label, row.tap or tap, taps), dataset, what))
                for tap in taps or (None,)
                for row, what in zip(protocols, whats, strict=True)
                if row.tap is None or tap in (None, *taps[:1])  # its own wins: it is one cell
            ),
        )
        for model, label in zip(models, _labels(models), strict=True)
        for taps in [_different_taps(model)]
        for data, dataset in zip(data_rows, _labels(data_rows), strict=True)
    ]


def _apart(row: ProtocolRow) -> dict[str, Any]:
    """Return the options that tell rows of one protocol or probe apart."""
    return {name: value for name, value in given(row).items() if name not in ("protocol", "probe", "params")}


def _different(rows: Sequence[Row]) -> list[Row]:
    """Return rows, each once."""
    return list({row.model_dump_json(): row for row in reversed(rows)}.values())[::-1]


def _different_taps(model: ModelRow) -> tuple[str, ...]:
    """Return the taps of a row, each once, however it is spelled."""
    return tuple({_spelling(tap): tap for tap in reversed(model.taps)}.values())[::-1]


def _spelling(tap: str) -> str:
    with suppress(BadInput):  # what is wrong of it is said where it is read
        return "+".join(map(normalised, taps_in(tap)))
    return tap


def _cell(
    suite: Suite,
    store: Sequence[str],
    rows: tuple[ModelRow, DataRow, ProtocolRow],
    tap: str | None,
    called: tuple[str, str, str],
) -> Cell:
    model, data, row = rows
    options = {**given(model), **given(data), **given(row), "model": model.name, "tap": row.tap or tap}
    options["dataset"] = data.as_name or data.name
    where = {name: value for name, value in options.items() if name in SetOptions.model_fields and value is not None}
    asked = {name: value for name, value in given(row).items() if name in ProbeOptions.model_fields}
    one = model if tap is None or row.tap or len(model.taps) == 1 else model.model_copy(update={"taps": (tap,)})
    command = run_command(suite, store, one, data, row)
    return Cell(*called, SetOptions.model_validate(where), ProbeOptions.model_validate(asked), command)


def running(suite: Suite) -> TrialRunOptions:
    """Return how the trials of a suite are run."""
    return TrialRunOptions(memory=suite.memory, jobs=suite.jobs, rerun=suite.rerun, log_to=suite.log_to)


def engine(suite: Suite) -> EngineOptions:
    """Return in which processes a suite is run."""
    fields = EngineOptions.model_fields.keys() & suite.model_fields_set
    return EngineOptions.model_validate({name: getattr(suite, name) for name in fields})


def _labels(rows: Sequence[ModelRow] | Sequence[DataRow]) -> list[str]:
    """Return the names of rows; of those with one name also their options."""
    names = [row.name for row in rows]
    told = [
        text_of({name: value for name, value in given(row).items() if name not in ("name", "taps")}) for row in rows
    ]
    labels = []
    for row, name, options in zip(rows, names, told, strict=True):
        untrained = isinstance(row, ModelRow) and row.untrained
        more = options if names.count(name) > 1 else "untrained" if untrained else ""
        labels.append(f"{name} ({more})" if more else name)
    return labels


def _at(label: str, tap: str | None, taps: Sequence[str]) -> str:
    return label if tap is None or len(taps) == 1 else f"{label} at {tap}"

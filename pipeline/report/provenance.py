"""The provenance of every cell: its trials, who ran them when and with which versions, and how to repeat them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...amounts import when
from ...redaction import redacted
from ..joined_taps import BETWEEN
from ..probes.registry import NAMED
from .leaderboard import anchor_of
from .section import ReportData, Section, escaped

if TYPE_CHECKING:
    from ..comparing.matrix import Cell
    from ..trials.result import Trial

_MOST_DRAWS = 60
"""Trials of one cell that are listed by id."""


def sections(data: ReportData) -> list[Section]:
    """Return a foldable entry for every cell of the matrix."""
    versions = _Versions()
    entries = [
        _entry(data, cell, versions)
        for column in data.matrix.columns
        for model in data.matrix.models
        if (cell := data.matrix.cells.get((model, column))) is not None
    ]
    intro = (
        "Each score with the commands that make it again. Commands as they were recorded are marked so; "
        "others are put together from what the trial says of itself, and name this store."
    )
    return [Section("provenance", "Provenance", intro, html="".join(entries) + versions.html)]


class _Versions:
    """Sets of versions, each of which has a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, versions: Any) -> str:
        """Return what stands for them, as HTML."""
        if not isinstance(versions, Mapping) or not versions:
            return "not recorded"
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        n = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f'<a href="#versions-{n}">versions {n}</a>'

    @property
    def html(self) -> str:
        if not self._numbers:
            return ""
        items = "".join(
            f'<dt id="versions-{n}">versions {n}</dt><dd>{escaped(text)}</dd>' for text, n in self._numbers.items()
        )
        return f"<h3>Versions</h3><dl>{items}</dl>"


def _entry(data: ReportData, cell: Cell, versions: _Versions) -> str:
    first = cell.trials[0]
    score = "undefined" if cell.score is None else f"{cell.score:.4f}"
    title = f'{escaped(cell.model)} <span class="soft">· {escaped(cell.column.text)}</span> {score}'
    fields = [
        ("trial" if len(cell.trials) == 1 else "trials", _ids(cell.trials)),
        ("chosen", escaped(first.chosen_values(" = ") or "nothing to choose") + _by(first)),
        ("rows", f"{first.rows.train:,} train, {first.rows.val:,} validation, {first.rows.test:,} test"),
        ("features", f"{first.features}, {first.dim} wide, tap {escaped(first.tap)}"),
        ("sets", _sets(first)),
        ("made", f"{escaped(when(first.created))} {escaped(_who(first))}"),
        ("with", versions.number(first.versions)),
        *_commands(data, first),
    ]
    told = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in fields)
    # The first draw's id is the entry's own; a link to any other draw leads here too.
    return f'<details id="{anchor_of(escaped(first.trial))}"><summary>{title}</summary><dl>{told}</dl></details>'


def _ids(trials: tuple[Trial, ...]) -> str:
    more = f" and {len(trials) - _MOST_DRAWS} more" if len(trials) > _MOST_DRAWS else ""
    listed = ", ".join(f"<code>{escaped(t.trial[:12])}</code>" for t in trials[:_MOST_DRAWS])
    seeds = sorted({t.seed for t in trials})
    said = f" (seeds {seeds[0]} to {seeds[-1]})" if len(seeds) > 1 else f" (seed {seeds[0]})"
    return listed + more + said


def _by(trial: Trial) -> str:
    return f" by {escaped(trial.chosen_by)}" if trial.chosen_by else ""


def _who(trial: Trial) -> str:
    return " ".join(
        word for word in (f"by {trial.user}" if trial.user else "", f"on {trial.host}" if trial.host else "") if word
    )


def _sets(trial: Trial) -> str:
    parts = {"train": trial.train, "validation": trial.val, "test": trial.test}
    said = []
    for part, of in parts.items():
        if isinstance(of, str):
            ids = " + ".join(f"<code>{escaped(one[:12])}</code>" for one in of.split(BETWEEN))
            said.append(f"{part} {ids}")
        elif isinstance(of, Mapping) and isinstance(share := of.get("fraction"), int | float):
            said.append(f"{part} {100 * share:g} % of train")
    return ", ".join(said)


def _commands(data: ReportData, trial: Trial) -> list[tuple[str, str]]:
    """Return the commands that make the sets of a trial, and the trial, as fields of an entry."""
    made: dict[str, None] = {}
    for of in (trial.train, trial.val, trial.test):
        for one in of.split(BETWEEN) if isinstance(of, str) else ():
            if one in data.sets and (words := _recorded(data.sets[one].manifest.provenance.command)):
                made[words] = None
    fields = [("sets made by", "".join(f"<pre>{escaped(words)}</pre>" for words in made))] if made else []
    if words := _recorded(trial.command):
        fields.append(("trial made by", f"<pre>{escaped(words)}</pre>"))
    fields.append(("again", f"<pre>{escaped(again(data.store.url, trial))}</pre>"))
    return fields


def _recorded(command: Any) -> str:
    """Return a recorded command line as one types it; empty without one."""
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        return ""
    return redacted(shlex.join(command))


def again(url: str, trial: Trial) -> str:
    """Return the command that runs a trial again on the same sets.

    Parameters
    ----------
    url : str
        Of the store.
    trial : Trial
    """
    words = ["cryoprobe", "probe", "--store", url]
    if isinstance(trial.train, str):
        words += ["--train", trial.train[:12] if BETWEEN not in trial.train else trial.train]
    words += _part("--test", trial.test) + _part("--val-split", trial.val)
    if trial.protocol != "plain":
        words += ["--protocol", trial.protocol]
    else:
        words += ["--probe", trial.probe]
    for name, value in trial.params.items():
        words += ["--param", f"{name}={json.dumps(value) if isinstance(value, list | dict) else value}"]
    if trial.protocol == "plain" and isinstance(trial.grid, dict):
        for name, values in trial.grid.items():
            if isinstance(values, list):
                words += ["--grid", f"{name}={','.join(map(_number, values))}"]
    if (chooses := _asked_to_choose_by(trial)) is not None:
        words += ["--choose-by", chooses]
    if trial.draw is not None:
        drawn = trial.draw.model_dump(exclude_none=True)
        words += [word for name, value in drawn.items() for word in (f"--{name}", str(value))]
    words += _seeds(trial)
    return shlex.join(words)


def _asked_to_choose_by(trial: Trial) -> str | None:
    """Return what was asked to choose, if that does not go without saying.

    A probe without probabilities chooses by top1 of itself; to ask it for that would be another trial.
    """
    if trial.protocol != "plain" or trial.chosen_by is None or all(point.get("nll") is None for point in trial.curve):
        return None
    named = NAMED.get(trial.probe)
    gave_way = any(" chooses: for some values of " in line for line in trial.warnings)  # nll was infinite
    asked = "nll" if gave_way else trial.chosen_by
    return asked if asked != ("nll" if named is None else named.choose_by) else None


def _seeds(trial: Trial) -> list[str]:
    """Return the options that draw what a trial drew.

    The first seed of a call also draws what it holds out to test on: a later draw is made together with those before.
    """
    first = trial.test.get("seed") if isinstance(trial.test, Mapping) else None
    first = first if isinstance(first, int) and first < trial.seed else trial.seed
    words = ["--seeds", str(trial.seed - first + 1)] if trial.draw is not None or first < trial.seed else []
    return [*words, *(["--seed", str(first)] if first else [])]


def _number(value: Any) -> str:
    """Return a number with all of its digits."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _part(option: str, of: Any) -> list[str]:
    """Return the option that names the rows of a part: a set by its id, or a share of train."""
    if isinstance(of, str):
        return [option, of[:12] if BETWEEN not in of else of]
    if isinstance(of, Mapping) and isinstance(of.get("fraction"), int | float):
        return [option, _number(of["fraction"])]
    return []

"""What people see of trials: one, a sweep of many, and all that a store has. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...amounts import count
from ...errors import BadInput
from ...pipeline.trials.lines import Line, lines_of
from ...pipeline.trials.result import interval_text
from ...pipeline.trials.sweep import size_of, spread
from ...pipeline.trials.tables import row_of
from .console import cell_text, constant, in_order, note, out, table
from .describing import describe
from .formats import csv_table, file_for_parquet, latex_table, markdown_table, write_parquet
from .wording import remarks, when

if TYPE_CHECKING:
    from ...notebook import Cell
    from ...pipeline.probes import ProbeInfo
    from ...pipeline.protocols import ProtocolInfo
    from ...pipeline.trials.result import Trial
    from ...pipeline.trials.sweep import Sweep

_MOST_CURVE_ROWS = 25
_MOST_IDS = 8
"""Ids of trials that a sweep prints."""
_PER_CLASS = ("recall", "precision", "f1", "support")
_JUDGES = {"none": "-", "official": "val split", "either": "val split or a tenth", "held": "a tenth of train"}


def probed(result: Sweep, *, per_class: bool = False) -> None:
    """Print `cryoprobe probe`: one trial, or a sweep."""
    first = result.trials[0]
    out(_head(first))
    if len(result) > 1:
        _sweep(result)
    else:
        _trial(first, per_class)
        answered = "answered from the store" if first.cached else f"{result.seconds:.1f} s"
        out(", ".join([*filter(None, [first.chosen_values(" = ")]), f"trial {first.trial[:12]}", answered]))
        for line in first.warnings:
            note(f"note: {line}")
    for line in [*result.notes, *result.remarks]:
        note(f"note: {line}")


def _head(trial: Trial) -> str:
    untrained = ", untrained" if trial.untrained else ""
    return f"{trial.what} on {trial.model} ({trial.tap}, {trial.features} features{untrained})"


def _trial(trial: Trial, per_class: bool) -> None:
    rows = trial.rows
    val = f" (of which validation {rows.val:,}, to choose)" if rows.val else ""
    out(f"{trial.dataset}: train {rows.train + rows.val:,}{val}, test {rows.test:,}, d = {trial.dim:,}")
    scores = [(name, value) for name, value in in_order(trial.metrics).items() if isinstance(value, float)]
    scores.sort(key=lambda score: score[0] != trial.metric)  # the one that the protocol reports comes first
    table(
        ["score", "value", "95 % interval"],
        [[_score_name(name, trial), value, interval_text(trial.intervals.get(name))] for name, value in scores],
    )
    for score, values in (("top1", trial.top1_by_k), ("map", trial.map_by_k)):
        if by_k := sorted(values.items(), key=lambda item: int(item[0])):
            table(["k", score], [[int(k), _or_dash(value)] for k, value in by_k])
    if per_class and "per_class" in trial.metrics:
        found = trial.metrics["per_class"]
        each = {name: found[name] for name in (*_PER_CLASS, *sorted(found.keys() - {*_PER_CLASS})) if name in found}
        table(
            ["class", *each],
            [
                [name, *("-" if v is None else v for v in values)]
                for name, *values in zip(trial.classes, *each.values(), strict=True)
            ],
        )
    _curve(trial)


def shown(trial: Trial) -> None:
    """Print `cryoprobe show TRIAL`."""
    out(_head(trial))
    _trial(trial, per_class=False)
    kept = "kept, see `cryoprobe mistakes`" if trial.predictions else "not kept: `probe --rerun` keeps them"
    told = {
        "trial": trial.trial,
        **{part: trial.get(part) for part in ("train", "test", "val", "splits", "protocol", "probe", "params", "grid")},
        **{part: trial.get(part) for part in ("draw", "seed", "chosen", "chosen_by", "solver", "converged", "name")},
        **{part: trial.get(part) for part in ("encoder", "classes", "remarks", "warnings", "test_in_train", "schema")},
        **{part: trial.get(part) for part in ("origin", "origins", "created", "host", "user", "command", "versions")},
        "fit_seconds": trial.get("fit_seconds"),
        "predictions": kept,
    }
    for line in describe({name: value for name, value in told.items() if value is not None}):
        out(line)


def _score_name(name: str, trial: Trial) -> str:
    """Return the name of a score, with the number of rows that it is of if they are not all."""
    rows, of = trial.metrics.get("nll_rows"), trial.rows.test
    return f"{name} ({rows:,} of {of:,} rows)" if name in ("nll", "ece") and rows not in (None, of) else name


def _curve(trial: Trial) -> None:
    """Print the scores by which a value was chosen; of a long curve, those around the choice."""
    curve = trial.curve
    if len(curve) < 2:
        return
    name = next(iter(trial.chosen))
    values = [point[name] for point in curve]
    others = [other for other in trial.chosen if other != name and all(other in point for point in curve)]
    at = min(
        range(len(values)),
        key=lambda i: ([curve[i][o] != trial.chosen[o] for o in others], abs(values[i] - trial.chosen[name])),
    )
    first = max(0, min(at - _MOST_CURVE_ROWS // 2, len(curve) - _MOST_CURVE_ROWS))
    shown = curve[first : first + _MOST_CURVE_ROWS]
    kinds = ("nll", "top1", "mean_per_class_recall", "map", "map_11_point")
    scores = [kind for kind in kinds if all(point[kind] is not None for point in shown)]
    left = f" ({len(shown)} of {len(curve)} values; --json has all)" if len(shown) < len(curve) else ""
    where = "on the test rows" if str(trial.chosen_by).startswith("test") else "on validation rows"
    out(f"{trial.chosen_by} chooses, {where}{left}:")
    table(
        [*others, name, *scores],
        [[*(point[o] for o in others), f"{point[name]:.4g}", *(point[kind] for kind in scores)] for point in shown],
    )


def _sweep(result: Sweep) -> None:
    first, of = result.trials[0], count(len(result), "trial")
    out(f"{first.dataset}: {of}")
    usual = ("top1", "top5", "mean_per_class_recall", "map", "nll")
    shown = [name for name in dict.fromkeys((first.metric, *usual)) if name in result.summary[0].metrics]
    table(
        ["training rows", "draws", "rows", *(f"{name} (mean ± std)" for name in shown)],
        [
            [size_of(row.draw), row.trials, row.train, *(spread(row.metrics.get(name)) for name in shown)]
            for row in result.summary
        ],
    )
    out(f"{result.cached:,} of {of} answered from the store, {result.seconds:.1f} s in all")
    shown, more = [trial.trial[:12] for trial in result][:_MOST_IDS], len(result) - _MOST_IDS
    out(f"trials: {', '.join(shown)}{f' and {more} more (results --format csv has all)' if more > 0 else ''}")
    warnings = [warning for trial in result for warning in trial.warnings]
    for warning in dict.fromkeys(warnings):
        times = warnings.count(warning)
        note(f"note: {warning}" + (f" ({count(times, 'trial')})" if times > 1 else ""))


def trials(found: Sequence[Trial], *, form: str = "table", sort: str = "", file: Path | None = None) -> None:
    """Print `cryoprobe results`: the draws of one setting in a line; in CSV, JSON and Parquet, every trial.

    Raises
    ------
    BadInput
        If there is no such form or order.
    """
    if form not in _FORMS:
        raise BadInput(f"There is no format {form!r}.", hint=f"Give one of {', '.join(_FORMS)}.", key="format")
    lines = lines_of(found, sort)
    if form in ("csv", "json", "parquet"):
        sorted_ = [trial for line in lines for trial in line.trials]
        if form == "parquet":
            write_parquet([row_of(t) for t in sorted_], file_for_parquet(file))
            return
        every = json.dumps([t.document for t in sorted_]) if form == "json" else csv_table([row_of(t) for t in sorted_])
        out(every)
        return
    rows = [_line_row(line) for line in lines]
    if form == "table":
        # What is the same in all rows goes first, then the least important. In the end is what came of which trial.
        same = [name for name in constant(_COLUMNS, rows) if name not in ("trial", "score")]
        table(_COLUMNS, rows, spare=[*same, *(name for name in _SPARE if name not in same)])
        return
    left_out = {*constant(_COLUMNS, rows), "trial", "run"} - {"score", "dataset", "model"}
    kept = [i for i, name in enumerate(_COLUMNS) if name not in left_out]
    cells = [[cell_text(_COLUMNS[i], row[i]) for i in kept] for row in rows]
    out((markdown_table if form == "md" else latex_table)([_COLUMNS[i] for i in kept], cells))


_FORMS = ("table", "csv", "json", "md", "latex", "parquet")
_COLUMNS = (
    *("trial", "dataset", "model", "tap", "probe", "chosen", "draw", "draws", "train", "test", "score", "is"),
    *("mean recall", "macro F1", "run", "remarks"),
)
_SPARE = (
    *("macro F1", "mean recall", "test", "run", "remarks", "tap"),
    *("train", "draws", "chosen", "draw", "probe", "is"),
)


def _line_row(line: Line) -> list[Cell]:
    t, several = line.first, len(line.trials) > 1
    said = remarks(
        t.name,
        "not converged" if not all(trial.converged for trial in line.trials) else "",
        f"{count(t.test_in_train, 'test image')} in train" if t.test_in_train else "",
        " ".join(f"{k}={v}" for k, v in t.params.items()) if t.probe not in ("logreg", t.protocol) else "",
        *dict.fromkeys(remark for trial in line.trials for remark in trial.remarks),
    )
    chosen = {trial.chosen_values() for trial in line.trials}
    return [
        t.trial[:12],
        str(t.dataset),
        str(t.model),
        str(t.tap),
        t.probe,
        (chosen.pop() or "-") if len(chosen) == 1 else "several",
        "-" if t.draw is None else f"{size_of(t.get('draw'))}{'' if several else f', seed {t.seed}'}",
        len(line.trials),
        t.rows.train + t.rows.val,
        t.rows.test,
        _mean(line, t.metric),
        t.metric,
        _mean(line, "mean_per_class_recall"),
        _mean(line, "macro_f1"),
        when(max(trial.created for trial in line.trials)),
        said,
    ]


def _mean(line: Line, score: str) -> float | str:
    """Return a score; of several draws its mean and standard deviation."""
    found = line.spread(score)
    if found is None or found["mean"] is None:
        return "-"
    return found["mean"] if found["std"] is None else spread(found)


def _or_dash(score: float | None) -> float | str:
    return "-" if score is None else score


def probes(found: Sequence[ProbeInfo]) -> None:
    """Print `cryoprobe probes`."""
    rows = [[p.name, " ".join(f"{k}={json.dumps(v)}" for k, v in p.parameters.items()), _what(p)] for p in found]
    table(["probe", "parameters", "what it is"], rows)


def protocols(found: Sequence[ProtocolInfo]) -> None:
    """Print `cryoprobe protocols`."""
    table(
        ["protocol", "features", "chooses on", "what it is"],
        [
            [p.name, p.features + (f", {p.tap}" if p.tap else ""), _JUDGES.get(p.validation, ""), _what(p)]
            for p in found
        ],
    )


def _what(row: ProbeInfo | ProtocolInfo) -> str:
    """Return what a probe or protocol is, with the package that brings it."""
    if row.problem is not None:
        return f"cannot be used: {row.problem}"
    return row.description if row.package is None else f"{row.description} (package {row.package})"

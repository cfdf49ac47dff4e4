"""What people see of trials: one, a sweep of many, and all that a store has. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...amounts import count
from .console import err, in_order, out, table
from .wording import remarks, when

if TYPE_CHECKING:
    from ...pipeline.probes import ProbeInfo
    from ...pipeline.protocols import ProtocolInfo

_MOST_CURVE_ROWS = 25
_PER_CLASS = ("recall", "precision", "f1", "support")
_JUDGES = {"none": "-", "official": "val split", "either": "val split or a tenth", "held": "a tenth of train"}


def probed(result: Mapping[str, Any], *, per_class: bool = False) -> None:
    """Print `cryoprobe probe`: one trial, or a sweep."""
    untrained = ", untrained" if result["untrained"] else ""
    what = result["probe"] if result["protocol"] == "plain" else f"protocol {result['protocol']}"
    out(f"{what} on {result['model']} ({result['tap']}, {result['features']} features{untrained})")
    if "summary" in result:
        _sweep(result)
    else:
        _trial(result, per_class)
    for remark in result["remarks"]:
        err(f"note: {remark}")


def _trial(result: Mapping[str, Any], per_class: bool) -> None:
    rows = result["rows"]
    val = f" (of which validation {rows['val']:,}, to choose)" if rows["val"] else ""
    out(
        f"{result['dataset']}: train {rows['train'] + rows['val']:,}{val}, test {rows['test']:,}, d = {result['dim']:,}"
    )
    scores = [(name, value) for name, value in in_order(result["metrics"]).items() if isinstance(value, float)]
    scores.sort(key=lambda score: score[0] != result["metric"])  # the one that the protocol reports comes first
    intervals = result["intervals"]
    table(
        ["score", "value", "95 % interval"],
        [
            [
                _score_name(name, result),
                value,
                "{:.4f} to {:.4f}".format(*intervals[name]) if intervals.get(name) else "-",
            ]
            for name, value in scores
        ],
    )
    for score in ("top1", "map"):
        if by_k := sorted(result.get(f"{score}_by_k", {}).items(), key=lambda item: int(item[0])):
            table(["k", score], [[int(k), _or_dash(value)] for k, value in by_k])
    if per_class and "per_class" in result["metrics"]:
        found = result["metrics"]["per_class"]
        each = {name: found[name] for name in (*_PER_CLASS, *sorted(found.keys() - {*_PER_CLASS})) if name in found}
        table(
            ["class", *each],
            [
                [name, *("-" if v is None else v for v in values)]
                for name, *values in zip(result["classes"], *each.values(), strict=True)
            ],
        )
    _curve(result)
    chosen = ", ".join(f"{k} = {v:g}" for k, v in result["chosen"].items())
    out(f"{chosen + ', ' if chosen else ''}trial {result['trial'][:12]}, {_answered(result)}")
    for warning in [*result["warnings"], *result["notes"]]:
        err(f"note: {warning}")


def _score_name(name: str, result: Mapping[str, Any]) -> str:
    """Return the name of a score, with the number of rows that it is of if they are not all."""
    rows, of = result["metrics"].get("nll_rows"), result["rows"]["test"]
    return f"{name} ({rows:,} of {of:,} rows)" if name in ("nll", "ece") and rows not in (None, of) else name


def _curve(result: Mapping[str, Any]) -> None:
    """Print the scores by which a value was chosen; of a long curve, those around the choice."""
    curve = result["curve"]
    if len(curve) < 2:
        return
    name = next(iter(result["chosen"]))
    values = [point[name] for point in curve]
    at = min(range(len(values)), key=lambda i: abs(values[i] - result["chosen"][name]))
    first = max(0, min(at - _MOST_CURVE_ROWS // 2, len(curve) - _MOST_CURVE_ROWS))
    shown = curve[first : first + _MOST_CURVE_ROWS]
    kinds = ("nll", "top1", "mean_per_class_recall", "map", "map_11_point")
    scores = [kind for kind in kinds if all(point[kind] is not None for point in shown)]
    left = f" ({len(shown)} of {len(curve)} values; --json has all)" if len(shown) < len(curve) else ""
    where = "on the test rows" if str(result["chosen_by"]).startswith("test") else "on validation rows"
    out(f"{result['chosen_by']} chooses, {where}{left}:")
    table([name, *scores], [[f"{point[name]:.4g}", *(point[kind] for kind in scores)] for point in shown])


def _sweep(result: Mapping[str, Any]) -> None:
    out(f"{result['dataset']}: {count(len(result['trials']), 'trial')}")
    first = result["summary"][0]["metrics"]
    usual = ("top1", "top5", "mean_per_class_recall", "map", "nll")
    shown = [name for name in dict.fromkeys((result["metric"], *usual)) if name in first]
    table(
        ["training rows", "draws", "rows", *(f"{name} (mean ± std)" for name in shown)],
        [
            [_size(row["draw"]), row["trials"], row["train"], *(_spread(row["metrics"].get(name)) for name in shown)]
            for row in result["summary"]
        ],
    )
    cached, of = result["cached"], count(len(result["trials"]), "trial")
    out(f"{cached:,} of {of} answered from the store, {result['seconds']:.1f} s in all")
    warnings = [warning for trial in result["trials"] for warning in trial["warnings"]]
    for warning in dict.fromkeys(warnings):
        times = warnings.count(warning)
        err(f"note: {warning}" + (f" ({count(times, 'trial')})" if times > 1 else ""))
    for note in result["notes"]:
        err(f"note: {note}")


def _size(draw: Mapping[str, float] | None) -> str:
    if draw is None:
        return "all"
    return f"{draw['shots']} a class" if "shots" in draw else f"{100 * draw['fraction']:g} %"


def _spread(score: Mapping[str, float | None] | None) -> str:
    if score is None:
        return "-"
    return f"{score['mean']:.4f}" + (f" ± {score['std']:.4f}" if score["std"] is not None else "")


def _answered(result: Mapping[str, Any]) -> str:
    return "answered from the store" if result["cached"] else f"{result['seconds']:.1f} s"


def trials(found: Sequence[Mapping[str, Any]]) -> None:
    """Print `cryoprobe results`."""
    columns = ["trial", "dataset", "model", "tap", "probe", "chosen", "draw", "train", "test", "score", "is"]
    # The least important first. What is left in the end says which trial, and what came of it.
    spare = ["macro F1", "mean recall", "test", "run", "remarks", "tap", "train", "chosen", "draw", "probe", "is"]
    table([*columns, "mean recall", "macro F1", "run", "remarks"], [_trial_row(t) for t in found], spare=spare)


def _trial_row(t: Mapping[str, Any]) -> list[Any]:
    metrics, rows = t["metrics"], t["rows"]
    said = remarks(
        t["name"],
        "not converged" if not t["converged"] else "",
        f"{count(t['test_in_train'], 'test image')} in train" if t["test_in_train"] else "",
        " ".join(f"{k}={v}" for k, v in t["params"].items()) if t["probe"] not in ("logreg", t["protocol"]) else "",
        *t.get("remarks", ()),
    )
    draw = t.get("draw")
    return [
        t["trial"][:12],
        t["dataset"],
        t["model"],
        t["tap"],
        t["probe"],
        ", ".join(f"{k}={v:g}" for k, v in t["chosen"].items()) or "-",
        "-" if draw is None else f"{_size(draw)}, seed {t['seed']}",
        rows["train"] + rows["val"],
        rows["test"],
        _or_dash(metrics.get(t["metric"])),
        t["metric"],
        metrics.get("mean_per_class_recall", "-"),
        metrics.get("macro_f1", "-"),
        when(t["created"]),
        said,
    ]


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

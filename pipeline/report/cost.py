"""Cost against score: images encoded a second, seconds to encode, parameters and width, as far as they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .heat_map import names_of_columns, names_of_models
from .section import Chart, Digits, ReportData, Section, ids_of_sets, table
from .sizes import size_of

if TYPE_CHECKING:
    from ...stores.feature_set import FeatureSet
    from ..trials.result import Trial


class _Measure(NamedTuple):
    """What an encoder costs: its field, the title of its axis, and whether the axis is logarithmic."""

    field: str
    title: str
    caption: str


_MEASURES = (
    _Measure("rate", "images encoded per second", "As measured when the sets were made; devices are in the table."),
    _Measure("parameters", "parameters, millions", "Of the encoder without its classifier."),
    _Measure("gflops", "GFLOPs an image", "A multiplication and an addition count as two."),
    _Measure("width", "width of the embedding", "A probe's time and memory grow with it."),
)

_MOST_COLOURS = 8


def sections(data: ReportData) -> list[Section]:
    """Return the charts of cost against score, and a table of costs."""
    costs = {model: _cost(data, model) for model in data.matrix.models}
    names, labels = names_of_columns(data), names_of_models(data)
    rows = [
        {"model": labels[cell.model], "column": names[column], "score": cell.score, **costs[cell.model]}
        for (_, column), cell in data.matrix.cells.items()
        if cell.score is not None
    ]
    charts = []
    if len(data.matrix.models) > 1:
        for measure in _MEASURES:
            known = [row for row in rows if row[measure.field] is not None]
            if len({row["model"] for row in known}) > 1:
                charts.append(_chart(measure, known))
    data.notes.extend(_unknown(costs))
    head = ["model", "device", "images", "seconds", "images/s", "parameters, M", "GFLOPs", "width"]
    body = [
        [m, c["device"], c["encoded"], c["seconds"], c["rate"], c["parameters"], c["gflops"], c["width"]]
        for m, c in costs.items()
    ]
    intro = (
        "What an encoder costs, against what it scores. Images, seconds and images per second are of the runs that "
        "encoded these sets: reading and decoding included, on the device that was at hand."
    )
    return [Section("cost", "Cost", intro, tuple(charts), table(head, [_formatted(row) for row in body]))]


def _formatted(row: list[Any]) -> list[Any]:
    """Return a row of costs with as many digits as they have meaning."""
    model, device, images, *numbers, width = row
    return [model, device, images, *(None if number is None else Digits(f"{number:,.1f}") for number in numbers), width]


def _chart(measure: _Measure, rows: list[dict[str, Any]]) -> Chart:
    import altair as alt

    columns = [*dict.fromkeys(row["column"] for row in rows)]
    pick = alt.param(name="column", value=columns[0], bind=alt.binding_select(options=columns, name="Score of "))
    models = [*dict.fromkeys(row["model"] for row in rows)]
    values = [{k: row[k] for k in ("model", "column", "score", measure.field)} for row in rows]
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_point(filled=True, size=80, opacity=0.9)
        .encode(
            x=alt.X(f"{measure.field}:Q", title=measure.title)
            .scale(type="log", nice=False, padding=24)
            .axis(format=",.3~g", tickCount=6),
            y=alt.Y("score:Q", title="score").scale(zero=False, padding=12).axis(format=".3~f", tickCount=5),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip(f"{measure.field}:Q", title=measure.title, format=",.4~g"),
                alt.Tooltip("score:Q", format=".4f"),
            ],
        )
        .transform_filter("datum.column == column")
        .add_params(pick)
        .properties(width="container", height=240)
    )
    if len(models) <= _MOST_COLOURS:
        legend = alt.Legend(orient="bottom", columns=1, labelLimit=320)
        chart = chart.encode(color=alt.Color("model:N", sort=models, title="model", legend=legend))
    return Chart(f"cost-{measure.field}", chart.to_dict(), f"Score by {measure.title}", measure.caption)


def _unknown(costs: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each cost that is not known of some models."""
    why = {
        "rate": "Their sets were added, made from rows that the store had, or by a version that did not record it",
        "parameters": "Their architecture is not in the table of sizes",
        "gflops": "Their architecture cannot be built from its name. cryoprobe models NAME --check measures them",
    }
    names = {"rate": "images per second", "parameters": "parameters", "gflops": "GFLOPs"}
    lines = []
    for field, reason in why.items():
        unknown = [model for model, cost in costs.items() if cost[field] is None]
        if unknown:
            such = ", ".join(unknown[:4]) + (f" and {len(unknown) - 4} more" if len(unknown) > 4 else "")
            lines.append(f"Cost: {names[field]} unknown of {such}. {reason}.")
    return lines


def _cost(data: ReportData, model: str) -> dict[str, Any]:
    """Return what is known of a model: from the sets of its trials, and from the sizes of timm's architectures."""
    sets = {s.id: s for s in _sets_of(data, model)}.values()
    encoded = [
        s.manifest.provenance for s in sets if s.manifest.provenance.encoded and s.manifest.provenance.encoded_in_ms
    ]
    images = sum(p.encoded or 0 for p in encoded)
    seconds = sum(p.encoded_in_ms or 0 for p in encoded) / 1000
    spec = next((s.manifest.encoder for s in sets), {})
    trials = [t for (m, _), cell in data.matrix.cells.items() if m == model for t in cell.trials]
    size = size_of(spec)
    return {
        "device": ", ".join(sorted({p.device for p in encoded if p.device})) or None,
        "encoded": images or None,
        "seconds": seconds or None,
        "rate": images / seconds if seconds else None,
        "parameters": size.millions,
        "gflops": size.gflops,
        "width": trials[0].dim if trials else None,
    }


def _sets_of(data: ReportData, model: str) -> list[FeatureSet]:
    trials: list[Trial] = [t for (m, _), cell in data.matrix.cells.items() if m == model for t in cell.trials]
    return [data.sets[one] for one in ids_of_sets(trials) if one in data.sets]

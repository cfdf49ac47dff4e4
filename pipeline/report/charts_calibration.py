"""Reliability diagrams: how often a probe is right, by how sure it says it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...stores.store import RowPredictions
from ..metrics.calibration import N_BINS, Reliability, reliability
from .charts_choice import Shown, datasets_of, left_out, trials_shown
from .charts_data import Names, csv_data, looked_up, picked_by_menu, spec_of, where
from .charts_kept import kept_of
from .section import Chart, ReportData, Section

_DECIMALS = 6
"""Of kept probabilities, which are float32: 1/5 there is above the edge of a bin at 0.2, and in float64 on it."""


@dataclass(frozen=True)
class Calibrated:
    """What a reliability diagram shows.

    Parameters
    ----------
    bins : Reliability
        Of the rows whose class had training rows.
    ece : float or None
        The trial's own expected calibration error; None if it does not have one.
    """

    bins: Reliability
    ece: float | None


def bins_of(kept: RowPredictions) -> Reliability | None:
    """Return the bins of a reliability diagram from what is kept of each test row.

    None of a probe without probabilities, of flags, and if no row is left. As for the expected calibration error, rows
    of a class that had no training rows are left out.

    Parameters
    ----------
    kept : RowPredictions
    """
    if kept.multilabel or kept.measure != "probability":
        return None
    seen = ~np.isnan(kept.arrays["true_value"])
    sure = kept.arrays["value"][seen].astype(np.float64).round(_DECIMALS)  # [m], of the predicted class
    wrong = (kept.arrays["true"] != kept.arrays["predicted"])[seen]
    if not sure.size or not np.all((sure > 0) & (sure <= 1)):
        return None
    # Two columns are enough for `reliability`: the predicted class, and another one that the wrong rows belong to.
    return reliability(wrong.astype(np.int64), np.stack([sure, np.zeros_like(sure)], axis=1))


def sections(data: ReportData) -> list[Section]:
    """Return the section of the reliability diagrams; none if no trial has probabilities."""
    names, charts, without = Names(), [], 0
    for dataset in datasets_of(data.matrix):
        found = []
        for one in trials_shown(data.matrix, dataset):
            kept = kept_of(data.store, one.trial, data.notes)
            bins = None if kept is None else bins_of(kept)
            if bins is None:
                without += 1
            else:
                found.append((one, Calibrated(bins, one.trial.metrics.get("ece"))))
        if found:
            charts.append(_chart(names.new("calibration", dataset), dataset, found))
    if without:
        data.notes.append(
            f"Calibration: {without} trials have no kept probabilities of one class an image: the probe gives scores "
            "or none, there are several labels an image, or an older version ran the trial."
        )
    if not charts:
        return []
    intro = (
        f"Whether probabilities can be believed: test rows in {N_BINS} bins by the probability of the predicted class. "
        "ece, the expected calibration error, is the mean distance from the diagonal, weighed by rows. "
        f"{left_out(data.matrix)}"
    )
    return [Section("calibration", "Calibration", intro.strip(), tuple(charts))]


def _chart(name: str, dataset: str, found: Sequence[tuple[Shown, Calibrated]]) -> Chart:
    import altair as alt

    rows: list[tuple[float | int | None, ...]] = []
    for t, (_, shown) in enumerate(found):
        total = sum(shown.bins["count"])
        for b, n in enumerate(shown.bins["count"]):
            if n:
                sure, right = shown.bins["confidence"][b], shown.bins["accuracy"][b]
                rows.append((t, b / N_BINS, (b + 1) / N_BINS, sure, right, n, n / total))
    data = csv_data(("t", "low", "high", "sure", "right", "n", "share"), rows)
    texts = ["ece " + ("is not defined" if c.ece is None else f"{c.ece:.4f}") for _, c in found]
    unit = alt.Scale(domain=[0, 1], nice=False)
    y_axis = alt.Axis(title="accuracy, and share of rows (of 1)")
    kinds = alt.Scale(domain=["accuracy in the bin", "share of the rows"])
    legend = alt.Legend(orient="bottom", symbolOpacity=1, title=None)
    base = alt.Chart(data).transform_filter("datum.t === shown")
    steps = base.mark_bar(opacity=0.35).encode(
        x=alt.X("low:Q", bin="binned", scale=unit, title="probability of the predicted class"),
        x2=alt.X2("high:Q"),
        y=alt.Y("right:Q", scale=unit, axis=y_axis),
        color=alt.ColorDatum("accuracy in the bin", type="nominal", scale=kinds, legend=legend, title=None),
        tooltip=_tooltip(),
    )
    points = base.mark_point(filled=True, size=45).encode(
        x=alt.X("sure:Q", scale=unit),
        y=alt.Y("right:Q", scale=unit),
        color=alt.ColorDatum("accuracy in the bin", type="nominal", scale=kinds, legend=legend, title=None),
        tooltip=_tooltip(),
    )
    shares = base.mark_line(point={"size": 25}, strokeDash=[2, 2]).encode(
        x=alt.X("sure:Q", scale=unit),
        y=alt.Y("share:Q", scale=unit),
        color=alt.ColorDatum("share of the rows", type="nominal", scale=kinds, legend=legend, title=None),
        tooltip=_tooltip(),
    )
    ideal = alt.Chart(csv_data(("x", "y"), [(0, 0), (1, 1)])).mark_line(strokeDash=[4, 4], strokeWidth=1, color="grey")
    ideal = ideal.encode(x=alt.X("x:Q", scale=unit), y=alt.Y("y:Q", scale=unit))
    said = (
        alt.Chart(csv_data(("t",), [(t,) for t in range(len(found))]))
        .mark_text(align="left", baseline="top", fontWeight="bold", fontSize=13)
        .encode(x=alt.value(8), y=alt.value(6), text=alt.Text("ece:N"))
        .properties(transform=[where("datum.t === shown"), looked_up("t", "ece", "texts")])
    )
    menu = picked_by_menu("shown", [one.label for one, _ in found], "trial")
    spec = spec_of(alt.layer(steps, ideal, points, shares, said).add_params(menu), {"texts": texts}, height=280)
    caption = "Points below the diagonal are overconfident, points above it underconfident."
    return Chart(name, spec, f"{dataset}: reliability", caption)


def _tooltip() -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("low:Q", title="probability above", format=".3f"),
        alt.Tooltip("high:Q", title="up to", format=".3f"),
        alt.Tooltip("sure:Q", title="mean probability", format=".4f"),
        alt.Tooltip("right:Q", title="accuracy", format=".4f"),
        alt.Tooltip("n:Q", title="test rows", format=","),
        alt.Tooltip("share:Q", title="share of the rows", format=".2%"),
    ]

"""A map of a test set: its embeddings in two dimensions, by PCA, or by UMAP if that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from ...arrays import Features, Float64
from ...errors import NotFound
from ...printable import one_line
from ..inspecting.subset import drawn, held_out_rows, names_of
from ..mistakes import Mistakes
from ..trials.joined_sets import opened as open_sets
from .images_thumbnails import Thumbnails
from .section import Chart, ReportData

MOST_CLASSES = 20
"""Classes that have colours of their own."""

_SIDE = 40
"""Pixels of a thumbnail's side."""


def map_of(data: ReportData, number: int, dataset: str, found: Mistakes, thumbnails: Thumbnails, most: int) -> Chart:
    """Return the chart of a trial's test rows.

    Parameters
    ----------
    data : ReportData
    number : int
        Of the data set, for the chart's name.
    dataset : str
    found : Mistakes
        All mistakes of the trial.
    thumbnails : Thumbnails
        As many points have one as its bytes allow, mistakes first.
    most : int
        Points.

    Raises
    ------
    CryoprobeError
        If the set cannot be read.
    """
    feature_set = open_sets(data.store, found.set)
    wrong = {m.row: m for m in found}
    rows = np.arange(feature_set.rows)
    if found.of < feature_set.rows:
        rows = held_out_rows(data.store, next(t for t in data.trials if t.trial == found.trial))
    labels = feature_set.labels()
    chosen, _ = drawn(labels, rows, most, seed=0)
    x, _ = feature_set.load(rows=chosen)
    if len(x) < 3:
        raise NotFound(f"{dataset} has too few test rows for a map.")
    xy, axes = project(x)
    names, _ = names_of(feature_set)
    values: list[dict[str, Any]] = []
    for i, row in enumerate(chosen.tolist()):
        label = labels[row]
        true = (
            "|".join(feature_set.classes[c] for c in np.flatnonzero(label).tolist())
            if np.ndim(label)
            else feature_set.classes[int(label)]
        )
        predicted = wrong[row].predicted if row in wrong else true
        values.append(
            {
                "x": float(xy[i, 0]),
                "y": float(xy[i, 1]),
                "class": one_line(true),
                "predicted": one_line(predicted),
                "result": "wrong" if row in wrong else "right",
                "name": one_line(names[row]) if names is not None and row < len(names) else f"row {row}",
            }
        )
    pictured = _picture(values, chosen.tolist(), found.set, thumbnails)
    by_class = not feature_set.multilabel and len({v["class"] for v in values}) <= MOST_CLASSES
    shown = f"{len(values):,} of {found.of:,} test rows" if len(values) < found.of else f"{found.of:,} test rows"
    caption = f"{shown}{', drawn class by class' if len(values) < found.of else ''}; {axes[2]}; " + (
        f"{pictured:,} points show their image when you point at them" if pictured else "the images are not at hand"
    )
    return Chart(f"map-{number}", spec_of(values, axes, by_class=by_class), f"Map of {dataset}", caption, wide=True)


def project(x: Features) -> tuple[Float64, tuple[str, str, str]]:
    """Return two coordinates of rows x [n, d], with the titles of both axes and the method in words.

    Examples
    --------
    >>> xy, axes = project(np.diag([3.0, 2.0, 1.0]))
    >>> xy.shape, axes[2][:3]
    ((3, 2), 'PCA')
    >>> project(np.arange(3.0)[:, None])[0].shape
    (3, 2)
    """
    if find_spec("umap") is not None and len(x) > 15 and x.shape[1] > 2:
        import umap

        found = umap.UMAP(metric="cosine", random_state=0).fit_transform(x)
        return np.asarray(found, np.float64), ("UMAP 1 (no unit)", "UMAP 2 (no unit)", "UMAP of cosine distances")
    from sklearn.decomposition import PCA

    pca = PCA(min(2, x.shape[1]), random_state=0)
    xy = np.zeros((len(x), 2))
    xy[:, : x.shape[1]] = pca.fit_transform(x)
    explained = np.nan_to_num(pca.explained_variance_ratio_)  # equal rows have no variance
    shares = [f"{100 * share:.0f} % of the variance" for share in explained]
    shares += ["always 0: embeddings have one dimension"]
    return xy, (f"component 1 ({shares[0]})", f"component 2 ({shares[1]})", "PCA of unit embeddings")


def _picture(values: list[dict[str, Any]], rows: list[int], set_: str, thumbnails: Thumbnails) -> int:
    """Give points an image, mistakes first, then in a random order; return how many have one."""
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    order.sort(key=lambda i: values[i]["result"] == "right")
    pictured = 0
    for i in order:
        if thumbnails.left <= 0:
            break
        uri = thumbnails.uri(set_, rows[i], _SIDE)
        if uri is not None:
            values[i]["image"] = uri
            pictured += 1
    return pictured


def spec_of(values: list[dict[str, Any]], axes: tuple[str, str, str], *, by_class: bool) -> dict[str, Any]:
    """Return the chart as Vega-Lite. Points without an image are a layer of their own: their tooltip names none."""
    told = [{"field": f, "type": "nominal"} for f in ("name", "class", "predicted")]
    colour: dict[str, Any] = {"field": "class" if by_class else "result", "type": "nominal"}
    if by_class and len({v["class"] for v in values}) > 8:
        colour["scale"] = {"scheme": "tableau20"}
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": axes[0], "scale": {"zero": False}},
        "y": {"field": "y", "type": "quantitative", "title": axes[1], "scale": {"zero": False}},
        "color": colour,
        "shape": {
            "field": "result",
            "type": "nominal",
            "scale": {"domain": ["right", "wrong"], "range": ["circle", "cross"]},
            "legend": {"symbolFillColor": "#8a9097", "symbolStrokeColor": "#8a9097"},
        },
    }
    mark = {"type": "point", "filled": True, "size": 34, "opacity": 0.75}

    def layer(condition: str, *more: dict[str, str]) -> dict[str, Any]:
        return {"transform": [{"filter": condition}], "mark": mark, "encoding": {"tooltip": [*told, *more]}}

    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": 460,
        "data": {"values": values},
        "encoding": encoding,
        "layer": [
            layer("!isValid(datum.image)"),
            layer("isValid(datum.image)", {"field": "image", "type": "nominal"}),
        ],
    }

"""Trials for the charts, made by real probes on small data, and what a chart's data say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.pipeline.comparing.matrix import matrix_of
from cryoprobe.pipeline.report.section import Chart, ReportData
from cryoprobe.pipeline.trials.result import Trial, check_stored
from cryoprobe.pipeline.trials.tables import Trials

HOSTILE = ("</script><img src=x>", '{"signal": "width"}', "datum['x']", "line\nbreak", "a|b.c[0]", "crane")


def fill(store: Path, folder: Path) -> None:
    """Add two models on one data set of six classes and one of flags, and probe them in every way that is charted."""
    rng = np.random.default_rng(0)
    labels = {"train": np.arange(240) % 6, "test": np.arange(120) % 6}
    flags = {split: (rng.random((n, 4)) < 0.4).astype(np.uint8) for split, n in (("train", 200), ("test", 80))}
    centres, meaning = rng.normal(size=(6, 10)), rng.normal(size=(4, 10))
    for model, noise in (("lab:good", 1.2), ("lab:poor", 2.5)):
        for dataset, truth, mean in (("birds", labels, lambda y: centres[y]), ("flags", flags, lambda f: f @ meaning)):
            arrays: dict[str, Any] = {"classes": np.array(HOSTILE if dataset == "birds" else HOSTILE[:4])}
            for split, y in truth.items():
                rows = mean(y) + noise * rng.normal(size=(len(y), 10))
                arrays |= {f"{split}_embeddings": rows.astype(np.float32), f"{split}_labels": y}
            np.savez(folder / "added.npz", **arrays)
            cryoprobe.add(folder / "added.npz", store, model=model, dataset=dataset, model_version="1", progress=False)
        asked: list[dict[str, Any]] = [
            {"C": [1e-4, 1e-3, 1e-2]},
            {"probe": "knn", "grid": {"k": [1, 5, 20]}},
            {"protocol": "dinov2-knn"},
            {"shots": [1, 4], "seeds": 3, "probe": "nearest-mean"},
            {"fractions": [0.2, 1], "seeds": 2, "probe": "nearest-mean"},
        ]
        for options in asked:
            cryoprobe.probe(store, model=model, dataset="birds", progress=False, **options)
        cryoprobe.probe(store, model=model, dataset="flags", C=[1, 10], progress=False)


def data_of(store: Path, trials: list[Trial] | None = None) -> ReportData:
    """Return what makers of sections are given."""
    opened = cryoprobe.open_store(store)
    found = cryoprobe.results(opened) if trials is None else Trials(trials)
    return ReportData(opened, found, matrix_of(opened, found))


def changed(trial: Trial, /, **fields: Any) -> Trial:
    """Return a trial as a store would give it, with other fields."""
    return check_stored({**trial.stored, **fields}, "memory://")


def csv_rows(data: dict[str, Any]) -> list[dict[str, float | None]]:
    """Return the rows of inlined CSV text."""
    head, *lines = [line.split(",") for line in data["values"].split("\n")]
    return [{k: float(v) if v else None for k, v in zip(head, line, strict=True)} for line in lines]


def main_rows(chart: Chart) -> list[dict[str, float | None]]:
    """Return the rows of a chart's largest inlined data."""
    found: list[list[dict[str, float | None]]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("values"), str) and "format" in value:
                found.append(csv_rows(value))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str) and value.startswith(("t,", "m,")) and "\n" in value:
            found.append(csv_rows({"values": value}))

    walk(chart.spec)
    return max(found, key=lambda rows: (len(rows[0]), len(rows)))

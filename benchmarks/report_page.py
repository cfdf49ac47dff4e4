"""How large a page of results is, and how fast it opens in Chromium, on synthetic trials.

    python benchmarks/report_page.py --out result.json

Two stores: 20 models on 10 data sets with two probes each, whose page must be under 5 MB; and one trial of 1,000
classes on 50,000 test rows, whose page must be usable in under 2 s. Times are of the median of five openings: until the
leaderboard can be sorted (the end of the page's script), until the page has loaded, and until the confusions are drawn
after a jump to them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.stores.store import RowPredictions, Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.chromium import DESKTOP, chromium, opened

RUNS = 5


def put_trial(store: Store, model: str, dataset: str, probe: str, classes: int, rows: int, accuracy: float) -> None:
    """Store a trial as `probe` would have, with predictions whose mistakes are between neighbouring classes."""
    seed = int.from_bytes(hashlib.sha256(f"{model} {dataset} {probe}".encode()).digest()[:4])
    rng = np.random.default_rng(seed)
    # The same labels for all models: they are tested on the same rows.
    true = np.arange(rows, dtype=np.int32) % classes
    wrong = rng.random(rows) > accuracy
    predicted = np.where(wrong, (true + 1 + rng.geometric(0.3, rows)) % classes, true).astype(np.int32)
    value = rng.beta(5, 2, rows).astype(np.float32)
    kept = RowPredictions(
        {"true": true, "predicted": predicted, "value": value, "true_value": np.where(wrong, 1 - value, value)},
        "probability",
    )
    hits = (true == predicted).astype(float)
    recall = np.bincount(true, hits, classes) / np.bincount(true, minlength=classes)
    precision = np.bincount(predicted, hits, classes) / np.maximum(np.bincount(predicted, minlength=classes), 1)
    top1 = float(hits.mean())
    pairs, counts = np.unique(true.astype(np.int64) * classes + predicted, return_counts=True)
    confusion: dict[str, Any]
    if classes > 128:
        confusion = {
            "confusion_nonzero": [
                [int(p // classes), int(p % classes), int(n)] for p, n in zip(pairs, counts, strict=True)
            ]
        }
    else:
        full = np.zeros(classes * classes, int)
        full[pairs] = counts
        confusion = {"confusion": full.reshape(classes, classes).tolist()}
    trial = hashlib.sha256(f"trial {model} {dataset} {probe}".encode()).hexdigest()
    sets = {part: hashlib.sha256(f"{part} {dataset} {model}".encode()).hexdigest() for part in ("train", "test")}
    spread = 1.96 * np.sqrt(top1 * (1 - top1) / rows)
    grid = np.logspace(-3, 3, 13)
    curve = [
        {"C": float(c), "nll": 1 + abs(np.log10(c)) / 5, "top1": top1 - abs(np.log10(c)) / 50,
         "mean_per_class_recall": top1, "map": None, "map_11_point": None, "converged": True}
        for c in grid
    ]  # fmt: skip
    store.record_trial(
        trial,
        {
            "trial": trial, "protocol": "plain", "probe": probe, "params": {} if probe == "logreg" else {"k": 20},
            "seed": 0, "schema": 3, **sets, "model": model, "dataset": dataset, "tap": "pooled", "untrained": False,
            "name": {"model": model, "dataset": dataset, "tap": "pooled"}, "splits": {"train": "train", "test": "test"},
            "chosen": {"C": 1.0} if probe == "logreg" else {"k": 20}, "chosen_by": "nll" if probe == "logreg" else None,
            "metric": "top1",
            "metrics": {"top1": top1, "mean_per_class_recall": float(recall.mean()), "nll": 1.0, "nll_rows": rows,
                        "per_class": {"recall": recall.tolist(), "precision": precision.tolist(),
                                      "rows": np.bincount(true, minlength=classes).tolist()}, **confusion},
            "intervals": {"top1": [top1 - spread, top1 + spread]}, "curve": curve if probe == "logreg" else [],
            "features": "unit", "converged": True, "warnings": [], "remarks": [], "test_in_train": 0,
            "rows": {"train": 10 * rows, "test": rows, "val": rows}, "dim": 768,
            "classes": [f"class {i}" for i in range(classes)], "created": int(time.time() * 1000), "host": "host",
            "user": "user", "versions": {"python": "3.11"}, "predictions": store.keep_predictions(trial, kept),
        },
    )  # fmt: skip


def measured(store: Path, folder: Path, name: str) -> dict[str, Any]:
    """Return size and times of the page of a store."""
    file = folder / f"{name}.html"
    began = time.perf_counter()
    made = cryoprobe.report(store, file, images=False)
    seconds = time.perf_counter() - began
    openings: list[dict[str, float]] = []
    with chromium() as browser:
        for _ in range(RUNS):
            with opened(browser, file, DESKTOP) as found:
                page = found.page
                usable = page.evaluate("performance.getEntriesByName('usable')[0].startTime")
                page.wait_for_load_state("load")
                loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
                began = time.perf_counter()
                page.evaluate("document.getElementById('confusion').scrollIntoView()")
                page.wait_for_selector("#confusion .plot.drawn")
                drawn = time.perf_counter() - began
                found.assert_quiet()
            openings.append({"usable_s": usable / 1000, "loaded_s": loaded / 1000, "confusions_s": drawn})
    median = {key: round(statistics.median(o[key] for o in openings), 3) for key in openings[0]}
    return {"bytes": made.size, "charts": len(made.charts), "made_s": round(seconds, 1), **median}


def main() -> None:
    """Make the stores and their pages, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="Folder for the stores and pages, which are removed by default.")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--datasets", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        wide = cryoprobe.open_store(folder / "wide", create=True)
        for m in range(asked.models):
            for d in range(asked.datasets):
                for probe, less in (("logreg", 0.0), ("knn", 0.03)):
                    put_trial(wide, f"timm:model_{m:02d}", f"data{d}", probe, 10 + 10 * d, 2000, 0.9 - 0.01 * m - less)
        large = cryoprobe.open_store(folder / "large", create=True)
        put_trial(large, "timm:model", "imagenet", "logreg", 1000, 50_000, 0.8)
        result = {
            "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
            f"{asked.models} models x {asked.datasets} data sets": measured(folder / "wide", folder, "wide"),
            "1,000 classes x 50,000 rows": measured(folder / "large", folder, "large"),
        }
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Planted label errors on Fashion-MNIST: how many of the labels that `label_errors` suspects most were really flipped.

A share of the labels is flipped to another class, drawn with a seed. The embeddings do not depend on labels, so that
images that the store has are not encoded again::

    python benchmarks/label_errors.py --store /tmp/planted --rows 10000 --flipped 0.05
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import cryoprobe
from cryoprobe.pipeline.datasets import limit_split, load_dataset
from cryoprobe.pipeline.label_errors import label_errors

ROOT = Path("/usr/share/datasets/fashion-mnist")
MODEL = "quickstart:efficientnet_lite0"


def planted(labels: np.ndarray, share: float, seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which a share is flipped to another class, and which rows those are."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(labels))[: round(share * len(labels))])
    flipped = labels.copy()
    flipped[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return flipped, rows


def main() -> None:
    """Plant, extract, look, and print what was found as JSON."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--store", type=Path, required=True)
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--flipped", type=float, default=0.05)
    asked.add_argument("--side", type=int, default=96, help="Pixels of the encoder's input.")
    asked.add_argument("--seeds", type=int, default=3)
    told = asked.parse_args()

    split = limit_split(load_dataset(f"idx:{ROOT}").split("train"), told.rows)
    images = np.stack([np.asarray(split.decode(split.read(i))) for i in range(len(split))])
    runs = []
    for seed in range(told.seeds):
        labels, rows = planted(split.labels, told.flipped, seed, len(split.classes))
        data = cryoprobe.Dataset((images, labels), name=f"flipped:{seed}", classes=list(split.classes), split="train")
        (train,) = cryoprobe.extract(MODEL, data, told.store, resize=told.side, crop=told.side)
        began = time.perf_counter()
        found = label_errors(told.store, train.set)
        seconds = time.perf_counter() - began
        right = np.isin([error.row for error in found], rows)
        suggested = np.array([split.classes.index(error.suggested) for error in found])
        restored = suggested == split.labels[[error.row for error in found]]
        runs.append(
            {
                "seed": seed,
                "flipped": len(rows),
                "found": found.found,
                "precision_at_100": float(right[:100].mean()),
                "precision_at_flipped": float(right[: len(rows)].mean()),
                "precision": float(right.mean()),
                "recall": float(right.sum() / len(rows)),
                "suggestion_right_of_flipped": float(restored[right].mean()),
                "top1_out_of_fold": found.top1,
                "C": found.C,
                "seconds": round(seconds, 2),
            }
        )
    print(json.dumps({"model": MODEL, "data": "Fashion-MNIST train", **vars(told) | {"store": None}, "runs": runs}))


if __name__ == "__main__":
    main()

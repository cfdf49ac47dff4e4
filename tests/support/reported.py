"""A store with a few models on a data set, among them names that attack a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe

ATTACKS = ("mine</script><script>alert(1)</script>", 'own:"><img src=x onerror=alert(2)>')
MODELS = ("lab:vit_tiny", "lab:resnet18", *ATTACKS)
CLASSES = ("<b>ant</b>", "]]><script>alert(3)</script>", "{{cat}} ${dog}")


def fill(store: Path, folder: Path, dataset: str, models: tuple[str, ...] = MODELS) -> None:
    """Add embeddings of a data set by each model, and run some trials on each."""
    rng = np.random.default_rng(list(dataset.encode()))  # equal rows would be one set by two names
    labels = {"train": np.arange(90) % 3, "test": np.arange(60) % 3}
    centres = rng.normal(size=(3, 12))
    for i, model in enumerate(models):
        arrays: dict[str, Any] = {}
        for split, y in labels.items():
            noise = (1 + i) * rng.normal(size=(len(y), 12))
            arrays[f"{split}_embeddings"] = (centres[y] + noise).astype(np.float32)
            arrays[f"{split}_labels"] = np.array(CLASSES)[y]
        np.savez(folder / "added.npz", **arrays)
        cryoprobe.add(folder / "added.npz", store, model=model, dataset=dataset, model_version="1", progress=False)
        cryoprobe.probe(store, model=model, dataset=dataset, probe="knn", params={"k": 5}, progress=False)
        cryoprobe.probe(store, model=model, dataset=dataset, probe="ridge", shots=[2], seeds=3, progress=False)
        if i < 3:  # one model lacks a column
            cryoprobe.probe(store, model=model, dataset=dataset, C=[0.1, 1, 10], progress=False)

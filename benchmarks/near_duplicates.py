"""Planted near-duplicates and plain squares among Fashion-MNIST's images: how many are found, and what else is listed.

Copies of training images stand in a folder of their own: saved as JPEG of three qualities, resized by a pixel, brighter
and darker; and squares of one colour beside them. At 28 pixels these are hard cases: JPEG's blocks and a pixel's width
are large parts of the picture::

    python benchmarks/near_duplicates.py --store /tmp/planted --folder /tmp/copies
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import cryoprobe
from cryoprobe.pipeline.datasets import limit_split, load_dataset
from cryoprobe.pipeline.datasets.base import Split

ROOT = Path("/usr/share/datasets/fashion-mnist")
MODEL = "quickstart:efficientnet_lite0"


def plant(split: Split, folder: Path, copied: int, squares: int) -> list[str]:
    """Write copies of some images, and squares; return the kinds of copies."""
    rng = np.random.default_rng(0)
    kinds: list[str] = []
    for row in rng.permutation(len(split))[:copied].tolist():
        image = split.decode(split.read(row)).convert("L")
        place = folder / split.classes[int(split.labels[row])]
        place.mkdir(parents=True, exist_ok=True)
        copies = {f"jpeg{q}": image for q in (90, 75, 50)}
        copies |= {f"side{s}": image.resize((s, s), Image.Resampling.BICUBIC) for s in (27, 29)}
        copies |= {f"brightness{b}": ImageEnhance.Brightness(image).enhance(b) for b in (0.8, 1.1, 1.2)}
        for kind, copy in copies.items():
            if kind.startswith("jpeg"):
                copy.save(place / f"{row}-{kind}.jpg", quality=int(kind[4:]))
            else:
                copy.save(place / f"{row}-{kind}.png")
        kinds = [*copies]
    for i in range(squares):
        place = folder / split.classes[i % len(split.classes)]
        colour = tuple(rng.integers(0, 256, 3).tolist())
        Image.new("RGB", (28, 28), colour).save(place / f"square-{i}.{'jpg' if i % 2 else 'png'}")
    return kinds


def main() -> None:
    """Plant, extract, look, and print what was found as JSON."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--store", type=Path, required=True)
    asked.add_argument("--folder", type=Path, required=True, help="For the copies; it must be new.")
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--copied", type=int, default=60)
    asked.add_argument("--squares", type=int, default=40)
    asked.add_argument("--side", type=int, default=96, help="Pixels of the encoder's input.")
    told = asked.parse_args()

    split = limit_split(load_dataset(f"idx:{ROOT}").split("train"), told.rows)
    kinds = plant(split, told.folder / "copies", told.copied, told.squares)
    size = {"resize": told.side, "crop": told.side}
    (train,) = cryoprobe.extract(MODEL, f"idx:{ROOT}", told.store, splits=["train"], limit=told.rows, **size)
    (copies,) = cryoprobe.extract(MODEL, f"folder:{told.folder}", told.store, layout="split", **size)
    runs = []
    for images in (True, False):
        began = time.perf_counter()
        found = cryoprobe.near_duplicates(told.store, [train.set, copies.set], images=images)
        seconds = time.perf_counter() - began
        hits: set[str] = set()
        false_across = within = 0
        for pair in found:
            if not pair.across:
                within += pair.set == train.set
                continue
            stem = Path(pair.other_name or "").stem
            if stem.partition("-")[0] == str(pair.row):
                hits.add(stem)
            else:
                false_across += 1
        by_kind = Counter(stem.partition("-")[2] for stem in hits)
        runs.append(
            {
                "images_compared": images,
                "threshold": found.threshold,
                "planted": told.copied * len(kinds),
                "found": len(hits),
                "found_by_kind": {kind: by_kind[kind] for kind in kinds},
                "other_pairs_across": false_across,
                "pairs_within_fashion_mnist": within,
                "seconds": round(seconds, 2),
            }
        )
    plain = cryoprobe.plain_images(told.store, [train.set, copies.set])
    squares = sum("square-" in (one.name or "") for one in plain)
    print(
        json.dumps(
            {
                "model": MODEL,
                "rows": train.rows + copies.rows,
                "side": told.side,
                "near_duplicates": runs,
                "plain_squares": {"planted": told.squares, "found": squares, "others": len(plain) - squares},
            }
        )
    )


if __name__ == "__main__":
    main()

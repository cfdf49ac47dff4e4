"""What tests of several folders make their data with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(root: Path, classes: dict[str, int], seed: int = 0, side: int = 24) -> list[Path]:
    """Write small PNG files ROOT/CLASS/000.png …, each class with a colour of its own under noise."""
    rng = np.random.default_rng(seed)
    written = []
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(number).integers(0, 255, 3)
        for i in range(count):
            noise = rng.integers(-60, 60, (side, side, 3))
            path = root / name / f"{seed}-{i:03d}.png"
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
            written.append(path)
    return written

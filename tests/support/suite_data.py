"""A module of somebody's own, with a small encoder and data sets, for suites that load no library's model."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

MODULE = textwrap.dedent(
    """
    from pathlib import Path

    import torch
    import torchvision

    import cryoprobe


    def pixels():
        with Path("loaded.txt").open("a") as log:
            log.write("pixels\\n")
        return cryoprobe.Encoder(
            torch.nn.Flatten(), torchvision.transforms.ToTensor(), name="lab:pixels", version="1"
        )


    def means():
        with Path("loaded.txt").open("a") as log:
            log.write("means\\n")
        pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
        return cryoprobe.Encoder(pool, torchvision.transforms.ToTensor(), name="lab:means", version="1")


    def broken():
        raise RuntimeError("this encoder is broken")
    """
)


def write_parts(folder: Path, name: str = "lab_parts") -> dict[str, list[str]]:
    """Write a module and two data sets into a folder; return the names of the encoders and of the data sets."""
    (folder / f"{name}.py").write_text(MODULE)
    for seed, dataset in enumerate(("ants", "bees")):
        rng = np.random.default_rng(seed)
        labels = np.arange(90) % 3
        images = np.clip(rng.normal(0, 40, (90, 8, 8, 3)) + 60 * labels[:, None, None, None] + 40, 0, 255)
        split = np.where(np.arange(90) < 60, "train", "test")
        np.savez(folder / f"{dataset}.npz", images=images.astype(np.uint8), labels=labels, split=split)
    return {"models": [f"{name}:pixels", f"{name}:means"], "data": ["npz:ants.npz", "npz:bees.npz"]}

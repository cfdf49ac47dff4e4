"""How much the parts of `gpu.py` do: enough for one H100, or just enough to show that they run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Sizes:
    """How much is done; the defaults are what one H100 does in five minutes.

    Parameters
    ----------
    device : torch.device
    models : dict of str to str
        Encoders of timm, by the names they go by in papers.
    compiled : tuple of str
        Those that are compiled, too; each takes half a minute.
    batch : int
        Images in a forward pass.
    seconds : float
        Of every measurement.
    images : int
        Files for the pipeline, and for decoding.
    rows, dim, classes, queries : int
        Of the probes.
    penalties : int
        Values of C.
    budget : float
        Seconds after which a fit is given up.
    """

    device: torch.device
    models: dict[str, str] = field(
        default_factory=lambda: {
            "B/32": "vit_base_patch32_clip_224",
            "B/16": "vit_base_patch16_224",
            "L/14": "vit_large_patch14_clip_224",
        }
    )
    compiled: tuple[str, ...] = ("B/32", "B/16", "L/14")
    batch: int = 256
    seconds: float = 2.0
    images: int = 8192
    rows: int = 1_281_167
    dim: int = 1024
    classes: int = 1000
    queries: int = 50_000
    penalties: int = 45
    budget: float = 150.0

    @classmethod
    def small(cls, device: torch.device) -> Sizes:
        """Return what a CPU does in a minute."""
        return cls(
            device,
            models={"test": "test_vit"},
            compiled=(),
            batch=8,
            seconds=0.2,
            images=64,
            rows=2000,
            dim=32,
            classes=10,
            queries=200,
            penalties=5,
        )

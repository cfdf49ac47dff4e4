"""Write `pipeline/encoders/timm_sizes.json`: width and parameters of every architecture that timm can build.

No weights are made: models are built on torch's meta device, without their classifier. Some 20 minutes.

    python benchmarks/model_sizes.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "pipeline" / "encoders" / "timm_sizes.json"


def size_of(architecture: str) -> tuple[int, int]:
    """Return the width of the tap ``pooled``, and the number of parameters."""
    import timm
    import torch

    with torch.device("meta"):
        model: Any = timm.create_model(architecture, pretrained=False, num_classes=0)
    width = getattr(model, "head_hidden_size", None) or model.num_features
    return int(width), sum(parameter.numel() for parameter in model.parameters())


def written(version: str, sizes: dict[str, tuple[int, int]]) -> str:
    """Return the file: an architecture a line, so that a new version of timm changes few."""
    lines = ",\n".join(f"{json.dumps(name)}:[{width},{count}]" for name, (width, count) in sorted(sizes.items()))
    return f'{{"timm":{json.dumps(version)},"architectures":{{\n{lines}\n}}}}\n'


def main() -> None:
    """Measure every architecture, and write the file."""
    import timm

    names = timm.list_models()
    sizes = {}
    for i, name in enumerate(names, start=1):
        sizes[name] = size_of(name)
        if i % 50 == 0:
            print(f"{i} of {len(names)}", flush=True)
    TARGET.write_text(written(timm.__version__, sizes))


if __name__ == "__main__":
    main()

"""What a GPU gives: encoders alone and in the pipeline, and probes at ImageNet's size. Ends with one JSON object.

    python benchmarks/gpu.py                     # five minutes on one H100; needs no network and no data
    python benchmarks/gpu.py --parts logistic    # some of it
    python benchmarks/gpu.py --small             # a minute on a CPU: that it runs, not how fast

Models have random weights and images are made here: neither changes the arithmetic. Encoders alone are timed on images
that are on the device already; the pipeline reads JPEG files of 500 x 375 (in the page cache), hashes, decodes,
transforms, encodes and seals. A part that fails is reported under its name, and the others run; the exit code is 1.

A machine without a network that has torch, timm and scikit-learn needs these wheels beside them: zarr, numcodecs,
donfig, google-crc32c, pydantic, pydantic-core, annotated-types, typing-inspection and rfc8785.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_encoders
import gpu_probes
import torch
from gpu_sizes import Sizes

PARTS: dict[str, Callable[[Sizes, Path], Any]] = {
    "agreement": gpu_encoders.agreement,
    "decode": gpu_encoders.decode,
    "bare": gpu_encoders.bare,
    "pipeline": gpu_encoders.pipeline,
    "logistic": gpu_probes.logistic,
    "knn": gpu_probes.knn,
}


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the numbers belong to."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "device": gpu.name if gpu else platform.processor() or platform.machine(),
        "memory_gib": round(gpu.total_memory / 2**30, 1) if gpu else None,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main() -> int:
    """Run the parts that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny models and few rows, on any device")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not asked.small:
        parser.error("there is no GPU here; --small runs on a CPU")
    if unknown := set(asked.parts.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = Sizes.small(device) if asked.small else Sizes(device)
    found: dict[str, Any] = {"machine": machine(device), "small": asked.small}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.parts.split(","):
            begin = time.perf_counter()
            try:
                found[name] = PARTS[name](sizes, Path(folder))
            except Exception as error:  # device time is scarce: the other parts are worth having
                traceback.print_exc()
                found[name], failed = {"failed": f"{type(error).__name__}: {error}".split("\n")[0]}, True
            found[f"{name}_part_s"] = round(time.perf_counter() - begin, 1)
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    print(json.dumps(found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""How fast images become a sealed feature set, beside the plain loop, CLIP_benchmark's, and the limit of the machine.

    python benchmarks/extract.py [--images 2048] [--repeats 3] [--models ViT-B-32,EfficientNet-Lite0] [--json]

Every measurement is a process of its own, all of them children of this one, one after the other, in turn. The images
are JPEG files of 500 x 375, decoded for real, in the page cache. Weights are random: that does not change the time. No
side's imports count, nor building its model.

- ours: `cryoprobe.extract`, from files to a sealed set: hashing, decoding, encoding, normalising, writing.
- loop: the loop of open_clip's README: its transform in a DataLoader of two workers, float32, batches of 32.
- clip_benchmark: the Featurizer and the loop of CLIP_benchmark, with its autocast, if it is installed. Its own function
  asks for CUDA before it begins.
- bare: the forward pass alone on a batch in memory, as fast as that is in float32 and in bfloat16.
- decode: decoding and transforming alone, in as many threads as there are cores.

The limit is 1 / (1/bare + 1/decode): both need the cores. Two claims: ours reaches 0.95 of the limit in the same
precision; and ours in bfloat16 is 2.1 times the plain loop with ViT-B/32 and 5 times with EfficientNet-Lite0 where the
CPU has the instructions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

MODELS = {"ViT-B-32": "open_clip:ViT-B-32", "EfficientNet-Lite0": "timm:tf_efficientnet_lite0"}
PRECISIONS = ("fp32", "bf16")
BATCH = 32


def _loaded(name: str, precision: str) -> Any:
    import cryoprobe

    return cryoprobe.load_encoder(MODELS[name], untrained=True, device="cpu", precision=precision)


def ours(name: str, precision: str, data: Path) -> float:
    """Return images a second of `cryoprobe.extract`."""
    import zarr

    from cryoprobe import extract

    assert zarr  # imported before the clock starts, as the other sides import what they use
    encoder = _loaded(name, precision)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        (found,) = extract(encoder, f"folder:{data}", Path(folder) / "store", progress=False)
        seconds = time.perf_counter() - began
    assert found.encoded == found.rows
    return found.rows / seconds


def _library(name: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return a library's own model and transform."""
    import torch

    torch.manual_seed(0)
    if name == "ViT-B-32":
        import open_clip

        model, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
        return model.eval().encode_image, transform
    import timm

    model, data = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval(), cast(Any, timm.data)
    return model, data.create_transform(**data.resolve_model_data_config(model), is_training=False)


def _loader(transform: Callable[[Any], Any], data: Path) -> Any:
    import torch
    import torchvision

    images = torchvision.datasets.ImageFolder(str(data / "train"), transform)
    return torch.utils.data.DataLoader(images, batch_size=BATCH, num_workers=2)


def loop(name: str, precision: str, data: Path) -> float:
    """Return images a second of the loop that people write."""
    import torch

    assert precision == "fp32"
    encode, transform = _library(name)
    loader, features, labels = _loader(transform, data), [], []
    began = time.perf_counter()
    with torch.no_grad():
        for images, classes in loader:
            found = encode(images)
            features.append(found / found.norm(dim=-1, keepdim=True))
            labels.append(classes)
    return len(torch.cat(features)) / (time.perf_counter() - began)


def clip_benchmark(name: str, precision: str, data: Path) -> float | None:
    """Return images a second of CLIP_benchmark's extraction, without what needs CUDA; None if it is not installed."""
    try:
        from clip_benchmark.metrics.linear_probe import Featurizer
    except ImportError:
        return None
    import open_clip
    import torch

    assert precision == "fp32"
    assert name == "ViT-B-32"
    model, _, transform = open_clip.create_model_and_transforms(name)
    featurizer, loader, features = Featurizer(model.eval(), True), _loader(transform, data), []
    began = time.perf_counter()
    with torch.no_grad():
        for images, _ in loader:
            with torch.autocast("cpu", enabled=True):
                features.append(featurizer(images).cpu())
    return len(torch.cat(features)) / (time.perf_counter() - began)


def bare(name: str, precision: str, data: Path) -> float:
    """Return images a second of the encoder alone."""
    import torch

    from cryoprobe.pipeline.encoders.allocator import keep_freed_memory

    del data
    keep_freed_memory()
    encoder = _loaded(name, precision)
    x = torch.randn(BATCH, 3, 224, 224)
    encoder.encode(x)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 10:
        encoder.encode(x)
        done += BATCH
    return done / (time.perf_counter() - began)


def decode(name: str, precision: str, data: Path) -> float:
    """Return images a second of reading, hashing, decoding and transforming, on all cores."""
    import hashlib

    from cryoprobe.pipeline.datasets.images import decode_file
    from cryoprobe.pipeline.encoders.embedding import preprocessed

    encoder, paths = _loaded(name, precision), sorted(data.rglob("*.jpg"))

    def one(path: Path) -> int:
        raw = path.read_bytes()
        hashlib.sha256(raw).digest()
        return int(preprocessed(encoder, decode_file(raw)).numel())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, paths[:32]))
        began = time.perf_counter()
        list(pool.map(one, paths))
        return len(paths) / (time.perf_counter() - began)


SIDES: dict[str, Callable[[str, str, Path], float | None]] = {
    "bare": bare,
    "ours": ours,
    "loop": loop,
    "clip_benchmark": clip_benchmark,
    "decode": decode,
}


def _sides(name: str) -> list[tuple[str, str]]:
    sides = [("bare", "fp32"), ("ours", "fp32"), ("loop", "fp32"), ("bare", "bf16"), ("ours", "bf16")]
    return [*sides, ("decode", "fp32"), *([("clip_benchmark", "fp32")] if name == "ViT-B-32" else [])]


def _measured(name: str, side: str, precision: str, data: Path) -> float | None:
    with tempfile.TemporaryDirectory() as cache:  # nothing is known of the files
        command = [sys.executable, __file__, "--child", side, name, precision, str(data)]
        run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": cache})
    if run.returncode:
        raise SystemExit(f"{side} {name} {precision} failed:\n{run.stderr}")
    found: float | None = json.loads(run.stdout.splitlines()[-1])
    return found


def _report(name: str, medians: dict[tuple[str, str], float]) -> dict[str, float]:
    """Print a table and the two claims; return what was found."""
    decoding, plain = medians["decode", "fp32"], medians["loop", "fp32"]
    found = {f"{side}_{precision}": round(speed, 1) for (side, precision), speed in medians.items()}
    print(f"\n{name}: images/s (medians)")
    for (side, precision), speed in medians.items():
        print(f"  {side:15} {precision}  {speed:8.1f}")
    for precision in PRECISIONS:
        limit = 1 / (1 / medians["bare", precision] + 1 / decoding)
        found[f"limit_{precision}"] = round(limit, 1)
        found[f"share_of_limit_{precision}"] = round(medians["ours", precision] / limit, 3)
        found[f"over_loop_{precision}"] = round(medians["ours", precision] / plain, 2)
        print(
            f"  {precision}: ours is {found[f'share_of_limit_{precision}']:.3f} of the limit of {limit:.1f}, and "
            f"{found[f'over_loop_{precision}']:.2f} times the plain loop in fp32"
        )
    return found


def main() -> None:
    """Run every side `--repeats` times, in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--json", action="store_true", help="print one JSON object more, at the end")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        side, name, precision, data = asked.child
        print(json.dumps(SIDES[side](name, precision, Path(data))))
        return
    from gpu_encoders import make_jpegs
    from race_machine import cpu_flags

    flags = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16", "avx512f", "avx2"})
    print(f"{os.cpu_count()} cores, {', '.join(flags)}; {asked.images} JPEGs of 500 x 375, {asked.repeats} repeats")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        make_jpegs(Path(folder), asked.images)
        for name in asked.models.split(","):
            speeds: dict[tuple[str, str], list[float]] = {}
            for _ in range(asked.repeats):
                for side, precision in _sides(name):
                    speed = _measured(name, side, precision, Path(folder))
                    if speed is not None:
                        speeds.setdefault((side, precision), []).append(speed)
            results[name] = _report(name, {key: statistics.median(found) for key, found in speeds.items()})
    if asked.json:
        print(json.dumps({"cores": os.cpu_count(), "flags": flags, "images": asked.images, "models": results}))


if __name__ == "__main__":
    main()

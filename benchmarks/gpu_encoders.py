"""Encoders for `gpu.py`: how well precisions agree, how fast images are decoded, encoded alone, and extracted."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from gpu_sizes import Sizes
from PIL import Image

import cryoprobe
from cryoprobe.pipeline.encoders.embedding import preprocessed, stacked

PRECISIONS = ("fp32", "tf32", "bf16")
IMAGE = (500, 375)
_TIMM: Any = timm.data  # without types
_DIFFERENT = 256  # pictures; the files differ in a comment


def make_jpegs(folder: Path, count: int) -> list[Path]:
    """Write JPEGs as large as a photograph of ImageNet, in some 256 pictures; no two files are equal."""
    classes = [folder / "train" / name for name in ("one", "two")]
    if not classes[0].exists():
        rng = np.random.default_rng(0)
        pictures = []
        for _ in range(min(count, _DIFFERENT)):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
                IMAGE, Image.Resampling.BICUBIC
            )
            noisy = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (IMAGE[1], IMAGE[0], 3))
            file = io.BytesIO()
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
            pictures.append(file.getvalue())
        for place in classes:
            place.mkdir(parents=True)
        for i in range(count):
            comment = i.to_bytes(8, "big")
            picture = pictures[i % len(pictures)]
            marked = picture[:2] + b"\xff\xfe\x00\x0a" + comment + picture[2:]
            (classes[i % 2] / f"{i:06}.jpg").write_bytes(marked)
    return sorted(path for place in classes for path in place.iterdir())


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let float32 products be IEEE's, or NVIDIA's TF32."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def encoder(name: str, device: torch.device, precision: str) -> torch.nn.Module:
    """Return a frozen encoder of timm with random weights, the same each time, without its classifier."""
    torch.manual_seed(0)
    made: torch.nn.Module = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    return made.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)


def _config(model: torch.nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = _TIMM.resolve_model_data_config(model)
    return config


def preprocessing(model: torch.nn.Module) -> Callable[[Image.Image], torch.Tensor]:
    """Return the transform that timm prescribes for an encoder."""
    transform: Callable[[Image.Image], torch.Tensor] = _TIMM.create_transform(**_config(model), is_training=False)
    return transform


def agreement(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Return how far features on the device are from those of the CPU in float32: 1 - cosine, median and largest."""
    found: dict[str, Any] = {}
    for label, name in sizes.models.items():
        model = encoder(name, torch.device("cpu"), "fp32")
        transform = preprocessing(model)
        images = torch.stack([transform(Image.open(p).convert("RGB")) for p in make_jpegs(folder, sizes.images)[:32]])
        with torch.inference_mode():
            right = torch.nn.functional.normalize(model(images).double(), dim=1)
        for precision in PRECISIONS:
            there = encoder(name, sizes.device, precision)
            with torch.inference_mode(), arithmetic(precision):
                x = images.to(sizes.device, torch.bfloat16 if precision == "bf16" else torch.float32)
                off = torch.nn.functional.normalize(there(x).double().cpu(), dim=1)
            apart = (right - off).square().sum(1) / 2  # of unit rows, 1 - cosine
            found[f"{label} {precision}"] = {"median": float(apart.median()), "largest": float(apart.max())}
    return found


def _decoded(path: Path) -> int:
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return int(np.asarray(image).sum())


def decode(sizes: Sizes, folder: Path) -> dict[str, float]:
    """Return JPEGs decoded and resized to 224 x 224 a second, by threads and by processes."""
    paths = make_jpegs(folder, sizes.images)
    most = os.cpu_count() or 1
    found = {}
    for kind, pool in (("threads", ThreadPoolExecutor), ("processes", ProcessPoolExecutor)):
        makes: Callable[[int], Executor] = pool
        counts = [n for n in (1, 2, 4, 8, 16) if n <= most and (kind == "threads" or n in (1, most, 16))]
        for n in counts:
            some = paths[: min(len(paths), 256 * n)]
            with makes(n) as workers:
                list(workers.map(_decoded, some[:n]))
                begin = time.perf_counter()
                list(workers.map(_decoded, some, chunksize=16))
                found[f"{n} {kind}"] = round(len(some) / (time.perf_counter() - begin), 1)
    return found


def speed(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, seconds: float) -> float:
    """Return images a second of a forward pass over a batch that is on the device."""
    wait: Callable[[], Any] = torch.cuda.synchronize if x.device.type == "cuda" else lambda: None
    for _ in range(3):
        forward(x)
    wait()
    begin, rounds = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(4):
            forward(x)
        wait()
        rounds += 4
    return round(rounds * len(x) / (time.perf_counter() - begin), 1)


def bare(sizes: Sizes, _: Path) -> dict[str, float]:
    """Return images a second of the encoders alone, by precision, and compiled in bfloat16."""
    found = {}
    for label, name in sizes.models.items():
        for precision in PRECISIONS:
            model = encoder(name, sizes.device, precision)
            side = _config(model)["input_size"][1]
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            x = torch.randn(sizes.batch, 3, side, side, device=sizes.device, dtype=dtype)
            with torch.inference_mode(), arithmetic(precision):
                found[f"{label} {precision}"] = speed(model, x, sizes.seconds)
                if precision == "bf16" and label in sizes.compiled:
                    found[f"{label} bf16 compiled"] = speed(torch.compile(model), x, sizes.seconds)
    return found


def pipeline(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Return images a second from files to a sealed set, and beside them those of the encoder alone.

    In float32, and in bfloat16, compiled where that is measured. The idle share is what the GPU did not need: 1 -
    pipeline / alone, both in the precision of the pipeline.
    """
    paths = make_jpegs(folder, sizes.images)
    found: dict[str, Any] = {}
    for label, name in sizes.models.items():
        for precision in ("fp32", "bf16"):
            compiled = precision == "bf16" and label in sizes.compiled
            made: Any = cryoprobe.load_encoder(
                f"timm:{name}", untrained=True, device=str(sizes.device), precision=precision
            )
            if compiled:
                made.compile()
            image = preprocessed(made, Image.open(paths[0]))
            alone = speed(
                partial(_first_tap, made), stacked(made, [image] * sizes.batch).to(sizes.device), sizes.seconds
            )
            place, said = folder / f"store {name} {precision}", _Said()
            with busy_share(sizes.device) as busy:
                begin = time.perf_counter()
                cryoprobe.extract(
                    made,
                    f"folder:{folder}",
                    place,
                    batch_size=sizes.batch,
                    profile=True,
                    workers=os.cpu_count(),
                    reporter=said,
                )
                seconds = time.perf_counter() - begin
            found[f"{label} {precision}{' compiled' if compiled else ''}"] = {
                "images_per_s": round(len(paths) / seconds, 1),
                "encoder_alone": alone,
                "idle_share": round(1 - len(paths) / seconds / alone, 3),
                "nvml_busy_share": busy(),
                "profile": said.lines,
            }
            print(f"{label} {precision}: {list(found.values())[-1]}", file=sys.stderr, flush=True)
    return found


class _Said(cryoprobe.Reporter):
    """Keeps what `extract` says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def _first_tap(made: Any, x: torch.Tensor) -> torch.Tensor:
    features: torch.Tensor = next(iter(made.encode(x).values()))
    return features


@contextmanager
def busy_share(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Ask the driver twenty times a second how busy the GPU is; the mean, or None if it cannot say."""
    samples: list[int] = []
    ended = threading.Event()
    sample: Callable[[], int] | None = partial(torch.cuda.utilization, device) if device.type == "cuda" else None
    try:
        if sample is not None:
            sample()
    except Exception:  # without NVIDIA's Python package
        sample = None

    def watch() -> None:
        while sample is not None and not ended.wait(0.05):
            samples.append(sample())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: round(float(np.mean(samples)) / 100, 3) if samples else None
    finally:
        ended.set()
        watcher.join()

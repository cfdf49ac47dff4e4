"""How fast libraries decode JPEGs on a CPU, and how far their pixels and features are from Pillow's.

    python benchmarks/decoders.py [--images 96] [--repeats 9] [--json]

Images are parts of 500 x 375 of the two photographs that scikit-learn brings, saved with quality 90 and chroma at half
the resolution. Each library makes a PIL image of the bytes in memory, since transforms of encoders take PIL images. The
libraries decode all images in turn, `--repeats` times. Printed are medians: milliseconds of processor time an image in
one thread, which other programs hardly change, and milliseconds by the clock in as many threads as there are cores.
Then come the differences to Pillow's pixels, from 0 to 255, and the cosine of features with Pillow's, of the
quickstart's EfficientNet-Lite0 with its real weights. What cannot be run here is left out, with a line.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

Decode = Callable[[bytes], Image.Image]


def photographs(count: int, width: int = 500, height: int = 375) -> list[bytes]:
    """Return JPEGs of random parts of two photographs."""
    from sklearn.datasets import load_sample_images

    rng, found = np.random.default_rng(0), []
    whole = load_sample_images().images  # each uint8 [427, 640, 3]
    for i in range(count):
        picture = whole[i % len(whole)]
        top, left = (
            rng.integers(0, have - want + 1) for have, want in zip(picture.shape, (height, width), strict=False)
        )
        part = picture[top : top + height, left : left + width, ::1]
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(part[:, :: (-1) ** i])).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def pillow() -> Decode:
    """Return what Cryoprobe does without an option."""
    from cryoprobe.pipeline.datasets.images import decode_file

    return decode_file


def nvjpeg() -> Decode:
    """Return what Cryoprobe does with ``--decoder nvjpeg``."""
    from cryoprobe.pipeline.datasets.images import decode_file
    from cryoprobe.pipeline.datasets.jpeg_decoders import decoding_on

    if not torch.cuda.is_available():
        raise ImportError("there is no CUDA GPU")
    importlib.import_module("torchcodec.decoders")

    def decode(raw: bytes) -> Image.Image:
        with decoding_on("cuda"):
            return decode_file(raw)

    return decode


def torchcodec() -> Decode:
    """Return torchcodec's own call, on the CPU."""
    decode_jpeg = importlib.import_module("torchcodec.decoders").decode_jpeg
    return lambda raw: _image(decode_jpeg(torch.frombuffer(bytearray(raw), dtype=torch.uint8)))


def torchvision() -> Decode:
    """Return torchvision's own call, which is deprecated since 0.29."""
    importlib.import_module("torchvision.io")
    op = torch.ops.image.decode_jpeg
    return lambda raw: _image(op(torch.frombuffer(bytearray(raw), dtype=torch.uint8), 3, False))


def simplejpeg(fast: bool = False) -> Decode:
    """Return simplejpeg's own call: libjpeg-turbo in its best quality, or in its fastest."""
    decode = importlib.import_module("simplejpeg").decode_jpeg
    return lambda raw: Image.fromarray(decode(raw, "RGB", fastdct=fast, fastupsample=fast))


def imagecodecs() -> Decode:
    """Return imagecodecs' own call."""
    decode = importlib.import_module("imagecodecs").jpeg8_decode
    return lambda raw: Image.fromarray(decode(raw))


LIBRARIES: dict[str, Callable[[], Decode]] = {
    "Pillow": pillow,
    "--decoder nvjpeg": nvjpeg,
    "torchcodec": torchcodec,
    "torchvision": torchvision,
    "simplejpeg": simplejpeg,
    "simplejpeg, fastest": lambda: simplejpeg(fast=True),
    "imagecodecs": imagecodecs,
}


def _image(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def installed() -> dict[str, Decode]:
    """Return those of the libraries that can be had."""
    found = {}
    for name, make in LIBRARIES.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return found


def timed(
    calls: dict[str, Decode], images: Sequence[bytes], repeats: int, threads: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median milliseconds an image takes, of calls in turn."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    with ThreadPoolExecutor(threads) as pool:
        for repeat in range(repeats + 1):
            for name, call in list(calls.items())[:: 1 if repeat % 2 else -1]:
                began = clock()
                list(pool.map(call, images))
                if repeat:  # the first warms up
                    found[name].append(1000 * (clock() - began) / len(images))
    return {name: statistics.median(each) for name, each in found.items()}


def differences(decoders: dict[str, Decode], images: Sequence[bytes]) -> dict[str, tuple[float, float, int]]:
    """Return how pixels differ from Pillow's: the share that is equal, the mean and the largest difference."""
    reference = [np.asarray(decoders["Pillow"](raw), np.int16) for raw in images]
    found = {}
    for name, decode in decoders.items():
        apart = np.stack(
            [np.abs(np.asarray(decode(raw), np.int16) - r) for raw, r in zip(images, reference, strict=True)]
        )
        found[name] = (float((apart == 0).mean()), float(apart.mean()), int(apart.max()))
    return found


def cosines(decoders: dict[str, Decode], images: Sequence[bytes]) -> dict[str, tuple[float, float]]:
    """Return the median and the lowest cosine of features with those of Pillow."""
    from cryoprobe import load_encoder
    from cryoprobe.pipeline.encoders.embedding import preprocessed, stacked

    encoder = load_encoder("quickstart:efficientnet_lite0", device="cpu")

    def features(decode: Decode) -> torch.Tensor:
        x = encoder.encode(stacked(encoder, [preprocessed(encoder, decode(raw)) for raw in images]))[encoder.taps[0]]
        return torch.nn.functional.normalize(x.double())  # [n, d]

    of_pillow = features(decoders["Pillow"])
    found = {name: (features(decode) * of_pillow).sum(1) for name, decode in decoders.items()}
    return {name: (float(each.median()), float(each.min())) for name, each in found.items()}


def processor() -> str:
    """Return what the processor is called."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cores = os.cpu_count() or 1
    images, decoders = photographs(asked.images), installed()
    size = statistics.mean(map(len, images)) / 1000
    print(f"{processor()}, {cores} cores; {asked.images} JPEGs of 500 x 375, {size:.0f} kB, {asked.repeats} repeats")
    one = timed(decoders, images, asked.repeats, 1, time.process_time)
    many = timed(decoders, images, asked.repeats, cores, time.perf_counter)
    apart, alike = differences(decoders, images), cosines(decoders, images)
    print(f"\n{'':20} processor ms  of Pillow  {cores} threads  equal pixels    mean  most  median cosine    lowest")
    for name in decoders:
        (equal, mean, most), (median, lowest) = apart[name], alike[name]
        print(
            f"{name:20} {one[name]:12.2f}  {one[name] / one['Pillow']:9.2f}  {many[name]:9.2f}  {equal:12.4f}  "
            f"{mean:6.3f}  {most:4}  {median:13.6f}  {lowest:8.6f}"
        )
    if asked.json:
        table = {
            name: {"ms": one[name], "ms_all_cores": many[name], "apart": apart[name], "cosine": alike[name]}
            for name in decoders
        }
        print(json.dumps({"processor": processor(), "cores": cores, "decoders": table}))


if __name__ == "__main__":
    main()

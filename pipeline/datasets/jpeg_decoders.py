"""JPEGs decoded by nvJPEG on the encoder's GPU, in this thread, for as long as an encoder asks for it.

Pillow reads the header of every file. It decides what is a JPEG, how large it may be and which colours it has. nvJPEG
gets grey and RGB files that end as JPEGs do. Pillow decodes the rest: CMYK, files that are cut short, and files that
nvJPEG refuses although it decodes another one. So errors are the same with both. Pixels may not be: the decoder is part
of an encoder's identity, and where it fails on every file the run ends.

nvJPEG is called by torchcodec, which decodes by libjpeg-turbo on a CPU. No option asks for that, since it is not faster
than Pillow (`benchmarks/decoders.py`). Tests use it to run this module without a GPU.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...errors import BadInput, NotFound, Unavailable
from ..passing import is_passing
from ..specs import NVJPEG

if TYPE_CHECKING:
    import torch

_MODES = {"L": "GRAY", "RGB": "RGB"}
"""What torchcodec calls the modes of Pillow that are decoded here."""
_END = b"\xff\xd9"
"""The last bytes of a whole JPEG; some cameras add zeros."""
_STORED_AS_RGB = 0
"""Adobe's transform of files that hold RGB. nvJPEG would take it for luma and chroma."""
_EXIF, _NO_EXIF = re.compile(rb"(?s)Exif\0\0...."), b"Exif" + bytes(6)
"""How EXIF data begin: after their name come the byte order and a mark, without which nobody reads on."""

_device: ContextVar[str | None] = ContextVar("_device", default=None)


@contextmanager
def decoding_on(device: str | None) -> Iterator[None]:
    """Let JPEGs be decoded by torchcodec here, on this device; by Pillow if that is None."""
    before = _device.set(device)
    try:
        yield
    finally:
        _device.reset(before)


def decoded(opened: Any, raw: bytes) -> Image.Image | None:
    """Return a JPEG as torchcodec decodes it; None if Pillow is to decode it.

    Parameters
    ----------
    opened : Image
        The file as Pillow has opened it, not loaded.
    raw : bytes
    """
    device = _device.get()
    if device is None or opened.mode not in _MODES or not raw.rstrip(b"\0").endswith(_END):
        return None
    if opened.info.get("adobe_transform") == _STORED_AS_RGB:
        return None
    if "exif" in opened.info:
        raw = _not_rotating(raw)
    try:
        image = Image.fromarray(_by_torchcodec(raw, opened.mode, device))
    except Exception as e:
        if is_passing(e):
            raise
        _check_that_it_works(device)
        return None  # Pillow decodes it, or says what is wrong with it
    if image.size != opened.size:
        return None
    image.info = opened.info
    return image


def check_decoder(name: str | None, device: torch.device) -> None:
    """Refuse a decoder that this machine lacks, or that does not fit the encoder's device.

    Raises
    ------
    BadInput
        If the encoder is not on a GPU that the decoder runs on.
    NotFound
        If the decoder's package is not installed, or does not fit the installed torch.
    Unavailable
        If it does not work on that GPU.
    """
    if name != NVJPEG:
        return
    if device.type != "cuda":
        raise BadInput(
            f"--decoder {NVJPEG} decodes on a CUDA GPU, and the encoder computes on {device}.",
            hint="Leave --decoder out, or run on a machine with a CUDA GPU.",
            key="decoder",
        )
    try:
        from torchcodec.decoders import decode_jpeg  # noqa: F401
    except Exception as e:  # whatever its compiled parts raise beside a torch that they were not built for
        missing = isinstance(e, ModuleNotFoundError) and (e.name or "").startswith("torchcodec")
        why = "is not installed" if missing else f"cannot be used: {(str(e) or type(e).__name__).splitlines()[0]}"
        raise NotFound(
            f"--decoder {NVJPEG} needs the package torchcodec 0.16 or newer, which {why}.",
            hint="pip install 'cryoprobe[nvjpeg]'",
            key="decoder",
        ) from e
    _check_that_it_works(str(device))


def _check_that_it_works(device: str) -> None:
    """Refuse to go on if an image that nothing is wrong with cannot be decoded: Pillow must not stand in for that."""
    try:
        _by_torchcodec(_sound(), "RGB", device)
    except Exception as e:
        why = (str(e) or type(e).__name__).splitlines()[0]
        raise Unavailable(
            f"--decoder {NVJPEG} does not work on {device}: {why}",
            hint="Check that torchcodec and the driver fit the installed torch, or leave --decoder out.",
            key="decoder",
        ) from e


@functools.cache
def _sound() -> bytes:
    """Return a JPEG that nothing is wrong with."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "grey").save(file, "JPEG")
    return file.getvalue()


def _by_torchcodec(raw: bytes, mode: str, device: str) -> npt.NDArray[np.uint8]:
    """Return uint8 [h, w] of mode ``L``, or [h, w, 3] of ``RGB``."""
    import torch
    from torchcodec.decoders import decode_jpeg

    # Of bytes, which cannot be written to, torchcodec would make the same tensor, but it sets warning filters for that,
    # and those are not safe with threads.
    data = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    # torchcodec waits for the stream that it decodes on, and must not wait for the encoder's.
    cuda: Any = torch.cuda  # in part without types
    with cuda.stream(cuda.Stream(device) if device.startswith("cuda") else None):  # (None changes nothing)
        pixels = decode_jpeg(data, mode=_MODES[mode], device=device)  # [c, h, w]
        pixels = pixels[0] if mode == "L" else pixels.permute(1, 2, 0)
        array: npt.NDArray[np.uint8] = pixels.contiguous().cpu().numpy()
    return array


def _not_rotating(raw: bytes) -> bytes:
    """Return a file with EXIF data that cannot be read: torchcodec would apply their orientation.

    Cryoprobe applies none, whatever the decoder.
    """
    return _EXIF.sub(_NO_EXIF, raw)

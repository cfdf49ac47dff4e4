"""HEIC and AVIF by their Pillow plug-ins, where Pillow itself does not read them and the plug-in is installed.

The plug-ins register themselves in the program's own Pillow. Here they are called, and nothing is registered: a file is
read alike whatever the program has imported. No file that Pillow reads comes here.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

from PIL import Image

from .pillow import check_size
from .signatures import AVIF, HEIF, container


def opened(raw: bytes) -> Image.Image | None:
    """Decode a HEIC or AVIF image; None if it is neither, or its plug-in is not installed.

    Any error is the plug-in's.
    """
    kind = container(raw)
    if kind == HEIF and (heif := _installed("pillow_heif")) is not None:
        return _heif(heif, raw)
    if kind == AVIF and (avif := _installed("pillow_avif")) is not None:
        return _avif(avif, raw)
    return None


def _heif(plugin: Any, raw: bytes) -> Image.Image:
    """Read the primary image, 10 and 12 bits as 8; a rotation in the container is applied, as everywhere."""
    found = plugin.open_heif(io.BytesIO(raw), convert_hdr_to_8bit=True, bgr_mode=False)
    check_size(found.size)
    data = found.data  # decodes, and may correct the size
    return Image.frombytes(found.mode, found.size, data, "raw", found.mode, found.stride)


def _avif(plugin: Any, raw: bytes) -> Image.Image:
    found = plugin.AvifImagePlugin.AvifImageFile(io.BytesIO(raw))
    check_size(found.size)
    found.load()
    own: Image.Image = found.copy()
    return own


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None

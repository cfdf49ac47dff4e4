"""Pillow, loaded a second time for Cryoprobe alone, so that no setting of the program around it changes a pixel.

Pillow decodes as module globals say: ``ImageFile.LOAD_TRUNCATED_IMAGES`` fills cut-off images with grey,
``Image.MAX_IMAGE_PIXELS`` says which are too large, plugins that are registered take formats over, and a warning filter
can make an error of a warning. Notebooks set them, and features must not depend on it: they are kept under the hash of
the file alone. Setting the globals back for a moment would not be safe with threads. So Pillow's Python modules are
executed once more, under another package name; the compiled ones are shared, and keep no such state.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import PIL

from .pixel_limit import REMEDY, most_pixels

_NAME = "_cryoprobe_pillow"
_COMPILED = ("_imaging", "_webp", "_avif")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(_NAME, PIL.__file__, submodule_search_locations=list(PIL.__path__))
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    for name in _COMPILED:
        with suppress(ImportError):  # Pillow may be built without a format
            sys.modules[f"{_NAME}.{name}"] = importlib.import_module(f"PIL.{name}")
    spec.loader.exec_module(package)
    image: Any = importlib.import_module(f"{_NAME}.Image")
    # All formats are there from the start: Pillow would load the rarer ones when it needs them, and not safely.
    image.preinit()
    for plugin in package._plugins:
        with suppress(ImportError):  # some need packages that are not installed
            importlib.import_module(f"{_NAME}.{plugin}")
    image.init()
    for module in [m for name, m in sys.modules.items() if name.startswith(f"{_NAME}.")]:
        if hasattr(module, "warnings"):
            module.warnings = SimpleNamespace(warn=_ignore)  # type: ignore[attr-defined]
    image._decompression_bomb_check = check_size
    return package


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Take the place of ``warnings.warn``: what matters is raised."""


def check_size(size: tuple[int, int], **_: Any) -> None:
    """Refuse an image of too many pixels.

    Raises
    ------
    DecompressionBombError
        Of `pillow_image`.
    """
    pixels = max(1, size[0]) * max(1, size[1])
    if pixels > most_pixels():
        raise pillow_image.DecompressionBombError(
            f"{size[0]} x {size[1]} pixels, the limit is {most_pixels()}: it could be a decompression bomb; {REMEDY}"
        )


pillow: Any = _load()
pillow_image: Any = pillow.Image

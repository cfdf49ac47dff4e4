"""A tiny encoder that logs every image it encodes, and goes wrong where a plan says so: faults as data.

Its log is in the working folder, which all workers share. A plan is ``{worker: {call: fault}}``: workers are numbered
as they come to their first call, from 0, and calls from 1; ``"any"`` stands for all that are not named. A fault comes
at the beginning of the call, before anything of it is logged: ``"kill"`` (the process ends without a word), ``"hang"``
(the call never ends), ``["slow", seconds]``, or ``"wait"`` (it goes on after `go`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import cryoprobe
from cryoprobe.stores.local.processes import process_start

NAME = "support.logged_encoder:make"
SIDE, DIM = 8, 16
_LOG = Path("log")
_own: dict[str, int] = {}


class Logged(torch.nn.Module):
    """Projects the pixels of each image by itself: what comes out does not depend on the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.projection = torch.nn.Parameter(torch.randn(3 * SIDE * SIDE, DIM, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _go_wrong()
        rows = x.flatten(1)
        with (_LOG / f"{_worker()}.txt").open("a") as log:
            log.write("".join(f"{pixel_hash(row)}\n" for row in rows))
        return torch.stack([row @ self.projection for row in rows])


def preprocess(image: Image.Image) -> torch.Tensor:
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), dtype=np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def make() -> cryoprobe.Encoder:
    """Return the encoder that `NAME` names."""
    torch.set_num_threads(1)
    return cryoprobe.Encoder(Logged(), preprocess, name="tests:logged", version="1", device="cpu")


def pixel_hash(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.flatten().numpy().tobytes()).hexdigest()[:16]


def begin(folder: Path, plan: dict[Any, dict[Any, Any]]) -> None:
    """Start a log in a folder, with a plan."""
    (folder / _LOG).mkdir(parents=True)
    (folder / _LOG / "plan.json").write_text(json.dumps(plan))


def go(folder: Path) -> None:
    """Let calls that wait go on, and no later one wait."""
    (folder / _LOG / "go").touch()


def encoded(folder: Path) -> Counter[str]:
    """Return how often each image was encoded, by all processes together."""
    return Counter(line for file in (folder / _LOG).glob("*.txt") for line in file.read_text().split())


def processes(folder: Path) -> int:
    """Return how many processes have encoded anything."""
    return len([*(folder / _LOG).glob("*.pid")])


def alive(folder: Path) -> list[int]:
    """Return the process numbers of those that have encoded and have not ended."""
    pids = [int(file.read_text() or 0) for file in (folder / _LOG).glob("*.pid")]
    return [pid for pid in pids if process_start(pid) is not None]


def hung(folder: Path) -> list[int]:
    """Return the numbers of the processes that hang."""
    return [int(file.with_suffix(".pid").read_text()) for file in (folder / _LOG).glob("*.hung")]


def _worker() -> int:
    """Return the number of this process: the next that nobody has taken."""
    while "number" not in _own:
        number = len([*_LOG.glob("*.pid")])
        try:
            with (_LOG / f"{number}.pid").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        _own["number"] = number
    return _own["number"]


def _go_wrong() -> None:
    _own["call"] = _own.get("call", 0) + 1
    plan = json.loads((_LOG / "plan.json").read_text())
    calls = plan.get(str(_worker()), plan.get("any", {}))
    fault = calls.get(str(_own["call"]), calls.get("any"))
    if fault == "kill":
        os._exit(1)
    if fault == "hang":
        (_LOG / f"{_worker()}.hung").touch()
        while True:
            time.sleep(3600)
    while fault == "wait" and not (_LOG / "go").exists():
        time.sleep(0.02)
    if isinstance(fault, list):
        time.sleep(fault[1])

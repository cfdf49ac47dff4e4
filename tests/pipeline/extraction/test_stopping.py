"""Ctrl-C, SIGTERM and SIGKILL while images are encoded: what is lost of what was encoded."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.data import wait_until, write_images
from support.forking import CONTEXT

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.extraction import split_run

ROWS, BATCH = 240, 8
INSTANTS = 10
KILLS = 30


class Counting:
    """An encoder that counts what it has encoded, and takes its time."""

    def __init__(self, encoder: Encoder, count_file: Path | None = None, seconds: float = 0.005) -> None:
        self._encoder = encoder
        self._file = count_file
        self._seconds = seconds
        self.encoded = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def encode(self, batch):  # type: ignore[no-untyped-def]
        encoded = self._encoder.encode(batch)
        time.sleep(self._seconds)
        self.encoded += len(batch)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(f"{self.encoded} {time.time()}\n")
        return encoded


def rows_in(store: Path, encoder: Encoder) -> int:
    return len(cryoprobe.open_store(store).rows_of(encoder.spec(encoder.taps[0]).id))


def _extract(data: str, store: str, count_file: str, unit_seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    split_run.UNIT_SECONDS = unit_seconds
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    counting = Counting(encoder, Path(count_file), seconds=0.02)
    cryoprobe.extract(counting, f"folder:{data}", store, batch_size=BATCH, workers=1)  # type: ignore[arg-type]


class Extracting:
    """An extraction in another process, of which is known what it has encoded."""

    def __init__(self, folder: Path, unit_seconds: float) -> None:
        self.store, self._counts = folder / "store", folder / "counts"
        folder.mkdir()
        self._counts.touch()
        arguments = (str(folder.parent / "data"), str(self.store), str(self._counts), unit_seconds)
        self.process = CONTEXT.Process(target=_extract, args=arguments)
        self.process.start()
        wait_until(lambda: self._counts.stat().st_size > 0, self.process.is_alive)

    def end(self, number: int) -> npt.NDArray[np.float64]:
        """Send a signal and wait for the end; return how many images each batch brought it to, and when, [n, 2]."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join()
        return np.array([line.split() for line in self._counts.read_text().splitlines()], float)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_at_ten_instants_lose_no_encoded_image(
    number: int, encoder: Encoder, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    instants, stopped = random.Random(number), 0
    for i in range(INSTANTS):
        extracting = Extracting(tmp_path / str(i), split_run.UNIT_SECONDS)
        time.sleep(instants.uniform(0, 0.6))
        encoded = int(extracting.end(number)[-1][0])
        stopped += encoded < ROWS
        if number == signal.SIGTERM and encoded < ROWS:
            assert extracting.process.exitcode == 143
        assert rows_in(extracting.store, encoder) == encoded
        assert not list((extracting.store / "claims").rglob("*.json"))
        (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", extracting.store)
        assert done.encoded == ROWS - encoded
    assert stopped > INSTANTS // 2


@pytest.mark.slow
def test_sigkill_at_thirty_instants_loses_what_was_encoded_since_the_last_unit(
    encoder: Encoder, tmp_path: Path
) -> None:
    """With a unit every tenth of a second instead of every three quarters of a minute."""
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    instants, unit_seconds, kept_some = random.Random(9), 0.1, 0
    for i in range(KILLS):
        extracting = Extracting(tmp_path / str(i), unit_seconds)
        if i % 2:  # from when something is sealed, which takes long on a busy machine
            wait_until(lambda: any(extracting.store.glob("unit-seals/*/*")), extracting.process.is_alive)  # noqa: B023
        time.sleep(instants.uniform(0, 0.6))
        encoded = extracting.end(signal.SIGKILL)
        sealed = rows_in(extracting.store, encoder)
        assert sealed <= encoded[-1][0]
        kept_some += sealed > 0
        # A unit is sealed after the batch with which its first row is as old; the machine may be slow to do so.
        lost = encoded[sealed // BATCH : -1, 1]
        if len(lost) > 2:
            assert lost[-2] - lost[0] < unit_seconds + 0.5
        assert not cryoprobe.verify(extracting.store, data=True).damages
    assert kept_some > KILLS // 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]
)
def test_on_the_command_line(number: int, code: int, said: str, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 2000, "b": 2000}, side=16)
    store = tmp_path / "store"
    command = [sys.executable, "-m", "cryoprobe", "extract", "--model", "timm:test_vit", "--untrained"]
    command += ["--dataset", f"folder:{tmp_path / 'data'}", "--store", str(store), "--batch-size", "8"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(
        lambda: (store / "claims").is_dir() and any((store / "claims").rglob("*.json")), lambda: process.poll() is None
    )
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert said in err
    assert "Traceback" not in err
    assert not out
    assert not list((store / "claims").rglob("*.json"))
    assert any((store / "unit-seals").rglob("*.json"))

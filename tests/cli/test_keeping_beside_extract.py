"""Extractors at work while a gc without any grace runs beside them: they do some things again, and lose nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from support.data import write_images
from support.extractor import Extraction

import cryoprobe

pytestmark = pytest.mark.slow

ROWS = 96
UNIT_ROWS = 8


def test_two_extractors_and_gc(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    store = tmp_path / "store"
    undisturbed = Extraction(tmp_path / "data", tmp_path / "undisturbed", UNIT_ROWS).summary()
    both = [Extraction(tmp_path / "data", store, UNIT_ROWS) for _ in range(2)]
    for extraction in both:
        extraction.wait_for_begin()
    # The first one is surely beside them: they hold still until it is done.
    for extraction in both:
        assert extraction.process.pid is not None
        os.kill(extraction.process.pid, signal.SIGSTOP)
    cryoprobe.gc(store, delete=True, grace=0)
    for extraction in both:
        assert extraction.process.pid is not None
        os.kill(extraction.process.pid, signal.SIGCONT)
    # A writer gives up after eight losses in a row: on a slow machine it needs longer pauses to get through at all.
    pauses, longest = random.Random(0), 0.3
    while any(e.process.is_alive() and not e.has_answered() for e in both):
        time.sleep(pauses.uniform(0.05, longest))
        cryoprobe.gc(store, delete=True, grace=0)
        longest *= 1.3
    assert {e.summary()["set"] for e in both} == {undisturbed["set"]}
    assert not cryoprobe.verify(store, data=True).damages
    mine, theirs = (cryoprobe.open_store(s).open(undisturbed["set"]) for s in (store, tmp_path / "undisturbed"))
    np.testing.assert_array_equal(mine.load()[0], theirs.load()[0])
    np.testing.assert_array_equal(mine.sample_ids(), theirs.sample_ids())
    cryoprobe.gc(store, delete=True, grace=0)
    assert not list(cryoprobe.open_store(store).backend.list("units/"))

"""The quickstart does what it says: encodes once, probes twice, and encodes nothing the second time."""

from __future__ import annotations

from pathlib import Path

import pytest

import cryoprobe

pytestmark = pytest.mark.slow


def test_the_quickstart_encodes_each_digit_once_and_probes_well(store: Path) -> None:
    notes: list[str] = []

    class Notes(cryoprobe.Reporter):
        def note(self, message: str) -> None:
            notes.append(message)

    done = cryoprobe.quickstart(store, Notes())
    assert (done.first.rows, done.first.dim, done.first.encoded) == (1797, 1280, 1797)
    assert (done.second.set, done.second.encoded, done.second.reused) == (done.first.set, 0, 1797)
    top1 = {trial["probe"]: trial["metrics"]["top1"] for trial in done.trials}
    assert top1["logreg"] > 0.95  # pretrained features: chance is 0.1
    assert top1["knn"] > 0.85
    assert all(not trial["cached"] for trial in done.trials)
    assert any("nothing is encoded twice" in note for note in notes)
    assert all(str(store) in command for command in done.commands)

    second = cryoprobe.quickstart(store)
    assert second.first.encoded == 0
    assert all(trial["cached"] for trial in second.trials)

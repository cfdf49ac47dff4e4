"""What a path means on machines that share a store: the content that the machine has seen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.data import write_images

import cryoprobe
from cryoprobe.errors import Conflict
from cryoprobe.pipeline.encoders import Encoder


class Machine:
    """A machine with images of its own at a path that others have too."""

    def __init__(self, folder: Path, name: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._name, self._encoder, self._patch = folder, name, encoder, monkeypatch
        self.store = folder / "store"

    def on(self) -> Machine:
        """Be at work: its images are at the path, and its cache is used."""
        here = self._folder / "data"
        here.unlink(missing_ok=True)
        here.symlink_to(self._folder / self._name)
        self._patch.setenv("CRYOPROBE_CACHE", str(self._folder / f"cache-{self._name}"))
        return self

    def extract(self, store: Path | None = None, encoder: Encoder | None = None) -> str:
        self.on()
        data = f"folder:{self._folder / 'data'}"
        return cryoprobe.extract(encoder or self._encoder, data, store or self.store)[0].set

    def probe(self) -> dict[str, Any]:
        self.on()
        name = {"model": "timm:test_vit", "dataset": f"folder:{self._folder / 'data'}", "untrained": True}
        return cryoprobe.probe(self.store, **name, probe="nearest-mean")


@pytest.fixture
def machines(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, Machine, Machine]:
    write_images(tmp_path / "alice", {"a": 10, "b": 10})
    write_images(tmp_path / "bob", {"a": 10, "b": 10, "c": 10}, seed=1)
    (tmp_path / "carol").mkdir()
    alice, bob, carol = (Machine(tmp_path, name, encoder, monkeypatch) for name in ("alice", "bob", "carol"))
    return alice, bob, carol


def test_a6_name_collision(machines: tuple[Machine, Machine, Machine]) -> None:
    alice, bob, carol = machines
    bobs, alices = bob.extract(), alice.extract()
    result = bob.probe()
    assert result["train"] == bobs
    assert any(f"there is other, newer content of that name: set {alices[:12]}" in note for note in result["notes"])
    assert alice.probe()["train"] == alices
    assert not [note for note in alice.probe()["notes"] if "content" in note]
    bob.extract()
    assert bob.probe()["train"] == bobs
    seen_neither = carol.probe()
    assert any("2 contents go by the name" in note for note in seen_neither["notes"])


def test_other_content_than_this_machine_has_seen_is_not_taken(
    machines: tuple[Machine, Machine, Machine], tmp_path: Path
) -> None:
    alice, bob, _ = machines
    alices = alice.extract()
    bob.extract(tmp_path / "bobs own store")
    with pytest.raises(Conflict, match="on this machine is not what the store") as caught:
        bob.probe()
    assert alices[:12] in str(caught.value)
    assert "cryoprobe extract" in str(caught.value)
    by_id = cryoprobe.probe(bob.store, train=alices, probe="nearest-mean")
    assert by_id["train"] == alices


def test_files_that_have_changed_since_bind_nobody(machines: tuple[Machine, Machine, Machine], tmp_path: Path) -> None:
    alice, bob, _ = machines
    bob.extract(tmp_path / "bobs own store")
    shutil.rmtree(tmp_path / "bob" / "c")
    alices = alice.extract()
    result = bob.probe()
    assert result["train"] == alices
    assert any("was other content when this machine extracted it" in note for note in result["notes"])


def test_grown_data_mean_their_newest_content_where_they_grew(machines: tuple[Machine, Machine, Machine]) -> None:
    alice, _, _ = machines
    before = alice.extract()
    write_images(alice.store.parent / "alice", {"a": 2}, seed=5)
    after = alice.extract()
    result = alice.probe()
    assert result["train"] == after != before
    assert not [note for note in result["notes"] if "content" in note]

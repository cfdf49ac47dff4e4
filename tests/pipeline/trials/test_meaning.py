"""What a name means on machines that share a store: the content that the machine has seen, or one that is chosen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.data import put_set, write_images

import cryoprobe
from cryoprobe.errors import BadInput, Conflict
from cryoprobe.pipeline.encoders import Encoder


class Printing(cryoprobe.Reporter):
    """Prints notes."""

    def note(self, message: str) -> None:
        print(message)


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

    def extract(self, store: Path | None = None, **options: Any) -> str:
        self.on()
        data = f"folder:{self._folder / 'data'}"
        return cryoprobe.extract(self._encoder, data, store or self.store, **options)[0].set

    def probe(self, dataset: str = "", **options: Any) -> dict[str, Any]:
        self.on()
        name = {"model": "timm:test_vit", "dataset": dataset or f"folder:{self._folder / 'data'}", "untrained": True}
        return cryoprobe.probe(self.store, **name, probe="nearest-mean", **options)

    def write(self, classes: dict[str, int], seed: int, split: str = "") -> None:
        write_images(self._folder / self._name / split, classes, seed=seed)


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
    with pytest.raises(
        Conflict, match=r"is the name of 2 contents in .*, and this machine has extracted none"
    ) as caught:
        carol.probe()
    assert caught.value.exit_code == 7
    lines = re.findall(r"--train (\w+) --test 0.2   (\d+) rows, .+@.+ \(machine \w+\), 20\d\d-.*", str(caught.value))
    assert dict(lines) == {bobs[:12]: "30", alices[:12]: "20"}
    for chosen, _ in lines:
        assert cryoprobe.probe(carol.store, train=chosen, test="0.2", probe="nearest-mean")["train"].startswith(chosen)


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


def test_the_splits_of_one_machine_go_together(machines: tuple[Machine, Machine, Machine], tmp_path: Path) -> None:
    ids: dict[str, dict[str, str]] = {}
    for number, machine in enumerate(machines[:2]):
        shutil.rmtree(tmp_path / ("alice", "bob")[number])
        for part in ("train", "test"):
            machine.write({"a": 4 + number, "b": 4}, seed=10 * number + len(part), split=part)
        machine.on()
        made = cryoprobe.extract(machine._encoder, f"folder:{tmp_path / 'data'}", machine.store)
        ids[str(number)] = {m.split: m.set[:12] for m in made}
    alice, _, carol = machines
    alice.extract(splits=["train"])  # named again, later than Bob's test set
    with pytest.raises(Conflict) as caught:
        carol.probe()
    said = str(caught.value)
    for sets in ids.values():
        assert f"--train {sets['train']} --test {sets['test']}   " in said
    assert "9 + 9 rows" in said
    assert "8 + 8 rows" in said


def test_sets_of_two_peoples_are_combined_with_a_note(
    machines: tuple[Machine, Machine, Machine], tmp_path: Path
) -> None:
    alice, bob, carol = machines
    for machine, name in ((alice, "alice"), (bob, "bob")):
        shutil.rmtree(tmp_path / name)
        for part in ("train", "test"):
            machine.write({"a": 4, "b": 4}, seed=len(name + part), split=part)
    alice.extract(splits="train")
    bob.extract(splits="test")
    for machine in (alice, carol):
        notes = [note for note in machine.probe()["notes"] if "the test set by" in note]
        assert len(notes) == 1
    alice.extract(splits="test")
    notes = alice.probe()["notes"]
    assert not [note for note in notes if "the test set by" in note]
    with pytest.raises(Conflict, match=r"\(test\) is the name of 2 contents"):
        carol.probe()


def test_whoever_has_the_same_images_does_not_make_another_content(
    machines: tuple[Machine, Machine, Machine], tmp_path: Path
) -> None:
    alice, bob, carol = machines
    shutil.rmtree(tmp_path / "bob")
    shutil.copytree(tmp_path / "alice", tmp_path / "bob")
    assert alice.extract() == bob.extract()
    assert carol.probe()["notes"] == alice.probe()["notes"]


def test_contents_of_two_layers_are_asked_about(machines: tuple[Machine, Machine, Machine], tmp_path: Path) -> None:
    alice, bob, carol = machines
    alice.extract()
    bob.extract(tmp_path / "upper")
    carol.on()
    both = cryoprobe.open_store(tmp_path / "upper", sources=[alice.store], trust=True)
    carol.store = both  # type: ignore[assignment]
    with pytest.raises(Conflict, match="2 contents"):
        carol.probe()


@pytest.mark.parametrize("name", ["folder:/d", "csv:/nfs/d.csv", "torchvision:CIFAR100", "sklearn:digits", "lab:birds"])
def test_no_kind_of_name_is_chosen_between(tmp_path: Path, name: str) -> None:
    store = cryoprobe.open_store(tmp_path / "store", create=True)
    for seed in (1, 2):
        x = np.random.default_rng(seed).standard_normal((20, 8))
        put_set(store, x, np.arange(20) % 2, classes="ab", split="all", dataset=name)
    with pytest.raises(Conflict, match=f"{name} .* is the name of 2 contents"):
        cryoprobe.probe(store, model="timm:m", dataset=name, probe="nearest-mean")


# Names that people give


def test_a_given_name_is_probed_anywhere(machines: tuple[Machine, Machine, Machine]) -> None:
    alice, _, carol = machines
    made = alice.extract(as_name="birds")
    result = carol.probe("birds")
    assert (result["train"], result["dataset"]) == (made, "birds")
    assert [note for note in result["notes"] if "held out" not in note] == []
    assert alice.probe()["train"] == made  # by its path, where it was extracted
    with pytest.raises(cryoprobe.NotFound):
        carol.probe()
    (named,) = cryoprobe.open_store(alice.store).names()
    assert named.by[0].source == named.name.dataset.replace("birds", f"folder:{alice.store.parent / 'data'}")


def test_a_given_name_moves_with_whoever_gave_it(
    machines: tuple[Machine, Machine, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    alice, bob, carol = machines
    first = alice.extract(as_name="birds")
    alice.write({"a": 2}, seed=5)
    grown = alice.extract(as_name="birds", reporter=Printing())
    assert f"birds (all) was set {first[:12]} (20 rows) until now" in capsys.readouterr().out
    result = carol.probe("birds")
    assert result["train"] == grown
    assert any(f"before it was set {first[:12]} (20 rows)" in note for note in result["notes"])

    bobs = bob.extract(as_name="birds", reporter=Printing())
    said = capsys.readouterr().out
    assert f"birds (all) is the name of other content too: set {grown[:12]} (22 rows), by " in said
    assert first[:12] not in said
    assert (bob.probe("birds")["train"], alice.probe("birds")["train"]) == (bobs, grown)
    with pytest.raises(Conflict, match="2 contents") as caught:
        carol.probe("birds")
    assert f"from folder:{alice.store.parent / 'data'}" in str(caught.value)
    assert "--as birds" in str(caught.value)
    assert first[:12] not in str(caught.value)


def test_the_same_path_with_other_content_is_said_when_it_is_extracted(
    machines: tuple[Machine, Machine, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    alice, bob, _ = machines
    alices = alice.extract(reporter=Printing())
    bob.extract(reporter=Printing())
    said = capsys.readouterr().out
    assert f"is the name of other content too: set {alices[:12]} (20 rows), by " in said
    assert "--as NAME" in said


def test_files_of_a_given_name_that_changed_are_noticed(machines: tuple[Machine, Machine, Machine]) -> None:
    alice, _, _ = machines
    alice.extract(as_name="birds")
    assert not [note for note in alice.probe("birds")["notes"] if "changed" in note]
    alice.write({"a": 2}, seed=5)
    assert [note for note in alice.probe("birds")["notes"] if "may have changed" in note]
    assert [note for note in alice.probe()["notes"] if "may have changed" in note]


def test_the_command_for_a_given_name_says_where_it_is(machines: tuple[Machine, Machine, Machine]) -> None:
    alice, _, carol = machines
    alice.extract(as_name="birds")
    carol.on()
    with pytest.raises(cryoprobe.NotFound) as caught:
        cryoprobe.probe(carol.store, model="timm:other", dataset="birds")
    assert f"--dataset folder:{alice.store.parent / 'data'} --as birds" in str(caught.value)
    with pytest.raises(BadInput, match="By names that were given the store has: birds"):
        cryoprobe.probe(carol.store, model="timm:test_vit", dataset="brids")


@pytest.mark.parametrize(
    "name", ["", " birds", "birds ", "a/b", "./birds", "~birds", "-birds", "bird*", "x[1]", "a\nb", "csv", "folder:x"]
)
def test_a_given_name_looks_like_nothing_else(machines: tuple[Machine, Machine, Machine], name: str) -> None:
    alice, _, _ = machines
    with pytest.raises(BadInput, match="--as"):
        alice.extract(as_name=name)
    assert not alice.store.exists()


def test_commands_find_a_given_name_by_the_path_of_its_data(
    machines: tuple[Machine, Machine, Machine], tmp_path: Path
) -> None:
    alice, _, _ = machines
    made = alice.extract(as_name="birds")
    trial = alice.probe("birds").trial.trial
    store, path = ["--store", alice.store], ["--dataset", f"folder:{tmp_path / 'data'}"]
    assert {n["set"] for n in json.loads(run("ls", *store, *path, "--json").stdout)} == {made}
    assert [t["trial"] for t in json.loads(run("results", *store, *path, "--json").stdout)] == [trial]
    assert len(json.loads(run("push", tmp_path / "new", *store, *path, "-n", "--json").stdout)["sets"]) == 1
    assert [n.set for n in cryoprobe.open_store(alice.store).ls(dataset=f"folder:{tmp_path}/d?ta")] == [made]


def test_commands_take_a_given_name(machines: tuple[Machine, Machine, Machine], tmp_path: Path) -> None:
    alice, _, carol = machines
    made = alice.extract()
    assert alice.extract(as_name="birds") == made
    carol.on()
    trial = carol.probe("birds").trial.trial
    store = ["--store", alice.store]
    other = ["--store", tmp_path / "other"]
    path = f"folder:{tmp_path / 'data'}"
    for dataset in ("birds", "bi?ds", path):
        filters = ["--dataset", dataset, "--json"]
        assert {n["set"] for n in json.loads(run("ls", *store, *filters).stdout)} == {made}
        assert [e["set"] for e in json.loads(run("log", *store, *filters).stdout)] == [made]
        assert [s["set"] for s in json.loads(run("du", *store, *filters).stdout)["sets"]] == [made]
        assert [t["trial"] for t in json.loads(run("results", *store, *filters).stdout)] == [trial]
        assert len(json.loads(run("push", tmp_path / "new", *store, *filters, "-n").stdout)["sets"]) == 1
        assert len(json.loads(run("pull", alice.store, *other, *filters, "-n").stdout)["sets"]) == 1
        ways = json.loads(run("sync", alice.store, tmp_path / "new", *filters, "-n").stdout)
        assert [len(way["sets"]) for way in ways] == [1, 0]
    assert "No set fits" in run("ls", *store, "--dataset", "owls").stderr

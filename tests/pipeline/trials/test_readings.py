"""One table read in several ways: the columns and the class names are part of the name of what is extracted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.containers import CLASSES, as_parquet, as_tar, samples
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput, Conflict, NotFound
from cryoprobe.pipeline.encoders import Encoder

FOUND = samples(30)
COARSE = ["flies" if s.label == "bee" else "walks" for s in FOUND]


class Notes(cryoprobe.Reporter):
    """Keeps what is worth knowing."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def table(tmp_path: Path) -> str:
    as_parquet(tmp_path / "t.parquet", FOUND, coarse=COARSE)
    return f"parquet:{tmp_path / 't.parquet'}"


def extract(encoder: Encoder, table: str, store: Path, **options: Any) -> str:
    (done,) = cryoprobe.extract(encoder, table, store, **{"progress": False, **options})
    return done.set


def probe(store: Path, table: str, **options: Any) -> cryoprobe.Trial:
    asked = {"model": "timm:test_vit", "dataset": table, "untrained": True, "probe": "nearest-mean"}
    return cryoprobe.probe(store, progress=False, **{**asked, **options}).trial


def test_two_label_columns_are_two_names_and_the_one_that_is_asked_for_is_probed(
    encoder: Encoder, table: str, store: Path
) -> None:
    notes = Notes()
    fine = extract(encoder, table, store, label_column="label")
    coarse = extract(encoder, table, store, label_column="coarse", reporter=notes)
    assert fine != coarse
    assert not [note for note in notes.said if "other content" in note or ("label" in note and "changed" in note)]
    for column, made, classes in (("label", fine, list(CLASSES)), ("coarse", coarse, ["flies", "walks"])):
        trial = probe(store, table, label_column=column)
        assert (trial.train, trial.classes) == (made, classes)
    with pytest.raises(Conflict) as caught:
        probe(store, table)
    said = str(caught.value)
    assert f"--label-column label --untrained (all {fine[:12]})" in said
    assert f"--label-column coarse --untrained (all {coarse[:12]})" in said
    assert "Give the options of one of these (--label-column)" in said
    with pytest.raises(NotFound, match="--label-column other"):
        probe(store, table, label_column="other")


def test_without_the_option_the_reading_without_it_is_meant(encoder: Encoder, table: str, store: Path) -> None:
    coarse = extract(encoder, table, store, label_column="coarse")
    assert probe(store, table).train == coarse
    notes = cryoprobe.probe(store, model="timm:test_vit", dataset=table, untrained=True, probe="nearest-mean").notes
    assert any("the only one is used (--label-column coarse, --untrained)" in note for note in notes)
    guessed = extract(encoder, table, store)
    assert guessed != coarse
    assert probe(store, table).train == guessed
    assert probe(store, table, label_column="coarse").train == coarse


def test_an_option_that_the_kind_does_not_take_is_refused(store: Path, tmp_path: Path) -> None:
    cryoprobe.open_store(store, create=True)
    with pytest.raises(BadInput, match=r"--label-column is for wds:PATTERN, .* and has no effect on folder:"):
        probe(store, f"folder:{tmp_path}", label_column="label")


def test_two_classes_of_one_name_are_refused(encoder: Encoder, table: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nant\ncat\n")
    with pytest.raises(BadInput, match="names two classes 'ant'"):
        extract(encoder, table, store, class_names=tmp_path / "names.txt")


def test_class_names_are_told_apart_by_what_they_are_not_by_their_file(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    members = {}
    for s in FOUND:
        members[f"{s.name}.jpg"], members[f"{s.name}.cls"] = s.raw, str(CLASSES.index(s.label)).encode()
    shard = f"wds:{as_tar(tmp_path / 'a.tar', members)}"
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    (tmp_path / "names.json").write_text(json.dumps(list(CLASSES)))
    (tmp_path / "others.txt").write_text("Ameise\nBiene\nKatze\n")
    named = extract(encoder, shard, store, class_names=tmp_path / "names.txt")
    assert extract(encoder, shard, store, class_names=tmp_path / "names.json") == named
    others = extract(encoder, shard, store, class_names=tmp_path / "others.txt")
    assert len(cryoprobe.open_store(store).names()) == 2
    (tmp_path / "names.txt").unlink()
    assert probe(store, shard, class_names=tmp_path / "names.json").train == named
    assert probe(store, shard, class_names=tmp_path / "others.txt").train == others
    with pytest.raises(Conflict, match=r"\(--class-names\)"):
        probe(store, shard)
    with pytest.raises(NotFound, match=r"There is no file .*names\.txt"):
        probe(store, shard, class_names=tmp_path / "names.txt")


def test_the_commands_choose_by_them(encoder: Encoder, table: str, store: Path) -> None:
    made = {column: extract(encoder, table, store, label_column=column) for column in ("label", "coarse")}
    words = ("--model", "timm:test_vit", "--untrained", "--dataset", table, "--store", store)
    done = run("probe", *words, "--probe", "nearest-mean", "--label-column", "coarse", "--json")
    assert json.loads(done.stdout)["trials"][0]["train"] == made["coarse"]
    for column in made:
        listed = json.loads(run("ls", "--store", store, "--label-column", column, "--json").stdout)
        assert [n["set"] for n in listed] == [made[column]]
    assert "No set fits --label-column none" in run("ls", "--store", store, "--label-column", "none").stderr
    assert "--label-column coarse" in run("ls", "--store", store).stdout


def test_rows_of_a_reading_are_encoded_again_from_its_columns(store: Path, tmp_path: Path) -> None:
    other = samples(30, seed=5)
    as_parquet(tmp_path / "t.parquet", FOUND, other=[s.raw for s in other])
    options = {"untrained": True, "image_size": 32, "image_column": "other", "progress": False}
    cryoprobe.extract("timm:test_vit", f"parquet:{tmp_path / 't.parquet'}", store, **options)  # type: ignore[arg-type]
    (found,) = cryoprobe.recompute(store, share=0.2, progress=False)
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.differing) == (6, 0)


def test_a_tap_is_listed_by_every_spelling_of_it(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    x, y = np.random.default_rng(0).standard_normal((8, 4)), np.arange(8) % 2
    made = {}
    for tap in ("cls", "blocks.5@cls", "blocks.5@mean", "blocks.50@cls"):
        made[tap] = put_set(opened, x, y, classes="ab", split="train", tap=tap).id
    for asked, taps in {
        "cls@1": ["cls"],
        "blocks.5": ["blocks.5@cls", "blocks.5@mean"],
        "blocks.5@mean": ["blocks.5@mean"],
        "blocks.50": ["blocks.50@cls"],
        "blocks.*": ["blocks.5@cls", "blocks.5@mean", "blocks.50@cls"],
    }.items():
        for command in ("ls", "log"):
            listed = json.loads(run(command, "--store", store, "--tap", asked, "--json").stdout)
            assert {n["set"] for n in listed} == {made[tap] for tap in taps}, (command, asked)

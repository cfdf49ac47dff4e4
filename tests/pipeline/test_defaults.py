"""Defaults of one's own for `extract`, in ``cryoprobe.toml``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cli import run
from support.data import put_set, write_images

import cryoprobe
from cryoprobe import BadInput
from cryoprobe.pipeline.encoders import Encoder

MODEL = {"untrained": True, "image_size": 32}


class Notes(cryoprobe.Reporter):
    """Keeps what is worth knowing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a data set, and work in a folder of which `say` writes the configuration file."""
    write_images(tmp_path / "data", {"a": 3, "b": 3})
    monkeypatch.chdir(tmp_path)
    return f"folder:{tmp_path / 'data'}"


def say(text: str) -> None:
    Path("cryoprobe.toml").write_text(text)


def recorded(store: Path) -> cryoprobe.FeatureSet:
    opened = cryoprobe.open_store(store)
    (named,) = opened.names()
    return opened.open(named.set)


def test_a_default_holds_where_nothing_is_given_and_a_line_says_what_is_part_of_the_identity(
    data: str, store: Path, tmp_path: Path
) -> None:
    say('[extract]\nstored_dtype = "float32"\nbatch_size = 3\nworkers = 1\n')
    heard = Notes()
    cryoprobe.extract("timm:test_vit", data, store, reporter=heard, **MODEL)
    made = recorded(store)
    assert made.manifest.dtype == "float32"
    assert (made.manifest.provenance.batch_size, made.manifest.provenance.workers) == (3, 1)
    assert [n for n in heard.notes if "by " in n and "toml" in n] == [
        f"stored_dtype = float32 (by {tmp_path / 'cryoprobe.toml'})"
    ]


def test_taps_have_a_default_on_the_command_line_too(data: str, store: Path) -> None:
    say('[extract]\ntaps = "cls"\n')
    words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--dataset", data]
    assert "taps = cls (by" in run(*words, "--store", store).stderr
    assert [n.name.tap for n in cryoprobe.open_store(store).names()] == ["cls"]


def test_an_option_that_is_given_wins(data: str, store: Path) -> None:
    say('[extract]\nstored_dtype = "float32"\nbatch_size = 3\n')
    cryoprobe.extract("timm:test_vit", data, store, stored_dtype="float16", batch_size=5, **MODEL)
    made = recorded(store)
    assert (made.manifest.dtype, made.manifest.provenance.batch_size) == ("float16", 5)


def test_the_project_s_file_goes_before_the_user_s(data: str, store: Path, tmp_path: Path) -> None:
    own = tmp_path / "config" / "cryoprobe" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[extract]\nbatch_size = 4\nworkers = 2\n")
    say("[extract]\nbatch_size = 3\n")
    cryoprobe.extract("timm:test_vit", data, store, **MODEL)
    made = recorded(store).manifest.provenance
    assert (made.batch_size, made.workers) == (3, 2)


def test_a_wrong_value_is_told_with_its_file(data: str, store: Path, tmp_path: Path) -> None:
    own = tmp_path / "config" / "cryoprobe" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[extract]\nbatch_size = 0\n")
    say("[extract]\nworkers = 2\n")
    with pytest.raises(BadInput) as refused:
        cryoprobe.extract("timm:test_vit", data, store, **MODEL)
    assert refused.value.message.startswith(f"[extract] in {own}: --batch-size must be")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batchsize = 3", "has no option 'batchsize'"),
        ("batch_size = 0", "--batch-size must be auto, or 1 or more"),
        ('stored_dtype = "float64"', "float16 or float32, not float64"),
        ("limit = 10", "not the same for every data set"),
        ("max_bad = 10", "not the same for every data set"),
        ('checkpoint = "w.pt"', "not the same for every model"),
        ('precision = "fp3"', "fp3"),
        ("crop = 24", "--crop goes with --resize"),
    ],
)
def test_a_key_or_value_that_is_none_is_refused_by_name(data: str, store: Path, line: str, message: str) -> None:
    say(f"[extract]\n{line}\n")
    with pytest.raises(BadInput, match=message):
        cryoprobe.extract("timm:test_vit", data, store, **MODEL)
    assert not store.exists()


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {"resize": 40, "crop": 32}),
        ({"image_size": 48}, {"image_size": 48}),
        ({"crop": 16}, {"resize": 40, "crop": 16}),
    ],
)
def test_options_that_go_together_are_read_together_and_one_that_is_given_replaces_those_it_excludes(
    data: str, store: Path, given: dict[str, int], made: dict[str, int]
) -> None:
    say("[extract]\ncrop = 32\nresize = 40\n")
    cryoprobe.extract("timm:test_vit", data, store, untrained=True, progress=False, **given)
    (named,) = cryoprobe.open_store(store).names()
    size = {"image_size": named.name.image_size, "resize": named.name.resize, "crop": named.name.crop}
    assert {name: value for name, value in size.items() if value is not None} == made


def test_an_encoder_that_is_loaded_keeps_what_it_is(encoder: Encoder, data: str, store: Path) -> None:
    say('[extract]\ndevice = "cpu"\nimage_size = 48\nbatch_size = 2\n')
    cryoprobe.extract(encoder, data, store)
    made = recorded(store).manifest
    assert made.encoder["preprocessing"]["image_size"] == [32, 32]
    assert made.provenance.batch_size == 2


def probed(store: cryoprobe.Store, **options: object) -> cryoprobe.Sweep:
    return cryoprobe.probe(store, model="timm:m", dataset="folder:/d", probe="nearest-mean", progress=False, **options)  # type: ignore[arg-type]


def test_of_several_extractions_a_probe_takes_the_one_with_these_defaults_and_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cryoprobe.toml"
    opened = cryoprobe.open_store(store, create=True)
    x, y = np.random.default_rng(0).standard_normal((20, 8)), np.arange(20) % 2
    bf16 = put_set(opened, x, y, classes="ab", split="all", encoder="bf16", precision="bf16").id
    say('[extract]\nprecision = "bf16"\nbatch_size = 3\n')
    alone = probed(opened)
    assert (alone.trial.train, f"precision = bf16 (by {file})" in alone.notes) == (bf16, True)
    assert not [note for note in alone.notes if "default options" in note]

    fp32 = put_set(opened, x, y, classes="ab", split="all", encoder="fp32").id
    several = probed(opened)
    assert (several.trial.train, f"precision = bf16 (by {file})" in several.notes) == (bf16, True)
    asked = probed(opened, precision="fp32")
    assert (asked.trial.train, [note for note in asked.notes if str(file) in note]) == (fp32, [])

    say('[extract]\nprecision = "fp16"\n')
    usual = probed(opened)
    assert usual.trial.train == fp32
    assert any(note.startswith(f"no extraction with precision = fp16 (by {file}) is there") for note in usual.notes)

    say('[extract]\nprecision = "fp32"\n')
    assert probed(opened).trial.train == fp32
    assert not [note for note in probed(opened).notes if "precision" in note]


def test_defaults_of_an_encoder_choose_no_set_of_somebody_s_own(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    say("[extract]\nimage_size = 48\n")
    opened = cryoprobe.open_store(store, create=True)
    x, y = np.random.default_rng(0).standard_normal((20, 8)), np.arange(20) % 2
    own = put_set(opened, x, y, classes="ab", split="all", model="lab:m").id
    put_set(opened, x, y, classes="ab", split="all", encoder="other", model="lab:m", image_size=48)
    result = cryoprobe.probe(opened, model="lab:m", dataset="folder:/d", probe="nearest-mean", progress=False)
    assert result.trial.train == own
    assert not [note for note in result.notes if "image_size" in note]

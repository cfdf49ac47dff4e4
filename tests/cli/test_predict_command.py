"""`cryoprobe predict` as people meet it: tables and JSON on standard output, everything else beside them."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import Done
from support.cli import run as run_command
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.probes.closed_form.ridge import RidgeProbe
from cryoprobe.pipeline.probes.logistic import LogisticProbe


def run(*words: str | Path, code: int = 0) -> Done:
    return run_command("predict", *words, code=code)


def table(done: Done) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, probes trained on them, and an image that is none."""
    root = tmp_path_factory.mktemp("predict")
    write_images(root / "data", {"ash": 9, "birch": 8, "cedar, old": 7})
    files = sorted((root / "data").rglob("*.png"))
    lines = [f'"{f}",{f.parent.name.partition(",")[0]}{"|odd" if i % 2 else ""}' for i, f in enumerate(files)]
    lines[0] = f'"{files[0]}",'
    (root / "t.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    store = cryoprobe.open_store(root / "store", create=True)
    for name, data, estimator in (
        ("probe", f"folder:{root / 'data'}", LogisticProbe(C=100.0)),
        ("ridge", f"folder:{root / 'data'}", RidgeProbe()),
        ("flags", f"csv:{root / 't.csv'}", LogisticProbe(C=1e4)),
    ):
        (made,) = cryoprobe.extract(encoder, data, store)
        features = store.open(made.set)
        cryoprobe.save_probe(
            root / name,
            estimator.fit(*features.load()),
            encoder=features.manifest.encoder,
            classes=features.classes,
            multilabel=features.multilabel,
            trial={
                "probe": "logreg",
                "chosen": {"C": 100.0},
                "metrics": {"top1": 0.875},
                "dataset": data,
                "name": features.manifest.provenance.name,
            },
        )
    (root / "bad.png").write_text("no image")
    return root


@pytest.fixture
def probe(folder: Path) -> list[str]:
    return ["--probe-file", str(folder / "probe")]


def test_a_row_for_every_image_with_its_label_and_probability(folder: Path, probe: list[str]) -> None:
    done = run(*probe, folder / "data")
    assert done.stdout.startswith("path,label,probability\n")
    assert [Path(row["path"]) for row in table(done)] == sorted((folder / "data").rglob("*.png"))
    assert np.mean([row["label"] == Path(row["path"]).parent.name for row in table(done)]) > 0.9
    assert all(1 / 3 < float(row["probability"]) <= 1 for row in table(done))
    assert "24/24" in done.stderr


def test_all_classes_have_a_column_each(folder: Path, probe: list[str]) -> None:
    (row,) = table(run(*probe, folder / "data" / "ash" / "0-000.png", "--all"))
    assert list(row) == ["path", "label", "probability", "ash", "birch", "cedar, old"]
    assert sum(float(row[c]) for c in ("ash", "birch", "cedar, old")) == pytest.approx(1, abs=1e-5)
    assert row[row["label"]] == row["probability"]


def test_the_best_classes_have_a_row_each(folder: Path, probe: list[str]) -> None:
    image = folder / "data" / "ash" / "0-000.png"
    rows = table(run(*probe, image, "--top", "2"))
    assert [row["path"] for row in rows] == [str(image)] * 2
    assert rows[0]["label"] == table(run(*probe, image))[0]["label"]
    assert float(rows[0]["probability"]) > float(rows[1]["probability"])


def test_json_is_a_list_of_objects(folder: Path, probe: list[str]) -> None:
    image = folder / "data" / "ash" / "0-000.png"
    (plain,) = json.loads(run(*probe, image, "--format", "json").stdout)
    assert plain.keys() == {"path", "label", "probability"}
    (best,) = json.loads(run(*probe, image, "--format", "json", "--top", "2").stdout)
    assert best["top"][0] == {"label": plain["label"], "probability": plain["probability"]}
    (full,) = json.loads(run(*probe, image, "--format", "json", "--all").stdout)
    assert list(full["classes"]) == ["ash", "birch", "cedar, old"]
    assert len(json.loads(run(*probe, folder / "data", "--format", "json").stdout)) == 24
    assert json.loads(run(*probe, folder / "bad.png", "--max-bad", "1", "--format", "json").stdout) == []


def test_several_labels_are_joined(folder: Path) -> None:
    words = ["--probe-file", folder / "flags", folder / "data"]
    rows = table(run(*words))
    assert (rows[0]["label"], rows[0]["probability"]) == ("", "")
    several = next(row for row in rows if "|" in row["label"])
    assert len(several["label"].split("|")) == len(several["probability"].split("|"))
    found: list[dict[str, Any]] = json.loads(run(*words, "--format", "json").stdout)
    assert ["|".join(f["labels"]) for f in found] == [row["label"] for row in rows]
    assert all(p > 0.5 for f in found for p in f["probabilities"])


def test_a_probe_without_probabilities_gives_scores(folder: Path) -> None:
    words = ["--probe-file", folder / "ridge", folder / "data" / "ash" / "0-000.png"]
    assert run(*words).stdout.startswith("path,label,score\n")
    assert "score" in json.loads(run(*words, "--format", "json").stdout)[0]
    assert "no probabilities" in run("--probe-file", folder / "ridge").stdout


def test_without_images_it_says_what_the_probe_is(folder: Path, probe: list[str]) -> None:
    shown = run(*probe).stdout
    for part in ("timm:test_vit", "(--untrained)", "ash, birch, cedar, old", "0.8750", "C = 100.0", "softmax"):
        assert part in shown
    assert json.loads(run(*probe, "--format", "json").stdout)["metrics"] == {"top1": 0.875}


def test_output_goes_into_a_file_that_is_whole_or_absent(folder: Path, probe: list[str], tmp_path: Path) -> None:
    printed = run(*probe, folder / "data").stdout
    assert run(*probe, folder / "data", "--output", tmp_path / "p.csv").stdout == ""
    assert (tmp_path / "p.csv").read_text() == printed
    run(*probe, folder / "data", folder / "bad.png", "--output", tmp_path / "q.csv", code=2)
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    run(*probe, folder / "data", "--output", tmp_path / "no" / "p.csv", code=2)


def test_bad_images_are_named_and_end_in_exit_code_2(folder: Path, probe: list[str]) -> None:
    failed = run(*probe, folder / "bad.png", folder / "data" / "ash", code=2)
    assert "bad.png: is not an image" in failed.stderr
    assert len(table(failed)) == 9
    done = run(*probe, folder / "bad.png", folder / "data" / "ash", "--max-bad", "1")
    assert "bad.png: is not an image" in done.stderr
    assert len(table(done)) == 9


def test_each_kind_of_error_has_its_exit_code(folder: Path, probe: list[str], tmp_path: Path) -> None:
    image = folder / "data" / "ash" / "0-000.png"
    assert "not the encoder" in run(*probe, image, "--model", "timm:test_efficientnet", code=7).stderr
    run("--probe-file", tmp_path / "none", image, code=3)
    run("--probe-file", image, image, code=2)
    run(*probe, tmp_path / "none", code=3)
    run(*probe, image, "--format", "xml", code=2)
    run(*probe, image, "--top", "0", code=2)
    run(*probe, image, "--top", "1", "--all", code=2)
    run(image, code=2)
    raw = bytearray((folder / "probe").read_bytes())
    raw[-5] ^= 1
    (tmp_path / "damaged").write_bytes(raw)
    run("--probe-file", tmp_path / "damaged", image, code=4)


def test_output_into_a_closed_pipe_is_no_error(folder: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "cryoprobe.cli",
        "predict",
        "--probe-file",
        folder / "probe",
        *[folder / "data"] * 20,
    ]
    command = shlex.join(map(str, words)) + " --batch-size 1 | head -n 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("path,label,probability\n")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("name", ["cr\rlf.png", "line\nfeed.png", 'comma, and "quote".png', "tab\there.png", "\r.png"])
def test_predict_names(folder: Path, probe: list[str], tmp_path: Path, name: str) -> None:
    """A file's name stays one field of one row, whatever ends a line in it."""
    image = tmp_path / name
    image.write_bytes((folder / "data" / "ash" / "0-000.png").read_bytes())
    run(*probe, image, folder / "data" / "ash" / "0-001.png", "--output", tmp_path / "p.csv")
    text = (tmp_path / "p.csv").read_bytes().decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in rows] == [3, 3, 3]
    assert rows[1][0] == str(image)
    assert not text.endswith("\r\n")
    assert run(*probe, image).stdout.count('"') >= 2 * any(c in name for c in '\r\n,"')

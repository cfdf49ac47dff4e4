"""A suite is read from TOML; what is wrong is named with its line, and what there is instead."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from cryoprobe.commands.parsing import split_overrides
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.suites.cells import pairs_of
from cryoprobe.pipeline.suites.read_suite import read_suite
from cryoprobe.pipeline.suites.suite import Suite, suite_of

TEXT = """\
store = "features"
batch_size = 8  # images
protocols = ["clip", "knn"]

[[models]]
name = "timm:a"
untrained = true

[[models]]
name = "timm:b"
precision = "bf16"

[[data]]
name = "sklearn:digits"
limit = 100
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(TEXT)
    return tmp_path / "suite.toml"


def refused(file: Path, text: str, *overrides: str) -> str:
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_suite(file, overrides)
    return str(caught.value).replace(str(file), "FILE")


def test_rows_have_the_options_of_the_commands_and_names_alone_are_rows(file: Path) -> None:
    suite = read_suite(file)
    assert [(row.name, row.untrained, row.precision) for row in suite.models] == [
        ("timm:a", True, "fp32"),
        ("timm:b", False, "bf16"),
    ]
    assert [(row.protocol, row.probe) for row in suite.protocols] == [("clip", None), ("plain", "knn")]
    assert (suite.data[0].limit, suite.batch_size, suite.store) == (100, 8, "features")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("precision", "precison", "FILE, line 11, models 1: A row of models has no option 'precison'."),
        ("limit = 100", "limit = 0", "FILE, line 15, data 0: --limit must be 1 or more, and below 2^53, not 0."),
        ("batch_size", "batchsize", "FILE, line 2: The suite has no option 'batchsize'."),
        ("batch_size = 8", "workers = 0", "FILE, line 2: --workers must be 1 or more, and below 2^53, not 0."),
        ('"knn"]', '"kmm"]', "FILE, line 3: There is no protocol called 'kmm'"),
        ('"knn"]', '{protocol = "clip", C = [1.0]}]', "FILE, line 3, protocols 1: --C cannot be combined"),
        ("[[data]]", "[[date]]", "FILE, line 13: The suite has no option 'date'."),
        ('"knn"]', '{probe = "kmm"}]', "FILE, line 3, protocols 1: there is no probe called 'kmm'"),
        ('"knn"]', '{probe = "knn", params = {j = 5}}]', "FILE, line 3, protocols 1: knn has no parameter 'j'"),
        ("[[data]]", "[data", "FILE cannot be read: Expected ']' at the end of a table declaration (at line 13"),
        ('name = "timm:b"', "", "FILE, line 9, models 1: A row of models is a name, or a table with one: name = …"),
        ("batch_size = 8", "worker_count = 2", "FILE, line 2: --worker-count is for workers on a cluster"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, message: str, file: Path) -> None:
    assert refused(file, TEXT.replace(old, new)).startswith(message)


def test_near_names_are_offered_and_what_is_missing_is_said(file: Path) -> None:
    assert refused(file, TEXT.replace("precision", "precison")).endswith("Did you mean 'precision'?")
    assert refused(file, "models = ['timm:a']\n").startswith("FILE has no data.")
    with pytest.raises(NotFound, match="There is no suite"):
        read_suite(file.with_name("other.toml"))


def test_overrides_are_toml_or_text_and_win(file: Path) -> None:
    suite = read_suite(file, ["batch_size=64", "models.0.precision=bf16", "protocols.1.params={k = 5}", "memory=2GiB"])
    assert (suite.batch_size, suite.models[0].precision, suite.memory) == (64, "bf16", 2**31)
    assert suite.protocols[1].params == {"k": 5}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batchsize=64", "The override batchsize=64: a suite has no option 'batchsize'.\nDid you mean 'batch_size'?"),
        ("models.0.precison=bf16", "The override models.0.precison=bf16: a row of models has no option 'precison'."),
        ("models.7.precision=bf16", "The override models.7.precision=bf16 does not name an option of a row."),
        ("models.0.image_size=wide", "models.0.image_size=wide: --image-size must be a whole number, not 'wide'."),
        ("batch_size=0", "batch_size=0: --batch-size must be auto, or 1 or more, not 0."),
    ],
)
def test_a_wrong_override_is_refused_with_what_there_is(override: str, message: str, file: Path) -> None:
    assert refused(file, TEXT, override).startswith(message)


def test_rows_are_selected_by_name(file: Path) -> None:
    suite = read_suite(file).only(models=["timm:b"], probes=["knn"])
    assert ([row.name for row in suite.models], [row.fit for row in suite.protocols]) == (["timm:b"], ["knn"])
    with pytest.raises(BadInput, match="The suite has no timm:c among its models"):
        read_suite(file).only(models=["timm:c"])


def _again(command: str) -> Suite:
    """Read the command of a cell as the command line does."""
    words = shlex.split(command)
    assert words[:2] == ["cryoprobe", "run"]
    rows: dict[str, list[str]] = {"--model": [], "--dataset": [], "--protocol": [], "--probe": [], "--store": []}
    rest = words[2:]
    while rest and rest[0] in rows:
        rows[rest[0]].append(rest[1])
        rest = rest[2:]
    names = suite_of(rows["--model"], rows["--dataset"], rows["--protocol"], rows["--probe"])
    none, overrides = split_overrides(rest)
    assert none is None
    return read_suite(names, overrides)


def test_the_command_of_a_cell_asks_for_that_cell_alone_with_all_its_options(tmp_path: Path) -> None:
    rows: dict[str, Any] = {
        "models": [{"name": "timm:a", "untrained": True, "seed": 3, "image_size": 32}, {"name": "hf:b c"}],
        "data": [
            {"name": "folder:/a b", "limit": 10, "splits": ["train", "test"], "ignore": ["*.x"]},
            {"name": "npz:b.npz", "as_name": "2024-01-01"},
        ],
        "protocols": [
            "clip",
            {"probe": "knn", "params": {"k": 5, "metric": "cosine"}},
            {"probe": "ridge", "grid": {"alpha": [0.1, 1.0]}, "shots": [1, 2], "seeds": 3, "val_split": "0.2"},
            {"protocol": "dinov2-linear", "tap": "cls+patch_mean"},
            {"protocol": "plain", "probe": "knn", "test_split": "2007", "train_split": "true"},
            {"protocol": "plain", "val_split": 'a "b" \U0001f41c\x7f', "test_split": None},
        ],
        "batch_size": "auto",
        "workers": 2,
        "rerun": True,
        "log_to": ["mlflow:http://a,b", "wandb"],
    }
    suite = read_suite(rows)
    cells = [cell for pair in pairs_of(suite, ["--store", "s t"]) for cell in pair.cells]
    assert len(cells) == 24
    for cell in cells:
        again = _again(cell.command)
        (pair,) = pairs_of(again, ["--store", "s t"])
        assert [(c.where, c.asked) for c in pair.cells] == [(cell.where, cell.asked)]
        assert (again.batch_size, again.workers, again.rerun, again.log_to) == ("auto", 2, True, suite.log_to)


def test_the_example_is_a_suite_of_three_by_three_by_four() -> None:
    suite = read_suite(Path(__file__).parents[3] / "examples" / "suite.toml")
    assert (len(suite.models), len(suite.data), len(suite.protocols)) == (3, 3, 4)

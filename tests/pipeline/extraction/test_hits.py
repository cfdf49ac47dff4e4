"""What is extracted already costs no torch: each run is a process of its own, as a command is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.data import write_images
from support.tiny_models import SIDE, save, save_processor

import cryoprobe

_MAIN = """
import json, sys
sys.argv[0] = "cryoprobe"
from cryoprobe.cli import main
try:
    main()
except SystemExit as end:
    print(json.dumps({"code": end.code or 0, "modules": sorted(sys.modules)}), file=sys.stderr)
"""
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "open_clip",
    "transformers",
    "onnx",
    "onnxruntime",
    "sklearn",
    "pandas",
    "zarr",
    "PIL.PngImagePlugin",
    "huggingface_hub",
}
MODEL = ("--model", "timm:test_vit", "--image-size", "32")


@dataclass
class Ran:
    """What one process did."""

    code: int
    heavy: set[str]
    told: str
    summary: Mapping[str, Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of 100 images in two classes."""
    write_images(tmp_path / "data", {"a": 50, "b": 50})
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return the file of an encoder's weights, as old as is needed to be remembered."""
    file = tmp_path / "weights.pt"
    _save(file, seed=0)
    time.sleep(2.1)
    return file


def _save(file: Path, seed: int) -> None:
    encoder: Any = cryoprobe.load_encoder("timm:test_vit", untrained=True, seed=seed, image_size=32)
    torch.save(encoder._tower.module.state_dict(), file)


def extract(
    data: Path, store: Path, *options: str | Path, model: Sequence[str] = MODEL, env: Mapping[str, str] | None = None
) -> Ran:
    words = ["extract", *model, "--dataset", f"folder:{data}", "--store", store, "--json", *options]
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
    )
    *told, last = done.stderr.splitlines()
    end = json.loads(last)
    summary = json.loads(done.stdout) if done.stdout else {}
    return Ran(end["code"], HEAVY & set(end["modules"]), "\n".join(told), summary)


def objects(store: Path) -> dict[str, tuple[int, int]]:
    return {
        str(f.relative_to(store)): (f.stat().st_size, f.stat().st_mtime_ns) for f in store.rglob("*") if f.is_file()
    }


def test_a_hit_imports_nothing_heavy_and_says_what_it_always_says(data: Path, store: Path, checkpoint: Path) -> None:
    first = extract(data, store, "--checkpoint", checkpoint, "--tap", "pooled,cls")
    hit = extract(data, store, "--checkpoint", checkpoint, "--tap", "pooled,cls")
    assert first.heavy
    assert hit.heavy == set()
    assert (first.summary["encoded"], hit.summary["encoded"], hit.summary["reused"]) == (100, 0, 100)
    ids = [[(s["set"], s["tap"], s["rows"], s["dim"]) for s in ran.summary["sets"]] for ran in (first, hit)]
    assert ids[0] == ids[1]
    assert hit.summary["remarks"] == first.summary["remarks"]
    assert [line for line in hit.told.splitlines() if "weights.pt" in line] == [
        line for line in first.told.splitlines() if "weights.pt" in line
    ]

    renamed = extract(data, store, "--checkpoint", checkpoint, "--tap", "pooled,cls", "--as", "pets")
    assert renamed.heavy == set()
    assert {n.name.dataset for n in cryoprobe.open_store(store).names()} == {f"folder:{data}", "pets"}

    before = objects(store)
    assert extract(data, store, "--checkpoint", checkpoint, "--tap", "pooled,cls", "--rehash").heavy
    write_images(data, {"c": 2}, seed=5)
    grown = extract(data, store, "--checkpoint", checkpoint, "--tap", "pooled,cls")
    assert (grown.summary["encoded"], grown.summary["reused"]) == (2, 100)
    assert before.keys() < objects(store).keys()


def test_other_weights_in_the_same_file_are_another_encoder_though_size_and_date_agree(
    data: Path, store: Path, checkpoint: Path
) -> None:
    first = extract(data, store, "--checkpoint", checkpoint)
    was = checkpoint.stat()
    _save(checkpoint, seed=1)
    os.utime(checkpoint, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert checkpoint.stat().st_size == was.st_size
    other = extract(data, store, "--checkpoint", checkpoint)
    assert other.summary["encoded"] == 100
    assert other.summary["set"] != first.summary["set"]


def test_what_is_remembered_wrongly_is_found_when_the_encoder_is_loaded_and_nothing_is_stored_under_it(
    data: Path, store: Path, cache: Path
) -> None:
    first = extract(data, store, "--untrained")
    (entry,) = (cache / "encoders").glob("*.json")
    written = json.loads(entry.read_text())
    right = written["value"]["specs"][0]["weights"]
    written["value"]["specs"][0]["weights"] = "0" * 64
    entry.write_text(json.dumps(written))
    again = extract(data, store, "--untrained")
    assert "another encoder than when it was last loaded on this machine, in weights" in again.told
    assert (again.summary["set"], again.summary["encoded"]) == (first.summary["set"], 0)
    assert json.loads(entry.read_text())["value"]["specs"][0]["weights"] == right
    assert len(cryoprobe.open_store(store).names()) == 1
    assert extract(data, store, "--untrained").heavy == set()


def test_a_hit_on_a_folder_of_transformers_imports_none_of_it(data: Path, store: Path, tmp_path: Path) -> None:
    folder = save("dinov2", tmp_path / "model")
    time.sleep(2.1)
    model = ("--model", f"hf:{folder}", "--tap", "cls@2,encoder.layer.*")
    first, hit = (extract(data, store, model=model) for _ in range(2))
    assert {"torch", "transformers"} <= first.heavy
    assert hit.heavy == set()
    assert (hit.summary["encoded"], hit.summary["reused"]) == (0, 100)
    assert [s["set"] for s in hit.summary["sets"]] == [s["set"] for s in first.summary["sets"]]
    assert hit.summary["remarks"] == first.summary["remarks"]
    processor = folder / "preprocessor_config.json"
    processor.write_text(json.dumps(json.loads(processor.read_text()) | {"resample": 2}))
    other = extract(data, store, model=model)
    assert other.summary["encoded"] == 100
    assert other.summary["sets"][0]["set"] != first.summary["sets"][0]["set"]


def test_a_hit_on_a_graph_imports_no_onnxruntime(data: Path, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    _save_graph(file, torch.ones(3, 4))
    save_processor("vit", tmp_path)
    time.sleep(2.1)
    first, hit = (extract(data, store, model=("--model", f"onnx:{file}")) for _ in range(2))
    assert {"onnxruntime", "onnx"} <= first.heavy
    assert hit.heavy == set()
    assert (hit.summary["encoded"], hit.summary["set"]) == (0, first.summary["set"])
    was = file.with_suffix(".data").stat()
    _save_graph(file, torch.full((3, 4), 2.0))
    os.utime(file.with_suffix(".data"), ns=(was.st_atime_ns, was.st_mtime_ns))
    other = extract(data, store, model=("--model", f"onnx:{file}"))
    assert other.summary["encoded"] == 100
    assert other.summary["set"] != first.summary["set"]


def _save_graph(file: Path, weights: torch.Tensor) -> None:
    """Save a graph that multiplies the mean of each channel by weights, which lie in a file of their own."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["embedding"]),
        ],
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights.numpy(), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    beside = file.with_suffix(".data")
    beside.unlink(missing_ok=True)
    onnx.save(model, file, save_as_external_data=True, location=beside.name, size_threshold=0)


def test_without_a_cache_or_with_a_damaged_one_the_encoder_is_loaded(data: Path, store: Path, cache: Path) -> None:
    first = extract(data, store, "--untrained")
    (entry,) = (cache / "encoders").glob("*.json")
    entry.write_text('{"files": [], "value": {"name": 3}}')
    damaged = extract(data, store, "--untrained")
    assert damaged.heavy
    assert damaged.summary["set"] == first.summary["set"]
    cache.rename(cache.with_name("gone"))
    cache.write_text("no folder")
    nowhere = extract(data, store, "--untrained")
    assert nowhere.heavy
    assert (nowhere.summary["set"], nowhere.summary["encoded"]) == (first.summary["set"], 0)


def test_files_that_were_touched_are_read_and_cost_no_torch_but_a_new_label_does(data: Path, store: Path) -> None:
    first = extract(data, store, "--untrained")
    for file in data.rglob("*.png"):
        file.touch()
    touched = extract(data, store, "--untrained")
    assert touched.heavy == set()
    assert touched.summary["set"] == first.summary["set"]
    moved = next((data / "a").iterdir())
    moved.rename(data / "b" / "moved.png")
    relabelled = extract(data, store, "--untrained")
    assert relabelled.heavy
    assert relabelled.summary["encoded"] == 0
    assert relabelled.summary["sets"][0]["checked"] > 0


def test_what_could_build_another_encoder_is_in_the_key(data: Path, store: Path, tmp_path: Path) -> None:
    extract(data, store, "--untrained")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(elsewhere)]))
    for changed in ({"TIMM_FUSED_ATTN": "0"}, {"HF_HOME": str(elsewhere)}, {"PYTHONPATH": path}):
        assert extract(data, store, "--untrained", env=changed).heavy
    assert extract(data, store, "--untrained").heavy == set()


def test_a_device_that_is_none_is_refused_by_a_hit_too(data: Path, store: Path) -> None:
    extract(data, store, "--untrained")
    refused = extract(data, store, "--untrained", "--device", "abacus")
    assert refused.code == 2
    assert "abacus" in refused.told

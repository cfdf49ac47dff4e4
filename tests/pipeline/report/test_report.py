"""`report`: one file with what the store has, whole or not at all; texts of strangers stay texts."""

from __future__ import annotations

import builtins
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.reported import ATTACKS, CLASSES, MODELS

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.report import leaderboard, make
from cryoprobe.pipeline.report.page import Page, html_of, json_in_html
from cryoprobe.pipeline.report.section import Chart, Section
from cryoprobe.pipeline.report.sizes import size_of


class _Elements(HTMLParser):
    """Collects elements and what is in data blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("/" + tag, {}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.found[-1] if self.found else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.blocks.append(data)


def elements(file: Path) -> _Elements:
    parser = _Elements()
    parser.feed(file.read_text(encoding="utf-8"))
    return parser


def test_names_of_models_and_classes_make_no_elements_and_no_handlers(page: Path) -> None:
    text, parsed = page.read_text(encoding="utf-8"), elements(page)
    assert not [
        tag for tag, _ in parsed.found if tag in ("img", "b script", "iframe", "object", "embed", "base", "form")
    ]
    assert not [name for _, attributes in parsed.found for name in attributes if name.startswith("on")]
    scripts = [attributes for tag, attributes in parsed.found if tag == "script"]
    assert [a for a in scripts if a.get("type") != "application/json"] == [{}, {}]  # the page's own, and the charts'
    for name in (*ATTACKS, *CLASSES):
        assert name not in text or name == CLASSES[2]  # which has no sign of HTML


def test_nothing_can_be_requested_and_no_other_script_run(page: Path) -> None:
    (policy,) = [a["content"] for tag, a in elements(page).found if tag == "meta" and "http-equiv" in a]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"('sha256-[A-Za-z0-9+/=]{44}' ?){2}", rules["script-src"])
    assert rules["img-src"] == "data:"
    assert not [a for _, a in elements(page).found if re.match("https?:", a.get("href") or a.get("src") or "")]


def test_charts_are_json_that_was_rounded(page: Path) -> None:
    blocks = elements(page).blocks
    assert len(blocks) >= 3
    for block in blocks:
        assert json.loads(block)["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert not re.search(r"\d\.\d{12}", "".join(blocks))


def test_the_page_says_what_it_has(filled: Path, tmp_path: Path) -> None:
    found = cryoprobe.report(filled, tmp_path / "a.html", dataset="birds", probe="knn", title="A < B")
    assert (found.models, found.columns, found.trials) == (len(MODELS), 1, len(MODELS))
    assert found.size == (tmp_path / "a.html").stat().st_size
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<h1>A &lt; B</h1>" in text
    assert "4 models on 1 data set in 1 column: 4 trials" in text


def test_the_page_is_the_same_for_the_same_store(filled: Path, page: Path, tmp_path: Path) -> None:
    cryoprobe.report(filled, tmp_path / "again.html")
    views = re.compile(r"view_[0-9a-f]+_\d+|view_\d+|param_\d+")
    assert views.sub("", (tmp_path / "again.html").read_text()) == views.sub("", page.read_text())


def test_a_section_that_fails_is_left_out_and_named(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: Any) -> Any:
        raise IndexError("list index\nout of range\u202e")

    def stopped(data: Any) -> Any:
        raise KeyboardInterrupt

    broken.__module__ = "somewhere.charts_few_shots"
    monkeypatch.setattr(make, "MAKERS", (broken, leaderboard.sections))
    found = cryoprobe.report(filled, tmp_path / "page.html")
    assert found.sections == ("leaderboard",)
    line = r"The section 'few shots' is left out: IndexError: list index\nout of range\u202e."
    assert line in found.notes
    assert line in (tmp_path / "page.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    monkeypatch.setattr(make, "MAKERS", (stopped,))
    with pytest.raises(KeyboardInterrupt):
        cryoprobe.report(filled, tmp_path / "page.html")


def test_embeddings_of_one_dimension_have_a_map_and_notes_are_told_once(tmp_path: Path) -> None:
    y = np.arange(60) % 3
    x = (y + np.random.default_rng(0).normal(0, 0.3, 60) - 1).astype(np.float32)[:, None]
    for model in ("lab:one", "lab:two"):
        arrays = {"train_embeddings": x, "train_labels": y, "test_embeddings": x + 0.01, "test_labels": y}
        np.savez(tmp_path / "a.npz", **arrays)
        cryoprobe.add(
            tmp_path / "a.npz", tmp_path / "s", model=model, dataset="pets", model_version="1", progress=False
        )
        cryoprobe.probe(tmp_path / "s", model=model, dataset="pets", probe="ridge", progress=False)
    found = cryoprobe.report(tmp_path / "s", tmp_path / "page.html")
    assert "map-0" in found.charts
    assert not any("is left out" in note for note in found.notes)
    assert len(set(found.notes)) == len(found.notes)
    assert sum("is not a name by which this version opens images" in note for note in found.notes) == 1


def test_names_that_turn_the_direction_of_writing_are_made_visible(tmp_path: Path) -> None:
    turn = "\u202e"
    y = np.arange(60) % 3
    for k, model in enumerate(("lab:one", "lab:two")):
        for i, dataset in enumerate(("pets", "fish")):
            x = np.eye(3, 8)[y] + np.random.default_rng([i, k]).normal(0, 0.5, (60, 8))
            names = np.array([f"a{turn}evil", "b", "c"])[y]
            arrays = {f"{split}_embeddings": x + place for place, split in enumerate(("train", "test"))}
            np.savez(tmp_path / "a.npz", **arrays, train_labels=names, test_labels=names)
            cryoprobe.add(
                tmp_path / "a.npz", tmp_path / "s", model=model, dataset=dataset, model_version="1", progress=False
            )
            cryoprobe.probe(tmp_path / "s", model=model, dataset=dataset, probe="ridge", progress=False)
    found = cryoprobe.report(tmp_path / "s", tmp_path / "page.html")
    assert {"heat-map", "map-0"} <= {*found.charts}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert turn not in page
    assert r"\u202e" in page


def test_commands_of_the_provenance_repeat_the_very_trial(filled: Path) -> None:
    from cryoprobe.pipeline.report.provenance import again

    trials = cryoprobe.results(filled, model=MODELS[0], dataset="birds")
    assert {t.probe for t in trials} == {"knn", "ridge", "logreg"}
    for one in {t.probe: t for t in trials}.values():
        words = shlex.split(again(str(filled), one))[1:]
        printed = json.loads(run(*words, "--json").stdout)
        assert [(t["trial"], t["cached"]) for t in printed["trials"]] == [(one.trial, True)]


def test_every_chart_is_written_as_a_picture(filled: Path, tmp_path: Path) -> None:
    out = run(
        "report", "--store", str(filled), "-o", str(tmp_path / "r.html"), "--png", str(tmp_path / "png"), "--json"
    )
    found = json.loads(out.stdout)
    assert sorted(Path(p).stem for p in found["pictures"]) == sorted(found["charts"])
    assert all(Path(p).read_bytes().startswith(b"\x89PNG") for p in found["pictures"])


def test_a_store_without_trials_gets_no_page(tmp_path: Path) -> None:
    cryoprobe.open_store(tmp_path / "store", create=True)
    with pytest.raises(NotFound, match="has no trials to report") as error:
        cryoprobe.report(tmp_path / "store", tmp_path / "a.html")
    assert "cryoprobe probe" in str(error.value)
    assert not (tmp_path / "a.html").exists()


def test_filters_that_nothing_fits_are_named(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"No trial in .* fits --model lab:none --probe knn"):
        cryoprobe.report(filled, tmp_path / "a.html", model="lab:none", probe="knn")


def test_what_is_not_a_file_is_not_overwritten(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        cryoprobe.report(filled, tmp_path / "folder")
    with pytest.raises(BadInput, match="there is no folder"):
        cryoprobe.report(filled, tmp_path / "missing" / "a.html")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(BadInput, match="cannot be made"):
        cryoprobe.report(filled, tmp_path / "a.html", png=tmp_path / "file" / "png")


def test_a_missing_extra_is_one_message(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "altair":
            raise ModuleNotFoundError("No module named 'altair'", name="altair")
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotFound, match=r"needs the package altair.*\n.*pip install 'cryoprobe\[report\]'"):
        cryoprobe.report(filled, tmp_path / "a.html")


def test_two_charts_of_one_name_are_refused() -> None:
    chart = Chart("same", {}, "a", "b")
    with pytest.raises(BadInput, match="Two charts of the report have one name: same"):
        html_of(Page("t", "l", (Section("s", "S", charts=(chart, chart)),)), "")


def test_json_cannot_end_its_script() -> None:
    value = {"a": "</script><!--<script>\u2028\ud800", "b": float("inf")}
    text = json_in_html(value)
    assert "<" not in text
    text.encode("utf-8")
    assert json.loads(text) == {**value, "b": None}


def test_sizes_of_known_architectures_are_those_that_torch_counts() -> None:
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    found = size_of({"family": "timm", "architecture": "resnet18", "preprocessing": {"image_size": [64, 64]}})
    assert found.gflops == pytest.approx(counter.get_total_flops() / 1e9)
    assert found.millions == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6)
    assert size_of({"family": "timm", "architecture": "resnet18; import os"}).gflops is None

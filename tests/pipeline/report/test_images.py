"""Sections with images: thumbnails of verified images only, within their bytes; names cannot break the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cryoprobe
from cryoprobe.pipeline.comparing.matrix import matrix_of
from cryoprobe.pipeline.report import images
from cryoprobe.pipeline.report.images_map import spec_of
from cryoprobe.pipeline.report.images_thumbnails import Thumbnails, data_uri
from cryoprobe.pipeline.report.section import ImageSource, ReportData

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Return a store with a folder of noisy squares by a small encoder, one label of ten wrong, and its trial."""
    import torch

    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 40)):
        for i in range(n):
            k = i % 2
            place = folder / "d" / split / (EVIL.replace("/", ""), "dog")[k if i % 10 else 1 - k]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (20, 20, 3)) * [0.2 + 0.8 * k, 0.5, 1 - 0.8 * k]
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i:02d}.png")
    store = cryoprobe.open_store(folder / "store", create=True)
    encoder = cryoprobe.Encoder(
        torch.nn.Identity(),
        lambda image: torch.from_numpy(np.asarray(image.resize((3, 3)), np.float32).ravel() - 60),
        name="lab:grid",
        version="1",
    )
    cryoprobe.extract(encoder, f"folder:{folder / 'd'}", store, progress=False)
    cryoprobe.probe(store, model="lab:grid", dataset=f"folder:{folder / 'd'}", C=1.0, progress=False)
    trials = cryoprobe.results(store)
    sets = {one: store.open(one) for t in trials for one in (str(t.train), str(t.test))}
    return ReportData(store, trials, matrix_of(store, trials), ImageSource(), [], sets)


def test_each_section_shows_thumbnails(data: ReportData) -> None:
    pytest.importorskip("cleanlab")
    made = {section.id: section for section in images.sections(data)}
    assert [*made] == ["images-mistakes", "images-labels", "images-duplicates", "images-map"]
    assert made["images-mistakes"].html.count('<img class="thumb"') >= 3
    assert "labelled" in made["images-labels"].html
    assert "0 of 100 images are of one colour" in made["images-duplicates"].html
    assert not any("<img src=x" in section.html for section in made.values())
    (chart,) = made["images-map"].charts
    values = chart.spec["data"]["values"]
    assert len(values) == 40
    assert all(value["image"].startswith("data:image/") for value in values)
    wrong = {str(m.name) for m in cryoprobe.mistakes(data.store, data.trials[0].trial)}
    assert {value["name"] for value in values if value["result"] == "wrong"} == wrong
    assert "component 1 (" in chart.spec["encoding"]["x"]["title"]


def test_a_thumbnail_is_the_image_of_its_row(data: ReportData) -> None:
    thumbnails = Thumbnails(data)
    thumbnails.left = 10**6
    test = data.sets[str(data.trials[0].test)]
    names = test.sample_names()
    assert names is not None
    uri = thumbnails.uri(test.id, 7)
    assert uri is not None
    dataset = Path(str(data.trials[0].dataset).partition(":")[2])
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    real = [i for i in dataset.rglob("*.png") if i.as_posix().endswith(names[7])]
    assert shown.size == (20, 20)
    assert data_uri(Image.open(real[0])) == uri


def test_bytes_are_bounded(data: ReportData) -> None:
    thumbnails = Thumbnails(data)
    test = str(data.trials[0].test)
    thumbnails.left = 3000
    found = [thumbnails.uri(test, row) for row in range(40)]
    assert 0 < sum(len(uri) for uri in found if uri) <= 3000
    assert found[-1] is None


def test_without_images_there_is_no_section(data: ReportData) -> None:
    assert images.sections(ReportData(data.store, data.trials, data.matrix, None)) == []


def test_points_without_an_image_have_no_image_in_their_tooltip() -> None:
    layers = spec_of([{"x": 0.0, "y": 0.0, "class": "a"}], ("x", "y", "PCA"), by_class=True)["layer"]
    assert [[t["field"] for t in layer["encoding"]["tooltip"]] for layer in layers] == [
        ["name", "class", "predicted"],
        ["name", "class", "predicted", "image"],
    ]
    assert layers[0]["transform"] == [{"filter": "!isValid(datum.image)"}]

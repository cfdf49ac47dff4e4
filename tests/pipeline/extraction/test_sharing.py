"""Several extractors whose work is cut otherwise share it: at most a batch in each process is encoded twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.data import write_images
from support.extractor import Extraction

import cryoprobe

pytestmark = pytest.mark.slow

ROWS, BATCH = 600, 4


def same(one: Path, other: Path) -> int:
    shutil.copytree(one, other)
    return ROWS


def one_image_first(one: Path, other: Path) -> int:
    shutil.copytree(one, other)
    (extra,) = write_images(other, {"a": 1}, seed=99, side=16)
    extra.rename(extra.with_name("!first.png"))
    return ROWS + 1


def reversed_order(one: Path, other: Path) -> int:
    for i, file in enumerate(sorted(one.rglob("*.png"), reverse=True)):
        target = other / file.parent.name / f"{i:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return ROWS


def half_of_it(one: Path, other: Path) -> int:
    shutil.copytree(one, other)
    for file in sorted(other.rglob("*.png"))[::2]:
        file.unlink()
    write_images(other, {"a": ROWS // 4, "b": ROWS // 4}, seed=7, side=16)
    return ROWS + ROWS // 2


@pytest.mark.parametrize(
    ("cut", "unit_rows"),
    [(same, (100, 128)), (one_image_first, (100, 100)), (reversed_order, (64, 64)), (half_of_it, (100, 4096))],
    ids=["unit size", "one image first", "reversed order", "half overlap"],
)
def test_d1_twice(cut: Callable[[Path, Path], int], unit_rows: tuple[int, int], tmp_path: Path) -> None:
    write_images(tmp_path / "a", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    distinct = cut(tmp_path / "a", tmp_path / "b")
    store = tmp_path / "store"
    cryoprobe.open_store(store, create=True)
    both = [
        Extraction(data, store, rows) for data, rows in zip((tmp_path / "a", tmp_path / "b"), unit_rows, strict=True)
    ]
    encoded = [extraction.summary()["encoded"] for extraction in both]
    assert distinct <= sum(encoded) <= distinct + len(both) * BATCH
    assert min(encoded) > 0  # they shared it
    assert not cryoprobe.verify(store, data=True).damages
    assert not list((store / "claims").rglob("*.json"))


def test_reversed_order_ends_with_the_features_of_an_extraction_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "a", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    reversed_order(tmp_path / "a", tmp_path / "b")
    store = tmp_path / "store"
    cryoprobe.open_store(store, create=True)
    both = [Extraction(tmp_path / name, store, 64) for name in "ab"]
    first = both[0].summary()["set"]
    both[1].summary()
    alone = Extraction(tmp_path / "a", tmp_path / "alone", 64).summary()["set"]
    assert first == alone
    x, y = cryoprobe.open_store(store).open(first).load()
    expected, labels = cryoprobe.open_store(tmp_path / "alone").open(first).load()
    assert abs(x - expected).max() < 2e-3
    assert (y == labels).all()

"""What a data set needs that is not installed is one clear message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.containers import as_parquet, as_shards, samples

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.datasets import load_dataset


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("wds:{root}/wds/train-{{000..000}}.tar", ["braceexpand"], "wds"),
        ("parquet:{root}/t.parquet", ["pyarrow", "pyarrow.parquet"], "parquet"),
        ("hf:{root}/t.parquet", ["pyarrow", "pyarrow.parquet"], "parquet"),
        ("hf:some/name", ["datasets"], "hf"),
        ("wds:s3://bucket/a.tar", ["obstore", "obstore.store", "obstore.exceptions"], "cloud"),
        ("wds:https://host/a.tar", ["obstore", "obstore.store", "obstore.exceptions"], "cloud"),
        ("folder:gs://bucket/a", ["obstore", "obstore.store", "obstore.exceptions"], "cloud"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    name: str, missing: list[str], extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_shards(tmp_path / "wds", samples(3), "train")
    as_parquet(tmp_path / "t.parquet", samples(3))
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput, match=rf"pip install 'cryoprobe\[{extra}\]'"):
        load_dataset(name.format(root=tmp_path))


def test_tar_files_without_braces_need_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_shards(tmp_path, samples(3), "train")
    for module in ("braceexpand", "webdataset", "obstore", "obstore.store", "pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    assert len(load_dataset(f"wds:{tmp_path}/train-*.tar").split("train")) == 3

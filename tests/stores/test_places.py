"""Stores by their places: what another process opens is the same store."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import cryoprobe
from cryoprobe.stores.places import StorePlaces, places_of


def test_a_store_alone_is_its_place_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert places_of("features") == StorePlaces(str(tmp_path / "features"))
    assert places_of(Path("features")) == places_of(f"file://{tmp_path}/features") == places_of("features")
    assert places_of(cryoprobe.open_store("features", create=True)) == places_of("features")
    assert places_of("s3://bucket/features") == StorePlaces("s3://bucket/features")


def test_names_and_trust_of_a_configuration_file_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("team", "strange"):
        cryoprobe.open_store(tmp_path / name, create=True)
    (tmp_path / "cryoprobe.toml").write_text(
        '[stores]\nteam = "team"\nmine = {store = "own", from = ["team", "strange"]}\n[trust]\nnot = ["strange"]\n'
    )
    monkeypatch.chdir(tmp_path)
    places = places_of("mine")
    assert places == StorePlaces(str(tmp_path / "own"), (str(tmp_path / "team"),), (str(tmp_path / "strange"),))
    assert places_of(cryoprobe.open_store("mine", create=True)) == places
    (tmp_path / "cryoprobe.toml").unlink()
    monkeypatch.chdir("/")
    opened = pickle.loads(pickle.dumps(places)).open()
    assert (opened.url, places_of(opened)) == (str(tmp_path / "own"), places)

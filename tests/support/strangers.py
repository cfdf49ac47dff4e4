"""A store from a stranger: ways to change a real one, and everything that we would do with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.checksummed import dump_document
from cryoprobe.errors import CryoprobeError
from cryoprobe.stores.backends.backend import is_key
from cryoprobe.stores.keys import manifest_key, set_id
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.writing.claims import Claims

FIXTURE = Path(__file__).parents[1] / "fixtures" / "store-v1"
Content = dict[str, Any]


def copy_of_store(folder: Path) -> Path:
    """Return a copy of the store that is kept in the repository."""
    return Path(shutil.copytree(FIXTURE / "store", folder))


def only(root: Path, kind: str) -> Path:
    """Return the first of the JSON objects of a kind: of sets, the one called train."""
    found = sorted(root.glob(f"{kind}/**/*.json"))
    return next((p for p in found if b'"split":"train"' in p.read_bytes()), found[0])


def resealed(content: Content) -> bytes:
    """Return JSON whose checksum is right, whatever else is wrong with it."""
    return dump_document({k: v for k, v in content.items() if k != "checksum"})


def rewrite(root: Path, kind: str, change: Callable[[Content], object]) -> None:
    """Change an object and seal it again, under ids and keys that follow from what it now says."""
    path = only(root, kind)
    content = json.loads(path.read_bytes())
    set_before = content.get("set")
    change(content)
    if kind == "manifests" and isinstance(content.get("dataset"), dict) and isinstance(content.get("encoder"), dict):
        content["dataset_id"], content["encoder_id"] = digest(content["dataset"]), digest(content["encoder"])
        content["set"] = set_id(content["encoder_id"], content["dataset_id"])
        if content["set"] != set_before:
            path.unlink()
            (root / "sets" / set_before).rename(root / "sets" / content["set"])
            path = root / manifest_key(content["encoder_id"], content["set"])
            path.parent.mkdir(exist_ok=True)
    path.write_bytes(resealed(content))


def use(place: Path | str) -> dict[str, str]:
    """Do with a store whatever a reader does; return the kind of error of every step, or ``ok``.

    Anything but an error of ours ends the test.
    """
    said = {}
    messages = []
    for name, step in _steps(place):
        try:
            step()
            said[name] = "ok"
        except CryoprobeError as e:
            said[name] = type(e).__name__
            messages.append(str(e))
    assert all(0 < len(message) < 5000 for message in messages)
    return said


def _steps(place: Path | str) -> Iterator[tuple[str, Callable[[], object]]]:
    try:
        store = open_store(place)
    except CryoprobeError:
        yield "open", lambda: open_store(place)
        return
    yield "names", store.names
    yield "find", lambda: store.find(model="timm:test_vit", split="train")
    yield "results", lambda: cryoprobe.results(store)
    yield "sizes", lambda: cryoprobe.verify(store)
    yield "data", lambda: cryoprobe.verify(store, data=True)
    try:
        ids = store.set_ids()
    except CryoprobeError:
        ids = {}
    for i, id_ in enumerate(sorted(ids)):
        yield f"describe {i}", lambda id_=id_: store.describe(id_)  # type: ignore[misc]
        yield f"load {i}", lambda id_=id_: store.open(id_).load()  # type: ignore[misc]
        yield f"raw {i}", lambda id_=id_: list(store.open(id_).batches(3, raw=True))  # type: ignore[misc]
        yield f"samples {i}", lambda id_=id_: store.open(id_).sample_ids()  # type: ignore[misc]
    for folder in ("manifests", "unit-seals"):
        for encoder in sorted(p.name for p in Path(store.url).glob(f"{folder}/*") if _is_folder(p)):
            yield f"rows {encoder}", lambda encoder=encoder: _gather(store, encoder)  # type: ignore[misc]
            yield f"claim {encoder}", lambda encoder=encoder: Claims(store.backend).take(encoder, "0" * 64)  # type: ignore[misc]


def _is_folder(path: Path) -> bool:
    return is_key(path.name) and path.is_dir() and not path.is_symlink()


def _gather(store: cryoprobe.Store, encoder: str) -> None:
    index = store.rows_of(encoder)
    for source in index._sources:
        samples = (
            source.sample_ids() if isinstance(source, cryoprobe.FeatureSet) else source.read(store.backend, "samples")
        )
        ids = [bytes(s) for s in np.asarray(samples)]
        if ids:
            index.gather(ids)

"""A store from a stranger cannot hurt: whatever is in it, it is read, left out, or refused with one error of ours."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.strangers import Content, copy_of_store, only, resealed, rewrite, use

import cryoprobe
from cryoprobe.errors import CryoprobeError
from cryoprobe.stores.format.manifest import Manifest

pytestmark = pytest.mark.slow

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b31m\r\n"
HUGE = 10**12
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copy_of_store(tmp_path / "store")


def set_to(*path: str, value: object) -> Callable[[Content], None]:
    """Return what sets one field, however deep, to a value; the last step of a path may be new."""

    def change(content: Content) -> None:
        inside: Any = content
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = value

    return change


def unset(*path: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        inside: Any = content
        for step in path[:-1]:
            inside = inside[step]
        del inside[path[-1]]

    return change


def all_of(*changes: Callable[[Content], object]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for each in changes:
            each(content)

    return change


CHUNK = ("objects", "embeddings/c/0/0")


def renamed(new: str) -> Callable[[Content], None]:
    """Return what gives a chunk of a set another key."""

    def change(content: Content) -> None:
        content["objects"][new] = content["objects"].pop(CHUNK[1])

    return change


def added(new: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content["objects"][new] = content["objects"]["zarr.json"]

    return change


def of_rows(rows: int, chunk_rows: int | None = None) -> Callable[[Content], None]:
    """Return what promises many rows, in chunks whose sizes fit."""

    def change(content: Content) -> None:
        content["rows"] = content["dataset"]["rows"] = rows
        content["chunk_rows"] = content["label_chunk_rows"] = chunk_rows or rows
        m = Manifest.model_construct(**content)
        for array in ("embeddings", "norms", "labels", "samples"):
            form = m.form(array)
            size = int(np.prod([form.chunk_rows, *form.tail], dtype=object)) * np.dtype(form.dtype).itemsize + 4
            record = {"size": size, "sha256": "0" * 64, "crc32c": 0}
            for chunk in range(min(-(-rows // form.chunk_rows), 3000)):
                content["objects"][form.key(array, chunk)] = record

    return change


# What a manifest with a right checksum, and right ids, may say and not be believed.
MANIFESTS: dict[str, Callable[[Content], object]] = {
    "rows that no data set has": set_to("rows", value=HUGE),
    "rows that no objects hold": all_of(set_to("rows", value=HUGE), set_to("dataset", "rows", value=HUGE)),
    "one chunk of terabytes": of_rows(HUGE),
    "chunks of less than all rows": all_of(set_to("rows", value=9), set_to("dataset", "rows", value=9)),
    "no rows": all_of(set_to("rows", value=0), set_to("dataset", "rows", value=0)),
    "minus one row": set_to("rows", value=-1),
    "rows in words": set_to("rows", value="8"),
    "half a row": set_to("rows", value=8.5),
    "rows beyond 64 bits": all_of(set_to("rows", value=2**70), set_to("dataset", "rows", value=2**70)),
    "a wide row": set_to("dim", value=2**60),
    "a row of other width": set_to("dim", value=63),
    "no width": set_to("dim", value=0),
    "width true": set_to("dim", value=True),
    "chunks of nothing": set_to("chunk_rows", value=0),
    "chunks of minus one": set_to("chunk_rows", value=-1),
    "chunks longer than the set": set_to("chunk_rows", value=HUGE),
    "labels in one row chunks": set_to("label_chunk_rows", value=1),
    "labels in long chunks": set_to("label_chunk_rows", value=2**52),
    "no objects": set_to("objects", value={}),
    "objects in a list": set_to("objects", value=[]),
    "a chunk left out": unset(*CHUNK),
    "labels left out": unset("objects", "labels/c/0"),
    "a chunk without crc32c": set_to(*CHUNK, "crc32c", value=None),
    "a crc32c of 40 bits": set_to(*CHUNK, "crc32c", value=2**40),
    "a chunk of other size": set_to(*CHUNK, "size", value=517),
    "a size below nothing": set_to("objects", "zarr.json", "size", value=-1),
    "a size beyond everything": set_to("objects", "zarr.json", "size", value=2**70),
    "a document of gigabytes": set_to("objects", "zarr.json", "size", value=2**40),
    "a hash that is none": set_to(*CHUNK, "sha256", value="zz"),
    "a hash with a line feed": set_to(*CHUNK, "sha256", value="0" * 63 + "\n"),
    "an object above": added("../../../../escaped"),
    "an object at the root": added("/etc/passwd"),
    "an object on another drive": added("C:\\windows"),
    "an object with a NUL": added("a\0b"),
    "an object with a long name": added("a" * 300),
    "an object with controls": added(ESCAPE),
    "a chunk by a way around": renamed("embeddings/c/../c/0/0"),
    "an attempt above": set_to("attempt", value="../../manifests"),
    "an attempt with a slash": set_to("attempt", value="a/b"),
    "an attempt without a name": set_to("attempt", value=""),
    "an attempt that is hidden": set_to("attempt", value=".tmp-1"),
    "an attempt with controls": set_to("attempt", value=ESCAPE),
    "an attempt of kilobytes": set_to("attempt", value="a" * 3000),
    "objects of Python": set_to("dtype", value="object"),
    "another dtype": set_to("dtype", value="float64"),
    "a dtype of other size": set_to("dtype", value="float32"),
    "classes in a word": set_to("dataset", "classes", value="ab"),
    "classes that are numbers": set_to("dataset", "classes", value=[1, 2]),
    "no classes": unset("dataset", "classes"),
    "a split that is a list": set_to("dataset", "split", value=["train"]),
    "flags perhaps": set_to("dataset", "multilabel", value="perhaps"),
    "flags that are not there": set_to("dataset", "multilabel", value=True),
    "failures that are numbers": set_to("dataset", "failed", value=[1]),
    "failures of no form": set_to("failed", value=[{"name": 1}]),
    "a provenance that is none": set_to("provenance", value=[]),
    "a name that is a list": set_to("provenance", "name", value=["timm"]),
    "a day of creation in words": set_to("provenance", "created", value="yesterday"),
    "a creation in the far future": set_to("provenance", "created", value=2**100),
    "a newer version": set_to("version", value=2),
    "a version beyond 64 bits": set_to("version", value=2**80),
    "a version in words": set_to("version", value="two"),
    "an encoder that is a list": set_to("encoder", value=[]),
    "deeper than anything": set_to("provenance", "deep", value=json.loads("[" * 60 + "]" * 60)),
}

# What may stand in the place of any sealed JSON object.
NO_JSON: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "null": lambda data: b"null",
    "a list": lambda data: b"[]",
    "an empty object": lambda data: b"{}",
    "half of it": lambda data: data[: len(data) // 2],
    "more behind it": lambda data: data + b"{}",
    "blanks between": lambda data: json.dumps(json.loads(data), indent=1).encode(),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "Latin-1": lambda data: data[:-1] + b',"\xe9":1}',
    "compressed": lambda data: gzip.compress(data),
    "NaN": lambda data: data[:-1] + b',"x":NaN}',
    "infinity": lambda data: data[:-1] + b',"x":-Infinity}',
    "a number too large": lambda data: data[:-1] + b',"x":1e999}',
    "many digits": lambda data: data[:-1] + b',"x":' + b"9" * 10_000 + b"}",
    "a key twice": lambda data: data[:-1] + b',"rows":1}',
    "half a surrogate": lambda data: data[:-1] + b',"x":"\\ud800"}',
    "no end of lists": lambda data: b"[" * 100_000,
    "deep lists": lambda data: data[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}",
    "megabytes": lambda data: data + b" " * (33 * MIB),
}

UNITS: dict[str, Callable[[Content], object]] = {
    "many rows": set_to("rows", value=HUGE),
    "wide rows": set_to("dim", value=2**50),
    "minus one row": set_to("rows", value=-1),
    "rows in words": set_to("rows", value="3"),
    "an attempt above": set_to("attempt", value="../.."),
    "an attempt with controls": set_to("attempt", value=ESCAPE),
    "an array left out": unset("objects", "norms"),
    "an array too many": set_to("objects", "extra", value={"size": 1, "sha256": "0" * 64, "crc32c": 1}),
    "an array without crc32c": set_to("objects", "norms", "crc32c", value=None),
    "another unit's": set_to("unit", value="0" * 64),
    "another dtype": set_to("dtype", value="float32"),
    "terabytes": all_of(set_to("rows", value=2**40), set_to("objects", "norms", "size", value=2**42 + 4)),
}

NAMES: dict[str, Callable[[Content], object]] = {
    "another set's": set_to("set", value="0" * 64),
    "no set's": set_to("set", value="../../x"),
    "minus one row": set_to("rows", value=-1),
    "a day in words": set_to("named", value="today"),
    "a day beyond the calendar": set_to("named", value=10**18),
    "rows beyond 64 bits": set_to("rows", value=2**80),
    "a model that is a list": set_to("name", "model", value=[]),
    "no model": unset("name", "model"),
    "a name that is none": set_to("name", value=7),
}

TRIALS: dict[str, Callable[[Content], object]] = {
    "nothing but its id": lambda content: [content.pop(k) for k in list(content) if k != "trial"],
    "another trial's": set_to("trial", value="0" * 64),
    "metrics that are none": set_to("metrics", value=[]),
    "a score in words": set_to("chosen", value={"C": "one"}),
    "rows that are none": set_to("rows", value=None),
    "a day beyond the calendar": set_to("created", value=10**18),
    "a name that is a list": set_to("name", value=[]),
    "a draw of nothing": set_to("draw", value={}),
    "a table of other classes": set_to("metrics", "per_class", "recall", value=[1.0]),
    "a table of nothing": set_to("metrics", "per_class", value=[1]),
    "an interval of one": set_to("intervals", "top1", value=[1.0]),
    "a curve of words": set_to("curve", value=[{"a": 1}, {"a": 2}]),
    "warnings that are numbers": set_to("warnings", value=[1]),
    "k in words": set_to("top1_by_k", value={"one": 1.0}),
    "classes that are numbers": set_to("classes", value=[1, 2]),
}


def as_before(said: dict[str, str]) -> bool:
    return set(said.values()) == {"ok"}


def test_the_store_that_is_changed_here_is_sound(root: Path) -> None:
    assert as_before(use(root))
    assert {"names", "results", "data", "load 0", "load 1"} <= set(use(root))


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_lies_is_refused_before_memory_is_taken(root: Path, case: str) -> None:
    rewrite(root, "manifests", MANIFESTS[case])
    tracemalloc.start()
    try:
        said = use(root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    loads = sorted(v for k, v in said.items() if k.startswith("load"))
    assert loads in (["Corrupt", "ok"], ["Incompatible", "ok"])
    assert peak < 32 * MIB
    assert len(cryoprobe.verify(root).damages) >= 1


@pytest.mark.parametrize("case", NO_JSON)
@pytest.mark.parametrize("kind", ["manifests", "unit-seals", "names", "trials"])
def test_what_is_not_what_was_sealed_is_refused_and_named(root: Path, kind: str, case: str) -> None:
    path = only(root, kind)
    path.write_bytes(NO_JSON[case](path.read_bytes()))
    said = use(root)
    assert set(said.values()) <= {"ok", "Corrupt"}
    assert path.relative_to(root).as_posix() in {d.key for d in cryoprobe.verify(root, data=True).damages}
    if kind == "manifests":
        assert [v for k, v in said.items() if k.startswith("load")].count("Corrupt") == 1
    elif kind == "trials":
        assert cryoprobe.results(root) == []
    elif kind == "names":  # the set goes by the name in its manifest
        assert len(cryoprobe.open_store(root).names()) == 2


@pytest.mark.parametrize("case", UNITS)
def test_a_units_seal_that_lies_is_refused(root: Path, case: str) -> None:
    rewrite(root, "unit-seals", UNITS[case])
    said = use(root)
    assert {v for k, v in said.items() if not k.startswith("rows")} == {"ok"}
    assert "damaged seal" in {d.problem for d in cryoprobe.verify(root).damages}
    encoder = only(root, "unit-seals").parent.name
    for manifest in root.glob("manifests/*/*.json"):
        manifest.unlink()  # or the set's rows are taken, and the unit is not looked at
    with pytest.raises(cryoprobe.Corrupt):
        cryoprobe.open_store(root).rows_of(encoder)


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_lies_is_no_name(root: Path, case: str) -> None:
    path = only(root, "names")
    rewrite(root, "names", NAMES[case])
    assert as_before(use(root))
    assert sorted(n.rows for n in cryoprobe.open_store(root).names()) == [3, 8]
    assert path.relative_to(root).as_posix() in {d.key for d in cryoprobe.verify(root).damages}


@pytest.mark.parametrize("case", TRIALS)
def test_a_trial_that_is_none_is_left_out_and_not_answered_from(root: Path, case: str) -> None:
    asked: dict[str, Any] = {"model": "timm:test_vit", "dataset": "folder:/data/birds", "untrained": True}
    only(root, "trials").unlink()  # of an earlier schema: it would not answer anyway
    cryoprobe.probe(root, **asked, probe="nearest-mean")
    rewrite(root, "trials", TRIALS[case])
    assert as_before(use(root))
    assert cryoprobe.results(root) == []
    with pytest.raises(cryoprobe.Corrupt):
        cryoprobe.probe(root, **asked, probe="nearest-mean")


@pytest.mark.parametrize(
    "claim",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff" * 100,
        b" " * (2 * MIB),
        b'{"machine": null, "pid": 1' + b"0" * 400 + b', "start": null, "owner": "x"}',
        b'{"machine": "x", "pid": -1, "start": [], "owner": {}}',
        b'{"pid": NaN}',
    ],
)
def test_a_claim_can_be_anything(root: Path, claim: bytes) -> None:
    folder = root / "claims" / only(root, "unit-seals").parent.name
    folder.mkdir(parents=True)
    for generation in ("1", "999999999", "x", "1" * 100):
        (folder / f"{'0' * 64}.{generation}.json").write_bytes(claim)
    assert as_before(use(root))


MARKERS = [
    b"",
    b"{}",
    b"[]",
    b"[" * 100_000,
    b" " * (2 * MIB),
    b'{"format": "cryoprobe-store", "version": 2}',
    b'{"format": "cryoprobe-store", "version": "' + ESCAPE.encode("unicode_escape") + b'"}',
    json.dumps({"format": "cryoprobe-store", "version": ESCAPE}).encode(),
    b'{"format": "cryoprobe-store", "version": 1' + b"0" * 4000 + b"}",
    b'{"format": {}, "version": 1}',
    b'{"format": "cryoprobe-store", "version": true}',
    b'{"format": "cryoprobe-store", "version": 1.0}',
]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_that_is_none_makes_it_no_store(root: Path, marker: bytes) -> None:
    (root / "cryoprobe.json").write_bytes(marker)
    for create in (False, True):
        with pytest.raises(CryoprobeError) as caught:
            cryoprobe.open_store(root, create=create)
        assert len(str(caught.value)) < 1000
    assert (root / "cryoprobe.json").read_bytes() == marker


class TestTheFolder:
    """Of a store in a folder, which can come out of an archive."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        folder = tmp_path / "outside"
        (folder / "deeper").mkdir(parents=True)
        (folder / "secret").write_text("secret")
        return folder

    @pytest.mark.parametrize("where", ["names", "manifests", "sets", "units", "unit-seals", "trials"])
    def test_a_folder_that_is_a_link_is_not_followed(self, root: Path, outside: Path, where: str) -> None:
        (root / where).rename(outside / where)
        (root / where).symlink_to(outside / where)
        assert "Corrupt" in set(use(root).values())

    def test_a_link_in_a_folders_place_is_not_written_behind(self, root: Path, outside: Path) -> None:
        (root / "claims").rmdir() if (root / "claims").is_dir() else None
        for where in ("claims", "pins"):
            (root / where).symlink_to(outside)
        before = sorted(outside.rglob("*"))
        store = cryoprobe.open_store(root)
        for verb in (
            lambda: store.backend.put("claims/secret", b"x"),
            lambda: store.backend.put_if_absent("claims/new", b"x"),
            lambda: store.backend.delete("claims/secret"),
            lambda: store.backend.copy("cryoprobe.json", "claims/secret"),
            lambda: store.backend.copy("claims/secret", "stolen"),
            lambda: store.backend.get("claims/secret"),
            lambda: list(store.backend.list("claims/")),
        ):
            with pytest.raises(cryoprobe.Corrupt, match="symbolic link"):
                verb()
        assert sorted(outside.rglob("*")) == before
        assert (outside / "secret").read_text() == "secret"

    def test_an_object_that_is_a_link_is_not_read(self, root: Path, outside: Path) -> None:
        for kind in ("names", "manifests", "unit-seals", "trials"):
            path = only(root, kind)
            data = path.read_bytes()
            path.unlink()
            (outside / "object").write_bytes(data)  # not even where it leads to what should be there
            path.symlink_to(outside / "object")
        said = use(root)
        assert set(said.values()) <= {"ok", "Corrupt", "NotFound"}
        assert sum(k.startswith("load") for k in said) == 1

    def test_a_chunk_that_is_a_link_is_corrupt(self, root: Path) -> None:
        for chunk in root.glob("sets/*/*/embeddings/c/0/0"):
            chunk.unlink()
            chunk.symlink_to("/etc/passwd")
        said = use(root)
        assert {v for k, v in said.items() if k.startswith("load")} == {"Corrupt"}
        assert {d.problem for d in cryoprobe.verify(root).damages} == {"missing"}

    def test_folders_that_contain_themselves(self, root: Path) -> None:
        for folder in [root, *root.rglob("*")]:
            if folder.is_dir() and not folder.is_symlink():
                (folder / "loop").symlink_to(root)
                (folder / "up").symlink_to("..")
        assert as_before(use(root))

    def test_pipes_and_sockets_are_no_objects(self, root: Path) -> None:
        for kind in ("names", "manifests", "unit-seals", "trials"):
            os.mkfifo(only(root, kind).with_name(f"{'0' * 64}.{'0' * 16}.json"))
        chunk = next(root.glob("sets/*/*/norms/c/0"))
        chunk.unlink()
        os.mkfifo(chunk)
        said = use(root)
        assert sorted(v for k, v in said.items() if k.startswith("raw")) == ["Corrupt", "ok"]
        (root / "cryoprobe.json").unlink()
        os.mkfifo(root / "cryoprobe.json")
        assert use(root) == {"open": "NotFound"}

    @pytest.mark.parametrize(
        "name", [ESCAPE, "a b", "-", "é", "~", "\udcff", "x" * 255, ".hidden", "%2e%2e", "\\", "a\nb"]
    )
    def test_files_of_any_name_are_left_alone(self, root: Path, name: str) -> None:
        for folder in ("", "names", "manifests", "trials", "sets", "units", "unit-seals"):
            (root / folder / name.replace("/", "_")).write_bytes(b"x")
        said = use(root)
        if name in ("-", "x" * 255):  # which could be a seal's: it is read, and is none
            assert set(said.values()) <= {"ok", "Corrupt", "BadInput"}
        else:
            assert as_before(said)
        assert sorted(n.rows for n in cryoprobe.open_store(root).names()) == [3, 8]


WORST = {
    "terabytes of a manifest": lambda root: os.truncate(only(root, "manifests"), 1 << 40),
    "terabytes of a chunk": lambda root: [
        os.truncate(p, 1 << 40) for p in [*root.glob("sets/*/*/norms/c/0"), *root.glob("sets/*/*/*/c/0/0")]
    ],
    "terabytes of a trial, a name, a unit": lambda root: [
        os.truncate(p, 1 << 40)
        for p in [only(root, "trials"), only(root, "names"), *root.glob("units/*/*/*/*"), only(root, "unit-seals")]
    ],
    "a terabyte of a marker": lambda root: os.truncate(root / "cryoprobe.json", 1 << 40),
    "terabytes in many chunks": lambda root: rewrite(root, "manifests", of_rows(3000 * 2**23, 2**23)),
    "three million lists": lambda root: only(root, "manifests").write_bytes(b'{"a":[' + b"[]," * 3_000_000 + b"0]}"),
    "three million numbers": lambda root: only(root, "trials").write_bytes(b'{"a":[' + b"1.5," * 3_000_000 + b"0]}"),
    "a million keys": lambda root: only(root, "manifests").write_bytes(
        b"{" + b",".join(b'"%d":0' % i for i in range(1_000_000)) + b"}"
    ),
}

_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import cryoprobe
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (3 << 29), size + (3 << 29)))  # 1.5 GiB
try:
    store = cryoprobe.open_store(sys.argv[1])
    print([d.problem for d in cryoprobe.verify(store, data=True).damages], len(cryoprobe.results(store)))
    for set_id in store.set_ids():
        try:
            print(store.open(set_id).load()[0].shape)
        except cryoprobe.Corrupt as e:
            print("refused", e)
except cryoprobe.CryoprobeError as e:
    print("refused", e)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory a process has")
@pytest.mark.parametrize("case", WORST)
def test_the_worst_end_in_little_memory_and_time(root: Path, case: str) -> None:
    WORST[case](root)
    command = [sys.executable, "-c", _IN_LITTLE_MEMORY, root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout
    assert not done.stdout.startswith("[]")


POOL: list[Any] = [None, True, -1, 0, 2**63, 2**100, 1.5, -0.0, "", "..", "/", "\0", ESCAPE, "a" * 5000, [], {}, [[]]]
POOL += [{"a": []}, "é" * 50, "1", "0" * 64, ["", 1], {"": None}, 2**53, -(2**40)]


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a JSON value."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    found: list[tuple[Any, Any]] = [(content, key) for key, _ in inside]
    for container, key in found[:]:
        found += _places(container[key])
    return found


@pytest.mark.parametrize("kind", ["manifests", "unit-seals", "names", "trials"])
def test_a_hundred_fields_with_right_checksums(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    for turn in range(60):
        root = copy_of_store(tmp_path / str(turn))

        def change(content: Content) -> None:
            for _ in range(chance.choice([1, 1, 2])):
                container, key = chance.choice(_places(content))
                if isinstance(container, dict) and chance.random() < 0.2:
                    container.pop(key, None)
                else:
                    container[key] = chance.choice(POOL)

        rewrite(root, kind, change)
        use(root)


@pytest.mark.parametrize("kind", ["manifests", "unit-seals", "names", "trials", "cryoprobe.json", "sets"])
def test_bytes_at_random(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    root = copy_of_store(tmp_path / "store")
    path = {
        "cryoprobe.json": root / "cryoprobe.json",
        "sets": next(root.glob("sets/*/*/embeddings/c/0/0")),
    }.get(kind) or only(root, kind)
    data = path.read_bytes()
    for _ in range(40):
        at, n = chance.randrange(len(data)), chance.randrange(1, 40)
        junk = (
            chance.randbytes(n) if chance.random() < 0.5 else chance.choice([b"[", b"{", b'"', b"\\u", b"-", b"9"]) * n
        )
        cut = chance.choice([0, n])
        path.write_bytes(data[:at] + junk + data[at + cut :])
        said = use(root)
        if kind == "sets":
            assert "Corrupt" in set(said.values())


def test_nothing_that_a_store_says_controls_a_terminal(root: Path) -> None:
    for change in (
        set_to("dataset", "classes", value=["a" + ESCAPE, "b\u2028c"]),
        set_to("provenance", "host", value=ESCAPE),
        set_to("failed", value=[{"name": ESCAPE, "sample": None, "error": ESCAPE}]),
        set_to("encoder", "architecture", value=ESCAPE),
    ):
        rewrite(root, "manifests", change)
    rewrite(root, "manifests", set_to("provenance", "name", "model", value=f"timm:{ESCAPE}"))
    rewrite(root, "trials", set_to("model", value=ESCAPE))
    rewrite(root, "trials", set_to("remarks", value=[ESCAPE]))
    set_id = only(root, "manifests").stem
    damaged = next(root.glob("unit-seals/*/*.json"))
    damaged.write_bytes(resealed({**json.loads(damaged.read_bytes()), "attempt": ESCAPE, "dtype": ESCAPE}))
    for words in (["ls"], ["show", set_id], ["results"], ["verify"], ["show", ESCAPE], ["ls", "--json"]):
        command = [sys.executable, "-m", "cryoprobe.cli", *words, "--store", str(root)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        said = (done.stdout + done.stderr).decode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", said), (words, said)
        assert "Traceback" not in said
        assert done.returncode in (0, 3, 4)
        if words in (["ls"], ["results"]):
            assert "\\u001b]0;owned\\u0007" in said
            assert not any(line.startswith("gnp") for line in said.splitlines())

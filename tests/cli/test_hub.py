"""Sets on the Hugging Face Hub: sent there and fetched back, bit by bit.

The calls are made by the Hub's own client; what answers is `support.tiny_hub`, a small server of the tests. The Hub
itself is not asked. Uploads go by git LFS here: Xet, which the client prefers with the Hub, is turned off.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.data import put_set, wait_until
from support.servers import free_ports, serving
from support.store_data import flip
from support.tiny_hub import TOKEN, TinyHub, tiny_hub

import cryoprobe
from cryoprobe.stores.hub.index import INDEX
from cryoprobe.stores.store import Store

pytest.importorskip("pyarrow")

REPO = "me/birds"
PLACE = f"hf://datasets/{REPO}"
MANIFESTS = "cryoprobe/store/manifests/"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    """Run a server, and let the Hub's client find it, with the token that it knows."""
    from huggingface_hub import constants

    for name, value in {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(tmp_path / "hf"),
    }.items():
        monkeypatch.setattr(constants, name, value)  # the client has read its environment when it was imported
    found = TinyHub()
    with serving(tiny_hub(found)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "store")


def filled(place: Path, model: str = "timm:m") -> Store:
    """Return a store with train and test of one data set, in chunks of several sizes, and names of its samples."""
    opened = cryoprobe.open_store(place, create=True)
    rng = np.random.default_rng(len(model))
    for split, rows in (("train", 300), ("test", 100)):
        y = np.arange(rows) % 3
        x = (rng.normal(size=(rows, 6)) + y[:, None]).astype(np.float32)
        made = put_set(
            opened, x, y, classes=["a", "b|<i>", "a"], split=split, chunk_rows=64, model=model, encoder=model
        )
        opened.name_samples(made, [f"{split}/{i}.png" for i in range(rows)])
    return opened


def contents(place: Path | Store) -> dict[str, tuple[Any, ...]]:
    """Return what there is to read of every set."""
    opened = cryoprobe.open_store(place)
    found = {}
    for set_id in opened.set_ids():
        s = opened.open(set_id)
        x, y = s.load(dtype=s.manifest.dtype)
        arrays = x, y, s.norms(), s.sample_ids()
        found[set_id] = (s.manifest.dump(), s.sample_names(), *((a.dtype, a.shape, a.tobytes()) for a in arrays))
    return found


def test_what_comes_back_is_what_was_sealed_bit_by_bit(hub: TinyHub, store: Store, tmp_path: Path) -> None:
    trial = cryoprobe.probe(store, model="timm:m", dataset="folder:/d").trial
    pushed = cryoprobe.push(store, PLACE)
    assert {s.outcome for s in pushed.sets} == {"moved"}
    assert len(hub.repos[REPO]) == 2  # the data set when it was made, and one commit
    pulled = cryoprobe.pull(tmp_path / "new", PLACE)
    new = cryoprobe.open_store(tmp_path / "new")
    assert contents(new) == contents(store)
    assert (pulled.trials, pulled.sample_names, pulled.bytes) == (1, 2, pushed.bytes)
    assert cryoprobe.verify(new, data=True).damages == ()
    assert cryoprobe.mistakes(new, trial.trial).rows == cryoprobe.mistakes(store, trial.trial).rows

    # It comes from elsewhere: it is probed by id, and does not answer for the store's own until it is trusted.
    again = cryoprobe.probe(new, train=trial.train, test=str(trial.test))
    assert (again.trial.metrics, again.cached) == (trial.metrics, 0)
    assert again.trial["origins"]["train"]["from"] == PLACE
    cryoprobe.pull(new, PLACE, trust=True)
    assert cryoprobe.probe(new, model="timm:m", dataset="folder:/d").cached == 1


@pytest.mark.parametrize("kind", ["flags", "float32", "no labels", "one row"])
def test_sets_of_every_form_come_back(hub: TinyHub, tmp_path: Path, kind: str) -> None:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    rows = 1 if kind == "one row" else 2100
    x = np.random.default_rng(1).normal(size=(rows, 5)).astype(np.float32)
    classes = [] if kind == "no labels" else ["a", "b", "c"]
    labels = np.full(rows, -1) if kind == "no labels" else np.arange(rows) % 3
    if kind == "flags":
        labels = np.random.default_rng(2).integers(0, 2, (rows, 3)).astype(np.uint8)
    if kind == "float32":
        np.savez(tmp_path / "x.npz", embeddings=x, labels=labels)
        cryoprobe.add([tmp_path / "x.npz"], opened, model="mine", dataset="d", stored_dtype="float32")
    else:
        put_set(opened, x, labels, classes=classes, split="unlabelled", chunk_rows=500 if rows > 1 else 1)
    cryoprobe.push(opened, PLACE)
    cryoprobe.pull(tmp_path / "new", PLACE)
    assert contents(tmp_path / "new") == contents(opened)


def test_rows_go_into_several_files_of_whole_chunks(
    hub: TinyHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryoprobe.stores.hub.rows.shard_rows.__defaults__", (64 * 6 * 2,))
    monkeypatch.setattr("cryoprobe.stores.hub.rows._GROUP_ROWS", 64)
    cryoprobe.push(store, PLACE)
    files = [path for path in hub.newest(REPO) if path.endswith(".parquet")]
    assert len([f for f in files if "/train-" in f]) == 5
    assert "-00004-of-00005" in max(files)
    cryoprobe.pull(tmp_path / "new", PLACE)
    assert contents(tmp_path / "new") == contents(store)


def test_the_package_datasets_and_pandas_read_the_rows(hub: TinyHub, store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    cryoprobe.push(store, PLACE)
    files = write(tmp_path / "repo", hub.newest(REPO))
    (train,) = [str(f) for f in files if "/train-" in str(f)]
    found = datasets.load_dataset("parquet", data_files={"train": train}, split="train", cache_dir=str(tmp_path / "c"))
    sealed = next(s for s in map(store.open, store.set_ids()) if s.split == "train")
    assert found.features["label"].names == ["a", "b|<i>", "a (2)"]
    rows = found.with_format("numpy")[:]
    assert (rows["embedding"].astype(np.float16) == sealed.load(dtype="float16")[0]).all()
    assert rows["label"].tolist() == sealed.labels().tolist()
    assert rows["name"][7] == "train/7.png"
    assert bytes.fromhex(rows["sample"][7]) == sealed.sample_ids()[7].tobytes()
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(train)) == 300


def test_the_card_tells_which_files_are_which_configuration_and_split(
    hub: TinyHub, store: Store, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    cryoprobe.push(store, PLACE)
    write(tmp_path / "repo", hub.newest(REPO))
    (config,) = datasets.get_dataset_config_names(str(tmp_path / "repo"))
    assert config.startswith("timm-m-d-pooled-")
    found = datasets.load_dataset(str(tmp_path / "repo"), config, cache_dir=str(tmp_path / "c"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 300, "test": 100}


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return [folder / path for path in files]


def test_a_second_push_sends_what_is_new_and_keeps_what_people_wrote_on_the_card(hub: TinyHub, tmp_path: Path) -> None:
    cryoprobe.push(filled(tmp_path / "one"), PLACE)
    first = hub.newest(REPO)
    text = first["README.md"].decode()
    edited = text.replace("---\n", "---\nlicense: cc-by-4.0\ntags:\n- mine\n", 1).replace('\n"tags"', "\n# tags", 1)
    hub.commit(REPO, {**first, "README.md": (edited + "\nMy own words.\n").encode()})
    hub.requests.clear()
    pushed = cryoprobe.push(filled(tmp_path / "two", model="timm:other"), PLACE)
    assert {s.outcome for s in pushed.sets} == {"moved"}
    assert len([r for r in hub.requests if r.startswith("PUT")]) == 4  # two files of rows and two lists of names
    second = hub.newest(REPO)
    assert second.items() >= {k: v for k, v in first.items() if k not in ("README.md", INDEX)}.items()
    text = second["README.md"].decode()
    assert text.endswith("My own words.\n")
    assert '"license": "cc-by-4.0"' in text
    assert '"tags": ["cryoprobe", "embeddings", "linear-probe", "mine"]' in text
    assert text.count("# Image features") == 1
    assert "timm:other" in text
    hub.requests.clear()
    assert not cryoprobe.push(tmp_path / "one", PLACE).bytes
    assert [r for r in hub.requests if r.startswith(("POST", "PUT"))] == []  # nothing is new: no commit
    cryoprobe.pull(tmp_path / "both", PLACE)
    assert contents(tmp_path / "both") == contents(tmp_path / "one") | contents(tmp_path / "two")


def test_a_data_set_that_grew_gets_a_configuration_of_its_own_beside_its_earlier_rows(
    hub: TinyHub, store: Store
) -> None:
    cryoprobe.push(store, PLACE)
    x = np.random.default_rng(5).normal(size=(310, 6)).astype(np.float32)
    put_set(store, x, np.arange(310) % 3, classes=["a", "b", "c"], split="train", model="timm:m", encoder="timm:m")
    cryoprobe.push(store, PLACE)
    found = [(s["config"], s["split"]) for s in json.loads(hub.newest(REPO)[INDEX])["sets"].values()]
    assert len(set(found)) == 3
    assert sorted(split for _, split in found) == ["test", "train", "train"]


def test_of_two_that_push_at_once_both_are_there_afterwards(hub: TinyHub, tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), filled(tmp_path / "two", model="timm:other")
    cryoprobe.push(one, PLACE, sorted(one.set_ids())[:1])
    hub.before_commit = lambda: void(cryoprobe.push(two, PLACE))
    cryoprobe.push(one, PLACE)
    cryoprobe.pull(tmp_path / "both", PLACE)
    assert contents(tmp_path / "both") == contents(one) | contents(two)


def void(_: object) -> None:
    return None


def test_a_flipped_byte_in_a_file_of_rows_is_refused(hub: TinyHub, store: Store, tmp_path: Path) -> None:
    cryoprobe.push(store, PLACE)
    files = dict(hub.newest(REPO))
    path = next(p for p in files if "/train-" in p)
    hub.commit(REPO, {**files, path: flip(files[path], 8 * len(files[path]) // 2)})
    said = run("pull", PLACE, "--store", tmp_path / "new", code=4).stderr
    assert f"{path} in {PLACE} is not the file that was pushed" in said
    assert "@COMMIT" in said
    assert len(cryoprobe.open_store(tmp_path / "new").set_ids()) == 1  # the other set is whole, and came
    first = hub.id(REPO, 1)
    assert len(cryoprobe.pull(tmp_path / "old", f"{PLACE}@{first}").sets) == 2


@pytest.mark.parametrize("column", ["embedding", "label", "norm", "sample"])
def test_rows_that_somebody_changed_are_refused_though_the_list_of_files_agrees(
    hub: TinyHub, store: Store, tmp_path: Path, column: str
) -> None:
    cryoprobe.push(store, PLACE)
    files = dict(hub.newest(REPO))
    path = next(p for p in files if "/train-" in p)
    files[path] = changed(files[path], column)
    hub.commit(REPO, relisted(files))
    said = run("pull", PLACE, "--store", tmp_path / "new", code=4).stderr
    assert "are not those that were sealed" in said


def changed(data: bytes, column: str) -> bytes:
    """Return a parquet file with another value in one row of a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    values = table.column(column).to_pylist()
    other = {"embedding": lambda v: [-v[0], *v[1:]], "label": lambda v: (v + 1) % 3, "norm": lambda v: v * 2}
    values[7] = other.get(column, lambda v: v[::-1])(values[7])
    at = table.schema.get_field_index(column)
    table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def relisted(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files with a list that has their sizes and hashes."""
    from cryoprobe.stores.hub.index import HubFile, read_index

    index = read_index(files[INDEX], "there")
    from hashlib import sha256

    listed = {p: HubFile(size=len(files[p]), sha256=sha256(files[p]).hexdigest()) for p in index.files if p in files}
    return {**files, INDEX: index.model_copy(update={"files": {**index.files, **listed}}).dump()}


@pytest.mark.parametrize("what", ["rows", "columns", "not parquet", "other manifest", "gone", "no list"])
def test_whatever_else_is_wrong_there_ends_in_one_message(
    hub: TinyHub, store: Store, tmp_path: Path, what: str
) -> None:
    import pyarrow.parquet as pq

    cryoprobe.push(store, PLACE)
    files = dict(hub.newest(REPO))
    path = next(p for p in files if "/train-" in p)
    table = pq.read_table(io.BytesIO(files[path]))
    out = io.BytesIO()
    if what == "rows":
        pq.write_table(table.slice(0, 250), out)
        files[path] = out.getvalue()
    elif what == "columns":
        pq.write_table(table.drop_columns(["embedding"]), out)
        files[path] = out.getvalue()
    elif what == "not parquet":
        files[path] = b"no"
    elif what == "other manifest":
        one, two = [p for p in files if p.startswith(MANIFESTS)]
        files[one], files[two] = files[two], files[one]
    elif what == "gone":
        del files[path]
    if what == "no list":
        files[INDEX] = files[INDEX].replace(b'"rows":300', b'"rows":301')
    else:
        files = relisted(files)
    hub.commit(REPO, files)
    said = run("pull", PLACE, "--store", tmp_path / "new", code=4).stderr
    assert PLACE in said


def test_names_of_a_strangers_store_stay_text_on_the_card(hub: TinyHub, tmp_path: Path) -> None:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    evil = "x | y\n---\nlicense: mit\n<script>alert(1)</script> **bold** `code` \x1b[31m"
    x = np.ones((2, 3), np.float32) + np.eye(2, 3, dtype=np.float32)
    put_set(opened, x, np.arange(2), classes=[evil, "b"], split="..\\all", model=evil, dataset=f"folder:/{evil}")
    cryoprobe.push(opened, PLACE)
    text = hub.newest(REPO)["README.md"].decode()
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert [line.partition(":")[0] for line in front.splitlines()] == ['"tags"', '"configs"']
    assert "<script>" not in body
    assert "\x1b" not in body
    (row,) = [line for line in body.splitlines() if "alert" in line and "full" in line and "pooled |" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 12
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", path) and ".." not in path for path in hub.newest(REPO))


def test_who_may_not_and_what_is_not_there_is_one_message_with_its_exit_code(
    hub: TinyHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--store", store.url]
    new = ["--store", tmp_path / "new"]
    assert "no data set" in run("pull", PLACE, *new, code=3).stderr
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_and_secret")
    said = run("push", PLACE, *where, code=5).stderr
    assert "does not let this token write" in said
    assert "hf_wrong" not in said
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.answers = {"POST .*/commit/": 403}
    assert "(403)" in run("push", PLACE, *where, code=5).stderr
    hub.answers = {}
    assert "has no features" in run("pull", PLACE, *new, code=3).stderr
    run("push", PLACE, *where)
    assert "no revision 'v9'" in run("pull", f"{PLACE}@v9", *new, code=3).stderr
    for status, code, said in (
        (401, 8, "does not let this token read"),
        (403, 8, "(403)"),
        (429, 8, "Wait some minutes"),
    ):
        hub.answers = {"GET /api/datasets/me/birds": status}
        assert said in run("pull", PLACE, *new, code=code).stderr
    hub.answers = {}
    assert "offline" in offline(monkeypatch, PLACE, new).lower()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert "cannot be reached" in run("pull", PLACE, *new, code=8).stderr
    assert not (tmp_path / "new").exists()


def offline(monkeypatch: pytest.MonkeyPatch, place: str, new: list[Any]) -> str:
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return run("pull", place, *new, code=8).stderr


def test_a_place_on_the_hub_is_for_push_and_pull(store: Store, tmp_path: Path) -> None:
    where = ["--store", store.url]
    for words, said in (
        (["ls", "--store", PLACE], "cryoprobe pull hf://datasets/USER/NAME"),
        (["verify", "--store", PLACE], "is not a store"),
        (["sync", store.url, PLACE], "`sync` is between two stores"),
        (["push", "hf://me/birds", *where], "names no data set"),
        (["push", "hf://datasets/me/birds?token=secret", *where], "names no data set"),
        (["push", f"{PLACE}@v1", *where], "names a revision"),
        (["push", PLACE, "--units", *where], "holds whole sets"),
        (["push", PLACE, "--link", *where], "Leave --link out"),
        (["push", tmp_path / "team", "--private", *where], "Leave --private out"),
    ):
        told = run(*words, code=2).stderr
        assert said in told
        assert "secret" not in told


def test_a_private_data_set_is_seen_only_with_the_token(
    hub: TinyHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("push", PLACE, "--private", "--store", store.url)
    assert "is private" in said.stderr
    assert hub.private[REPO]
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "HF_TOKEN" in run("pull", PLACE, "--store", tmp_path / "new", code=3).stderr
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.private[REPO] = False
    assert "is public" in run("push", PLACE, "--private", "--store", store.url, code=2).stderr


def test_a_dry_run_says_what_would_travel_and_who_may_read_it(hub: TinyHub, store: Store) -> None:
    said = run("push", PLACE, "--store", store.url, "--dry-run")
    assert "33 objects, 2 names" in said.stdout
    assert "user, host, paths and command line" in said.stderr
    assert "public: anybody can read it" in said.stderr
    assert hub.repos == {}


def test_a_damaged_set_is_not_sent_and_nothing_else_is(hub: TinyHub, store: Store) -> None:
    chunk = next(Path(store.url).glob("sets/*/*/embeddings/c/0/0"))
    data = flip(chunk.read_bytes(), 77)
    chunk.unlink()
    chunk.write_bytes(data)
    said = run("push", PLACE, "--store", store.url, code=4).stderr
    assert "Nothing has been sent" in said
    assert hub.repos == {}


def test_what_the_sender_does_not_trust_the_receiver_does_not_either(
    hub: TinyHub, store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    cryoprobe.pull(mine, store)  # a place that no configuration file lists
    cryoprobe.push(mine, PLACE)
    new = tmp_path / "new"
    assert cryoprobe.pull(new, PLACE, trust=True).trusted
    origins = {n.origin.place for n in cryoprobe.open_store(new).names() if n.origin is not None}
    assert origins == {f"{PLACE} (from {mine} (from {store.url}))"}


def test_a_name_in_a_configuration_file_can_stand_for_it_and_is_trusted(
    hub: TinyHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cryoprobe.toml").write_text(f'[stores]\nshared = "{PLACE}"\n')
    monkeypatch.chdir(tmp_path)
    assert f"store shared: {PLACE}" in run("push", "shared", "--store", store.url).stderr
    assert cryoprobe.pull(tmp_path / "new", "shared").trusted
    assert cryoprobe.pull(tmp_path / "by-url", PLACE).trusted


def test_a_push_that_was_killed_goes_on_and_leaves_nothing_half_there(
    hub: TinyHub, store: Store, tmp_path: Path
) -> None:
    hold: list[str] = []

    class Held(dict[str, bytes]):
        def __setitem__(self, digest: str, data: bytes) -> None:
            super().__setitem__(digest, data)
            hold.append(digest)

    hub.blobs = Held()
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    hub.answers = {"POST .*/commit/": 503}  # the client tries again for half a minute: it is killed meanwhile
    command = [sys.executable, "-m", "cryoprobe.cli", "push", PLACE, "--store", store.url]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any("commit" in r for r in hub.requests), lambda: process.poll() is None)
        os.kill(process.pid, signal.SIGKILL)
    assert len(hub.repos[REPO]) == 1  # nothing of it can be read
    sent = len(hold)
    assert sent >= 2
    hub.answers = {}
    cryoprobe.push(store, PLACE)
    assert len(hold) == sent  # what had been sent was not sent again
    cryoprobe.pull(tmp_path / "new", PLACE)
    assert contents(tmp_path / "new") == contents(store)

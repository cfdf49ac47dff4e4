"""Ray: nodes, workers and the caller are lost, and the set is complete; what is wrong is said once."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import dying_probe, logged_encoder
from support.cli import run as command
from support.data import put_set, write_images
from support.engines import BATCH, OPTIONS, UNIT, Run, node, ray_cluster, serial
from support.servers import serving

import cryoprobe
from cryoprobe.errors import BadInput, NotFound, Unavailable

pytestmark = pytest.mark.slow

IMAGES = 240
_PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ray_cluster(2, tmp_path_factory.mktemp("ray")) as cluster:
        yield cluster


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds; fail if it never does."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def driver(run: Run, *words: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own; what it says goes to the files out and err."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    where = ["--model", logged_encoder.NAME, "--dataset", f"folder:{run.data}", "--store", str(run.store)]
    engine = ["--engine", "ray", "--address", run.address, *words]
    with (run.folder / "out").open("w") as out, (run.folder / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "cryoprobe", "extract", *where, *options, *engine],
            cwd=run.folder,
            stdout=out,
            stderr=err,
            text=True,
        )


def sealed_hashes(run: Run) -> set[str]:
    """Return which images have a sealed row, as the log names them."""
    if not (run.store / "unit-seals").exists():
        return set()
    store = cryoprobe.open_store(run.store)
    (encoder,) = {key.split("/")[1] for key in store.backend.keys("unit-seals/")}
    files = {bytes.fromhex(_sha256(file)): file for file in run.data.rglob("*.png")}
    there = store.rows_of(encoder).has(np.array([np.frombuffer(i, np.uint8) for i in files]))
    found = [file for file, has in zip(files.values(), there, strict=True) if has]
    return {logged_encoder.pixel_hash(logged_encoder.preprocess(Image.open(file))) for file in found}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_node_a_worker_and_the_caller_are_lost_and_the_set_is_complete(cluster: Any, tmp_path: Path) -> None:
    data = tmp_path / "images"
    write_images(data, {"a": IMAGES // 2, "b": IMAGES // 2}, side=8)
    alone = Run(tmp_path / "alone", data)
    logged_encoder.begin(alone.folder, {})
    serial(alone)

    second = cluster.add_node(**node(1))
    run = Run(tmp_path / "ray", data, cluster.address)
    # Each worker encodes one unit, and then waits: nobody is done before all of this has happened.
    logged_encoder.begin(run.folder, {1: {3: "kill"}, "any": {1 + UNIT // BATCH: "wait"}})
    first = driver(run, "--worker-count", "3")
    until(lambda: logged_encoder.processes(run.folder) == 4 and len(sealed_hashes(run)) >= 2 * UNIT)
    assert "ended: its process died; another takes its place" in (run.folder / "err").read_text()
    first.kill()
    first.wait()
    # Its workers end with it: they are Ray's, and Ray ends what belongs to a caller that is gone.
    until(lambda: not logged_encoder.alive(run.folder))
    sealed, before = sealed_hashes(run), logged_encoder.encoded(run.folder)

    again = driver(run, "--worker-count", "3")
    until(lambda: logged_encoder.processes(run.folder) == 4 + 3)
    cluster.remove_node(second, allow_graceful=False)
    until(lambda: re.search("ended: (its node died|it cannot be reached)", (run.folder / "err").read_text()))
    logged_encoder.go(run.folder)
    assert again.wait(timeout=_PATIENCE_SECONDS) == 0
    out, err = ((run.folder / name).read_text() for name in ("out", "err"))
    assert "Traceback" not in err
    assert "raylet" not in out + err

    (one,), (other,) = cryoprobe.open_store(run.store).names(), cryoprobe.open_store(alone.store).names()
    assert (one.set, one.name) == (other.set, other.name)
    x, y = cryoprobe.open_store(run.store).open(one.set).load()
    expected, labels = cryoprobe.open_store(alone.store).open(other.set).load()
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(y, labels)
    # What was sealed before is encoded again to be compared, one in fifty by each process, and for nothing else.
    after = logged_encoder.encoded(run.folder)
    processes = logged_encoder.processes(run.folder) - 4
    assert sum(after[h] - before[h] for h in sealed) <= processes * (len(sealed) // 50 + 1)


def test_ctrl_c_ends_the_workers_and_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    data = tmp_path / "images"
    write_images(data, {"a": IMAGES}, side=8)
    run = Run(tmp_path / "ray", data, cluster.address)
    logged_encoder.begin(run.folder, {"any": {"any": ["slow", 1.0]}})
    process = driver(run, "--worker-count", "2")
    until(lambda: logged_encoder.encoded(run.folder).total() >= 2 * BATCH)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=_PATIENCE_SECONDS) == 130
    err = (run.folder / "err").read_text()
    assert err.splitlines()[-1].startswith("cryoprobe: Interrupted")
    assert "Traceback" not in err
    until(lambda: not logged_encoder.alive(run.folder))
    assert sealed_hashes(run) == set(logged_encoder.encoded(run.folder))


def test_what_a_worker_finds_wrong_is_said_once_as_by_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "images"
    write_images(data, {"a": 4, "b": 4}, side=8)
    (data / "a" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n not")
    logged_encoder.begin(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    words = ["extract", "--model", logged_encoder.NAME, "--dataset", "folder:images", "--store"]
    one = command(*words, tmp_path / "one", code=2)
    engine = ["--engine", "ray", "--address", cluster.address, "--worker-count", "2"]
    several = command(*words, tmp_path / "several", *engine, code=2)
    assert one.stderr.splitlines()[-1] == several.stderr.splitlines()[-1]
    assert several.stderr.count("bad.png") == one.stderr.count("bad.png")
    missing = command(
        *words[:-3], "--dataset", "folder:nowhere", "--store", tmp_path / "none", *engine[:-1], "1", code=3
    )
    assert missing.stderr.count("nowhere") == 1


def test_trials_are_those_of_one_process_whoever_dies(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 24))

    def rows(n: int) -> tuple[Any, Any]:
        y = np.arange(n) % 6
        return (3 * centres[y] + 4 * rng.normal(size=(n, 24))).astype(np.float32), y

    stores = [cryoprobe.open_store(tmp_path / name, create=True) for name in ("one", "several")]
    train, test = rows(120), rows(60)
    for store in stores:
        put_set(store, *train, classes=list("abcdef"), split="train")
        put_set(store, *test, classes=list("abcdef"), split="test")
    asked: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d", "shots": [1, 2, 4], "seeds": 2}
    asked |= {"probe": "support.dying_probe.Dying", "grid": {"C": [0.1, 10.0]}}
    one = cryoprobe.probe(stores[0], **asked)
    monkeypatch.chdir(tmp_path)
    dying_probe.arm()
    several = cryoprobe.probe(stores[1], **asked, engine="ray", address=cluster.address, worker_count=2)
    assert not dying_probe.is_armed()
    assert [(t.draw, t.seed, t.metrics) for t in several.trials] == [(t.draw, t.seed, t.metrics) for t in one.trials]
    assert {t.trial for t in cryoprobe.results(stores[1])} == {t.trial for t in several.trials}


@pytest.mark.parametrize("listens", [False, True], ids=["nothing", "a web server"])
def test_an_address_without_a_cluster_is_refused_at_once(listens: bool, tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"a": 1}, side=8)
    with serving(SimpleHTTPRequestHandler) as url:
        place = url.removeprefix("http://")
        if listens:
            assert_not_there(tmp_path, place)
    if not listens:
        assert_not_there(tmp_path, place)


def assert_not_there(folder: Path, place: str) -> None:
    with pytest.raises(Unavailable, match=f"There is no Ray cluster at {place}"):
        cryoprobe.extract(
            logged_encoder.NAME, f"folder:{folder / 'images'}", folder / "store", engine="ray", address=place
        )


def test_objects_are_refused_since_other_machines_do_not_have_them(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="An encoder that is an object in this process"):
        cryoprobe.extract(logged_encoder.make(), "sklearn:digits", tmp_path / "store", engine="ray")


@pytest.mark.parametrize("option", ["address", "worker_count", "gpus_per_worker"])
def test_options_of_the_cluster_go_with_an_engine(option: str, tmp_path: Path) -> None:
    value: Any = "auto" if option == "address" else 2
    with pytest.raises(BadInput, match=f"--{option.replace('_', '-')} is for workers on a cluster"):
        cryoprobe.extract("timm:test_vit", "sklearn:digits", tmp_path / "store", **{option: value})


def test_without_ray_the_message_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotFound, match=r"pip install 'cryoprobe\[ray\]'"):
        cryoprobe.extract("timm:test_vit", "sklearn:digits", tmp_path / "store", untrained=True, engine="ray")

"""What once gave rows that did not belong to their key, by the name of the case."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import GifImagePlugin, Image, ImageFile
from support.cases import files_that_test
from support.cli import run
from support.data import write_images

import cryoprobe
from cryoprobe.errors import Unavailable
from cryoprobe.pipeline.datasets import Dataset, Split, load_dataset
from cryoprobe.pipeline.datasets.base import UndecodableImage
from cryoprobe.pipeline.datasets.images import decode_file
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.passing import is_passing


class Unreliable:
    """A data set on a machine that fails: each sample does so a few times, and is there then.

    Parameters
    ----------
    data : Dataset
    error : Exception
    times : int
    verb : str
        ``read`` or ``decode``.
    """

    def __init__(self, data: Dataset, error: Exception, times: int, verb: str = "read") -> None:
        self._data = data
        self._error = error
        self._times = times
        self._verb = verb
        self.name = data.name
        self.splits = data.splits

    def split(self, name: str) -> Split:
        split: Any = self._data.split(name)
        done: Counter[Any] = Counter()

        class Part:
            def __getattr__(self, attribute: str) -> Any:
                return getattr(split, attribute)

            def __len__(self) -> int:
                return len(split)

        def unreliable(argument: Any) -> Any:
            done[argument] += 1
            if done[argument] <= self._times:
                raise self._error
            return getattr(split, self._verb)(argument)

        part: Any = Part()
        setattr(part, self._verb, unreliable)
        return part  # type: ignore[no-any-return]


PASSING = {
    **{
        errno.errorcode[number]: OSError(number, os.strerror(number))
        for number in (errno.ESTALE, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT)
    },
    "MemoryError": MemoryError(),
}


@pytest.mark.parametrize("what", PASSING)
def test_f1_fd_and_memory(encoder: Encoder, store: Path, tmp_path: Path, what: str) -> None:
    write_images(tmp_path / "data", {"a": 6, "b": 6})
    data = load_dataset(f"folder:{tmp_path / 'data'}")
    with pytest.raises(Unavailable, match=r"cannot be read: .*tried several times") as ended:
        cryoprobe.extract(encoder, Unreliable(data, PASSING[what], 99), store, max_bad=12)
    assert ended.value.exit_code == 8
    assert "--max-bad" not in str(ended.value)
    assert not cryoprobe.open_store(store).set_ids()

    (done,) = cryoprobe.extract(encoder, Unreliable(data, PASSING[what], 1), store, max_bad=12)
    assert (done.rows, done.failed) == (12, 0)
    (healthy,) = cryoprobe.extract(encoder, data, store)
    assert healthy.set == done.set


def test_f1_no_memory_to_decode(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 6, "b": 6})
    data = load_dataset(f"folder:{tmp_path / 'data'}")
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    failing = Unreliable(data, error, 99, "decode")
    with pytest.raises(Unavailable, match="cannot be read"):
        cryoprobe.extract(encoder, failing, store, max_bad=12)
    assert not cryoprobe.open_store(store).set_ids()
    (done,) = cryoprobe.extract(encoder, Unreliable(data, error, 1, "decode"), store)
    assert (done.rows, done.failed) == (12, 0)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_what_the_name_or_the_rights_of_a_file_cause_does_not_pass(number: int) -> None:
    assert not is_passing(OSError(number, os.strerror(number)))
    assert not is_passing(OSError("broken data stream when reading image file"))


# Settings of the program around


def cut_short(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    write_images(data, {"a": 4, "b": 4}, side=64)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(data / "a" / "cut.jpg")
    whole = (data / "a" / "cut.jpg").read_bytes()
    (data / "a" / "cut.jpg").write_bytes(whole[:1500])
    return data


def test_a5_truncated(encoder: Encoder, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cut_short(tmp_path)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(cryoprobe.BadInput, match=r"cut\.jpg: cannot be decoded"):
        cryoprobe.extract(encoder, f"folder:{data}", store)
    (done,) = cryoprobe.extract(encoder, f"folder:{data}", store, max_bad=1)
    assert (done.rows, done.failed) == (8, 1)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    assert cryoprobe.extract(encoder, f"folder:{data}", store, max_bad=1)[0].set == done.set


@pytest.mark.parametrize("limit", [None, 1, 1000])
def test_the_limit_of_pixels_is_cryoprobes_own(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    (path,) = write_images(tmp_path, {"a": 1}, side=200)
    assert decode_file(path.read_bytes()).size == (200, 200)
    with pytest.raises(UndecodableImage, match="is too large"):
        decode_file(b"P5 60000 60000 255\n")


def test_a_limit_below_the_encoders_input_is_not_taken_for_a_bad_image(
    encoder: Encoder, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data", {"a": 2, "b": 2})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(cryoprobe.BadInput, match=r"PIL\.Image\.MAX_IMAGE_PIXELS is 9"):
        cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store, max_bad=4)


def test_plugins_and_strategies_of_the_program_do_not_change_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    rgb.save(tmp_path / "a.png")
    rgb.quantize(16).save(tmp_path / "a.gif")
    raw = {ending: (tmp_path / f"a.{ending}").read_bytes() for ending in ("png", "gif")}
    before = {ending: decode_file(content) for ending, content in raw.items()}

    class Black(ImageFile.ImageFile):
        format = "PNG"

        def _open(self) -> None:
            self._size, self._mode, self.tile = (1, 1), "L", []

    monkeypatch.setitem(Image.OPEN, "PNG", (Black, None))
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS)
    assert Image.open(tmp_path / "a.gif").mode == "RGB"
    for ending, content in raw.items():
        assert decode_file(content).mode == before[ending].mode
        np.testing.assert_array_equal(decode_file(content), before[ending])


def test_warnings_that_are_errors_make_no_image_a_bad_one(tmp_path: Path) -> None:
    # Between the size at which PIL warns and the one at which it refuses.
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")
    code = (
        "import sys; from cryoprobe.pipeline.datasets.images import decode_file;"
        "print(decode_file(open(sys.argv[1], 'rb').read()).size)"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run([*command, tmp_path / "large.png"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(9500, 9500)"


def test_m2_aspect(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 1, "b": 1})
    for i in range(2):
        Image.new("L", (1, 200_000 + i)).save(tmp_path / "data" / "a" / f"strip{i}.png")
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store, max_bad=2)
    assert (done.rows, done.failed) == (2, 2)


def test_a3_checkpoint_race(tmp_path: Path) -> None:
    # Each file of weights takes the place of the other as often as it can.
    weights, shas = {}, {}
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / f"{seed}.pth")
        encoder = cryoprobe.load_encoder("timm:test_vit", checkpoint=tmp_path / f"{seed}.pth")
        weights[seed] = encoder.spec("pooled").weights
        shas[seed] = encoder.checkpoint_sha256
    path = tmp_path / "ck.pth"
    shutil.copy(tmp_path / "1.pth", path)
    done = threading.Event()

    def replace() -> None:
        while not done.is_set():
            for seed in (2, 1):
                shutil.copy(tmp_path / f"{seed}.pth", tmp_path / "new")
                (tmp_path / "new").replace(path)

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        for _ in range(10):
            encoder = cryoprobe.load_encoder("timm:test_vit", checkpoint=path)
            seed = next(seed for seed in weights if weights[seed] == encoder.spec("pooled").weights)
            assert encoder.checkpoint_sha256 == shas[seed]
    finally:
        done.set()
        replacing.join()


CAN_MOUNT = (
    os.name == "posix" and os.geteuid() == 0 and shutil.which("mksquashfs") and Path("/dev/loop-control").exists()
)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount, a loop device and mksquashfs")
def test_a7_squashfs(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    """Two versions of a data set that agree in all that stat says, mounted at one path one after the other."""
    mounted, options = tmp_path / "m", ["-all-time", "1700000000", "-mkfs-time", "1700000000", "-quiet", "-no-progress"]
    mounted.mkdir()
    sets, states = [], []
    for version in (1, 2):
        for name, seed in (("a", 0), ("b", 1)):
            folder = tmp_path / f"v{version}" / name
            folder.mkdir(parents=True)
            for i in range(4):
                corrected = version == 2 and (name, i) == ("a", 0)
                pixels = np.random.default_rng(99 if corrected else 10 * seed + i).integers(0, 256, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.bmp")
        image = tmp_path / f"v{version}.sq"
        subprocess.run(["mksquashfs", tmp_path / f"v{version}", image, *options], check=True, stdout=subprocess.DEVNULL)
        if subprocess.run(["mount", "-o", "loop,ro", image, mounted], capture_output=True).returncode:
            pytest.skip("mounting is refused here")
        try:
            s = (mounted / "a" / "0.bmp").stat()
            states.append((s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
            sets.append([cryoprobe.extract(encoder, f"folder:{mounted}", store)[0] for _ in range(2)])
        finally:
            subprocess.run(["umount", mounted], check=True)
    assert states[0] == states[1]
    assert [first.set == again.set for first, again in sets] == [True, True]
    assert sets[0][0].set != sets[1][0].set
    assert (sets[1][0].encoded, sets[1][0].rows) == (1, 8)


# Names in a shared store


def test_a6_name_collision(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "A", {"a": 20, "b": 20}, seed=1)
    write_images(tmp_path / "B", {"a": 20, "b": 20, "c": 20}, seed=2)
    words = ["--model", "timm:test_vit", "--untrained", "--dataset", f"folder:{tmp_path / 'data'}", "--store", store]

    def on(machine: str, images: str) -> None:
        (tmp_path / "data").unlink(missing_ok=True)
        (tmp_path / "data").symlink_to(tmp_path / images)
        monkeypatch.setenv("CRYOPROBE_CACHE", str(tmp_path / f"cache {machine}"))

    def extract() -> str:
        return str(json.loads(run("extract", *words, "--json").stdout)["set"])

    def trained_on() -> str:
        return str(json.loads(run("probe", *words, "--probe", "nearest-mean", "--json").stdout)["trials"][0]["train"])

    on("B", "B")
    bobs = extract()
    on("A", "A")
    alices = extract()
    on("B", "B")
    assert trained_on() == bobs
    assert extract() == bobs
    assert trained_on() == bobs
    on("A", "A")
    assert trained_on() == alices
    on("C", "A")
    asked = run("probe", *words, code=7).stderr
    assert {*re.findall(r"--train (\w+) --test 0\.2   (\d+) rows", asked)} == {(bobs[:12], "60"), (alices[:12], "40")}
    extract()
    assert trained_on() == alices


# Where each case has its test

CASES = (
    "a1_metric_by_name",
    "a2_own_probe_helper",
    "a3_checkpoint_race",
    "a5_truncated",
    "a6_name_collision",
    "a7_squashfs",
    "b1_http_endless",
    "b2_http_pages",
    "c1_planted_config",
    "d1_twice",
    "d3_gc_eats_sealed_units",
    "f1_fd_and_memory",
    "h1_backup_shares_inodes",
    "k1_import_poison",
    "k2_name_year_9999",
    "k3_pull_trials",
    "m2_aspect",
)


@pytest.mark.parametrize("case", CASES)
def test_a_case_that_concerns_one_part_has_its_test_there(case: str) -> None:
    assert files_that_test(case)

"""Inputs that once gave wrong features or wrong labels without a word, by the name of the case."""

from __future__ import annotations

import argparse
import io
import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from support.cases import files_that_test
from support.cli import run
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.datasets import load_dataset
from cryoprobe.pipeline.datasets.base import UndecodableImage
from cryoprobe.pipeline.datasets.images import decode_file, encode_image, encode_pixels, identified
from cryoprobe.pipeline.datasets.pixel_limit import at_most
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.encoders.base import notes_of
from cryoprobe.pipeline.encoders.open_clip_recipes import recipe_of
from cryoprobe.pipeline.encoders.weights import weights_digest
from cryoprobe.pipeline.extraction.findings import SharedEmbeddings
from cryoprobe.pipeline.extraction.health import DataHealth

SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE]
PICTURES = {
    "checker": np.where((X // 8 + Y // 8) % 2, 60000, 4000),
    "disc": np.where((X - 32) ** 2 + (Y - 32) ** 2 < 400, 50000, 9000),
    "ramp": 2000 + X * 900,
}
DEEP = PICTURES["ramp"].astype(np.uint16)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(bits: int, pixels: bytes, *, photometric: int = 1, sample_format: int = 1) -> bytes:
    """Write a grey TIFF of a kind that PIL reads and does not write."""
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: photometric, 273: 134, 277: 1, 278: SIDE, 279: len(pixels)}
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


def planes() -> bytes:
    """Write a TIFF of 16-bit colour, one plane after the other."""
    size = 2 * SIDE * SIDE
    start = 8 + 2 + 10 * 12 + 4
    data = start + 6 + 24
    three = [(258, 3, start), (273, 4, start + 6), (279, 4, start + 18)]
    one = [(256, SIDE), (257, SIDE), (259, 1), (262, 2), (277, 3), (278, SIDE), (284, 2)]
    entries = [(t, struct.pack("<HHII", t, kind, 3, at)) for t, kind, at in three]
    entries += [(t, struct.pack("<HHII", t, 4, 1, value)) for t, value in one]
    body = b"".join(entry for _, entry in sorted(entries))
    offsets = struct.pack("<6I", *[data + i * size for i in range(3)], *[size] * 3)
    return (
        b"II*\0" + struct.pack("<IH", 8, 10) + body + bytes(4) + struct.pack("<3H", 16, 16, 16) + offsets
        + np.stack([DEEP] * 3).astype("<u2").tobytes()
    )  # fmt: skip


def twelve_bits(values: npt.NDArray[np.uint16]) -> bytes:
    """Pack 12-bit values, two to three bytes."""
    first, second = (values >> 4).astype(int).ravel().reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
    return packed.astype(np.uint8).tobytes()


GREY16: dict[str, Callable[[npt.NDArray[np.uint16]], bytes]] = {
    "png": lambda p: saved(Image.fromarray(p), "PNG"),
    "tiff": lambda p: saved(Image.fromarray(p), "TIFF"),
    "tiff-compressed": lambda p: saved(Image.fromarray(p), "TIFF", compression="tiff_lzw"),
    "tiff-big-endian": lambda p: saved(Image.frombytes("I;16B", (SIDE, SIDE), p.astype(">u2").tobytes()), "TIFF"),
    "tiff-white-is-zero": lambda p: tiff(16, (65535 - p).astype("<u2").tobytes(), photometric=0),
    "tiff-12-bits": lambda p: tiff(12, twelve_bits(p)),
    "pgm": lambda p: saved(Image.fromarray(p), "PPM"),
    "pgm-12-bits": lambda p: b"P5 %d %d 4095\n" % (SIDE, SIDE) + (p >> 4).astype(">u2").tobytes(),
    "pgm-text": lambda p: b"P2 %d %d 65535\n" % (SIDE, SIDE) + " ".join(map(str, p.ravel().tolist())).encode(),
    "jpeg2000": lambda p: saved(Image.fromarray(p), "JPEG2000"),
}

UNKNOWN_RANGE: dict[str, Callable[[], bytes]] = {
    "float_tiff": lambda: saved(Image.fromarray((DEEP / 65535).astype(np.float32)), "TIFF"),
    "float_pfm": lambda: saved(Image.fromarray((DEEP / 65535).astype(np.float32)), "PPM"),
    "spider": lambda: saved(Image.fromarray(DEEP.astype(np.float32)), "SPIDER"),
    "int32_tiff": lambda: saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "uint32_tiff": lambda: tiff(32, DEEP.astype("<u4").tobytes()),
    "int16_tiff": lambda: tiff(16, DEEP.astype("<i2").tobytes(), sample_format=2),
    "int8_tiff": lambda: tiff(8, (DEEP >> 8).astype(np.uint8).tobytes(), sample_format=2),
    "planes_of_16_bits": planes,
}


def encoded(encoder: Encoder, dataset: str, store: Path) -> npt.NDArray[np.float32]:
    """Extract, and return the embeddings [n, d]."""
    cryoprobe.extract(encoder, dataset, store)
    opened = cryoprobe.open_store(store)
    x: npt.NDArray[np.float32] = opened.open(opened.find(dataset=dataset)[0].set).load()[0]
    return x


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


# Values that are not 0 to 255


@pytest.mark.parametrize("kind", GREY16)
def test_grey16(encoder: Encoder, store: Path, tmp_path: Path, kind: str) -> None:
    deep = {f"{name}/a": GREY16[kind](p.astype(np.uint16)) for name, p in PICTURES.items()}
    plain = {
        f"{name}/a": saved(Image.fromarray((p / 257).round().astype(np.uint8)), "PNG") for name, p in PICTURES.items()
    }
    x = encoded(encoder, f"folder:{put(tmp_path / 'deep', deep)}", store)
    twins = encoded(encoder, f"folder:{put(tmp_path / 'plain', plain)}", store)
    assert (np.sum(x * twins, axis=1) > 0.99).all()
    assert np.tril(x @ x.T, -1).max() < 0.99


def test_grey16_in_arrays(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    images = np.stack(list(PICTURES.values())).astype(np.uint16)
    np.savez(tmp_path / "deep.npz", images=images, labels=np.arange(3))
    np.savez(tmp_path / "plain.npz", images=(images / 257).round().astype(np.uint8), labels=np.arange(3))
    x = encoded(encoder, f"npz:{tmp_path / 'deep.npz'}", store)
    np.testing.assert_array_equal(x, encoded(encoder, f"npz:{tmp_path / 'plain.npz'}", store))


@pytest.mark.parametrize("kind", GREY16)
def test_the_id_of_an_image_of_more_than_8_bits_is_not_the_one_that_it_had_when_it_was_clipped(kind: str) -> None:
    raw = GREY16[kind](DEEP)
    assert identified(raw) != raw
    assert identified(raw).startswith(raw)
    np.testing.assert_array_equal(decode_file(identified(raw)), decode_file(raw))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_the_id_of_an_image_of_bytes_is_the_sha256_of_its_file(mode: str) -> None:
    image = Image.fromarray((DEEP >> 8).astype(np.uint8)).convert("RGB").convert("L" if mode == "LA" else "RGB")
    for kind in ("PNG", "TIFF", "JPEG", "GIF", "BMP", "WEBP", "PPM", "TGA", "JPEG2000"):
        buffer = io.BytesIO()
        try:
            image.convert(mode).save(buffer, kind)
        except (OSError, ValueError):  # a format without that mode
            continue
        assert identified(buffer.getvalue()) == buffer.getvalue()


def test_16_bits_in_colour_or_with_alpha_keep_the_high_byte() -> None:
    colour = b"P6 2 1 65535\n" + np.array([[256, 65535, 0], [1, 512, 40000]], ">u2").tobytes()
    assert np.asarray(decode_file(colour)).tolist() == [[[1, 255, 0], [0, 2, 156]]]


@pytest.mark.parametrize("kind", UNKNOWN_RANGE)
def test_values_of_unknown_range_are_refused_with_what_to_do(kind: str) -> None:
    with pytest.raises(UndecodableImage, match=r"save it with 8") as refused:
        decode_file(UNKNOWN_RANGE[kind]())
    assert "\n" not in str(refused.value)
    assert identified(UNKNOWN_RANGE[kind]()) != UNKNOWN_RANGE[kind]()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_images_that_a_library_has_decoded_to_unknown_values_are_refused(mode: str) -> None:
    with pytest.raises(UndecodableImage, match="nothing says which value is black"):
        encode_image(Image.new(mode, (4, 4)))
    deep = Image.frombytes("I;16B", (SIDE, SIDE), DEEP.astype(">u2").tobytes())
    assert encode_image(deep) == encode_pixels(DEEP)


def test_float_tiff(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    raw = UNKNOWN_RANGE["float_tiff"]()
    data = put(tmp_path / "data", {"a/1.tif": raw, "b/2.tif": raw + b" "})
    with pytest.raises(cryoprobe.BadInput, match=r"(?s)None of the 2 samples.*255 \* x") as refused:
        cryoprobe.extract(encoder, f"folder:{data}", store, max_bad=2)
    assert "--max-bad" not in str(refused.value)


# What preprocessing takes


@pytest.mark.parametrize("size", [(4, 30000), (30000, 4), (1, 60000)])
def test_long_thin(encoder: Encoder, store: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    write_images(tmp_path / "data", {"a": 3, "b": 3})
    Image.new("RGB", size, (200, 30, 60)).save(tmp_path / "data" / "a" / "strip.png")

    class At224:
        """The same encoder, said to take 224 pixels; it never sees the strip."""

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

        def spec(self, *args: Any) -> Any:
            spec = encoder.spec(*args)
            return spec.model_copy(
                update={"preprocessing": spec.preprocessing.model_copy(update={"image_size": (224, 224)})}
            )

    with pytest.raises(cryoprobe.BadInput, match=rf"strip\.png: is too long: .*{size[0]} x {size[1]}"):
        cryoprobe.extract(At224(), f"folder:{tmp_path / 'data'}", store)  # type: ignore[arg-type]
    (done,) = cryoprobe.extract(At224(), f"folder:{tmp_path / 'data'}", store, max_bad=1)  # type: ignore[arg-type]
    assert (done.rows, done.failed) == (6, 1)


def test_an_image_a_hundred_times_as_long_as_wide_is_used(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 1, "b": 1})
    Image.new("RGB", (10, 1000), (200, 30, 60)).save(tmp_path / "data" / "a" / "strip.png")
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert done.rows == 3


# Every sample fails


def test_no_image_that_can_be_used_is_not_a_matter_of_max_bad(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = put(tmp_path / "data", {f"{c}/{i}.png": b"<html>" + bytes([i]) for c in "ab" for i in range(40)})
    for most in (0, 10, 80):
        with pytest.raises(cryoprobe.BadInput, match="None of the 80 samples of split 'all' can be used") as refused:
            cryoprobe.extract(encoder, f"folder:{data}", store, max_bad=most)
        assert "--max-bad" not in str(refused.value)
    assert not cryoprobe.open_store(store, create=True).set_ids()


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("imgs\\{}", "have backslashes"),
        ("wrong/base/{}", "Paths are relative to the folder"),
        ("https://example.org/{}", "are URLs"),
        ("file:///data/{}", "are URLs"),
        ("~/{}", "~ is not replaced"),
        ("/nowhere/{}", "Paths are relative to the folder"),
    ],
)
def test_csv_windows(encoder: Encoder, store: Path, tmp_path: Path, written: str, cause: str) -> None:
    files = write_images(tmp_path / "imgs", {"a": 4, "b": 4})
    rows = [f"{written.format(f.name)},{f.parent.name}" for f in files]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(cryoprobe.BadInput, match="None of the 8 samples") as refused:
        cryoprobe.extract(encoder, f"csv:{tmp_path / 't.csv'}", store, max_bad=8)
    assert cause in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    if "://" in written:
        assert f"{rows[0].split(',')[0]}: cannot be read" in str(refused.value)
    assert "--max-bad" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("filename,class", "Rename filename to path and class to label"),
        ("path;label", "separated by semicolons"),
        ("path\tlabel", "separated by tabs"),
        ("path,cat,dog", "flags of classes"),
    ],
)
def test_csv_windows_columns(tmp_path: Path, header: str, hint: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\na.png,1,0\n")
    with pytest.raises(cryoprobe.BadInput, match=hint):
        load_dataset(f"csv:{tmp_path / 't.csv'}")


def test_csv_windows_columns_may_have_capitals(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Path,Label,SPLIT\na.png,x,test\n")
    assert load_dataset(f"csv:{tmp_path / 't.csv'}").split("test").classes == ("x",)


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_missing_files_and_dangling_links_end_a_run_before_it_encodes(
    store: Path, tmp_path: Path, kind: str, encoder: Encoder
) -> None:
    files = write_images(tmp_path / "imgs", {"a": 4, "b": 4})
    (tmp_path / "imgs" / "a" / "link.png").symlink_to("/nowhere/x.png")
    rows = [f"imgs/{f.parent.name}/{f.name},{f.parent.name}" for f in [*files, tmp_path / "imgs" / "a" / "link.png"]]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows, "imgs/none.png,b"]))
    dataset, n = (f"folder:{tmp_path / 'imgs'}", 1) if kind == "folder" else (f"csv:{tmp_path / 't.csv'}", 2)
    are = "is" if n == 1 else "are"
    with pytest.raises(cryoprobe.BadInput, match=f"{n} of {8 + n} files of split 'all' {are} not there") as refused:
        cryoprobe.extract("timm:no_such_model", dataset, store)  # which would be told next
    assert "link.png: is a link to /nowhere/x.png, which is not there" in str(refused.value)
    assert f"--max-bad {n}" in str(refused.value)
    assert not store.exists()
    (done,) = cryoprobe.extract(encoder, dataset, store, max_bad=n)
    assert (done.rows, done.failed) == (8, n)


def test_paths_that_count_from_the_working_folder_are_said_to(
    encoder: Encoder, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_images(tmp_path / "work" / "imgs", {"a": 2, "b": 2})
    rows = [f"{f.relative_to(tmp_path)},{f.parent.name}" for f in files]
    (tmp_path / "work" / "t.csv").write_text("\n".join(["path,label", *rows]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cryoprobe.BadInput, match=f"would be found from {tmp_path}"):
        cryoprobe.extract(encoder, "csv:work/t.csv", store)
    assert load_dataset("csv:work/t.csv").split("all").path(0) == tmp_path / "work" / files[0].relative_to(tmp_path)


# Weights


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_backbone_prefix_nan(store: Path, tmp_path: Path, ending: str) -> None:
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    state["blocks.1.attn.qkv.weight"] = torch.full_like(state["blocks.1.attn.qkv.weight"], float("nan"))
    state["norm.bias"] = state["norm.bias"].clone()
    state["norm.bias"][3] = float("nan")
    path = tmp_path / f"nan{ending}"
    torch.save(state, path) if ending == ".pth" else save_file(state, path)
    write_images(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(
        cryoprobe.BadInput, match=r"NaN in 2 of \d+ tensors: blocks\.1\.attn\.qkv\.weight .*norm\.bias"
    ) as refused:
        cryoprobe.extract("timm:test_vit", f"folder:{tmp_path / 'data'}", store, checkpoint=path)
    assert "(1 of 64 values)" in str(refused.value)
    assert ".png" not in str(refused.value)


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


def trained_in_many_ways() -> dict[str, Any]:
    """Return one set of weights as training scripts save them, by the file's name."""
    torch.manual_seed(5)
    model = timm.create_model("test_vit", num_classes=0)
    state = model.state_dict()
    head = {"head.mlp.0.weight": torch.ones(8, 64), "head.last_layer.weight_g": torch.ones(4, 1)}
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    arguments = {"args": argparse.Namespace(lr=0.1), "metric": np.float64(71.5), "root": Path("x"), "optimizer": {}}
    return {
        "plain.pth": state,
        "dino.pth": {
            "student": prefixed("module.backbone.", state),
            "teacher": {**prefixed("backbone.", state), **head},
            "epoch": 3,
        },
        "dinov2.pth": {"teacher": {**prefixed("backbone.", state), **prefixed("dino_head.", head)}},
        "lightning.ckpt": {
            "state_dict": {**prefixed("model.", state), "criterion.weight": torch.ones(3)},
            "hyper_parameters": {"lr": 0.1},
        },
        "moco.pth.tar": {
            "state_dict": {
                **prefixed("module.base_encoder.", {**state, "head.0.weight": torch.ones(5, 64)}),
                **prefixed("module.momentum_encoder.", state),
                **prefixed("module.predictor.", head),
            }
        },
        "swa_ema.pth": averaged.state_dict(),
        "timm_train.pth": {"epoch": 7, "state_dict": state, **arguments},
        "ddp_compile.pth": {"model": prefixed("_orig_mod.module.", state)},
        "two_models.pth": {"model": {k: v + 0.01 for k, v in state.items()}, "model_ema": state},
    }


FROM = {
    "plain.pth": [],
    "dino.pth": ["teacher.backbone.* of dino.pth (student.module.backbone.* holds the same; left out: teacher.head.*)"],
    "dinov2.pth": ["teacher.backbone.* of dinov2.pth (left out: teacher.dino_head.*)"],
    "lightning.ckpt": ["state_dict.model.* of lightning.ckpt (left out: state_dict.criterion.*)"],
    "moco.pth.tar": [
        "state_dict.module.base_encoder.* of moco.pth.tar (state_dict.module.momentum_encoder.* holds the same; "
        "left out: state_dict.module.predictor.*, state_dict.module.base_encoder.head.*)"
    ],
    "swa_ema.pth": ["module.* of swa_ema.pth (left out: n_averaged)"],
    "timm_train.pth": ["state_dict.* of timm_train.pth"],
    "ddp_compile.pth": ["model._orig_mod.module.* of ddp_compile.pth"],
    "two_models.pth": ["model_ema.* of two_models.pth (left out: model.*)"],
}


@pytest.mark.parametrize("file", FROM)
def test_backbone_prefix(tmp_path: Path, file: str) -> None:
    saved = trained_in_many_ways()
    torch.save(saved[file], tmp_path / file)
    key = "model_ema" if file == "two_models.pth" else None
    if key is not None:
        with pytest.raises(cryoprobe.BadInput, match=r"differ: model_ema\.\*, model\.\*") as refused:
            cryoprobe.load_encoder("timm:test_vit", checkpoint=tmp_path / file)
        assert "--checkpoint-key model_ema or --checkpoint-key model" in str(refused.value)
    encoder = cryoprobe.load_encoder("timm:test_vit", checkpoint=tmp_path / file, checkpoint_key=key)
    assert encoder.spec("pooled").weights == weights_digest(saved["plain.pth"])
    assert notes_of(encoder) == [f"weights: {text}" for text in FROM[file]]


def test_backbone_prefix_of_two_models_is_part_of_what_finds_a_set(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    torch.save(trained_in_many_ways()["two_models.pth"], tmp_path / "both.pth")
    named = ["--model", "timm:test_vit", "--checkpoint", tmp_path / "both.pth", "--store", store]
    named += ["--dataset", f"folder:{tmp_path / 'data'}"]
    assert "--checkpoint-key model_ema" in run("extract", *named, code=2).stderr
    sets = {}
    for key in ("model", "model_ema"):
        done = run("extract", *named, "--checkpoint-key", key, "--json")
        assert f"weights: {key}.* of both.pth" in done.stderr
        sets[key] = json.loads(done.stdout)["set"]
        manifest = cryoprobe.open_store(store).open(sets[key]).manifest
        assert manifest.provenance.document["weights"][0].startswith(f"weights: {key}.*")  # type: ignore[index]
        assert manifest.provenance.name["checkpoint_key"] == key
    several = run("probe", *named, code=7).stderr
    assert "--checkpoint-key model_ema" in several
    for key, id_ in sets.items():
        trial = json.loads(run("probe", *named, "--checkpoint-key", key, "--probe", "nearest-mean", "--json").stdout)
        assert trial["trials"][0]["train"] == id_


def test_quickgelu_untagged(tmp_path: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="differ in activation or preprocessing") as refused:
        cryoprobe.load_encoder("open_clip:ViT-B-32", checkpoint=tmp_path / "tuned.pt")
    message = str(refused.value)
    assert f"--model open_clip:ViT-B-32/openai --checkpoint {tmp_path / 'tuned.pt'}\n      QuickGELU" in message
    assert f"--model open_clip:ViT-B-32/laion2b_e16 --checkpoint {tmp_path / 'tuned.pt'}" in message
    assert "metaclip_400m" in message
    for architecture, tag in [("ViT-B-16-SigLIP", "webli"), ("RN50", "openai")]:
        agreed = recipe_of(architecture, None, tmp_path / "tuned.pt")
        asked = recipe_of(architecture, tag, None)
        assert agreed.architecture == asked.architecture
        for field in ("mean", "std", "interpolation", "resize_mode"):
            assert agreed.config[field] == asked.config[field]
        assert "as for its published weights" in agreed.note


def test_quickgelu_untagged_without_published_weights_is_said(tmp_path: Path) -> None:
    model = open_clip.create_model("ViT-S-32-alt")
    torch.save({"state_dict": prefixed("module.", model.state_dict())}, tmp_path / "own.pt")
    notes = notes_of(cryoprobe.load_encoder("open_clip:ViT-S-32-alt", checkpoint=tmp_path / "own.pt"))
    assert notes[0].startswith("no weights of open_clip:ViT-S-32-alt are published: open_clip's default")
    assert notes[1:] == ["weights: state_dict.module.* of own.pt"]
    (note,) = notes_of(cryoprobe.load_encoder("open_clip:ViT-S-32-alt", untrained=True))
    assert "names no published weights: open_clip's default preprocessing" in note


def test_an_encoder_that_gives_nothing_usable_is_not_blamed_on_the_images(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

        def encode(self, batch: torch.Tensor) -> Any:
            return {tap: x * torch.nan for tap, x in encoder.encode(batch).items()}

    write_images(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(cryoprobe.BadInput, match="the encoder's fault, not that of the images") as refused:
        cryoprobe.extract(Broken(), f"folder:{tmp_path / 'data'}", store, max_bad=4)  # type: ignore[arg-type]
    assert "--max-bad" not in str(refused.value)


# What is read of an archive


@pytest.mark.parametrize("layout", ["members", "column"])
@pytest.mark.parametrize("save", ["savez", "savez_compressed"])
def test_npz_memory(tmp_path: Path, layout: str, save: str) -> None:
    """Reading 16 rows of test, beside 150 MB of train, takes less than twice their size and a block."""
    n, of_test = 1000, 16
    images = np.zeros((n, 224, 224, 3), np.uint8)
    images[:, ::7] = np.arange(n)[:, None, None, None] % 251
    labels, test = np.arange(n) % 5, np.arange(n) >= n - of_test
    arrays = {"images": images, "labels": labels, "split": np.where(test, "test", "train")}
    if layout == "members":
        arrays = {"train_images": images[~test], "train_labels": labels[~test]}
        arrays |= {"test_images": images[test], "test_labels": labels[test]}
    getattr(np, save)(tmp_path / "x.npz", **arrays)
    first = images[test][0]
    del images, arrays
    load_dataset("sklearn:digits")
    tracemalloc.start()  # numpy tells it of every array
    try:
        split = load_dataset(f"npz:{tmp_path / 'x.npz'}").split("test")
        pixels = np.asarray(split.decode(split.read(0)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(pixels, first)
    assert len(split) == of_test
    assert peak < 2 * of_test * first.nbytes + (12 << 20)


# How a folder is read


class Notes(cryoprobe.Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def extracted(
    encoder: Encoder, dataset: str, store: Path, **options: Any
) -> tuple[dict[str, tuple[int, tuple[str, ...]]], str]:
    """Extract; return rows and classes of each split, and what was said."""
    notes = Notes()
    done = cryoprobe.extract(encoder, dataset, store, reporter=notes, **options)
    opened = cryoprobe.open_store(store)
    return {d.split: (d.rows, tuple(opened.open(d.set).classes)) for d in done}, "\n".join(notes.said)


def split_folders(root: Path, *splits: str) -> Path:
    for seed, split in enumerate(splits):
        write_images(root / split, {"a": 3, "b": 2}, seed=seed)
    return root


@pytest.mark.parametrize("splits", [("Training", "Testing"), ("TRAIN", "dev"), ("train_set", "test_set", "holdout")])
def test_split_folders_are_known_by_the_names_that_people_use(
    encoder: Encoder, store: Path, tmp_path: Path, splits: tuple[str, ...]
) -> None:
    found, said = extracted(encoder, f"folder:{split_folders(tmp_path / 'data', *splits)}", store)
    assert found == {split: (5, ("a", "b")) for split in splits}
    assert f"is read as {len(splits)} splits" in said


@pytest.mark.parametrize(
    ("beside", "left_out"),
    [
        ({"unlabeled/1.png": b"", "unlabeled/2.png": b""}, "unlabeled/"),
        ({"annotations/1.xml": b"<annotation/>"}, "annotations/"),
        ({"extra/dog/1.png": b""}, "extra/"),
        ({"0.png": b""}, "0.png"),
    ],
)
def test_split_beside_others(
    encoder: Encoder, store: Path, tmp_path: Path, beside: dict[str, bytes], left_out: str
) -> None:
    data = put(split_folders(tmp_path / "data", "train", "test"), beside)
    found, said = extracted(encoder, f"folder:{data}", store)
    assert found == {"train": (5, ("a", "b")), "test": (5, ("a", "b"))}
    assert f"is read as 2 splits (test, train) of 2 classes (a, b); left out beside them: {left_out}" in said


def test_split_beside_others_without_labels_in_test(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = put(split_folders(tmp_path / "data", "train"), {"test/1.png": b"", "test/2.png": b""})
    for splits in ([], ["train"]):
        found, said = extracted(encoder, f"folder:{data}", store, splits=splits)
        assert found == {"train": (5, ("a", "b"))}
        assert "left out beside them: test/" in said


def test_split_beside_others_in_folders_of_sizes(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = split_folders(tmp_path / "data", "128px/train", "128px/test", "64px/train", "64px/test")
    found, said = extracted(encoder, f"folder:{data}", store)
    assert found == {"all": (20, ("128px", "64px"))}
    assert f"But 128px holds test, train: for these splits name folder:{data}/128px" in said


def test_a_folder_called_train_among_classes_is_asked_about(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"steam": 1, "diesel": 1})
    write_images(tmp_path, {"bus": 1, "car": 1})
    with pytest.raises(cryoprobe.BadInput, match="--layout class, or --layout split"):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}", layout="class").split("all").classes == ("bus", "car", "train")
    assert load_dataset(f"folder:{tmp_path}", layout="split").split("train").classes == ("diesel", "steam")


def test_nested_classes(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "animals", {"cat": 3, "dog": 3})
    write_images(tmp_path / "data" / "vehicles", {"bus": 3, "car": 3}, seed=1)
    found, said = extracted(encoder, f"folder:{tmp_path / 'data'}", store)
    assert found == {"all": (12, ("animals", "vehicles"))}
    assert (
        "is read as 2 classes (animals, vehicles) without splits; for its top folders as splits: --layout split" in said
    )
    found, said = extracted(encoder, f"folder:{tmp_path / 'data'}", store, layout="split")
    assert found == {"animals": (6, ("bus", "car", "cat", "dog")), "vehicles": (6, ("bus", "car", "cat", "dog"))}
    found, _ = extracted(encoder, f"folder:{tmp_path / 'data'}", store, layout="class")
    assert found == {"all": (12, ("animals", "vehicles"))}


def test_layout_class_reads_folders_called_train_as_classes(tmp_path: Path) -> None:
    data = load_dataset(f"folder:{split_folders(tmp_path, 'train', 'test')}", layout="class")
    assert data.split("all").classes == ("test", "train")


@pytest.mark.parametrize("options", [{"layout": "class"}, {"ignore": ["*.txt"]}])
def test_what_is_for_folders_is_refused_for_others(options: dict[str, Any]) -> None:
    with pytest.raises(cryoprobe.BadInput, match="is for folder:PATH"):
        load_dataset("sklearn:digits", **options)
    with pytest.raises(cryoprobe.BadInput, match="no layout 'depth'"):
        load_dataset("folder:/tmp", layout="depth")
    with pytest.raises(cryoprobe.BadInput, match="Give it to load_dataset"):
        cryoprobe.extract("timm:test_vit", load_dataset("sklearn:digits"), "nowhere", **options)


def test_stray_files(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = split_folders(tmp_path / "data", "train", "val")
    files = {"README.md": b"about", "wnids.txt": b"a", "LICENSE": b"", "train/a/a_boxes.txt": b"0", "val/list.csv": b""}
    found, said = extracted(encoder, f"folder:{put(data, files)}", store)
    assert found == {"train": (5, ("a", "b")), "val": (5, ("a", "b"))}
    assert (
        "Left out, as the ending is not an image's: 5 files (.csv 1, .md 1, .txt 2, no ending 1), such as LICENSE"
        in said
    )
    put(data, {"train/a/broken.png": b"", "val/b/also broken.png": b"", "old/a/1.png": b""})
    with pytest.raises(cryoprobe.BadInput, match=r"broken\.png"):
        cryoprobe.extract(encoder, f"folder:{data}", store)
    again, said = extracted(encoder, f"folder:{data}", store, ignore=["*broken.png", "old/"])
    assert again == found
    assert "Ignored as asked: old, train/a/broken.png, val/b/also broken.png" in said


def test_a_folder_of_nothing_but_other_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match=r"(?s)no class folders.*2 files \(\.npy 2\)"):
        load_dataset(f"folder:{put(tmp_path, {'1.npy': b'', '2.npy': b''})}")


def test_options_of_a_folder_hold_when_it_is_looked_at_again(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data / "animals", {"cat": 8, "dog": 8})
    write_images(data / "others", {"cat": 4, "dog": 4}, seed=1)
    cryoprobe.extract(encoder, f"folder:{data}", store, layout="split")
    options: Any = {"model": encoder.name, "dataset": f"folder:{data}", "untrained": True, "train_split": "animals"}
    result = cryoprobe.probe(cryoprobe.open_store(store), test_split="others", probe="knn", **options)
    assert not [note for note in result["notes"] if "changed" in note or "looked at" in note]
    write_images(data / "animals", {"cat": 1}, seed=7)
    result = cryoprobe.probe(cryoprobe.open_store(store), test_split="others", probe="knn", **options)
    assert [note for note in result["notes"] if "may have changed" in note]


# Names of classes


CAFE = ("caf\u00e9", "cafe\u0301")


def test_unicode_forms(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    names = {"train": CAFE[0], "test": CAFE[1]}
    for seed, (split, name) in enumerate(names.items()):
        write_images(tmp_path / "data" / split, {name: 8, "tea": 8}, seed=seed)
    found, _ = extracted(encoder, f"folder:{tmp_path / 'data'}", store)
    assert found == {"train": (16, (CAFE[0], "tea")), "test": (16, (CAFE[0], "tea"))}
    options: Any = {"model": encoder.name, "dataset": f"folder:{tmp_path / 'data'}", "untrained": True}
    result = cryoprobe.probe(cryoprobe.open_store(store), probe="nearest-mean", **options)
    assert result["metrics"]["top1"] == 1.0


def test_unicode_forms_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,label,split\na.png,{CAFE[0]},train\nb.png,{CAFE[1]},test\n")
    data = load_dataset(f"csv:{tmp_path / 't.csv'}")
    assert [data.split(s).classes for s in ("train", "test")] == [(CAFE[0],)] * 2


def test_unicode_forms_in_arrays(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array(CAFE)
    np.savez(tmp_path / "t.npz", x_train=images, y_train=labels, x_test=images, y_test=labels[::-1])
    data = load_dataset(f"npz:{tmp_path / 't.npz'}")
    assert [data.split(s).labels.tolist() for s in ("train", "test")] == [[0, 0]] * 2
    assert data.split("train").classes == (CAFE[0],)
    np.savez(tmp_path / "named.npz", images=images, labels=labels, classes=np.array(["tea", CAFE[1]]))
    split = load_dataset(f"npz:{tmp_path / 'named.npz'}").split("all")
    assert (split.classes, split.labels.tolist()) == (("tea", CAFE[1]), [1, 1])


@pytest.mark.parametrize("label", ["nan", "", "NaN"])
def test_missing_labels_in_arrays_are_refused(tmp_path: Path, label: str) -> None:
    np.savez(tmp_path / "t.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.array(["a", label]))
    with pytest.raises(cryoprobe.BadInput, match=f"a label is '{label}', as of a missing one"):
        load_dataset(f"npz:{tmp_path / 't.npz'}")


def test_a_name_of_one_form_is_kept_so_that_its_sets_keep_their_ids(tmp_path: Path) -> None:
    write_images(tmp_path, {CAFE[1]: 1, "tea": 1})
    assert load_dataset(f"folder:{tmp_path}").split("all").classes == (CAFE[1], "tea")


@pytest.mark.parametrize(("one", "other"), [("light", "Light"), ("light", " light"), ("9", "9.0"), ("a b", "a  b")])
def test_unicode_forms_and_other_ways_to_write_one_name_are_said(
    encoder: Encoder, store: Path, tmp_path: Path, one: str, other: str
) -> None:
    for split, name in (("train", one), ("test", other)):
        write_images(tmp_path / "data" / split, {name: 2, "z": 2})
    _, said = extracted(encoder, f"folder:{tmp_path / 'data'}", store)
    assert "are two, though they differ only in how they are written" in said


# Tables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,label\na.png,x,0\n", "line 1: there are 2 columns 'label'"),
        ("path,path,label\na.png,b.png,0\n", "line 1: there are 2 columns 'path'"),
        ("path,label\na.png,x\nb.png,nan\n", "line 3: the label is 'nan'"),
        ("path,label\na.png,NaN\n", "line 2: the label is 'NaN'"),
        ("path,label\na.png,x|y\nb.png,x|nan\n", "line 3: the label is 'nan'"),
        ("path,label\na.png,x\nb.png,\n", "line 3: the label is empty"),
    ],
)
def test_csv_windows_labels(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(cryoprobe.BadInput, match=message) as refused:
        load_dataset(f"csv:{tmp_path / 't.csv'}")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1,a,train", "2,b,train", "1,b,train"], "1 file of the table stand in it with several labels, such as 1"),
        (["1,a,train", "2,b,train", "1,a,test"], "1 file of the table stand in it with several splits, such as 1"),
        (["1,cat,train", "2,Cat,test"], "The classes 'Cat' (test) and 'cat' (train) are two"),
        (["1,9,train", "2,9.0,test"], "The classes '9' (train) and '9.0' (test) are two"),
    ],
)
def test_csv_windows_what_is_odd_is_said(tmp_path: Path, rows: list[str], said: str) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    data = load_dataset(f"csv:{tmp_path / 't.csv'}")
    assert any(said in note for note in data.notes())  # type: ignore[attr-defined]


# Different images with one embedding


def drawing(number: int) -> bytes:
    """Return a drawing that is transparent everywhere; its picture is another one each time."""
    colours = np.random.default_rng(number).integers(0, 256, (24, 24, 1), np.uint8)
    return saved(Image.fromarray(np.concatenate([np.zeros((24, 24, 3), np.uint8), colours], axis=2)), "PNG")


def test_odd_images(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data, {"a": 30, "b": 30})
    put(data, {f"a/drawing{i}.png": drawing(i) for i in range(7)})
    (data / "b" / "drawing0 again.png").write_bytes(drawing(0))
    notes = Notes()
    (done,) = cryoprobe.extract(encoder, f"folder:{data}", store, reporter=notes)
    remark = (
        "7 of 67 different images of split 'all' have one and the same embedding, such as a/drawing0.png and "
        "a/drawing1.png. Are they blank, transparent or clipped?"
    )
    assert (done.rows, done.shared) == (68, 7)
    shared, transparent, plain, repeated = done.remarks
    assert shared == remark
    assert transparent.startswith(
        "7 of the 67 images decoded for split 'all' have transparent pixels, such as a/drawing0.png and "
        "a/drawing1.png. The conversion to RGB drops that"
    )
    assert plain.startswith("7 of the 67 images decoded for split 'all' are of one colour")
    assert repeated == (
        "1 of 68 rows of split 'all' repeats the image of an earlier row; 2 have an image that has several labels, "
        "such as a/drawing0.png and b/drawing0 again.png."
    )
    assert set(done.remarks) <= set(notes.said)
    assert cryoprobe.summary([done])["remarks"] == list(done.remarks)
    shown = json.loads(run("show", done.set[:12], "--store", store, "--json").stdout)["provenance"]
    kept = {finding: shown[finding] for finding in ("decoded_images", "repeated_images", "class_sizes")}
    assert [kept["decoded_images"][field] for field in ("of", "transparent", "plain", "rotated")] == [67, 7, 7, 0]
    assert [kept["repeated_images"][field] for field in ("of", "repeated", "contradicted")] == [68, 1, 2]
    assert [kept["class_sizes"][field] for field in ("of", "empty", "smallest", "largest")] == [2, 0, 31, 37]
    assert "  decoded_images:\n" in run("show", done.set[:12], "--store", store).stdout
    (again,) = cryoprobe.extract(encoder, f"folder:{data}", store)
    assert (again.encoded, again.shared, again.remarks) == (0, 7, done.remarks)
    (part,) = cryoprobe.extract(encoder, f"folder:{data}", store, limit=40)
    assert part.encoded == 0
    assert part.shared >= 2
    assert not any("decoded" in line for line in part.remarks)  # the rows are reused, and nobody looked


def test_odd_images_on_white_are_told_apart(store: Path, tmp_path: Path) -> None:
    data, twins = tmp_path / "data", tmp_path / "twins"
    for i in range(3):  # black wherever a viewer sees anything
        alpha = np.zeros((24, 24), np.uint8)
        alpha[4 * i : 4 * i + 12, 4:20] = 255
        put(data, {f"a/cut{i}.png": saved(Image.fromarray(np.dstack([np.zeros((24, 24, 3), np.uint8), alpha])), "PNG")})
        put(twins, {f"a/cut{i}.png": saved(Image.fromarray(255 - alpha).convert("RGB"), "PNG")})
    options: dict[str, Any] = {"model": "timm:test_vit", "untrained": True, "image_size": 32, "store": store}
    (plain,) = cryoprobe.extract(dataset=f"folder:{data}", **options)
    (white,) = cryoprobe.extract(dataset=f"folder:{data}", background="white", **options)
    (twin,) = cryoprobe.extract(dataset=f"folder:{twins}", background="#FFFFFF", **options)
    assert (plain.shared, white.shared, white.remarks) == (3, 0, ())
    assert any("--background white" in remark for remark in plain.remarks)
    opened = cryoprobe.open_store(store)
    np.testing.assert_array_equal(opened.open(white.set).load()[0], opened.open(twin.set).load()[0])


def test_odd_images_turned_or_of_unequal_classes(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data, {"a": 20, "b": 1})
    exif = Image.Exif()
    exif[274] = 8
    put(data, {"a/turned.jpg": saved(Image.new("RGB", (40, 30), (9, 90, 200)), "JPEG", exif=exif)})
    (done,) = cryoprobe.extract(encoder, f"folder:{data}", store)
    assert any("has an EXIF rotation" in line and "a/turned.jpg" in line for line in done.remarks)
    assert "The 2 classes of split 'all' have 1 to 21 rows." in done.remarks


# Files that are no images, and images that are large


def test_heic_bomb(store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data, {"a": 2, "b": 2})
    named = {
        "a/IMG_0001.HEIC": (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(200), "pip install pillow-heif"),
        "a/x.jxl": (bytes.fromhex("ff0a") + bytes(100), "a JPEG XL image"),
        "a/logo.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>', "an SVG drawing"),
        "b/DSC1.ARW": (b"II*\0\x08\0\0\0" + bytes(200), "a camera's raw image"),
        "b/page.html.jpg": (b"<!DOCTYPE html><html>403 Forbidden</html>", "a web page (HTML)"),
        "b/pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n", "git lfs pull"),
    }
    put(data, {name: raw for name, (raw, _) in named.items()})
    words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", store]
    refused = run(*words, "--dataset", f"folder:{data}", code=2).stderr
    for name, (_, said) in named.items():
        (line,) = [line for line in refused.splitlines() if line.startswith(f"  {name}: ")]
        assert said in line
    done = json.loads(run(*words, "--dataset", f"folder:{data}", "--max-bad", "6", "--json").stdout)
    assert (done["rows"], done["failed"]) == (4, 6)


def test_heic_bomb_above_the_limit(store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data, {"a": 2, "b": 2})
    put(data, {"b/scan.png": saved(Image.new("L", (300, 200), 128), "PNG")})
    put(data, {"b/long.png": saved(Image.new("L", (2, 900), 128), "PNG")})  # 33 x 14850 when it is resized
    words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", store]
    words += ["--dataset", f"folder:{data}"]
    refused = run(*words, "--max-pixels", "59999", code=2).stderr
    assert "b/scan.png: is too large: 300 x 200 pixels, the limit is 59999" in refused
    assert "b/long.png: is too long" in refused
    assert refused.count("--max-pixels sets another limit") == 2
    bounded = json.loads(run(*words, "--max-pixels", "500000", "--json").stdout)
    usual = json.loads(run(*words, "--json").stdout)
    assert (bounded["set"], bounded["rows"], usual["encoded"]) == (usual["set"], 6, 0)


def test_a_limit_holds_for_one_run_and_its_threads_alone() -> None:
    raw = saved(Image.new("L", (300, 200)), "PNG")
    with at_most(100), pytest.raises(UndecodableImage, match="limit is 100"):
        decode_file(raw)
    with ThreadPoolExecutor(1) as pool, at_most(100):
        assert pool.submit(decode_file, raw).result().size == (300, 200)
    assert decode_file(raw).size == (300, 200)
    deep = saved(Image.fromarray(np.full((20, 30), 60000, np.uint16)), "TIFF")
    with at_most(10):
        assert identified(deep) != deep  # an id does not depend on the limit


def test_images_that_an_encoder_tells_apart_are_not_remarked(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "data", {"a": 5, "b": 5})
    (tmp_path / "data" / "a" / "copy.png").write_bytes(files[0].read_bytes())
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (done.rows, done.shared) == (11, 0)
    (remark,) = done.remarks
    assert remark.startswith("1 of 11 rows of split 'all' repeats the image of an earlier row, such as a/")


@pytest.mark.parametrize(
    ("of", "shared", "largest", "said"),
    [
        (1000, 10, 10, None),
        (1000, 11, 11, "11 of 1,000 different images"),
        (1000, 500, 2, None),
        (1000, 502, 2, "502 of 1,000 different images of split 'train' share their embedding"),
        (1000, 600, 300, "300 of 1,000 .* In all, 600 share theirs"),
        (3, 2, 2, "2 of 3 different images"),
        (3, 0, 1, None),
    ],
)
def test_when_shared_embeddings_are_remarked(of: int, shared: int, largest: int, said: str | None) -> None:
    remarks = SharedEmbeddings(of=of, shared=shared, largest=largest).remarks("train")
    assert len(remarks) == (said is not None)
    assert said is None or re.search(said, remarks[0])


def test_findings_on_data_are_read_back_from_a_sets_provenance() -> None:
    health = DataHealth(shared_embeddings=SharedEmbeddings(of=10, shared=4, largest=4, example=(2, 7)))
    written = json.dumps(health.document)
    assert written == '{"shared_embeddings": {"of": 10, "shared": 4, "largest": 4, "example": [2, 7]}}'
    assert DataHealth.recorded({**json.loads(written), "host": "a"}, rows=8) == health
    assert DataHealth.recorded(json.loads(written), rows=7) is None
    assert DataHealth.recorded({"shared_embeddings": {"of": 10}}, rows=8) is None
    (remark,) = health.remarks("train", lambda row: f"{row}.png")
    assert "such as 2.png and 7.png" in remark


def test_layout_and_ignore_on_the_command_line(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "animals", {"cat": 2, "dog": 2})
    write_images(tmp_path / "data" / "others", {"cat": 1, "old": 1})
    words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", store]
    done = run(*words, "--dataset", f"folder:{tmp_path / 'data'}", "--layout", "split", "--ignore", "old", "--json")
    assert [(s["split"], s["rows"]) for s in json.loads(done.stdout)["sets"]] == [("animals", 4), ("others", 1)]
    assert "is read as 2 splits (animals, others) of 2 classes (cat, dog)" in done.stderr
    assert "Ignored as asked: others/old" in done.stderr
    refused = run(*words, "--dataset", "sklearn:digits", "--layout", "split", code=2)
    assert "--layout is for folder:PATH" in refused.stderr


# Names


@pytest.mark.parametrize("top", ["birds [v2]", "what?", "a*b"])
def test_bracket_path(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str) -> None:
    here = tmp_path / "work [old]"  # nor are the signs of the working folder wildcards
    here.mkdir()
    monkeypatch.chdir(here)
    lookalike = {"birds [v2]": "birds v", "what?": "whats", "a*b": "axxb"}[top]
    ids = {}
    for seed, name in enumerate((top, lookalike)):
        write_images(here / "photos" / name, {"a": 4, "b": 4}, seed=seed)
        words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", store]
        ids[name] = json.loads(run(*words, "--dataset", f"folder:photos/{name}", "--json").stdout)["set"]

    def listed(dataset: str) -> list[set[str]]:
        found = {}
        for command in ("ls", "log", "du"):
            done = json.loads(run(command, "--store", store, "--dataset", dataset, "--json").stdout)
            found[command] = {entry["set"] for entry in (done["sets"] if command == "du" else done)}
        for command, places in {"push": [tmp_path / "o"], "pull": [store], "sync": [store, tmp_path / "o"]}.items():
            mine = [] if command == "sync" else ["--store", tmp_path / "o" if command == "pull" else store]
            done = json.loads(run(command, *places, *mine, "--dataset", dataset, "--dry-run", "--json").stdout)
            moved = done[0] if command == "sync" else done
            found[command] = {s["set"] for s in moved["sets"]}
        return [*found.values()]

    for exact in (f"folder:photos/{top}", f"folder:{here}/photos/{top}"):
        assert listed(exact) == [{ids[top]}] * 6
    assert listed("folder:photos/*") == [{*ids.values()}] * 6

    by_name = ["--model", "timm:test_vit", "--untrained", "--dataset", f"folder:photos/{top}", "--store", store]
    (trial,) = json.loads(run("probe", *by_name, "--probe", "nearest-mean", "--json").stdout)["trials"]
    assert trial["train"] == ids[top]
    results = json.loads(run("results", "--store", store, "--dataset", f"folder:photos/{top}", "--json").stdout)
    assert [t["trial"] for t in results] == [trial["trial"]]
    results = json.loads(run("results", "--store", store, "--dataset", f"folder:photos/{lookalike}", "--json").stdout)
    assert results == []


CASES = (
    "grey16",
    "float_tiff",
    "split_beside_others",
    "nested_classes",
    "stray_files",
    "unicode_forms",
    "backbone_prefix",
    "quickgelu_untagged",
    "long_thin",
    "npz_memory",
    "onehot_npz",
    "bracket_path",
    "csv_windows",
    "heic_bomb",
    "unseen_class_nll",
    "predict_names",
    "odd_images",
)


@pytest.mark.parametrize("case", CASES)
def test_a_case_that_concerns_one_part_has_its_test_there(case: str) -> None:
    assert files_that_test(case)

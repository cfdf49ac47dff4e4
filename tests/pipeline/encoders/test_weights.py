"""Weights: safe reading, strict loading, and an identity that depends on the tensors and on nothing else."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import file_sha256, load_encoder
from cryoprobe.pipeline.encoders.checkpoint import read_checkpoint
from cryoprobe.pipeline.encoders.weights import load_strictly, weights_digest

NAME = "test_resnet"
STATE = {"w": torch.arange(6, dtype=torch.float32).reshape(2, 3), "n": torch.tensor(7)}


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return timm.create_model(f"{NAME}.r160_in1k", pretrained=False).state_dict()


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def weights_of(path: Path) -> str:
    return load_encoder(f"timm:{NAME}", checkpoint=path, device="cpu").spec("pooled").weights


def test_digest_follows_the_documented_byte_format() -> None:
    def field(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    n = field(b"n") + field(b"int64") + struct.pack("<2Q", 0, 8) + struct.pack("<q", 7)
    w = field(b"w") + field(b"float32") + struct.pack("<4Q", 2, 2, 3, 24) + struct.pack("<6f", *range(6))
    assert weights_digest(STATE) == sha256(n + w).hexdigest()


def test_digest_ignores_order_and_strides() -> None:
    turned = {"n": STATE["n"], "w": STATE["w"].T.contiguous().T}
    assert weights_digest(turned) == weights_digest(STATE)


@pytest.mark.parametrize(
    "changed",
    [
        {**STATE, "w": STATE["w"] + torch.eye(2, 3) * 1e-6},
        {**STATE, "w": STATE["w"].reshape(3, 2)},
        {**STATE, "w": STATE["w"].bfloat16()},
        {"v": STATE["w"], "n": STATE["n"]},
    ],
    ids=["value", "shape", "dtype", "name"],
)
def test_digest_depends_on_values_shapes_dtypes_and_names(changed: dict[str, torch.Tensor]) -> None:
    assert weights_digest(changed) != weights_digest(STATE)


def test_identity_ignores_file_name_format_wrapper_prefix_and_classifier(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    reference = weights_of(saved(state, tmp_path / "a.pt"))
    save_file(state, tmp_path / "c.safetensors")
    wrapped = {"epoch": 3, "state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}}
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    other_head = {**headless, "fc.weight": torch.zeros(7, state["fc.weight"].shape[1]), "fc.bias": torch.zeros(7)}
    assert weights_of(saved(state, tmp_path / "b.pth")) == reference
    assert weights_of(tmp_path / "c.safetensors") == reference
    assert weights_of(saved(wrapped, tmp_path / "d.bin")) == reference
    assert weights_of(saved(headless, tmp_path / "e.pt")) == reference
    assert weights_of(saved(other_head, tmp_path / "f.pt")) == reference


def test_identity_changes_with_one_weight(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    changed = {key: value.clone() for key, value in state.items()}
    next(value for key, value in changed.items() if key.startswith("layer1.")).view(-1)[5] += 1e-3
    assert weights_of(saved(changed, tmp_path / "b.pt")) != weights_of(saved(state, tmp_path / "a.pt"))


def test_checkpoint_is_named_by_the_hash_of_its_bytes(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = saved(state, tmp_path / "a.pt")
    encoder = load_encoder(f"timm:{NAME}", checkpoint=path, device="cpu")
    assert encoder.checkpoint_sha256 == file_sha256(path) == sha256(path.read_bytes()).hexdigest()
    assert not encoder.untrained
    assert encoder.seed is None


@pytest.mark.parametrize("how", ["zip", "raw pickle"])
def test_pickled_objects_are_refused_and_not_run(how: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "bomb.pt", tmp_path / "ran"
    content = {"state_dict": {"w": torch.zeros(2)}, "args": Bomb(mark)}
    if how == "zip":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content["args"], protocol=2))
    with pytest.raises(BadInput, match="nothing is ever unpickled"):
        load_encoder(f"timm:{NAME}", checkpoint=path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_checkpoints_are_refused(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    tensors = {"w": torch.zeros(1000)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match="cut short"):
        read_checkpoint(path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.pt"
    text.write_text("hello " * 100)
    with pytest.raises(BadInput, match="not a checkpoint"):
        read_checkpoint(text)
    with pytest.raises(BadInput, match="does not end like a checkpoint"):
        read_checkpoint(text.rename(tmp_path / "notes.txt"))
    with pytest.raises(BadInput, match="no state dict: it has only 'epoch'"):
        read_checkpoint(saved({"epoch": 3}, tmp_path / "epoch.pt"))  # type: ignore[dict-item]
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "jit.pt")
    with pytest.raises(BadInput, match="TorchScript"):
        read_checkpoint(tmp_path / "jit.pt")
    with pytest.raises(NotFound):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_tensors_that_do_not_fit_are_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    less = dict(state)
    gone = next(key for key in less if key.startswith("layer1."))
    del less[gone]
    with pytest.raises(BadInput, match=f"1 missing: {gone}"):
        weights_of(saved(less, tmp_path / "less.pt"))
    with pytest.raises(BadInput, match="1 unexpected: extra"):
        weights_of(saved({**state, "extra": torch.zeros(1)}, tmp_path / "more.pt"))
    with pytest.raises(BadInput, match=f"1 of another shape: size mismatch for {gone}"):
        weights_of(saved({**state, gone: torch.zeros(1, 2, 3)}, tmp_path / "shape.pt"))


def test_a_parameter_that_published_weights_lack_is_refused_if_it_would_be_random() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    state = model.state_dict()
    without_norm = {key: value for key, value in state.items() if not key.startswith("1.")}
    load_strictly(model, without_norm, "these weights", may_lack=True)  # it starts as ones and zeros
    without_layer = {key: value for key, value in state.items() if key != "0.weight"}
    with pytest.raises(BadInput, match=r"1 missing: 0\.weight"):
        load_strictly(model, without_layer, "these weights", may_lack=True)


def test_untrained_weights_follow_the_seed_and_leave_the_callers_generator_alone() -> None:
    def weights(seed: int) -> str:
        encoder = load_encoder(f"timm:{NAME}", untrained=True, seed=seed, device="cpu")
        assert encoder.untrained
        assert encoder.seed == seed
        return encoder.spec("pooled").weights

    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    assert weights(0) == weights(0)
    assert weights(0) != weights(1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = (
        "import sys, cryoprobe.pipeline.encoders as e; e.default_tap('timm:x'); e.file_sha256(__import__('pathlib')."
        "Path(sys.executable)); print({'torch', 'timm', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer.*: git lfs pull"),
        (b"<!DOCTYPE html><html>403 Forbidden</html>", r"web page \(HTML\)"),
        (gzip.compress(b"weights", mtime=0), "gzip-compressed: gunzip it"),
        (bytes(2000), "zeros"),
    ],
)
def test_what_is_no_checkpoint_is_named_by_its_first_bytes(
    suffix: str, content: bytes, what: str, tmp_path: Path
) -> None:
    (path := tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(BadInput, match=f"is not a checkpoint, but .*{what}"):
        read_checkpoint(path)

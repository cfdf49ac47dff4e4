"""Which tensors of a checkpoint are the model's, and that nothing in its file runs."""

from __future__ import annotations

import argparse
import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import notes_of
from cryoprobe.pipeline.encoders.inert import Inert, load_tensors
from cryoprobe.pipeline.encoders.parts import Model, part_of

ran: list[str] = []


def mark(text: str) -> dict[str, Any]:
    ran.append(text)
    return {}


class Runs:
    """Would call `mark` wherever pickle can call something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return mark, ("reduce",), {"a": 1}


class Config(dict[str, Any]):
    """Has items, as the configurations of Lightning and mmengine have."""

    def __setitem__(self, key: str, value: Any) -> None:
        ran.append("item")


class Stated:
    def __setstate__(self, state: Any) -> None:
        ran.append("state")

    def __getstate__(self) -> dict[str, int]:
        return {"x": 1}


THINGS = {
    "namespace": argparse.Namespace(lr=0.1, root=Path("x")),
    "numpy scalar": np.float64(0.5),
    "numpy array": np.arange(3),
    "path": Path("a/b"),
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, a=[1]),
    "a class": Stated,
    "own": Stated(),
    "items": Config(a=1, b={"c": 2}),
    "reduce": Runs(),
    "builtin": print,
    "several": {"a": argparse.Namespace(), "b": [Stated(), np.int64(3)], "c": (Path("x"),)},
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
@pytest.mark.parametrize("thing", THINGS)
def test_objects_beside_the_tensors_are_passed_over_and_nothing_runs(thing: str, old: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    content = {"args": THINGS[thing], "state_dict": {"w": torch.arange(3.0)}}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    allowed = set(torch.serialization.get_safe_globals())
    ran.clear()
    loaded, _ = load_tensors(path.read_bytes())
    assert ran == []
    assert isinstance(loaded, dict)
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(3.0))
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_stand_in_has_a_class_of_ours_whatever_the_file_calls_it(tmp_path: Path) -> None:
    torch.save({"args": Stated(), "f": Runs()}, tmp_path / "a.pt")
    loaded, classes = load_tensors((tmp_path / "a.pt").read_bytes())
    assert isinstance(loaded, dict)
    assert all(isinstance(value, Inert) and not vars(value) for value in loaded.values())
    assert classes == (f"{__name__}.Stated", f"{__name__}.mark")


@pytest.mark.parametrize("name", ["posix\nsystem", "os\nsystem", "sys\nexit", "nt\nsystem"])
def test_functions_of_the_operating_system_are_refused(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="blocked"):
        load_tensors(b"\x80\x02c" + name.encode() + b"\n(X\x01\x00\x00\x00atR.")


def test_a_whole_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(BadInput, match=r"pickled object: torch.*nn\.modules.*ever unpickled") as refused:
        load_encoder("timm:test_vit", checkpoint=tmp_path / "whole.pt")
    assert "model.state_dict()" in str(refused.value)


# Which part fits


def linear(seed: int = 0) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3)


def part(tensors: dict[str, torch.Tensor], *, key: str | None = None, published: bool = False) -> Any:
    return part_of(tensors, Model(linear(), lambda state: state), "w.pt", key=key, published=published)


def named(prefix: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in linear(seed).state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "model.", "a.b.c.d.e.", "module._orig_mod.", "odd name."])
def test_any_prefix_is_taken_off(prefix: str) -> None:
    found = part(named(prefix))
    assert found.key == prefix.removesuffix(".")
    assert found.tensors.keys() == linear().state_dict().keys()


def test_what_is_at_the_top_can_be_asked_for() -> None:
    both = named("") | named("ema.", seed=1)
    with pytest.raises(BadInput, match="2 sets of weights") as refused:
        part(both)
    assert "--checkpoint-key . or" in str(refused.value) or "or --checkpoint-key ." in str(refused.value)
    assert part(both, key="ema").key == "ema"
    top = part(both, key=".")
    assert top.key == ""
    assert torch.equal(top.tensors["weight"], linear().weight)
    assert top.left_out == ("ema.*",)


@pytest.mark.parametrize("key", ["teacher", "teacher.backbone", "teacher.backbone.", "teacher.backbone.*"])
def test_a_key_may_lead_part_of_the_way(key: str) -> None:
    both = named("teacher.backbone.") | named("student.backbone.", seed=1)
    assert part(both, key=key).key == "teacher.backbone"


def test_a_key_that_leads_nowhere_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="nothing under the key 'ema'") as refused:
        part(named("model.") | named("teacher."), key="ema")
    assert "It has: model, teacher" in str(refused.value)
    with pytest.raises(BadInput, match="--checkpoint-key model says where"):
        load_encoder("timm:test_vit", untrained=True, checkpoint_key="model")


def test_published_files_are_read_as_their_library_does() -> None:
    assert part(named("state_dict.") | named("state_dict_ema.", seed=1), published=True).key == "state_dict_ema"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_precision_are_other_weights(dtype: torch.dtype) -> None:
    rounded = {name: tensor.to(dtype) for name, tensor in named("ema.").items()}
    with pytest.raises(BadInput, match="2 sets of weights"):
        part(named("model.") | rounded)


def test_many_things_left_out_are_counted() -> None:
    rest = {f"head{i}.weight": torch.ones(1) for i in range(7)}
    (note,) = part(named("model.") | rest).notes("w.pt")
    assert note.endswith("(left out: head0.*, head1.*, head2.*, head3.* and 3 others)")


def test_resampled_positions_are_said(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    notes = notes_of(load_encoder("timm:test_vit", checkpoint=tmp_path / "w.pt", image_size=64, device="cpu"))
    assert notes[-1] == "weights: resampled to the input's size: pos_embed 1x101x64 → 1x17x64"
    assert not any(
        "resampled" in note for note in notes_of(load_encoder("timm:test_vit", checkpoint=tmp_path / "w.pt"))
    )

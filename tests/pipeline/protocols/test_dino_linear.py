"""DINOv2's and DINOv3's linear heads against plain loops of torch, written after the reference's description."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import run as command
from support.data import write_images
from support.probing import CLASSES, D, problem

import cryoprobe
from cryoprobe.pipeline.protocols import protocol_named

ITERATIONS, BATCH = 60, 64
RATES = [m * 10.0**e for e in (-5, -4, -3, -2) for m in (1, 2, 5)] + [0.1]
TAPS = (("cls@4", 20), ("patch_mean", 4))  # of the 24 columns of `problem`


def reference(posed: Any, blocks: list[int], pools: list[bool]) -> list[tuple[dict[str, float], torch.nn.Linear]]:
    """Train heads one by one, as dinov2/eval/linear.py: SGD, momentum 0.9, cosine, no weight decay.

    Weights and batches come from the generators that Cryoprobe draws them from, which the reference does not fix.
    """
    x, y = torch.from_numpy(posed.train.matrix), torch.from_numpy(posed.train.y)
    n, d = len(x), 5
    weight_seed, order_seed = np.random.SeedSequence(posed.seed).spawn(2)
    order = np.random.default_rng(order_seed)
    stream = np.concatenate([order.permutation(n) for _ in range(-(-ITERATIONS * BATCH // n))])
    heads = []
    for last in blocks:
        for pool in pools:
            tokens = [x[:, i * d : (i + 1) * d] for i in range(4)][-last:]
            rows = torch.cat([*tokens, *([x[:, 20:]] if pool else [])], dim=-1)
            for rate in RATES:
                layer = torch.nn.Linear(rows.shape[1], CLASSES)
                start = np.random.default_rng(weight_seed).standard_normal((rows.shape[1], CLASSES))
                with torch.no_grad():
                    layer.weight.copy_(torch.from_numpy(0.01 * start.T))
                    layer.bias.zero_()
                optimizer = torch.optim.SGD(layer.parameters(), lr=rate * BATCH / 256, momentum=0.9, weight_decay=0)
                schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ITERATIONS, eta_min=0)
                for t in range(ITERATIONS):
                    batch = stream[t * BATCH : (t + 1) * BATCH]
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(layer(rows[batch]), y[batch]).backward()
                    optimizer.step()
                    schedule.step()
                heads.append(({"n_last_blocks": last, "avgpool": int(pool)}, layer))
    return heads


def read(part: Any, which: dict[str, float]) -> torch.Tensor:
    x = torch.from_numpy(part.matrix)
    tokens = x[:, 20 - 5 * int(which["n_last_blocks"]) : 20]
    return torch.cat([tokens, x[:, 20:]], dim=-1) if which["avgpool"] else tokens


def top1(layer: torch.nn.Linear, part: Any, which: dict[str, float]) -> float:
    with torch.no_grad():
        return float(np.mean(layer(read(part, which)).argmax(1).numpy() == part.y))


def posed_for(name: str, taps: tuple[tuple[str, int], ...] = TAPS) -> Any:
    parameters = protocol_named(name).completed({"iterations": ITERATIONS, "batch_size": BATCH})
    posed = problem(parameters)
    assert sum(width for _, width in TAPS) == D
    object.__setattr__(posed, "taps", taps)
    return posed


@pytest.mark.parametrize(
    ("name", "blocks", "pools"),
    [
        ("dinov2-linear", [1, 4], [False, True]),
        ("dinov2-linear-testselect", [1, 4], [False, True]),
        ("dinov3-linear", [1], [True]),
    ],
)
def test_every_head_is_the_references(name: str, blocks: list[int], pools: list[bool]) -> None:
    posed = posed_for(name)
    heads = reference(posed, blocks, pools)
    done = protocol_named(name).run(posed)
    assert len(done.curve) == len(heads) == 13 * len(blocks) * len(pools)
    judge = posed.test if "testselect" in name else posed.val
    scores = [top1(layer, judge, which) for which, layer in heads]
    assert [point["top1"] for point in done.curve] == scores
    assert [{k: point[k] for k in ("n_last_blocks", "avgpool")} for point in done.curve] == [w for w, _ in heads]
    best = int(np.argmax(scores))  # the first of equals
    which, layer = heads[best]
    assert done.chosen == {"learning_rate": pytest.approx(RATES[best % 13] * BATCH / 256), **which}
    first, last = 20 - 5 * int(which["n_last_blocks"]), 24 if which["avgpool"] else 20
    np.testing.assert_allclose(done.estimator.coef_[:, first:last], layer.weight.detach().numpy(), rtol=0, atol=1e-5)
    assert not np.delete(done.estimator.coef_, np.s_[first:last], axis=1).any()
    assert done.metrics["top1"] == top1(layer, posed.test, which)


def test_heads_of_one_width_do_not_depend_on_the_others() -> None:
    whole = protocol_named("dinov2-linear").run(posed_for("dinov2-linear"))
    posed = posed_for("dinov2-linear", (("cls", 5),))
    for part in ("train", "val", "test"):
        object.__setattr__(posed, part, getattr(posed, part).columns(slice(15, 20)))
    alone = protocol_named("dinov2-linear").run(posed)
    assert [p["top1"] for p in alone.curve] == [p["top1"] for p in whole.curve[:13]]
    assert list(alone.chosen) == ["learning_rate"]


@pytest.fixture
def extracted(store: Path, tmp_path: Path) -> dict[str, Any]:
    """Return what names the data set and the encoder of a store with class tokens alone."""
    data = tmp_path / "data"
    for split, seed in (("train", 0), ("test", 1)):
        write_images(data / split, {"a": 12, "b": 12}, seed=seed)
    named: dict[str, Any] = {"model": "timm:test_vit", "dataset": f"folder:{data}", "untrained": True}
    cryoprobe.extract(store=store, **named, taps=["cls"])
    return named


SHORT: dict[str, Any] = {"params": {"iterations": 20, "batch_size": 16}}


def test_a_part_of_the_taps_runs_and_says_what_makes_it_whole(store: Path, extracted: dict[str, Any]) -> None:
    found = cryoprobe.probe(store, **extracted, protocol="dinov2-linear", **SHORT)
    assert (len(found.trial.curve), found.trial.tap) == (13, "cls")
    assert any("the heads read the tap cls alone" in remark for remark in found.trial.remarks)
    (note,) = [note for note in found.notes if note.startswith("the taps that dinov2-linear prescribes: ")]
    line, _, then = note.removeprefix("the taps that dinov2-linear prescribes: cryoprobe ").partition("\n")
    assert "--tap cls@4,patch_mean" in line
    assert then == "  and then probe with --tap cls@4+patch_mean"
    command(*shlex.split(line))
    whole = cryoprobe.probe(store, **extracted, protocol="dinov2-linear", **SHORT)
    assert (len(whole.trial.curve), whole.trial.tap, whole.trial.dim) == (52, "cls@4+patch_mean", 5 * 64)
    assert whole.trial.trial != found.trial.trial
    assert set(whole.trial.chosen) == {"learning_rate", "n_last_blocks", "avgpool"}
    assert not any("heads read" in remark for remark in whole.trial.remarks)
    assert not any("taps that" in note for note in whole.notes)
    three = cryoprobe.probe(store, **extracted, protocol="dinov3-linear", **SHORT)
    assert {point["n_last_blocks"] for point in three.trial.curve if "n_last_blocks" in point} <= {1}
    assert len(three.trial.curve) == 13
    assert cryoprobe.probe(store, **extracted, protocol="dinov2-linear", **SHORT).cached == 1


def test_the_table_of_heads_has_what_each_reads(store: Path, extracted: dict[str, Any]) -> None:
    cryoprobe.extract(store=store, **extracted, taps=["cls@4", "patch_mean"])
    done = command(
        *("probe", "--model", extracted["model"], "--dataset", extracted["dataset"], "--store", str(store)),
        *("--untrained", "--protocol", "dinov2-linear", "--param", "iterations=20", "--param", "batch_size=16"),
    )
    (header,) = [line for line in done.stdout.splitlines() if "n_last_blocks" in line and "nll" in line]
    assert header.split()[:3] == ["n_last_blocks", "avgpool", "learning_rate"]


def test_a_head_that_was_saved_predicts_from_images(store: Path, extracted: dict[str, Any], tmp_path: Path) -> None:
    cryoprobe.extract(store=store, **extracted, taps=["cls@4", "patch_mean"])
    file = tmp_path / "head.safetensors"
    cryoprobe.probe(store, **extracted, protocol="dinov2-linear", save=file, **SHORT)
    images = Path(extracted["dataset"].removeprefix("folder:")) / "test"
    found = list(cryoprobe.predict(cryoprobe.load_probe(file), images))
    assert len(found) == 24


def test_raw_values_of_the_last_class_token_are_those_of_four(store: Path, extracted: dict[str, Any]) -> None:
    cryoprobe.extract(store=store, **extracted, taps=["cls@4", "cls"], stored_dtype="float32")
    opened = cryoprobe.open_store(store)
    four, one = (
        opened.open(opened.find(tap=tap, split="train", stored_dtype="float32")[0].set).load(raw=True)[0]
        for tap in ("cls@4", "cls")
    )
    np.testing.assert_allclose(four[:, 3 * one.shape[1] :], one, rtol=1e-5, atol=1e-6)


def test_a_module_is_probed_by_its_name_without_its_reading(store: Path, extracted: dict[str, Any]) -> None:
    cryoprobe.extract(store=store, **extracted, taps=["blocks.*"])
    found = cryoprobe.probe(store, **extracted, tap="blocks.1", C=1.0)
    assert found.trial.tap == "blocks.1@cls"
    both = cryoprobe.probe(store, **extracted, tap="blocks.1+blocks.2@cls", C=1.0)
    assert (both.trial.tap, both.trial.dim) == ("blocks.1@cls+blocks.2@cls", 128)

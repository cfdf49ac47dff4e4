"""Many trials in one call: few-shot and label-efficiency curves, protocols from a store, streaming, saving."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.probes import draw_shots
from cryoprobe.pipeline.protocols.draws import draw_as_mteb
from cryoprobe.progress import Reporter
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.store import Store

CLASSES = tuple("abcdef")
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def rows(n: int, seed: int, d: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(CLASSES)
    return 3 * np.eye(len(CLASSES), d)[y] + rng.normal(0, 1.2, (n, d)), y


@pytest.fixture
def split(store: Path) -> Store:
    opened = cryoprobe.open_store(store, create=True)
    for name, n, seed in (("train", 360, 0), ("test", 120, 1)):
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name)
    return opened


class Notes(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_a_curve_of_shots_is_the_mean_of_its_draws(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[10.0], shots=[1, 4], seeds=3)
    assert [(row["draw"], row["trials"], row["train"]) for row in result["summary"]] == [
        ({"shots": 1}, 3, 6),
        ({"shots": 4}, 3, 24),
    ]
    assert [(t["draw"]["shots"], t["seed"]) for t in result["trials"]] == [(k, s) for k in (1, 4) for s in range(3)]
    for row, group in zip(result["summary"], (result["trials"][:3], result["trials"][3:]), strict=True):
        scores = [trial["metrics"]["top1"] for trial in group]
        assert row["metrics"]["top1"] == {"mean": statistics.fmean(scores), "std": statistics.stdev(scores)}
    one, four = (row["metrics"]["top1"]["mean"] for row in result["summary"])
    assert one < four


def test_label_efficiency_takes_shares_of_train_and_of_them_what_chooses(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[1.0, 10.0], fractions=[0.1, 0.5], seeds=2, val_split="0.2")
    assert [(row["draw"], row["train"]) for row in result["summary"]] == [
        ({"fraction": 0.1}, 29),
        ({"fraction": 0.5}, 144),
    ]
    assert [t["rows"]["val"] for t in result["trials"]] == [7, 7, 36, 36]
    assert all(t["solver"]["rows"] == t["rows"]["train"] + t["rows"]["val"] for t in result["trials"])


def test_few_shots_are_chosen_on_as_few_others_and_nothing_else_is_trained_on(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[0.1, 10.0], shots=[2, 8], seeds=1)
    assert [t["rows"] for t in result["trials"]] == [
        {"train": 12, "test": 120, "val": 12},
        {"train": 48, "test": 120, "val": 24},
    ]
    assert [t["solver"]["rows"] for t in result["trials"]] == [12, 48]
    x, y = split.open(result["train"] if "train" in result else result["trials"][0]["train"]).load()
    drawn, _ = draw_shots(y, 8, 0)
    probe = cryoprobe.pipeline.probes.make_estimator(  # the same rows by hand
        cryoprobe.pipeline.probes.ProbeRequest(probe="logreg"), C=result["trials"][1]["chosen"]["C"]
    ).fit(x[drawn], y[drawn])
    test_x, test_y = split.open(result["trials"][1]["test"]).load()
    assert result["trials"][1]["metrics"]["top1"] == pytest.approx(probe.score(test_x, test_y), abs=0.01)


def test_a_named_validation_split_gives_the_validation_shots(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **BY_NAME, C=[0.1, 10.0], shots=[8], seeds=1, val_split="val")
    assert result["rows"] == {"train": 48, "test": 120, "val": 24}


def test_classes_with_fewer_rows_than_shots_are_told_of(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    x, y = rows(120, 0)
    few = np.flatnonzero((y != 2) | (np.arange(120) < 60))  # 20 rows of each class, but for one of 10
    put_set(opened, x[few], y[few], classes=CLASSES, split="train")
    put_set(opened, *rows(60, 1), classes=CLASSES, split="test")

    def remarks(**asked: Any) -> list[str]:
        done = cryoprobe.probe(opened, **BY_NAME, **asked)
        again = cryoprobe.probe(opened, **BY_NAME, **asked)
        assert again["remarks"] == done["remarks"]
        return list(done["remarks"])

    one, all_ = (
        f"{n} of 6 classes have fewer than {k} training rows, and are taken whole" for n, k in ((1, 15), (6, 21))
    )
    assert remarks(C=[1.0], shots=[10], seeds=1) == []
    assert remarks(C=[1.0], shots=[15], seeds=2) == [one]
    assert remarks(C=[1.0], shots=[1, 15, 21], seeds=2) == [one, all_]
    assert remarks(protocol="mieb", seeds=1) == [one.replace("15", "16")]
    assert remarks(protocol="dinov2-knn", shots=[21], seeds=1)[1:] == [all_]  # the first is of the images' size


def test_flags_with_fewer_rows_than_shots_are_told_of(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    for seed, name in enumerate(("train", "test")):
        x, y = rows(120, seed)
        flags = np.eye(6, dtype=np.uint8)[y]  # 20 rows each
        flags[:, 0] = 1
        put_set(opened, x, flags, classes=CLASSES, split=name)
    done = cryoprobe.probe(opened, **BY_NAME, C=[1.0], shots=[30], seeds=1)
    assert done["remarks"] == ["5 of 6 classes have fewer than 30 training rows, and are taken whole"]


@pytest.mark.slow
def test_the_same_sweep_again_answers_from_the_store_and_draws_do_not_depend_on_it(
    split: Store, tmp_path: Path
) -> None:
    whole = cryoprobe.probe(split, **BY_NAME, C=[10.0], shots=[1, 2, 4], seeds=3)
    again = cryoprobe.probe(split, **BY_NAME, C=[10.0], shots=[1, 2, 4], seeds=3)
    assert (whole["cached"], again["cached"]) == (0, 9)
    assert again["summary"] == whole["summary"]
    # A store in which some trials have been run gives the same as an empty one.
    other = cryoprobe.open_store(tmp_path / "other", create=True)
    for name, n, seed in (("train", 360, 0), ("test", 120, 1)):
        put_set(other, *rows(n, seed), classes=CLASSES, split=name)
    cryoprobe.probe(other, **BY_NAME, C=[10.0], shots=[2], seeds=1, seed=1)
    partly = cryoprobe.probe(other, **BY_NAME, C=[10.0], shots=[1, 2, 4], seeds=3)
    assert partly["cached"] == 1
    assert partly["summary"] == whole["summary"]


class Stop(Notes):
    """Interrupts after some trials."""

    def note(self, message: str) -> None:
        super().note(message)
        if sum("top1" in line for line in self.lines) == 4:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_goes_on_where_it_stopped(split: Store) -> None:
    wanted: dict[str, Any] = {"C": [10.0], "shots": [1, 2], "seeds": 3, "jobs": 1}
    with pytest.raises(KeyboardInterrupt):
        cryoprobe.probe(split, **BY_NAME, **wanted, reporter=Stop())
    resumed = cryoprobe.probe(split, **BY_NAME, **wanted)
    assert resumed["cached"] == 4
    assert len(resumed["trials"]) == 6


def test_processes_find_what_one_finds(split: Store, tmp_path: Path) -> None:
    other = cryoprobe.open_store(tmp_path / "other", create=True)
    for name, n, seed in (("train", 360, 0), ("test", 120, 1)):
        put_set(other, *rows(n, seed), classes=CLASSES, split=name)
    wanted: dict[str, Any] = {"shots": [1, 4], "seeds": 2}
    one, two = (cryoprobe.probe(opened, **BY_NAME, **wanted, jobs=jobs) for opened, jobs in ((split, 1), (other, 2)))
    assert one["summary"] == two["summary"]
    assert two["cached"] == 0


def test_seeds_without_sizes_repeat_the_hold_out_with_the_same_test_rows(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    put_set(opened, *rows(300, 0), classes=CLASSES, split="all")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0, 10.0], seeds=3)
    assert [row["draw"] for row in result["summary"]] == [None]
    assert result["summary"][0]["trials"] == 3
    assert [t["test"] for t in result["trials"]] == [{"fraction": 0.2, "seed": 0}] * 3
    supports = {tuple(t["metrics"]["per_class"]["support"]) for t in result["trials"]}
    assert len(supports) == 1
    assert len({t["curve"][0]["nll"] for t in result["trials"]}) == 3


def test_a_protocol_records_what_it_used_and_is_cached(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="clip")
    assert (result["protocol"], result["probe"], result["features"]) == ("clip", "clip", "raw")
    assert result["splits"] == {"train": "train", "test": "test", "val": 0.1}
    assert len(result["curve"]) <= 15
    assert result["solver"]["name"] == "LogisticProbe"
    assert result["solver"]["gradient_norm"] < 1
    assert result["metric"] == "top1"
    assert {"cryoprobe", "torch", "scikit-learn"} <= set(result["versions"])
    assert cryoprobe.probe(split, **BY_NAME, protocol="clip")["cached"]
    assert not cryoprobe.probe(split, **BY_NAME, protocol="clip", params={"tol": 1e-6})["cached"]


def test_an_official_validation_split_is_found(split: Store) -> None:
    without = cryoprobe.probe(split, **BY_NAME, protocol="clip-benchmark", params={"epochs": 1})
    assert without["chosen"] == {"weight_decay": 0.0}
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    found = cryoprobe.probe(split, **BY_NAME, protocol="clip-benchmark", params={"epochs": 1})
    assert found["splits"]["val"] == "val"
    assert len(found["curve"]) >= 9
    assert found["remarks"] == ["not as published: epochs = 1 instead of 10"]


def test_a_few_shot_protocol_brings_its_sizes_and_seeds(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="bigvision-fewshot")
    assert [(row["draw"]["shots"], row["trials"]) for row in result["summary"]] == [(1, 3), (5, 3), (10, 3), (25, 3)]
    fewer = cryoprobe.probe(split, **BY_NAME, protocol="bigvision-fewshot", shots=[5], seeds=1)
    assert fewer["cached"] == 1
    coop = cryoprobe.probe(split, **BY_NAME, protocol="coop-fewshot", shots=[2], seeds=2)
    assert [t["seed"] for t in coop["trials"]] == [1, 2]
    assert [t["rows"]["val"] for t in coop["trials"]] == [12, 12]


def test_seeds_that_no_generator_takes_are_refused(split: Store) -> None:
    for protocol in ("coop-fewshot", "plain"):
        with pytest.raises(BadInput, match="Seeds are below 4294967296"):
            cryoprobe.probe(split, **BY_NAME, protocol=protocol, shots=[1], seeds=2, seed=2**32 - 1)


def test_few_shot_protocols_say_which_rows_choose(split: Store) -> None:
    coop: dict[str, Any] = {**BY_NAME, "protocol": "coop-fewshot", "seeds": 1}
    missing = "the store has no validation split of this data set"
    asked: list[tuple[list[int], str]] = [([1], "1"), ([8], "4"), ([1, 8], "1 to 4")]
    for shots, rows_of_each in asked:
        told = cryoprobe.probe(split, **coop, shots=shots)["notes"]
        assert told == [f"{missing}: {rows_of_each} of the other training rows of each class choose"]
    assert cryoprobe.probe(split, **BY_NAME, protocol="clip")["notes"] == [f"{missing}: 10 % of train choose"]


def test_the_spread_of_coop_is_that_of_numpy(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="coop-fewshot", shots=[1], seeds=3)
    scores = [trial["metrics"]["top1"] for trial in result["trials"]]
    assert result["summary"][0]["metrics"]["top1"]["std"] == pytest.approx(float(np.std(scores)))


def test_a_share_of_train_that_chooses_is_an_option_of_clip_benchmark(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="clip-benchmark", params={"epochs": 1}, val_split="0.1")
    assert "chosen on 10 % of train, drawn class by class" in result["remarks"]
    assert not any("not as published: chosen" in remark for remark in result["remarks"])


def test_flags_of_mieb_are_eight_rows_each_and_ranked_row_by_row(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    for seed, name in enumerate(("train", "test")):
        x, y = rows(240, seed)
        put_set(opened, x, np.eye(6, dtype=np.uint8)[y], classes=CLASSES, split=name)
    result = cryoprobe.probe(opened, **BY_NAME, protocol="mieb")
    assert [(row["draw"], row["trials"]) for row in result["summary"]] == [({"shots": 8}, 5)]
    assert result["metric"] == "lrap"
    assert result["summary"][0]["metrics"]["lrap"]["mean"] > 0.6
    assert not any("not as published" in remark for remark in result["remarks"])


def test_raw_features_are_the_embeddings_times_their_norms(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="mieb", seeds=1)
    x, y = split.open(result["train"]).load(raw=True)
    drawn, _ = draw_as_mteb(y, 16, 0)
    from sklearn.linear_model import LogisticRegression

    reference = LogisticRegression(C=1.0, max_iter=100, random_state=0).fit(x[drawn], y[drawn])
    test_x, test_y = split.open(result["test"]).load(raw=True)
    assert result["metrics"]["top1"] == reference.score(test_x, test_y)


def test_a_protocol_takes_its_tap_of_an_open_clip_model_or_says_what_to_extract(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    name = {"model": "open_clip:ViT-B-32/openai", "dataset": "folder:/d"}
    for part, n in (("train", 120), ("test", 60)):
        put_set(opened, *rows(n, n), classes=CLASSES, split=part, **name, tap="post_projection")
    with pytest.raises(NotFound, match=r"--tap pre_projection"):
        cryoprobe.probe(opened, **name, protocol="clip")
    assert cryoprobe.probe(opened, **name, protocol="clip-readme")["notes"] == []
    other = cryoprobe.probe(opened, **name, protocol="clip", tap="post_projection")
    assert any("reads pre_projection" in remark for remark in other["remarks"])


def test_an_official_validation_split_that_is_scored_does_not_choose(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **BY_NAME, protocol="clip", test_split="val")
    assert result["splits"] == {"train": "train", "test": "val", "val": 0.1}


@pytest.mark.parametrize("mixed", [True, False])
def test_vtab_takes_a_thousand_rows_also_where_they_come_class_after_class(store: Path, mixed: bool) -> None:
    opened = cryoprobe.open_store(store, create=True)
    for name, n in (("train", 2400), ("test", 120)):
        x, y = rows(n, n)
        order = np.arange(n) if mixed else np.argsort(y, kind="stable")
        put_set(opened, x[order], y[order], classes=CLASSES, split=name)
    result = cryoprobe.probe(opened, **BY_NAME, protocol="vtab-1k")
    assert result["rows"] == {"train": 800, "test": 120, "val": 200}
    assert result["solver"]["rows"] == 1000
    assert any("sorted by class" in text for text in result["warnings"]) != mixed
    assert max(point["top1"] for point in result["curve"]) > 0.6


def test_what_is_not_used_is_no_part_of_a_trial(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=(*CLASSES, "unheard-of"), split="val")
    first = cryoprobe.probe(split, **BY_NAME, C=1.0)
    with_val = cryoprobe.probe(split, **BY_NAME, C=1.0, val_split="val")
    assert with_val["cached"]
    assert with_val["classes"] == list(CLASSES)
    assert any("--val-split is not used" in note for note in with_val["notes"])
    assert cryoprobe.probe(split, **BY_NAME, C=1.0, choose_by="top1")["trial"] == first["trial"]
    assert cryoprobe.probe(split, **BY_NAME, C=1.0, fractions=1.0, seeds=1)["trial"] == first["trial"]
    shares = ("0.1", "0.3")
    few = [cryoprobe.probe(split, **BY_NAME, C=[1.0, 9.0], shots=2, seeds=1, val_split=share) for share in shares]
    assert few[0]["trial"] == few[1]["trial"]


def test_what_a_protocol_is_asked_to_do_otherwise_is_said(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    asked: list[tuple[dict[str, Any], str]] = [
        ({"protocol": "clip-readme", "shots": 3, "seeds": 1}, "3 training rows of every class"),
        ({"protocol": "clip-readme", "fractions": 0.5, "seeds": 1}, "50 % of the training rows"),
        ({"protocol": "dinov2-logreg", "val_split": "val"}, "chosen on the split val"),
        ({"protocol": "clip", "val_split": "0.3"}, "chosen on 30 % of train"),
    ]
    for given, text in asked:
        result = cryoprobe.probe(split, **BY_NAME, **given)
        assert any(text in remark for remark in result["remarks"])


def test_a_seed_is_the_first_of_a_protocols_draws(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, protocol="bigvision-fewshot", shots=[2], seed=5)
    assert [trial["seed"] for trial in result["trials"]] == [5, 6, 7]


def test_a_store_in_memory_can_be_swept_in_processes() -> None:
    backend = MemoryBackend()
    write_marker(backend)
    opened = Store(backend)
    for name, n, seed in (("train", 360, 0), ("test", 120, 1)):
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name)
    assert len(cryoprobe.probe(opened, **BY_NAME, C=1.0, shots=[1, 2], seeds=2, jobs=2)["trials"]) == 4


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"protocol": "clip", "probe": "knn"}, "--probe cannot be combined with --protocol clip"),
        ({"protocol": "clip", "C": 1.0}, "--C cannot be combined"),
        ({"protocol": "clip-readme", "val_split": "0.1"}, "chooses nothing"),
        ({"protocol": "clop"}, "did you mean"),
        ({"shots": [0]}, "1 or more"),
        ({"fractions": [1.5]}, "at most 1"),
        ({"seeds": 0}, "1 or more"),
        ({"shots": [1, 2], "save": "probe.safetensors"}, "one trained probe"),
        ({"memory": 1000, "probe": "knn"}, "needs all its rows at once"),
        ({"memory": 1000}, r"leaves 0 MiB to a fit[^\n]*\nGive at least \d+ MiB"),
    ],
)
def test_what_cannot_be_is_told(split: Store, given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        cryoprobe.probe(split, **BY_NAME, **given)
    assert cryoprobe.results(split) == []


def test_streamed_features_give_the_same_solution(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryoprobe.pipeline.trials import rows as trial_rows

    parts = {"train": rows(5000, 0, d=64), "test": rows(500, 1, d=64)}
    results = []
    for folder, memory in ((store, None), (tmp_path / "other", 4 * 2**30)):
        opened = cryoprobe.open_store(folder, create=True)
        for name, (x, y) in parts.items():
            put_set(opened, x, y, classes=CLASSES, split=name)
        # Small features are taken for large ones: a limit that these exceed would leave no room for a fit.
        monkeypatch.setattr(trial_rows, "_COPIES", 100_000)
        saved = tmp_path / f"{len(results)}.safetensors"
        result = cryoprobe.probe(opened, **BY_NAME, C=[1.0, 10.0], params={"tol": 1e-7}, memory=memory, save=saved)
        results.append((result, cryoprobe.load_probe(saved)))
    (whole, in_memory), (streamed, by_blocks) = results
    assert streamed["rows"] == whole["rows"]
    assert streamed["chosen"] == whole["chosen"]
    for one, other in zip(streamed["curve"], whole["curve"], strict=True):
        assert one["nll"] == pytest.approx(other["nll"], rel=1e-5)
    x = parts["test"][0][:50].astype(np.float32)
    np.testing.assert_allclose(by_blocks.probabilities(x), in_memory.probabilities(x), atol=1e-4)


def test_a_saved_probe_predicts_what_was_scored(split: Store, tmp_path: Path) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[10.0])
    saved = tmp_path / "probe.safetensors"
    again = cryoprobe.probe(split, **BY_NAME, C=[10.0], save=saved)
    assert again["cached"]  # its result; the weights were fitted anew
    probe = cryoprobe.load_probe(saved)
    x, y = split.open(result["test"]).load()
    assert np.mean(probe.predict(x) == y) == result["metrics"]["top1"]
    assert probe.header.trial == result["trial"]


@pytest.mark.parametrize("protocol", ["clip-readme", "dinov2-knn", "mieb", "bigvision-fewshot"])
def test_the_probe_of_a_protocol_can_be_saved(protocol: str, split: Store, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"shots": [10], "seeds": 1} if protocol in ("mieb", "bigvision-fewshot") else {}
    saved = tmp_path / "probe.safetensors"
    result = cryoprobe.probe(split, **BY_NAME, protocol=protocol, save=saved, **sizes)
    x, y = split.open(result["test"]).load(raw=result["features"] == "raw")
    probe = cryoprobe.load_probe(saved)
    assert np.mean(probe.predict(x) == y) == pytest.approx(result["metrics"]["top1"], abs=0.01)
    assert probe.header.protocol == protocol


def test_the_validation_split_of_a_data_set_chooses_also_for_a_probe_of_ones_own(split: Store) -> None:
    asked: dict[str, Any] = {**BY_NAME, "C": [0.1, 10.0]}
    without = cryoprobe.probe(split, **asked)
    assert without["splits"]["val"] == 0.1
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **asked)
    assert not result["cached"]
    assert result["splits"]["val"] == "val"
    assert result["rows"]["val"] == 60
    assert any("the split val chooses" in note and "--val-split 0.1" in note for note in result["notes"])
    assert cryoprobe.probe(split, **asked, val_split="0.1")["trial"] == without["trial"]
    assert cryoprobe.probe(split, **asked, val_split="val")["trial"] == result["trial"]
    assert cryoprobe.probe(split, **BY_NAME, C=1.0)["splits"]["val"] is None  # nothing is chosen
    assert cryoprobe.probe(split, **asked, test_split="val")["splits"]["val"] == 0.1  # what is scored does not choose


def test_a_validation_split_of_another_encoder_does_not_choose_and_a_note_tells(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=CLASSES, split="val", encoder="another")
    result = cryoprobe.probe(split, **BY_NAME, C=[0.1, 10.0])
    assert result["splits"]["val"] == 0.1
    assert any("split val is of another encoder" in note for note in result["notes"])


def test_a_share_of_train_stays_one_where_another_split_chooses(split: Store) -> None:
    put_set(split, *rows(60, 2), classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **BY_NAME, C=[0.1, 10.0], fractions=[0.1], seeds=1)
    assert result["solver"]["rows"] == result["rows"]["train"]
    clip = cryoprobe.probe(split, **BY_NAME, protocol="clip", fractions=[0.1], seeds=1)
    assert clip["solver"]["rows"] == clip["rows"]["train"]

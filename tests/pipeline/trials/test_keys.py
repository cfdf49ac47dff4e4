"""What is in a trial's key, and what is not: a result answers again as long as nothing that counts has changed."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from support.data import put_set

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.pipeline.keywords import read
from cryoprobe.pipeline.options import PLAIN, ProbeOptions
from cryoprobe.pipeline.probes import Draw, ProbeRequest, make_estimator, own_code
from cryoprobe.pipeline.protocols import list_protocols
from cryoprobe.pipeline.trials.key import TRIAL_SCHEMA, code_in, key_of
from cryoprobe.pipeline.trials.plan import TrialPlan, plan_of
from cryoprobe.pipeline.trials.sets import TrialSets
from cryoprobe.stores.store import Store

CLASSES = tuple("abcdef")
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}
FIXTURE = Path(__file__).parents[2] / "fixtures" / "store-v1" / "store"


def rows(n: int, seed: int, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(CLASSES)
    return 3 * np.eye(len(CLASSES), d)[y] + rng.normal(0, 1.2, (n, d)), y


@pytest.fixture
def split(store: Path) -> Store:
    opened = cryoprobe.open_store(store, create=True)
    for name, n, seed in (("train", 120, 0), ("test", 60, 1)):
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name)
    return opened


@pytest.fixture
def sets() -> TrialSets:
    """Return the train and the test set of the store that an early version wrote."""
    opened = cryoprobe.open_store(FIXTURE)
    train, test = (opened.open(opened.find(split=split)[0].set) for split in ("train", "test"))
    return TrialSets(train, test, None, {})


def asked(*, protocol: str = PLAIN, metric: str = "", **fields: Any) -> TrialPlan:
    plan = plan_of(read(ProbeOptions, {"protocol": protocol, **fields}))
    return TrialPlan(plan.request, plan.protocol, plan.parameters, plan.test_seed, metric=metric)


GOLDEN: list[tuple[dict[str, Any], Draw, str]] = [
    ({"probe": "nearest-mean"}, Draw(), "8fb23dc4ee29b5db3e2b0ba40f065b28eda3c6bf3316c92541be8f27d06a5a17"),
    ({"C": (0.1, 10.0)}, Draw(shots=2), "21d777f48982d1791a0b7ad6b42e829b8d43eaa54ecfc3bfdb6c2d29e251fc79"),
    (
        {"protocol": "clip-readme", "metric": "top1"},
        Draw(),
        "afa3193534e5909fed1d08bcd6e1df9c14893a1a214e3dc56e0ad03a7e0178ca",
    ),
    (
        {"protocol": "bigvision-fewshot", "metric": "top1", "params": {"l2": 512.0}},
        Draw(shots=5),
        "32fe34e04e749b649db077b81ca173bef550d417cf885ca42b7bb4e95bd029b2",
    ),
]


@pytest.mark.parametrize(("given", "draw", "golden"), GOLDEN)
def test_trial_ids_are_what_they_were(sets: TrialSets, given: dict[str, Any], draw: Draw, golden: str) -> None:
    plan = asked(**given)
    assert key_of(plan, sets, draw, 1, code_in(plan)).id == golden


def test_a_trial_of_an_earlier_schema_is_listed_and_does_not_answer(tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(FIXTURE, store)
    (old,) = cryoprobe.results(store)
    assert old["schema"] == 2
    again: dict[str, Any] = {"model": old["model"], "dataset": old["dataset"], "untrained": True}
    new = cryoprobe.probe(store, **again, probe=old["probe"])
    assert not new["cached"]
    assert new["trial"] != old["trial"]
    assert {trial["trial"] for trial in cryoprobe.results(store)} == {old["trial"], new["trial"]}
    assert cryoprobe.probe(store, **again, probe=old["probe"])["cached"]


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"probe": "nearest-mean"}, {"seed": 1}),
    ({"probe": "knn"}, {"seed": 1}),
    ({"probe": "knn"}, {"params": {"k": 20, "block_size": 64, "temperature": 0.07, "metric": "cosine"}}),
    ({"probe": "knn", "params": {"k": 5}}, {"params": {"n_neighbors": 5.0}}),
    ({"C": 1.0}, {"C": (), "params": {"C": 1, "n_threads": 1, "precision": "auto", "class_weight": None}}),
    ({"C": 1.0}, {"jobs": 1, "memory": 2**40, "seed": 3}),
    (
        {"probe": "sklearn.linear_model.LogisticRegression"},
        {"C": 1.0, "seed": 2, "params": {"n_jobs": 1, "verbose": 0}},
    ),
    ({"probe": "sklearn.naive_bayes.GaussianNB"}, {"seed": 5, "params": {"var_smoothing": 1e-9}}),
    ({"protocol": "clip-readme"}, {"seed": 1, "params": {"C": 0.316}}),
    ({"protocol": "dinov2-knn"}, {"seed": 1, "params": {"temperature": 0.07}}),
]


@pytest.mark.parametrize(("first", "then"), SAME)
def test_what_changes_no_number_is_not_in_the_key(split: Store, first: dict[str, Any], then: dict[str, Any]) -> None:
    one = cryoprobe.probe(split, **BY_NAME, **first)
    other = cryoprobe.probe(split, **BY_NAME, **{**first, **then})
    assert (one["cached"], other["cached"]) == (False, True)
    assert other["trial"] == one["trial"]


OTHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"probe": "sgd", "params": {"learning_rate": 1.0, "epochs": 2}}, {"seed": 1}),
    ({"probe": "sklearn.tree.DecisionTreeClassifier"}, {"seed": 1}),
    ({"probe": "sklearn.linear_model.LogisticRegression", "params": {"solver": "saga"}}, {"seed": 1}),
    ({"probe": "nearest-mean", "test_split": "0.3"}, {"seed": 1}),
    ({"C": (0.1, 1.0)}, {"seed": 1}),
    ({"C": 1.0, "shots": 2, "seeds": 1}, {"seed": 1}),
    ({"probe": "knn"}, {"params": {"k": 19}}),
    ({"protocol": "clip"}, {"params": {"metric": "mean_per_class_recall"}}),
    ({"protocol": "dinov2-logreg"}, {"params": {"metric": "mean_per_class_accuracy"}}),
]


@pytest.mark.parametrize(("first", "then"), OTHER)
def test_what_can_change_a_number_is_in_the_key(split: Store, first: dict[str, Any], then: dict[str, Any]) -> None:
    one = cryoprobe.probe(split, **BY_NAME, **first)
    other = cryoprobe.probe(split, **BY_NAME, **{**first, **then})
    assert (one["cached"], other["cached"]) == (False, False)
    assert other["trial"] != one["trial"]


def test_seeds_that_change_nothing_are_one_trial_and_a_note_says_so(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, probe="nearest-mean", seeds=3)
    assert len(result) == 1
    assert any("3 trials would be the same as 1" in note for note in result["notes"])


def test_scikit_learn_s_version_is_in_the_key_of_its_own_estimators_alone(sets: TrialSets) -> None:
    def versions(**given: Any) -> Any:
        plan = asked(**given)
        return key_of(plan, sets, Draw(), 0, code_in(plan)).written.get("versions")

    installed = {"scikit-learn": sklearn.__version__}
    assert versions(probe="sklearn.naive_bayes.GaussianNB") == installed
    assert versions(protocol="mieb", metric="top1") == installed
    assert versions(probe="knn") is None
    assert versions(protocol="clip", metric="top1") is None


def test_a1_metric_by_name(store: Path) -> None:
    """One content under two names: each name's own score, whichever came first."""
    opened = cryoprobe.open_store(store, create=True)
    for name in ("petsv1", "pets"):
        for part, n in (("train", 120), ("test", 60)):
            put_set(opened, *rows(n, n), classes=CLASSES, split=part, dataset=f"folder:/d/{name}")

    def scored(name: str, **more: Any) -> dict[str, Any]:
        return cryoprobe.probe(opened, model="timm:m", dataset=f"folder:/d/{name}", protocol="clip", **more)

    first, second = scored("petsv1"), scored("pets")
    assert (first["metric"], first["chosen_by"]) == ("top1", "top1")
    assert (second["metric"], second["chosen_by"]) == ("mean_per_class_recall", "mean_per_class_recall")
    assert not second["cached"]
    assert any("published of a data set called folder:/d/pets" in note for note in second["notes"])
    again = scored("pets", params={"metric": "top1"})
    assert (again["cached"], again["trial"]) == (True, first["trial"])
    by_id = cryoprobe.probe(opened, train=first["train"], test=first["test"], protocol="clip")
    assert by_id["metric"] == "top1"
    assert any("given by its id" in note for note in by_id["notes"])


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Yield a function that writes modules of one's own, as a process that starts anew would import them."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name, module in list(sys.modules.items()):
            if str(folder) in str(getattr(module, "__file__", "") or getattr(module, "__path__", "")):
                del sys.modules[name]
        importlib.invalidate_caches()

    def write(files: Mapping[str, str] | None = None, **more: str) -> None:
        for name, text in {**(files or {}), **more}.items():
            path = folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        forget()

    yield write
    forget()


PROBE = """
from sklearn.neighbors import KNeighborsClassifier
{imports}
class Mine(KNeighborsClassifier):
    def predict(self, X):
        {inside}
        labels = super().predict(X)
        return self.classes_[::-1][labels] if {flip} else labels
"""
HELPERS: dict[str, tuple[str, str, str, str, str]] = {
    "module": ("import helper", "pass", "helper.FLIP", "own", "helper"),
    "name": ("from helper import FLIP", "pass", "FLIP", "own", "helper"),
    "inside a function": ("", "import helper", "helper.FLIP", "own", "helper"),
    "in a package": ("from pack import helper", "pass", "helper.FLIP", "own", "pack/helper"),
    "relative": ("from . import helper", "pass", "helper.FLIP", "pack/own", "pack/helper"),
    "relative name": ("from .helper import FLIP", "pass", "FLIP", "pack/own", "pack/helper"),
    "of the package itself": ("", "from . import FLIP", "FLIP", "pack/own", "pack/__init__"),
}


@pytest.mark.parametrize("how", HELPERS)
def test_a2_own_probe_helper(split: Store, mine: Callable[..., None], how: str) -> None:
    imports, inside, flip, own, helper = HELPERS[how]
    probe = f"{own.replace('/', '.')}.Mine"
    files = {own: PROBE.format(imports=imports, inside=inside, flip=flip)}
    if "pack" in own + helper:
        files["pack/__init__"] = ""

    def run(text: str) -> dict[str, Any]:
        mine(files | {helper: text})
        return cryoprobe.probe(split, **BY_NAME, probe=probe)

    first, same, flipped = run("FLIP = False"), run("FLIP = False"), run("FLIP = True")
    assert [first["cached"], same["cached"], flipped["cached"]] == [False, True, False]
    assert first["metrics"]["top1"] > 0.8
    assert flipped["metrics"]["top1"] < 0.2


def test_a_helper_of_a_helper_and_a_base_class_count_too(split: Store, mine: Callable[..., None]) -> None:
    base = "import deep\nfrom sklearn.neighbors import KNeighborsClassifier\nclass Base(KNeighborsClassifier): pass\n"
    cached = []
    for text in ("x = 1", "x = 1", "x = 2"):
        mine(deep=text, base=base, own="from base import Base\nclass Mine(Base): pass\n")
        cached.append(cryoprobe.probe(split, **BY_NAME, probe="own.Mine")["cached"])
    assert cached == [False, True, False]


HIDDEN = {
    "imports or runs code by name": "import importlib\nhelper = importlib.import_module('json')\n",
    "may read data": "def later():\n    return open('numbers.txt').read()\n",
}


@pytest.mark.parametrize("doubt", HIDDEN)
def test_what_cannot_be_seen_is_run_anew_each_time_and_said(
    split: Store, mine: Callable[..., None], doubt: str
) -> None:
    mine(own=HIDDEN[doubt] + PROBE.format(imports="", inside="pass", flip="False"))
    found = [cryoprobe.probe(split, **BY_NAME, probe="own.Mine") for _ in range(2)]
    assert [result["cached"] for result in found] == [False, False]
    assert all(any(doubt in note for note in result["notes"]) for result in found)
    assert len(cryoprobe.results(split)) == 2


def test_a_helper_that_was_edited_after_its_import_is_not_taken_for_the_new_one(
    split: Store, mine: Callable[..., None], tmp_path: Path
) -> None:
    mine(own=PROBE.format(imports="import helper", inside="pass", flip="helper.FLIP"), helper="FLIP = False")
    first = cryoprobe.probe(split, **BY_NAME, probe="own.Mine")
    (tmp_path / "mine" / "helper.py").write_text("FLIP = True")  # and Python goes on with what it has
    stale = cryoprobe.probe(split, **BY_NAME, probe="own.Mine")
    assert stale["metrics"] == first["metrics"]
    assert any("has changed since it was imported" in note for note in stale["notes"])
    mine()  # Python starts anew
    fresh = cryoprobe.probe(split, **BY_NAME, probe="own.Mine")
    assert not fresh["cached"]
    assert fresh["metrics"]["top1"] < 0.2 < first["metrics"]["top1"]


def test_installed_packages_that_an_own_probe_imports_count_by_their_versions(
    sets: TrialSets, mine: Callable[..., None]
) -> None:
    text = "import json\nimport numpy as np\n" + PROBE.format(imports="import helper", inside="pass", flip="False")
    mine(own=text, helper="")
    plan = asked(probe="own.Mine")
    key = key_of(plan, sets, Draw(), 0, code_in(plan)).written
    assert key["versions"] == {"numpy": np.__version__, "scikit-learn": sklearn.__version__}
    assert sorted(key["sources"]) == ["helper", "own"]


def test_an_installed_package_that_is_installed_again_under_its_version_counts_anew(
    sets: TrialSets, mine: Callable[..., None], tmp_path: Path
) -> None:
    def key(file_hash: str) -> dict[str, Any]:
        folder = tmp_path / "mine" / "site-packages"
        info = folder / "labprobes-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: labprobes\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("labprobes\n")
        (info / "RECORD").write_text(f"labprobes.py,sha256={file_hash},9\nbin/run,sha256={file_hash}x,9\n")
        (folder / "labprobes.py").write_text(PROBE.format(imports="", inside="pass", flip="False"))
        sys.path.insert(0, str(folder))
        own_code._distributions.cache_clear()
        try:
            mine()
            plan = asked(probe="labprobes.Mine")
            return key_of(plan, sets, Draw(), 0, code_in(plan)).written
        finally:
            sys.path.remove(str(folder))
            own_code._distributions.cache_clear()

    one, same, other = key("a"), key("a"), key("b")
    assert one == same
    assert one["versions"] == other["versions"] == {"labprobes": "1.0"}
    assert one["sources"] != other["sources"]


def test_a_default_that_changes_raises_the_schema() -> None:
    """Defaults are left out of keys: whoever changes one raises `TRIAL_SCHEMA`, and writes both down here."""
    defaults: dict[str, Any] = {}
    for row in cryoprobe.list_probes():
        own = type(make_estimator(ProbeRequest(probe=row.name)))().get_params()
        defaults[row.name] = {**own, **row.parameters}
    for protocol in list_protocols():
        defaults[protocol.name] = [protocol.parameters, protocol.shots, protocol.seeds]
    assert (TRIAL_SCHEMA, digest(defaults)[:12]) == (3, "9bf2a2f96c18")

"""Probes and protocols of other people's packages: used by name, never stale, and none takes a name of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.data import put_set

import cryoprobe
from cryoprobe.pipeline.options import ProbeOptions
from cryoprobe.pipeline.probes import Draw
from cryoprobe.pipeline.trials.key import code_in, key_of
from cryoprobe.pipeline.trials.plan import TrialPlan, plan_of
from cryoprobe.pipeline.trials.sets import TrialSets

ESTIMATORS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from labhelp import SIGN

class Prototype(ClassifierMixin, BaseEstimator):
    def __init__(self, shrink=0.0, power=2.0):
        self.shrink, self.power = shrink, power

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        centre = X.mean(0)
        self.means_ = np.stack([(1 - self.shrink) * X[y == c].mean(0) + self.shrink * centre for c in self.classes_])
        return self

    def predict(self, X):
        far = (np.abs(X[:, None] - self.means_) ** self.power).sum(-1)
        return self.classes_[(SIGN * far).argmin(1)]
"""

KINDS = """
import cryoprobe

PROTO = cryoprobe.NamedProbe(
    "lab-proto", "labprobe.estimators.Prototype", "Nearest shrunken mean", defaults={"power": 1.5},
    aliases={"amount": "shrink"}, tune="shrink", grid=(0.1, 0.5, 0.9), choose_by="top1",
)
FOREST = cryoprobe.NamedProbe(
    "lab-forest", "sklearn.ensemble.RandomForestClassifier", "A forest", defaults={"n_estimators": 7}
)
MISNAMED = cryoprobe.NamedProbe("another", "labprobe.estimators.Prototype", "?")
DOTTED = cryoprobe.NamedProbe("sklearn.svm.SVC", "labprobe.estimators.Prototype", "?")
LOGREG = cryoprobe.NamedProbe("logreg", "labprobe.estimators.Prototype", "Not ours")

def run(problem):
    from labprobe.estimators import Prototype

    return cryoprobe.fit_and_score(problem, Prototype(problem.parameters["shrink"]))

RULE = cryoprobe.Protocol(
    "lab-rule", "Nearest mean", "our paper", "raw", run, parameters={"shrink": 0.5}, shots=(2, 4), seeds=(0, 1)
)
CLIP = cryoprobe.Protocol("clip", "Not ours", "?", "raw", run)
"""

POINTS = """
[cryoprobe.probes]
lab-proto = labprobe.kinds:PROTO
lab-forest = labprobe.kinds:FOREST
lab-gone = labprobe.nowhere:PROTO
lab-exits = labprobe.exits:PROTO
lab-wrong = labprobe.kinds:run
lab-misnamed = labprobe.kinds:MISNAMED
sklearn.svm.SVC = labprobe.kinds:DOTTED
logreg = labprobe.kinds:LOGREG
[cryoprobe.protocols]
lab-rule = labprobe.kinds:RULE
lab-bad = labprobe.kinds:PROTO
clip = labprobe.kinds:CLIP
plain = labprobe.kinds:CLIP
"""

CLASSES = tuple("abcd")
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def install(folder: Path, points: str = POINTS, package: str = "labpkg", **sources: str) -> Path:
    """Write a package of modules `labprobe`, `labhelp`, which announces what it brings."""
    files = {"kinds": KINDS, "estimators": ESTIMATORS, "exits": "raise SystemExit(3)\n", **sources}
    info = folder / f"{package}-1.0.dist-info"
    for made in (info, folder / "labprobe"):
        made.mkdir(parents=True)
    (folder / "labhelp.py").write_text(files.pop("help", "SIGN = 1\n"))
    (folder / "labprobe" / "__init__.py").write_text("")
    for name, source in files.items():
        (folder / "labprobe" / f"{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("labprobe", "labhelp")]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    forget()
    yield folder
    forget()


@pytest.fixture
def split(store: Path) -> Path:
    opened = cryoprobe.open_store(store, create=True)
    for name, n, seed in (("train", 80, 0), ("val", 40, 1), ("test", 40, 2)):
        y = np.arange(n) % 4
        x = 3 * np.eye(4, 8)[y] + np.random.default_rng(seed).normal(0, 1.0, (n, 8))
        put_set(opened, x, y, classes=CLASSES, split=name)
    return store


def test_a_package_s_probe_has_its_defaults_and_its_grid(package: Path, split: Path) -> None:
    done = cryoprobe.probe(split, **BY_NAME, probe="lab-proto")
    assert [point["shrink"] for point in done["curve"]] == [0.1, 0.5, 0.9]
    assert (done["probe"], done["chosen_by"], done["params"]) == ("lab-proto", "top1", {"power": 1.5})
    assert done["metrics"]["top1"] > 0.7
    assert cryoprobe.probe(split, **BY_NAME, probe="lab-proto")["cached"]
    aliased = cryoprobe.probe(split, **BY_NAME, probe="lab-proto", params={"amount": 0.5})
    assert aliased["chosen"] == {"shrink": 0.5}


def test_a_package_s_probe_may_be_an_estimator_of_scikit_learn_s(package: Path, split: Path) -> None:
    done = cryoprobe.probe(split, **BY_NAME, probe="lab-forest")
    assert done["metrics"]["top1"] > 0.7
    assert done["params"]["n_estimators"] == 7
    assert cryoprobe.probe(split, **BY_NAME, probe="lab-forest")["cached"]
    assert not cryoprobe.probe(split, **BY_NAME, probe="lab-forest", seed=1)["cached"]


def test_a_package_s_protocol_is_run(package: Path, split: Path) -> None:
    done = cryoprobe.probe(split, **BY_NAME, protocol="lab-rule")
    assert len(done["trials"]) == 4
    assert {trial["protocol"] for trial in done["trials"]} == {"lab-rule"}
    assert done["features"] == "raw"
    again = cryoprobe.probe(split, **BY_NAME, protocol="lab-rule")
    assert all(trial["cached"] for trial in again["trials"])
    other = cryoprobe.probe(split, **BY_NAME, protocol="lab-rule", params={"shrink": 0.25})
    assert not any(trial["cached"] for trial in other["trials"])
    assert "not as published: shrink = 0.25 instead of 0.5" in other["remarks"]


def test_results_are_listed_without_the_package(package: Path, split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cryoprobe.probe(split, **BY_NAME, probe="lab-proto")
    cryoprobe.probe(split, **BY_NAME, protocol="lab-rule")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(package)])
    forget()
    assert {trial["probe"] for trial in cryoprobe.results(split)} == {"lab-proto", "lab-rule"}
    with pytest.raises(cryoprobe.BadInput, match="no probe called 'lab-proto'"):
        cryoprobe.probe(split, **BY_NAME, probe="lab-proto")


def test_the_command_line_takes_them_by_name(package: Path, split: Path) -> None:
    words = ("probe", "--store", split, "--model", "timm:m", "--dataset", "folder:/d", "--json")
    (done,) = json.loads(run(*words, "--probe", "lab-proto", "--grid", "shrink=0.2,0.3", "--param", "power=2").stdout)[
        "trials"
    ]
    assert [point["shrink"] for point in done["curve"]] == [0.2, 0.3]
    assert json.loads(run(*words, "--protocol", "lab-rule", "--shots", "3").stdout)["trials"]
    assert "lab-rule" in run("results", "--store", split).stdout
    assert "did you mean lab-proto" in run(*words, "--probe", "lab-prot", code=2).stderr
    assert "did you mean lab-rule" in run(*words, "--protocol", "lab-rul", code=2).stderr


@pytest.mark.filterwarnings("ignore:The package labpkg")
def test_lists_show_the_package_and_survive_what_is_broken(package: Path) -> None:
    probes = {row.name: row for row in cryoprobe.list_probes() if row.package == "labpkg"}
    assert probes["lab-proto"].parameters == {"power": 1.5, "shrink": [0.1, 0.5, 0.9]}
    assert {name: row.problem is None for name, row in probes.items()} == {
        "lab-proto": True,
        "lab-forest": True,
        "lab-gone": False,
        "lab-exits": False,
        "lab-wrong": False,
        "lab-misnamed": False,
        "sklearn.svm.SVC": False,
    }
    assert "No module named 'labprobe.nowhere'" in str(probes["lab-gone"].problem)
    protocols = {row.name: row for row in cryoprobe.list_protocols() if row.package == "labpkg"}
    assert protocols["lab-rule"].parameters == {"shrink": 0.5}
    assert "is a NamedProbe, not a Protocol" in str(protocols["lab-bad"].problem)
    assert set(protocols) == {"lab-rule", "lab-bad"}
    assert "labprobe.estimators" not in sys.modules
    printed = " ".join((run("probes").stdout + run("protocols").stdout).split())
    for text in ("Nearest shrunken mean (package labpkg)", "cannot be used: lab-gone", "cannot be used: lab-bad"):
        assert text in printed
    assert json.loads(run("probes", "--json").stdout)[-1]["package"] == "labpkg"


def test_a_process_of_its_own_lists_them_and_notes_what_is_ignored(package: Path) -> None:
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "cryoprobe", "probes"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert "lab-proto" in done.stdout
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: The package labpkg announces logreg under cryoprobe.probes.")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"probe": "lab-gone"}, "lab-gone cannot be imported from labprobe.nowhere:PROTO of the package labpkg"),
        ({"probe": "lab-wrong"}, "is a function, not a NamedProbe"),
        ({"probe": "lab-misnamed"}, "has another name, 'another'"),
        ({"protocol": "lab-bad"}, "is a NamedProbe, not a Protocol"),
    ],
)
def test_what_cannot_be_used_is_refused(ask: dict[str, Any], said: str, package: Path, split: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.probe(split, **BY_NAME, **ask)


def test_a_name_of_ours_stays_ours_and_the_package_is_named(package: Path, split: Path) -> None:
    with pytest.warns(cryoprobe.CryoprobeWarning, match="labpkg announces logreg under cryoprobe.probes"):
        done = cryoprobe.probe(split, **BY_NAME, C=1.0)
    assert done["solver"]["name"] == "LogisticProbe"
    with pytest.warns(cryoprobe.CryoprobeWarning, match="labpkg announces clip under cryoprobe.protocols"):
        assert plan_of(ProbeOptions(protocol="clip")).published.description.startswith("logistic")  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cryoprobe.probe(split, **BY_NAME, C=2.0)  # warned of once
    svc = cryoprobe.probe(split, **BY_NAME, probe="sklearn.svm.SVC")
    assert svc["solver"]["name"] == "SVC"


def test_a_name_of_two_packages_is_refused(
    package: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[cryoprobe.probes]\nlab-proto = labprobe.kinds:PROTO\n"
    monkeypatch.syspath_prepend(install(tmp_path / "other", points, "otherpkg"))
    with pytest.raises(cryoprobe.BadInput, match=r"Several packages announce lab-proto .*labpkg, otherpkg"):
        cryoprobe.probe(split, **BY_NAME, probe="lab-proto")


# What is in the key

KEYS: dict[str, Callable[[], TrialPlan]] = {
    "probe": lambda: plan_of(ProbeOptions(probe="lab-proto")),
    "protocol": lambda: plan_of(ProbeOptions(protocol="lab-rule")),
}
CHANGES: dict[str, dict[str, str]] = {
    "the estimator": {"estimators": ESTIMATORS.replace("** self.power", "** (self.power + 1)")},
    "what it imports": {"help": "SIGN = -1\n"},
    "the module of the entry point": {"kinds": KINDS.replace("Nearest", "The nearest")},
}


def key_for(kind: str, split: Path) -> dict[str, Any]:
    opened = cryoprobe.open_store(split)
    train, val, test = (opened.open(opened.find(split=name)[0].set) for name in ("train", "val", "test"))
    plan = KEYS[kind]()
    spec = key_of(plan, TrialSets(train, test, val if kind == "probe" else None, {}), Draw(), 0, code_in(plan))
    return spec.written


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_its_code_makes_another_trial(
    kind: str, change: str, package: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_for(kind, split)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(package)])
    for folder, sources in (("same", {}), ("changed", CHANGES[change])):
        with monkeypatch.context() as patched:
            patched.syspath_prepend(install(tmp_path / folder, **sources))
            forget()
            assert (key_for(kind, split) == before) == (folder == "same")
    assert "once" not in before
    assert {"labprobe.kinds", "labprobe.estimators", "labhelp"} <= set(before["sources"])


@pytest.mark.parametrize("kind", KEYS)
def test_code_that_reads_a_file_is_run_every_time(
    kind: str, package: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(package)])
    monkeypatch.syspath_prepend(install(tmp_path / "reading", help="SIGN = int(open(__file__).read(0) or 1)\n"))
    forget()
    assert key_for(kind, split)["once"] != key_for(kind, split)["once"]


def test_what_a_package_sets_is_in_the_key_though_its_code_is_the_same(
    package: Path, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, protocol = key_for("probe", split), key_for("protocol", split)
    assert (probe["request"]["path"], probe["request"]["params"]) == ("labprobe.estimators.Prototype", {"power": 1.5})
    kinds = sys.modules["labprobe.kinds"]
    for change in ({"defaults": {"power": 1.0}}, {"path": "sklearn.svm.SVC", "defaults": {}}, {"grid": (0.1, 0.2)}):
        with monkeypatch.context() as patched:
            patched.setattr(kinds, "PROTO", replace(kinds.PROTO, **change))
            assert key_for("probe", split)["request"] != probe["request"]
    for prescribed in ({"features": "unit"}, {"rows": (10, 5)}, {"parameters": {"shrink": 0.1}}, {"random": True}):
        with monkeypatch.context() as patched:
            patched.setattr(kinds, "RULE", replace(kinds.RULE, **prescribed))
            assert key_for("protocol", split) != protocol


def test_the_keys_of_our_own_have_nothing_of_this(split: Path) -> None:
    opened = cryoprobe.open_store(split)
    train, test = (opened.open(opened.find(split=name)[0].set) for name in ("train", "test"))
    for plan in (
        plan_of(ProbeOptions(protocol="clip-readme")),
        plan_of(ProbeOptions(probe="lda")),
    ):
        key = key_of(plan, TrialSets(train, test, None, {}), Draw(), 0, code_in(plan)).written
        assert not {"sources", "prescribed", "path", "once"} & {*key, *key.get("request", {})}


@pytest.mark.filterwarnings("ignore:The package labpkg")
def test_a_package_that_a_protocol_needs_is_missed_by_name(
    package: Path, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cryoprobe.list_protocols()
    kinds = sys.modules["labprobe.kinds"]
    monkeypatch.setattr(kinds, "RULE", replace(kinds.RULE, packages=("no-such-package",)))
    with pytest.raises(cryoprobe.BadInput, match="lab-rule uses the package no-such-package, which is not installed"):
        cryoprobe.probe(split, **BY_NAME, protocol="lab-rule")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ('more={"alpha_curve": [1, 2]}', None),
        ("solver=None", None),
        ('chosen={"kind": "rbf"}', "chosen"),
        ('curve=[{"C": 1.0}, {"C": 2.0}], chosen={"C": 1.0}', "its curve lacks"),
        ('more={"rows": 3}', "rows"),
    ],
)
@pytest.mark.filterwarnings("ignore:The package labpkg")
def test_a_protocol_may_report_more_and_what_cannot_be_stored_is_said(
    tmp_path: Path, split: Path, monkeypatch: pytest.MonkeyPatch, change: str, problem: str | None
) -> None:
    kinds = KINDS.replace(
        '    return cryoprobe.fit_and_score(problem, Prototype(problem.parameters["shrink"]))',
        "    import dataclasses\n"
        '    done = cryoprobe.fit_and_score(problem, Prototype(problem.parameters["shrink"]))\n'
        f"    return dataclasses.replace(done, {change})",
    )
    assert kinds != KINDS
    monkeypatch.syspath_prepend(install(tmp_path / "site", kinds=kinds))
    forget()
    call = partial(cryoprobe.probe, split, **BY_NAME, protocol="lab-rule", shots=2, seeds=1)
    if problem is not None:
        with pytest.raises(cryoprobe.BadInput, match=f"What lab-rule reports cannot be stored: .*{problem}"):
            call()
        assert cryoprobe.results(split) == []
        return
    done, again = call(), call()
    assert (done.cached, again.cached) == (0, 1)
    assert done.trial == again.trial
    if "alpha" in change:
        assert again["alpha_curve"] == [1, 2]

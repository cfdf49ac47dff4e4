"""`SGDProbe` and `MLPProbe`, as estimators and against torch's own training."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import LabelledFeatures, ProbeRequest, run_probe, stratified_holdout
from cryoprobe.pipeline.probes.flags import FlagsProbe
from cryoprobe.pipeline.probes.gradient.heads import train_heads
from cryoprobe.pipeline.probes.gradient.mlp import MLPProbe
from cryoprobe.pipeline.probes.gradient.sgd import SGDProbe

# Fewer passes than by default: the checks fit some hundred times.
PROBES = {
    "sgd": SGDProbe(epochs=30),
    "adamw": SGDProbe(0.1, optimizer="adamw", init_std=None, epochs=20),
    "mlp": MLPProbe(hidden=64, epochs=20, learning_rate=0.01),
    "mlp, stopped early": MLPProbe(hidden=64, epochs=20, learning_rate=0.01, early_stopping=True),
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(n: int = 200, d: int = 16, k: int = 4, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(k, size=n)
    return (rng.normal(size=(n, d)) + 2 * np.eye(k, d)[y]).astype(dtype), y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("name", PROBES)
def test_scikit_learns_own_checks_pass(name: str) -> None:
    check_estimator(clone(PROBES[name]))


@pytest.mark.parametrize("name", PROBES)
def test_a_fit_repeats_bit_by_bit_and_survives_pickling(name: str) -> None:
    x, y = blobs(dtype=np.float32)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first, again = clone(PROBES[name]).fit(x, y), clone(PROBES[name]).fit(x, y)
    np.testing.assert_array_equal(first.decision_function(x), again.decision_function(x))
    assert first.decision_function(x).dtype == np.float32
    loaded = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(loaded.predict_proba(x), first.predict_proba(x))
    other = clone(PROBES[name]).set_params(random_state=1).fit(x, y)
    assert not np.array_equal(first.decision_function(x), other.decision_function(x))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


def test_an_sgd_probe_is_one_head() -> None:
    x, y = blobs()
    probe = SGDProbe(0.05, 1e-3, iterations=40, batch_size=32, random_state=2).fit(x, y)
    heads = train_heads(
        x, y, 4, learning_rates=[0.05], weight_decays=[1e-3], iterations=40, batch_size=32, init_std=0.01, seed=2
    )
    np.testing.assert_array_equal(probe.coef_, heads.weights[0])
    np.testing.assert_array_equal(probe.intercept_, heads.biases[0])
    assert (probe.n_iter_, probe.loss_) == (40, heads.losses[0])


def mlp_by_torch(probe: MLPProbe, x: np.ndarray, y: np.ndarray) -> torch.nn.Sequential:
    """The same network by torch's layers, optimizer and schedule."""
    k, seed = int(y.max()) + 1, probe.random_state
    weight_seed, order_seed = np.random.SeedSequence(seed).spawn(2)  # type: ignore[arg-type]
    centred = x - x.mean(axis=0)
    scaled = torch.from_numpy(centred / np.sqrt(np.mean(centred**2)))
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], probe.hidden), torch.nn.ReLU(), torch.nn.Linear(probe.hidden, k)
    ).double()
    rng = np.random.default_rng(weight_seed)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            fan_out, fan_in = layer.weight.shape
            layer.weight.copy_(torch.from_numpy(rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)).T))
            layer.bias.zero_()
    groups = [
        {"params": [net[0].weight, net[2].weight], "weight_decay": probe.weight_decay},
        {"params": [net[0].bias, net[2].bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=probe.learning_rate)
    rng = np.random.default_rng(order_seed)
    size = probe.batch_size
    orders = [rng.permutation(len(x)) for _ in range(probe.epochs)]
    batches = [order[i : i + size] for order in orders for i in range(0, len(x), size)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for batch in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(scaled[batch]), torch.from_numpy(y[batch])).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return net(scaled).numpy()  # type: ignore[no-any-return]


def test_the_mlp_is_the_one_that_torch_trains() -> None:
    x, y = blobs()
    probe = MLPProbe(hidden=24, epochs=6, batch_size=48, weight_decay=0.1, learning_rate=0.01, random_state=5)
    np.testing.assert_allclose(probe.fit(x, y).decision_function(x), mlp_by_torch(probe, x, y), atol=1e-12)
    assert len(probe.loss_curve_) == probe.n_iter_ == 6
    assert probe.validation_curve_ is None


def test_the_mlp_reads_what_no_linear_probe_can() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # exclusive or
    mlp = MLPProbe(hidden=64, learning_rate=0.01).fit(x[:400], y[:400])
    assert mlp.score(x[400:], y[400:]) > 0.93
    assert SGDProbe().fit(x[:400], y[:400]).score(x[400:], y[400:]) < 0.6


def test_the_mlp_does_not_depend_on_the_scale_of_the_features() -> None:
    x, y = blobs()
    probe = MLPProbe(hidden=16, epochs=5)
    small = clone(probe).fit(x * 2.0**-10, y).decision_function(x * 2.0**-10)
    np.testing.assert_allclose(small, clone(probe).fit(x, y).decision_function(x), atol=1e-10)
    assert np.isfinite(clone(probe).fit(np.ones_like(x), y).decision_function(np.ones_like(x))).all()


def test_early_stopping_keeps_the_weights_of_the_best_pass() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 20)), rng.integers(3, size=120)  # nothing to learn: it overfits at once
    probe = MLPProbe(hidden=64, learning_rate=0.01, epochs=60, early_stopping=True, validation_fraction=0.3, patience=4)
    probe.fit(x, y)
    curve = probe.validation_curve_
    assert curve is not None
    best = int(np.argmin(curve))
    assert probe.n_iter_ == len(curve) == best + 1 + 4 < 60
    # The weights kept are those that had the lowest point of the curve.
    _, held = stratified_holdout(y, 0.3, 0)
    p = probe.predict_proba(x[held])[np.arange(len(held)), y[held]]
    assert -np.log(p).mean() == pytest.approx(curve[best], abs=1e-10)


def test_divergence_is_an_error_and_not_a_probe() -> None:
    x, y = blobs(dtype=np.float32)
    with pytest.raises(ValueError, match="diverged"):
        SGDProbe(1e38, weight_decay=1.0).fit(x, y)


@pytest.mark.parametrize("change", [{"hidden": 0}, {"patience": 0}, {"learning_rate": 0.0}, {"batch_size": 0}])
def test_parameters_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        MLPProbe(**change).fit(*blobs())


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("cryoprobe.pipeline.probes.gradient.sgd.SGDProbe", {"epochs": 10}),
        ("cryoprobe.pipeline.probes.gradient.mlp.MLPProbe", {"hidden": 64}),
    ],
)
def test_both_can_be_named_as_probes_for_one_label_and_for_many(path: str, params: dict[str, Any]) -> None:
    x, y = blobs(dtype=np.float32)
    x += 2 * np.eye(4, 16, dtype=np.float32)[y]
    request = ProbeRequest(probe=path, params=params, seed=3)
    outcome = run_probe(request, LabelledFeatures(x[:150], y[:150]), None, LabelledFeatures(x[150:], y[150:]), 4)
    assert outcome.estimator.random_state == 3
    assert outcome.metrics["top1"] > 0.8
    flags = np.eye(4, dtype=np.uint8)[y]
    many = run_probe(request, LabelledFeatures(x[:150], flags[:150]), None, LabelledFeatures(x[150:], flags[150:]), 4)
    assert isinstance(many.estimator, FlagsProbe)
    assert many.metrics["map"] > 0.8


def test_naming_the_probes_does_not_import_torch() -> None:
    code = (
        "import sys, cryoprobe.pipeline.probes.gradient.heads, cryoprobe.pipeline.metrics.bootstrap;"
        "assert not {'sklearn', 'scipy'} & set(sys.modules);"
        "import cryoprobe.pipeline.probes.gradient.sgd, cryoprobe.pipeline.probes.gradient.mlp;"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

"""Whether `compare` finds what is planted, and nothing where nothing is: power, false positives, many encoders.

    python benchmarks/compare_power.py --json > docs/measurements/….json     # about five minutes on two cores
    python benchmarks/compare_power.py --small                               # to see that it runs

*Simulated predictions.* A model has a test row right if sqrt(rho) s + sqrt(1 - rho) e is below a threshold: s is the
row's difficulty, which all models share, and e is the model's own. Thresholds give the accuracies, and rho the
*discordance*: the share of rows that exactly one of two models has right. The p values are of the same function that
`compare` and the matrix call.

- *power*: 91 % against 89 % of 2,000 rows, at several discordances;
- *false positives*: two models of one accuracy, for every test: McNemar, sign flips (unequal classes), the
  infinitesimal jackknife (mean average precision of five flags), and rows and draws (five draws, whose scores vary);
- *family*: 20 models of one accuracy in one column: how often any cell is called worse than the best, with Holm's
  correction of all 190 pairs as it is done, of the 19 with the best alone, and without any.

*Trained probes.* Class means of 16 rows a class, on features of ten classes in 32 dimensions, tested on 2,000 rows:
two draws of one encoder, a single one each, as two seeds of one probe are; and two encoders that are as noisy as each
other, in five draws each. The first are two trained probes, which do differ: it shows what a test over test rows does
not say. The second is what `compare` does with draws.

*Through the store.* Planted features of two encoders, of which one is noisier, probed and compared by the public
functions.

Intervals of rates are Clopper and Pearson's, 95 %.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import beta, binom, multivariate_normal, norm

import cryoprobe
from cryoprobe.pipeline.comparing.holm import holm
from cryoprobe.pipeline.comparing.paired_tests import mcnemar_mid_p, pair_tests
from cryoprobe.pipeline.comparing.row_shares import precision_influences, row_weights
from cryoprobe.pipeline.metrics.ranking import average_precision

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

Array = npt.NDArray[Any]
ROWS, LEVEL = 2000, 0.05


def discordance(accuracies: tuple[float, float], rho: float) -> float:
    """Return on which share of the rows exactly one of two models is right."""
    t = norm.ppf(accuracies)
    both = float(multivariate_normal.cdf(t, cov=[[1, rho], [rho, 1]]))
    return sum(accuracies) - 2 * both


@cache
def shared_part(accuracies: tuple[float, float], wanted: float) -> float:
    """Return the rho that gives a discordance."""
    return float(brentq(lambda rho: discordance(accuracies, rho) - wanted, 0.0, 0.9999))


def right_rows(rng: np.random.Generator, accuracies: Array, rows: int, rho: float) -> Array:
    """Return which rows each of m models has right, bool [m, n]."""
    accuracies = np.asarray(accuracies)
    own = rng.normal(size=(len(accuracies), rows))
    latent = np.sqrt(rho) * rng.normal(size=rows) + np.sqrt(1 - rho) * own
    return np.asarray(latent < norm.ppf(accuracies)[:, None])


def top1_p(right: Array) -> Array:
    """Return the p values of all pairs, [m, m], as a matrix has them."""
    shares = right[:, None, :] / right.shape[1]
    return pair_tests(shares.sum(axis=2), shares, "top1").p


def rate(found: int, of: int) -> dict[str, float | int]:
    """Return a rate with its interval."""
    low = float(beta.ppf(0.025, found, of - found + 1)) if found else 0.0
    high = float(beta.ppf(0.975, found + 1, of - found)) if found < of else 1.0
    return {"found": found, "of": of, "rate": found / of, "low": round(low, 4), "high": round(high, 4)}


def power(pairs: int, wanted: float, seed: int = 0) -> dict[str, float | int]:
    """Return how often two points of 2,000 rows are found."""
    rng, accuracies = np.random.default_rng(seed), (0.91, 0.89)
    rho = shared_part(accuracies, wanted)
    p = [top1_p(right_rows(rng, np.array(accuracies), ROWS, rho))[0, 1] for _ in range(pairs)]
    return rate(int((np.array(p) <= LEVEL).sum()), pairs)


def null_top1(rng: np.random.Generator) -> float:
    """Return the p value of two equal models in top1."""
    rho = shared_part((0.9, 0.9), 0.08)
    return float(top1_p(right_rows(rng, np.array([0.9, 0.9]), ROWS, rho))[0, 1])


def null_recall(rng: np.random.Generator) -> float:
    """Return the same in mean recall of 20 classes, of which the largest has 19 times the rows of the smallest."""
    weights = np.arange(1, 21) / 210
    true = np.sort(rng.choice(20, size=ROWS, p=weights))
    right = right_rows(rng, np.array([0.9, 0.9]), ROWS, shared_part((0.9, 0.9), 0.08))
    shares = (right * row_weights(true, "mean_per_class_recall"))[:, None, :]
    return float(pair_tests(shares.sum(axis=2), shares, "mean_per_class_recall").p[0, 1])


def null_map(rng: np.random.Generator) -> float:
    """Return the same in mean average precision of five flags, which a tenth of the rows have."""
    flags = rng.random((ROWS, 5)) < 0.1
    common = 1.5 * flags + rng.normal(size=flags.shape)
    scores = [common + 0.7 * rng.normal(size=flags.shape) for _ in range(2)]
    means = [[np.mean([average_precision(flags[:, c].astype(np.uint8), of[:, c]) for c in range(5)])] for of in scores]
    each = [[np.mean([precision_influences(flags[:, c], of[:, c]) for c in range(5)], axis=0)] for of in scores]
    return float(pair_tests(np.array(means), np.array(each), "map").p[0, 1])


def null_draws(rng: np.random.Generator) -> float:
    """Return the same in top1 over five draws, in each of which a model's accuracy is another one (std 1 point)."""
    accuracies = 0.85 + 0.01 * rng.normal(size=(2, 5))
    own = 0.5 * rng.normal(size=(2, 1, ROWS)) + 0.5 * rng.normal(size=(2, 5, ROWS))  # rows that suit a model
    latent = np.sqrt(0.5) * rng.normal(size=ROWS) + own
    shares = (latent < norm.ppf(accuracies)[:, :, None]) / ROWS
    return float(pair_tests(shares.sum(axis=2), shares, "top1").p[0, 1])


def _class_means(rng: np.random.Generator, encoders: int, draws: int) -> Array:
    """Return which test rows probes of class means have right, bool [encoders, draws, n]; see this module."""
    centres = rng.normal(size=(10, 32))
    labels = [np.arange(1000) % 10, rng.integers(0, 10, ROWS)]
    bases = [centres[y] + 2.2 * rng.normal(size=(len(y), 32)) for y in labels]
    right = np.empty((encoders, draws, ROWS), bool)
    chosen = [[rng.choice(100, 16, replace=False) * 10 + c for c in range(10)] for _ in range(draws)]
    for e in range(encoders):
        train, test = (base + 0.5 * rng.normal(size=base.shape) for base in bases)
        for d, rows in enumerate(chosen):
            means = np.stack([train[of_class].mean(axis=0) for of_class in rows])
            right[e, d] = (test @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1) == labels[1]
    return right


def trained_single(rng: np.random.Generator) -> float:
    """Return the p value of two draws of one encoder."""
    return float(top1_p(_class_means(rng, 1, 2)[0])[0, 1])


def trained_draws(rng: np.random.Generator) -> float:
    """Return the p value of two equal encoders in five draws."""
    shares = _class_means(rng, 2, 5) / ROWS
    return float(pair_tests(shares.sum(axis=2), shares, "top1").p[0, 1])


NULLS: dict[str, Callable[[np.random.Generator], float]] = {
    "top1 (McNemar, mid-p)": null_top1,
    "mean_per_class_recall (sign flips)": null_recall,
    "map (infinitesimal jackknife)": null_map,
    "top1, five draws (t over rows and draws)": null_draws,
}
TRAINED: dict[str, Callable[[np.random.Generator], float]] = {
    "two trained probes of one encoder, a single draw each": trained_single,
    "two equal encoders, five draws each": trained_draws,
}


def false_positives(one: Callable[[np.random.Generator], float], pairs: int, seed: int = 0) -> dict[str, float | int]:
    """Return how often two equal models are told apart."""
    rng = np.random.default_rng(seed)
    return rate(int(sum(one(rng) <= LEVEL for _ in range(pairs))), pairs)


def exact_size(share: float, rows: int = ROWS) -> float:
    """Return how often McNemar's mid-p value is at most 5 % for equal models, without simulating."""
    counts = np.arange(rows + 1)
    weights = binom.pmf(counts, rows, share)
    found = 0.0
    for n in counts[weights > 1e-12].tolist():
        only = np.arange(n + 1)
        found += weights[n] * float(binom.pmf(only, n, 0.5)[mcnemar_mid_p(only, n - only) <= LEVEL].sum())
    return round(found, 4)


def family(columns: int, models: int = 20, seed: int = 0) -> dict[str, dict[str, float | int]]:
    """Return how often any of 20 equal models is called worse than the best of its column, by correction."""
    rng = np.random.default_rng(seed)
    rho = shared_part((0.9, 0.9), 0.08)
    upper = np.triu_indices(models, 1)
    wrong = {"all pairs (as it is done)": 0, "pairs with the best": 0, "none": 0}
    for _ in range(columns):
        right = right_rows(rng, np.full(models, 0.9), ROWS, rho)
        p, top = top1_p(right), int(right.sum(axis=1).argmax())
        corrected = np.ones_like(p)
        corrected[upper] = holm(p[upper])
        with_best = np.delete(p[top], top)
        wrong["all pairs (as it is done)"] += bool((np.minimum(corrected, corrected.T)[top] <= LEVEL).any())
        wrong["pairs with the best"] += bool((holm(with_best) <= LEVEL).any())
        wrong["none"] += bool((with_best <= LEVEL).any())
    return {how: rate(n, columns) for how, n in wrong.items()}


def _planted(store: cryoprobe.Store, seed: int, noises: dict[str, float]) -> None:
    """Put features of ten classes into a store: of each encoder the same rows under noise of its own."""
    from support.data import put_set

    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(10, 32))
    for split, n in (("train", 1000), ("test", ROWS)):
        y = rng.integers(0, 10, n)
        base = centres[y] + 1.45 * rng.normal(size=(n, 32))
        ids = [hashlib.sha256(f"{seed} {split} {i}".encode()).digest() for i in range(n)]
        for model, noise in noises.items():
            x = (base + noise * rng.normal(size=base.shape)).astype(np.float32)
            names = {"encoder": f"{model} {seed}", "model": model, "dataset": f"folder:/planted/{seed}"}
            put_set(store, x, y, classes=[f"class {c}" for c in range(10)], split=split, ids=ids, **names)


def real_power(pairs: int, folder: Path) -> dict[str, Any]:
    """Return how often `compare` finds that an encoder is noisier, and by how much it is."""
    store = cryoprobe.open_store(folder / "power", create=True)
    told, differences, discordances = 0, [], []
    for seed in range(pairs):
        _planted(store, seed, {"clear": 0.3, "noisy": 0.64})
        for model in ("clear", "noisy"):
            data = f"folder:/planted/{seed}"
            cryoprobe.probe(store, model=model, dataset=data, probe="nearest-mean", progress=False)
        pair = cryoprobe.compare(store, "clear", "noisy", dataset=f"folder:/planted/{seed}").pair
        told += pair.differs and pair.difference > 0
        differences.append(pair.difference)
        discordances.append((pair.only_a + pair.only_b) / pair.rows)
    means = {"difference": float(np.mean(differences)), "discordance": float(np.mean(discordances))}
    return {**rate(told, pairs), **{name: round(value, 4) for name, value in means.items()}}


def measure(small: bool) -> dict[str, Any]:
    """Return all figures."""
    times = 10 if small else 1
    start = time.perf_counter()
    found: dict[str, Any] = {
        "power, 91 % against 89 % of 2,000 rows, by discordance": {
            f"{share:.2f}": power(1000 // times, share) for share in (0.06, 0.08, 0.10, 0.12, 0.16)
        },
        "false positives of 400 pairs": {name: false_positives(one, 400 // times) for name, one in NULLS.items()},
        "false positives of 2,000 other pairs": {
            name: false_positives(one, 2000 // times, seed=1) for name, one in NULLS.items()
        },
        "false positives of top1 in 25 runs of 400 pairs": [
            false_positives(null_top1, 400 // times, seed=run)["found"] for run in range(25)
        ],
        "exact size of McNemar, mid-p, by discordance": {
            f"{share:.2f}": exact_size(share) for share in (0.01, 0.04, 0.08, 0.16)
        },
        "told apart, of 400 pairs of trained probes": {
            name: false_positives(one, 400 // times) for name, one in TRAINED.items()
        },
        "any of 20 equal encoders called worse": family(1000 // times),
    }
    with tempfile.TemporaryDirectory() as folder:
        found["through the store, a noisier encoder found"] = real_power(20 // times, Path(folder))
    found["machine"] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "seconds": round(time.perf_counter() - start, 1),
    }
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = measure(given.small)
    print(json.dumps(found, indent=1 if given.json else 2))


if __name__ == "__main__":
    main()

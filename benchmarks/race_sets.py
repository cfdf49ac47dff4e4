"""What the race is run on: features, labels, and the certified optimum of every C.

The optimum takes far longer to find than any racer takes to come near it, so it is kept in a file. It is found in
float64, from our own solver's result onwards by SciPy's L-BFGS, and proven by `certificate`, which shares no code
with either. F* below is the proven *lower* bound, for everyone alike.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from certificate import certify, descend

import cryoprobe
from cryoprobe.pipeline.probes.logistic import fit_path

Array = npt.NDArray[Any]
TEN = np.logspace(-1.5, 3, 10)
CLOSE = 1e-5
"""How closely an optimum is to be known, relative: a tenth of the gap that is raced to."""


@dataclass(frozen=True)
class RaceSet:
    """Features to race on.

    Parameters
    ----------
    name : str
    what : str
        For people.
    x : ndarray, float32 [n, d]
    y : ndarray, int64 [n]
    """

    name: str
    what: str
    x: Array
    y: Array

    @property
    def classes(self) -> int:
        """K."""
        return int(self.y.max()) + 1

    @property
    def shape(self) -> str:
        """Rows, dimensions and classes, for people."""
        return f"{len(self.x):,} x {self.x.shape[1]:,}, {self.classes} classes"


def synthetic(distance: float, n: int, d: int, k: int, power: float = 0.5) -> tuple[Array, Array]:
    """Return unit rows with a power-law spectrum, around one centre a class, and their labels."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1, dtype=np.float32) ** -power
    x = rng.standard_normal((n, d), dtype=np.float32) * scale
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    centres = 0.7 * rng.standard_normal((k, d), dtype=np.float32) * scale
    y = rng.integers(0, k, n)
    x = (distance * centres[y] + x) @ axes
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def gaussian(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Return standardised rows with a flat spectrum around one centre a class, and their labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, k, n)
    x = 0.15 * rng.standard_normal((k, d))[y] + rng.standard_normal((n, d))
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def race_set(name: str, store: str | None, quick: bool) -> RaceSet:
    """Make or load a set by its name; `quick` ones are small."""
    if name in ("fashion", "fashion-raw"):
        if quick:
            x, y = synthetic(0.5, 600, 48, 10)
            return RaceSet(name, "stand-in", x if name == "fashion" else 20 * x, y)
        if store is None:
            raise SystemExit(f"{name} needs --store; see --help for how to make it, or leave it out of --parts")
        opened = cryoprobe.open_store(store)
        found = next((s for s in map(opened.open, opened.set_ids()) if s.rows == 30_000), None)
        if found is None:
            raise SystemExit(f"{store} has no set of 30,000 rows; see --help for how to make it")
        x, y = found.load(raw=name == "fashion-raw")
        return RaceSet(name, "Fashion-MNIST, " + ("raw rows" if name == "fashion-raw" else "unit rows"), x, y)
    made: dict[str, tuple[str, Callable[[], tuple[Array, Array]]]] = {
        "wide": ("unit rows, 80 % of held-out rows are told", lambda: synthetic(0.24, 60_000, 512, 100)),
        "separable": ("unit rows, all held-out rows are told", lambda: synthetic(0.5, 60_000, 512, 100)),
        "few": ("few-shot, unit rows", lambda: synthetic(0.5, 1_000, 768, 50)),
        "small": ("toy size, unit rows", lambda: synthetic(0.4, 5_000, 384, 10)),
        "flat": ("flat spectrum, standardised rows", lambda: gaussian(2_000, 1_024, 10)),
    }
    if name not in made:
        raise SystemExit(f"there is no set called {name!r}; there are fashion, fashion-raw, {', '.join(made)}")
    what, make = made[name]
    x, y = make()
    if name in ("wide", "separable"):
        x, y = x[:50_000], y[:50_000]  # the rest was held out when the distance was chosen
    if quick:
        x, y = x[:400, : min(64, x.shape[1] // 8)], np.unique(y[:400] % 8, return_inverse=True)[1]
        x = np.ascontiguousarray(x)
    return RaceSet(name, what, x, y)


@dataclass(frozen=True)
class Optima:
    """The optimum of each C of `TEN`.

    Parameters
    ----------
    lower : ndarray, float64 [10]
        Proven bound of F* from below.
    upper : ndarray, float64 [10]
        The objective that was found.
    """

    lower: Array
    upper: Array

    @property
    def known_to(self) -> float:
        """The worst relative distance between the bounds."""
        return float((self.upper / self.lower - 1).max())


def optima(given: RaceSet, cache: Path, report: Callable[[str], None] = print) -> Optima:
    """Return the certified optima of a set, from the file or found now and written to it.

    The file is brought up to date after each C; what is known well enough is not computed again.
    """
    content = hashlib.sha256(np.ascontiguousarray(given.x).tobytes() + given.y.tobytes()).hexdigest()[:16]
    path = cache / f"optimum-{given.name}-{content}.json"
    known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [i for i, C in enumerate(TEN) if f"{C:.6g}" not in known]
    if missing:
        report(f"{given.name}: the optimum of {len(missing)} C in float64; it is kept in {path}")
        cache.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        wide = given.x.astype(np.float64)
        fitted = fit_path(wide, given.y, 1 / TEN[missing], precision="float64", tol=CLOSE / 1e4, max_steps=200)
        for place, i in enumerate(missing):
            C = float(TEN[i])
            coef, intercept = fitted.coef[place], fitted.intercept[place]
            first = certify(wide, given.y, coef, intercept, C)
            _, best = descend(wide, given.y, coef, intercept, C, steps=4000, wanted=CLOSE)
            known[f"{C:.6g}"] = [best.lower, best.objective]
            path.write_text(json.dumps(known, indent=1))
            report(
                f"  C {C:8.4g}: F* = {best.objective:.6f}, known to {best.relative:.1e} "
                f"(start {first.relative:.1e}); {time.perf_counter() - start:.0f} s so far"
            )
    bounds = np.array([known[f"{C:.6g}"] for C in TEN])
    return Optima(bounds[:, 0], bounds[:, 1])

"""What people can install to fit logistic regression, each with a stopwatch that knows the optimum.

A rival's time to the gap is the time at which it first stands where F - F* ≤ 1e-4 F*. It runs with its tolerance at
zero, and each of its iterates is looked at while its clock is stopped: the objective is evaluated in float64 there,
if the rival's own value says that it is close. No rival pays for our looking, and none for a tolerance that we chose
badly. That favours rivals: nobody who uses them can stop at that iterate without knowing F*. Ours is timed to the end
of its fit, with its default tolerance.

All get float32 features. One that stops short of the gap in float32 goes on in float64 from there, on the same clock.
A warm start is the rival's own last point for the C before, smallest C first.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from certificate import objective
from race_sets import RaceSet
from sklearn.linear_model import LogisticRegression, _logistic
from sklearn.linear_model._glm._newton_solver import NewtonSolver

Array = npt.NDArray[Any]
Weights = tuple[Array, Array]
GAP = 1e-4
"""The gap that is raced to, relative to F*."""
_PATIENCE = 60
"""Looks without a lower objective after which a rival has stopped short."""


class Done(Exception):
    """The gap is met, or the time is up, or nothing is gained any more."""


class Watch:
    """A stopwatch for one fit, which stands still while it looks.

    Parameters
    ----------
    given : RaceSet
    C : float
    lower : float
        F*.
    budget : float
        Seconds.
    """

    def __init__(self, given: RaceSet, C: float, lower: float, budget: float) -> None:
        self._given, self._C, self._lower, self._budget = given, C, lower, budget
        self._paused, self._lowest, self._since = 0.0, np.inf, 0
        self._unpack: Callable[[], Weights] | None = None
        self.reached: float | None = None
        self.gap = np.inf
        self.weights: Weights | None = None
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time used so far by the rival itself."""
        return time.perf_counter() - self._start - self._paused

    def see(self, unpack: Callable[[], Weights], estimate: float | None = None) -> None:
        """Look at an iterate; `estimate` is the rival's own value of F. Raises `Done`."""
        now = time.perf_counter()
        used = now - self._start - self._paused
        self._unpack = unpack
        if self.reached is None and (estimate is None or estimate <= self._lower * (1 + 2 * GAP)):
            self._look()
            if self.gap <= GAP:
                self.reached = used
        value = estimate if estimate is not None else self.gap
        self._lowest, self._since = (value, 0) if value < self._lowest else (self._lowest, self._since + 1)
        self._paused += time.perf_counter() - now
        if self.reached is not None or used > self._budget or self._since > _PATIENCE:
            self.keep()
            raise Done

    def keep(self) -> None:
        """Look at the last iterate, and note when it ended, whatever the reason."""
        now = time.perf_counter()
        if self._unpack is not None:
            self._look()
        self._paused += time.perf_counter() - now

    def again(self) -> None:
        """Forget what was lowest: the rival goes on in another precision."""
        self._lowest, self._since = np.inf, 0

    def _look(self) -> None:
        assert self._unpack is not None
        coef, intercept = self._unpack()
        self.weights = coef.copy(), intercept.copy()
        self.gap = objective(self._given.x, self._given.y, *self.weights, self._C) / self._lower - 1


Fit = Callable[[Array, Array, float, Weights | None, Watch], Any]


@dataclass(frozen=True)
class Rival:
    """A way to fit.

    Parameters
    ----------
    name : str
    fit : callable
        Takes features, labels, C, where to start and the watch; shows the watch each iterate.
    warm : bool
        Start from the result for the C before.
    kernel : str
        What its products run on.
    """

    name: str
    fit: Fit
    warm: bool
    kernel: str


@dataclass
class Lap:
    """What a rival did for a path of C: seconds to the gap each, or, where it wasn't reached, until it stopped."""

    seconds: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    reached: list[bool] = field(default_factory=list)
    float64: list[bool] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Seconds for all C that were tried."""
        return sum(self.seconds)


def run_lap(rival: Rival, given: RaceSet, cs: Array, lower: Array, budget: float) -> Lap:
    """Run a rival along a path of C, smallest first, for `budget` seconds of its own time."""
    lap = Lap()
    weights: Weights | None = None
    for C, at in zip(cs, lower, strict=True):
        left = budget - sum(lap.seconds)
        if left <= 0:
            break
        watch = Watch(given, float(C), float(at), left)
        start = weights if rival.warm else None
        wide = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.errstate(all="ignore"):
                try:
                    rival.fit(given.x, given.y, float(C), start, watch)
                    watch.keep()
                except Done:
                    pass
                if watch.reached is None and watch.seconds < left:
                    wide = True
                    watch.again()
                    try:
                        rival.fit(given.x.astype(np.float64), given.y, float(C), watch.weights or start, watch)
                        watch.keep()
                    except Done:
                        pass
        lap.seconds.append(watch.reached if watch.reached is not None else watch.seconds)
        lap.gaps.append(watch.gap)
        lap.reached.append(watch.reached is not None)
        lap.float64.append(wide)
        weights = watch.weights or weights
    return lap


def warm_up(field: list[Rival]) -> None:
    """Let every rival fit something tiny, so that none pays for what is imported and started but once."""
    rng = np.random.default_rng(0)
    tiny = RaceSet("tiny", "", rng.standard_normal((64, 8)).astype(np.float32), np.arange(64) % 4)
    for rival in field:
        run_lap(rival, tiny, np.ones(1), np.ones(1), 0.1)


@contextmanager
def watched(watch: Watch, unpack: Callable[[Array], Weights], scale: float) -> Iterator[None]:
    """Show the watch each iterate of SciPy's L-BFGS-B, of scikit-learn's newton-cg and of its newton-cholesky.

    Their objective is F over `scale`.
    """
    minimize, newton_cg = scipy.optimize.minimize, _logistic._newton_cg

    def watched_minimize(fun: Any, x0: Array, **options: Any) -> Any:
        def each(intermediate_result: Any) -> None:
            watch.see(lambda: unpack(intermediate_result.x), float(intermediate_result.fun) * scale)

        return minimize(fun, x0, **{**options, "callback": each})

    def watched_newton_cg(grad_hess: Any, *args: Any, **options: Any) -> Any:
        def each(x: Array, *rest: Any) -> Any:
            watch.see(lambda: unpack(x))
            return grad_hess(x, *rest)

        if "grad_hess" in options:
            grad_hess = options.pop("grad_hess")
        return newton_cg(each, *args, **options)

    def check_convergence(solver: Any, X: Array, y: Array, sample_weight: Any) -> None:
        watch.see(lambda: unpack(solver.coef), float(solver.loss_value) * scale)

    with (
        patch.object(scipy.optimize, "minimize", watched_minimize),
        patch.object(_logistic, "_newton_cg", watched_newton_cg),
        patch.object(NewtonSolver, "check_convergence", check_convergence),
    ):
        yield


def scikit(solver: str, estimator: type[Any] = LogisticRegression, intel: bool = False) -> Fit:
    """Return a fit by scikit-learn's estimator, or by intelex's, which keeps its weights in another order."""

    def fit(x: Array, y: Array, C: float, start: Weights | None, watch: Watch) -> None:
        k = int(y.max()) + 1

        def unpack(flat: Array) -> Weights:
            # oneDAL has intercepts first, class by class; scikit-learn has them last, feature by feature.
            w = flat.reshape(k, -1) if intel else flat.reshape(k, -1, order="F")
            w = w.astype(np.float64)
            return (w[:, 1:], w[:, 0]) if intel else (w[:, :-1], w[:, -1])

        # scikit-learn's objective is a mean over rows; oneDAL's, as intelex uses it, a sum.
        scale = 1.0 if intel else float(len(x))

        model = estimator(C=C, solver=solver, tol=0, max_iter=100_000)
        if start is not None:
            model.set_params(warm_start=True)
            model.coef_, model.intercept_ = (part.astype(x.dtype) for part in start)
        with watched(watch, unpack, scale):
            model.fit(x, y)

    return fit


def torch_lbfgs(x: Array, y: Array, C: float, start: Weights | None, watch: Watch) -> None:
    """Fit by torch's L-BFGS with a strong Wolfe line search; each evaluation is an iterate that may count."""
    n, k = len(x), int(y.max()) + 1
    features, labels = torch.from_numpy(x), torch.from_numpy(y)
    coef = torch.zeros(k, x.shape[1], dtype=features.dtype)
    intercept = torch.zeros(k, dtype=features.dtype)
    if start is not None:
        coef.copy_(torch.from_numpy(start[0]))
        intercept.copy_(torch.from_numpy(start[1]))
    coef.requires_grad_()
    intercept.requires_grad_()
    optimizer: Any = torch.optim.LBFGS(
        [coef, intercept],
        max_iter=100_000, max_eval=10**9, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def weights() -> Weights:
        return coef.detach().double().numpy(), intercept.detach().double().numpy()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.nn.functional.linear(features, coef, intercept)
        losses = torch.nn.functional.cross_entropy(logits, labels)
        loss = losses + coef.square().sum() * (0.5 / C / n)
        torch.autograd.backward(loss)
        watch.see(weights, float(loss.detach()) * n)
        return loss

    optimizer.step(closure)


def rivals(threads: int) -> tuple[list[Rival], list[str]]:
    """Return the rivals that are installed, the likely fastest first, and a line for each that isn't."""
    blas = "NumPy's BLAS"
    found = [
        Rival("newton-cg warm", scikit("newton-cg"), True, blas),
        Rival("L-BFGS warm", scikit("lbfgs"), True, blas),
        Rival("torch L-BFGS warm", torch_lbfgs, True, "torch"),
        Rival("newton-cholesky warm", scikit("newton-cholesky"), True, blas),
        Rival("newton-cholesky cold", scikit("newton-cholesky"), False, blas),
        Rival("L-BFGS cold", scikit("lbfgs"), False, blas),
    ]
    try:
        import daal4py
        from sklearnex.linear_model import LogisticRegression as Intel
    except ImportError:
        return found, ["scikit-learn-intelex: not installed (pip install scikit-learn-intelex)"]
    daal4py.daalinit(threads)
    # Its newton-cg is scikit-learn's own, unless its preview mode is on.
    found[1:1] = [Rival("intelex L-BFGS warm", scikit("lbfgs", Intel, intel=True), True, "oneDAL")]
    found.append(Rival("intelex L-BFGS cold", scikit("lbfgs", Intel, intel=True), False, "oneDAL"))
    return found, []


def too_large(rival: Rival, given: RaceSet, budget: float) -> str | None:
    """Return why a rival isn't run on a set, or None."""
    if not rival.name.startswith("newton-cholesky"):
        return None
    n, d, k = float(len(given.x)), float(given.x.shape[1] + 1), float(given.classes)
    # A Hessian of (d K)² entries, made of K (K + 1) / 2 products, then factorised; at 100 GFLOP/s, 8 steps for one C.
    seconds = 8 * (k * (k + 1) * n * d**2 + (d * k) ** 3 / 3) / 1e11
    gib = 4 * (d * k) ** 2 / 2**30
    if seconds > budget or gib > 4:
        return f"its Hessian has {d * k:,.0f}² entries ({gib:.1f} GiB), some {seconds:,.0f} s for one C"
    return None

"""`SGDProbe`: one linear head as a scikit-learn estimator. A grid of them is trained at once by `heads.train_heads`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from ....arrays import Features, Labels
from ..sklearn_input import check_labelled
from .gradient_probe import GradientProbe
from .heads import Heads, OptimizerName, Schedule, train_heads


class SGDProbe(GradientProbe):
    """Softmax regression trained by minibatch gradient steps.

    Unlike logistic regression by L-BFGS it is not run to an optimum: learning rate and number of steps regularise.

    Parameters
    ----------
    learning_rate : float
        The default suits "sgd" on rows of unit norm, whose entries are about 1/sqrt(d); raw embeddings and "adamw" take
        less.
    weight_decay : float
    optimizer : {"sgd", "adamw"}
    momentum : float
        Of "sgd".
    epochs : int
        Passes over the rows.
    iterations : int, optional
        Number of steps, instead of `epochs`; every batch is full then.
    batch_size : int
    schedule : {"cosine", "constant"}
    init_std : float or None
        Weights from N(0, init_std²); None, as ``torch.nn.Linear``.
    random_state : int, RandomState or None
        Seed of weights and order; None draws a fresh one.
    device : str
        For training.

    Attributes
    ----------
    classes_ : ndarray [K]
    coef_ : ndarray, float [K, d]
        One row a class, also for two classes.
    intercept_ : ndarray, float [K]
    loss_ : float
        Mean cross-entropy of the batches of the last pass, in nats.
    n_iter_ : int
        Steps taken.
    converged_ : bool
        False where the weights diverged (`fit_many` only: `fit` raises).
    n_features_in_ : int

    See Also
    --------
    cryoprobe.pipeline.probes.gradient.heads.train_heads : What the parameters mean exactly.
    """

    coef_: Features
    intercept_: Features
    n_features_in_: int

    def __init__(
        self,
        learning_rate: float = 1.0,
        weight_decay: float = 0.0,
        *,
        optimizer: OptimizerName = "sgd",
        momentum: float = 0.9,
        epochs: int = 100,
        iterations: int | None = None,
        batch_size: int = 256,
        schedule: Schedule = "cosine",
        init_std: float | None = 0.01,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "cpu",
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.momentum = momentum
        self.epochs = epochs
        self.iterations = iterations
        self.batch_size = batch_size
        self.schedule = schedule
        self.init_std = init_std
        self.random_state = random_state
        self.device = device

    def fit_many(self, X: npt.ArrayLike, y: npt.ArrayLike, learning_rates: Sequence[float]) -> list[SGDProbe]:
        """Fit a copy of this probe for each learning rate, on the same batches, every batch read and multiplied once.

        A copy that diverged has `converged_` False and weights of 0, so that others of the grid can be chosen.

        Raises
        ------
        ValueError
            As `fit`, but for divergence.
        """
        probes: list[SGDProbe] = [clone(self).set_params(learning_rate=rate) for rate in learning_rates]
        x, codes, self.classes_ = check_labelled(self, X, y)
        heads = self._heads(x, codes, len(self.classes_), self._seed(), learning_rates)
        for i, probe in enumerate(probes):
            probe.classes_, probe.n_features_in_ = self.classes_, self.n_features_in_
            probe._take(heads, i)
        return probes

    def _train(self, x: Features, codes: Labels, n_classes: int, seed: int) -> None:
        heads = self._heads(x, codes, n_classes, seed, [self.learning_rate])
        self._refuse_divergence(not heads.diverged[0])
        self._take(heads, 0)

    def _heads(self, x: Features, codes: Labels, n_classes: int, seed: int, rates: Sequence[float]) -> Heads:
        return train_heads(
            x,
            codes,
            n_classes,
            learning_rates=rates,
            weight_decays=[self.weight_decay],
            optimizer=self.optimizer,
            momentum=self.momentum,
            epochs=self.epochs if self.iterations is None else None,
            iterations=self.iterations,
            batch_size=self.batch_size,
            schedule=self.schedule,
            init_std=self.init_std,
            seed=seed,
            device=self.device,
        )

    def _take(self, heads: Heads, i: int) -> None:
        self.converged_ = not heads.diverged[i]
        self.coef_ = heads.weights[i] if self.converged_ else np.zeros_like(heads.weights[i])
        self.intercept_ = heads.biases[i] if self.converged_ else np.zeros_like(heads.biases[i])
        self.loss_ = float(heads.losses[i])
        self.n_iter_ = heads.iterations

    def _logits(self, x: Features) -> Features:
        return np.asarray(x @ self.coef_.T + self.intercept_)


def head_as_probe(heads: Heads, i: int, n_classes: int) -> SGDProbe:
    """Return one of the heads as a fitted estimator of classes 0 to n_classes - 1."""
    probe = SGDProbe(heads.learning_rates[i], heads.weight_decays[i])
    probe.classes_, probe.n_features_in_ = np.arange(n_classes), heads.weights.shape[2]
    probe._take(heads, i)
    return probe


def widened(probe: SGDProbe, columns: slice, width: int) -> SGDProbe:
    """Return a head of some columns as one of all `width` of them: its weights of the others are 0."""
    whole: SGDProbe = clone(probe)
    whole.classes_, whole.n_features_in_ = probe.classes_, width
    whole.converged_, whole.loss_, whole.n_iter_ = probe.converged_, probe.loss_, probe.n_iter_
    whole.coef_ = np.zeros((len(probe.coef_), width), probe.coef_.dtype)
    whole.coef_[:, columns] = probe.coef_
    whole.intercept_ = probe.intercept_
    return whole

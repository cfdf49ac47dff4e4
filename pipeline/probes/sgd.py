"""`SGDProbe`: one linear head as a scikit-learn estimator. A grid of them is trained at once by `heads.train_heads`."""

from __future__ import annotations

import numpy as np

from .gradient_probe import Features, GradientProbe, Labels
from .heads import OptimizerName, Schedule, train_heads


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
    n_features_in_ : int

    See Also
    --------
    cryoprobe.pipeline.probes.heads.train_heads : What the parameters mean exactly.
    """

    coef_: Features
    intercept_: Features

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

    def _train(self, x: Features, codes: Labels, n_classes: int, seed: int) -> None:
        heads = train_heads(
            x,
            codes,
            n_classes,
            learning_rates=[self.learning_rate],
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
        self._refuse_divergence(not heads.diverged[0])
        self.coef_, self.intercept_ = heads.weights[0], heads.biases[0]
        self.loss_ = float(heads.losses[0])
        self.n_iter_ = heads.iterations

    def _logits(self, x: Features) -> Features:
        return np.asarray(x @ self.coef_.T + self.intercept_)

"""`MLPProbe`: a network with one hidden layer, for what a linear probe cannot read out of the features.

It is small on purpose: no dropout, no normalisation layers, no augmentation. A probe with more of its own says less
about the encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....arrays import Features, Float64, Labels
from ....errors import BadInput
from ..block_threads import BlockThreads
from ..sampling import stratified_holdout
from .batches import Batches
from .gradient_probe import GradientProbe
from .updates import AdamW

if TYPE_CHECKING:
    import torch


class MLPProbe(GradientProbe):
    """One hidden layer of rectified linear units and a softmax, trained by AdamW with a cosine schedule.

    Rows are centred and divided by one number, so that entries have mean square 1: the learning rate then means the
    same on unit and on raw embeddings. Directions keep their proportions.

    Parameters
    ----------
    hidden : int
        Units of the hidden layer.
    learning_rate, weight_decay : float
        AdamW's; the decay applies to weights, not to biases.
    epochs : int
        Passes over the rows, at most.
    batch_size : int
    early_stopping : bool
        Whether to hold out rows of X, class by class, and to keep the weights of the pass with the lowest cross-entropy
        on them. Off, every row is trained on and the last weights stand.
    validation_fraction : float
        Share to hold out.
    patience : int
        Passes without a lower cross-entropy after which training stops.
    random_state : int, RandomState or None
        Seed of weights, order and held-out rows; None draws a fresh one.
    device : str
        For training. On a CPU, a run repeats bit by bit with the same number of threads.

    Attributes
    ----------
    classes_ : ndarray [K]
    coefs_ : list of ndarray, float [d, hidden] and [hidden, K]
    intercepts_ : list of ndarray, float [hidden] and [K]
    center_ : ndarray, float [d]
    scale_ : float
    loss_curve_ : list of float
        Mean cross-entropy of the batches of each pass, in nats, each before its step.
    validation_curve_ : list of float or None
        Cross-entropy on the held-out rows after each pass.
    n_iter_ : int
        Passes made.
    n_features_in_ : int
    """

    coefs_: list[Features]
    intercepts_: list[Features]
    center_: Features

    def __init__(
        self,
        hidden: int = 512,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        epochs: int = 100,
        batch_size: int = 128,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "cpu",
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.device = device

    def _train(self, x: Features, codes: Labels, n_classes: int, seed: int) -> None:
        if self.hidden < 1 or self.patience < 1 or not 0 < self.learning_rate < np.inf or self.weight_decay < 0:
            raise BadInput(
                "hidden, patience and learning_rate must be above 0, and weight_decay not below 0",
                hint="Change the probe's parameters.",
                found={k: getattr(self, k) for k in ("hidden", "patience", "learning_rate", "weight_decay")},
            )
        held = None
        if self.early_stopping:
            kept, held_rows = stratified_holdout(codes, self.validation_fraction, seed)
            held = (x[held_rows], codes[held_rows])
            x, codes = x[kept], codes[kept]
        self.center_ = x.mean(axis=0)
        spread = float(np.sqrt(np.mean(np.square(x - self.center_))))
        self.scale_ = spread if spread > 0 else 1.0  # constant features: the biases alone are trained

        import torch

        weight_seed, order_seed = np.random.SeedSequence(seed).spawn(2)
        start = _initial(x.shape[1], self.hidden, n_classes, np.random.default_rng(weight_seed))
        rows = torch.from_numpy(self._scaled(x)).to(self.device)
        parameters = [torch.from_numpy(p).to(rows).requires_grad_() for p in start]
        labels = torch.from_numpy(codes).to(self.device)
        held_out = None
        if held is not None:
            held_out = (torch.from_numpy(self._scaled(held[0])).to(rows), torch.from_numpy(held[1]).to(self.device))
        # Batches are too small to share out among torch's threads: they would mostly wait.
        with BlockThreads(1, workers=False):
            best = self._descend(parameters, rows, labels, held_out, np.random.default_rng(order_seed))
        self.coefs_, self.intercepts_ = [best[0], best[2]], [best[1], best[3]]
        self._refuse_divergence(all(bool(np.isfinite(p).all()) for p in best))

    def _descend(
        self,
        parameters: list[torch.Tensor],
        rows: torch.Tensor,
        labels: torch.Tensor,
        held_out: tuple[torch.Tensor, torch.Tensor] | None,
        rng: np.random.Generator,
    ) -> list[Features]:
        """Train; return the parameters to keep."""
        import torch

        batches = Batches(len(rows), self.batch_size, self.epochs, None)
        weights, biases = AdamW(_detached(parameters[::2])), AdamW(_detached(parameters[1::2]))
        decay, none = rows.new_tensor(self.weight_decay), rows.new_tensor(0.0)
        best, lowest, since = None, np.inf, 0
        self.loss_curve_: list[float] = []
        self.validation_curve_: list[float] | None = None if held_out is None else []
        total = rows.new_zeros(())  # a tensor: reading it each step would wait for the device
        for t, chosen in enumerate(batches.draw(rng), start=1):
            picked = torch.from_numpy(chosen).to(rows.device)
            loss = torch.nn.functional.cross_entropy(_forward(rows[picked], parameters), labels[picked])
            gradients = torch.autograd.grad(loss, parameters)
            rate = rows.new_tensor(self.learning_rate * (1 + np.cos(np.pi * (t - 1) / batches.total)) / 2)
            weights.step(gradients[::2], rate, decay)
            biases.step(gradients[1::2], rate, none)
            total += loss.detach()
            if t % batches.last_pass:
                continue
            self.loss_curve_.append(float(total) / batches.last_pass)
            total.zero_()
            if held_out is not None and self.validation_curve_ is not None:
                with torch.no_grad():
                    score = float(torch.nn.functional.cross_entropy(_forward(held_out[0], parameters), held_out[1]))
                self.validation_curve_.append(score)
                since += 1
                if score < lowest:
                    best, lowest, since = [p.detach().clone() for p in parameters], score, 0
                elif since >= self.patience:
                    break
        self.n_iter_ = len(self.loss_curve_)
        return [p.detach().cpu().numpy() for p in best or parameters]

    def _scaled(self, x: Features) -> Features:
        return np.asarray((x - self.center_) / x.dtype.type(self.scale_))

    def _logits(self, x: Features) -> Features:
        hidden = np.maximum(self._scaled(x) @ self.coefs_[0] + self.intercepts_[0], 0)
        return np.asarray(hidden @ self.coefs_[1] + self.intercepts_[1])


def _forward(x: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    w1, b1, w2, b2 = parameters
    return (x @ w1 + b1).relu() @ w2 + b2


def _detached(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return tensors of the same memory and no graph, for steps to change in place."""
    return [p.detach() for p in parameters]


def _initial(d: int, hidden: int, n_classes: int, rng: np.random.Generator) -> list[Float64]:
    """Weights N(0, 2 / d) and N(0, 2 / hidden), which keep the variance through rectifiers (He et al. 2015, 2.2)."""
    return [
        rng.normal(0, np.sqrt(2 / d), (d, hidden)),
        np.zeros(hidden),
        rng.normal(0, np.sqrt(2 / hidden), (hidden, n_classes)),
        np.zeros(n_classes),
    ]

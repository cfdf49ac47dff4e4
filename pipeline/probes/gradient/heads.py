"""Linear heads trained by minibatch gradient descent: a whole grid of hyper-parameters on the same batches.

The heads lie side by side in one matrix, so that a batch is read once and multiplied once, whatever the number of
heads. They share nothing else: the columns of a product do not touch each other, so a head that diverges leaves the
others as they are. Nothing is chosen here, and nothing is augmented: the rows are fixed embeddings.

torch is imported when heads are trained, not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import numpy as np

from ....arrays import Features, Float64, Labels, Mask
from ....errors import BadInput
from ..block_threads import BlockThreads
from .batches import Batches
from .updates import AdamW, Momentum, Update

if TYPE_CHECKING:
    import torch

OptimizerName = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "constant"]

DINOV2_LEARNING_RATES: tuple[float, ...] = (
    *(1e-5, 2e-5, 5e-5),
    *(1e-4, 2e-4, 5e-4),
    *(1e-3, 2e-3, 5e-3),
    *(1e-2, 2e-2, 5e-2),
    0.1,
)
"""Of DINOv2's linear evaluation (dinov2/eval/linear.py of its code), for batches of 256; see `for_batch_size`."""

_WORTH_A_THREAD = 20_000_000
"""Multiplications of a product in each thread: below, threads wait for each other longer than they work."""


@dataclass(frozen=True)
class Heads:
    """Trained linear heads, one for each pair of a learning rate and a weight decay.

    Parameters
    ----------
    weights : ndarray, float [H, K, d]
        In the precision of the training rows.
    biases : ndarray, float [H, K]
    learning_rates, weight_decays : tuple of float, H each
        Of each head.
    losses : ndarray, float64 [H]
        Mean cross-entropy of the batches of the last pass over the rows, in nats, each before its step. NaN or infinite
        for a head that diverged.
    iterations : int
    """

    weights: Features
    biases: Features
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    losses: Float64
    iterations: int

    def __len__(self) -> int:
        return len(self.learning_rates)

    def logits(self, x: Features, head: int) -> Features:
        """Return the logits [n, K] of rows x [n, d] by one head."""
        return np.asarray(x @ self.weights[head].T + self.biases[head])

    @property
    def diverged(self) -> Mask:
        """Whether a head has weights or a loss that are not finite, bool [H]."""
        finite = np.isfinite(self.weights).all(axis=(1, 2)) & np.isfinite(self.biases).all(axis=1)
        broken: Mask = ~(finite & np.isfinite(self.losses))
        return broken


def for_batch_size(learning_rates: Sequence[float], batch_size: int) -> tuple[float, ...]:
    """Scale learning rates meant for batches of 256 to another size, in proportion (Goyal et al. 2017, section 2.1)."""
    return tuple(rate * batch_size / 256 for rate in learning_rates)


@dataclass(frozen=True)
class HeadOptions:
    """How heads are trained.

    Parameters
    ----------
    optimizer : {"sgd", "adamw"}
    momentum : float
        Of "sgd". "adamw" has torch's betas and epsilon.
    epochs, iterations : int
        Exactly one of both. By `epochs`, each pass ends with a batch of what is left, as a torch ``DataLoader`` has
        it. By `iterations`, every batch is full: it goes on into the next pass's order, as DINOv2's infinite sampler
        does.
    batch_size : int
    schedule : {"cosine", "constant"}
        Step t of T has the rate lr (1 + cos(pi t / T)) / 2, t = 0 … T - 1 (Loshchilov and Hutter 2017, equation 5,
        without restarts); no warm-up.
    init_std : float or None
        Weights from N(0, init_std²), biases 0. None: weights and biases uniform within ±1/sqrt(d), as a new
        ``torch.nn.Linear`` has them.
    seed : int
        Of two generators of its own, for weights and for order: no global state is read or changed.
    device : str
    """

    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int = 1024
    schedule: Schedule = "cosine"
    init_std: float | None = 0.01
    seed: int = 0
    device: str = "cpu"


class HeadArguments(TypedDict, total=False):
    """Keyword arguments that become `HeadOptions`."""

    optimizer: OptimizerName
    momentum: float
    epochs: int | None
    iterations: int | None
    batch_size: int
    schedule: Schedule
    init_std: float | None
    seed: int
    device: str


def train_heads(
    x: Features,
    y: Labels,
    n_classes: int,
    *,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float] = (0.0,),
    **options: Unpack[HeadArguments],
) -> Heads:
    """Train one softmax-regression head for every pair of a learning rate and a weight decay.

    All heads start from the same weights and see the same batches, so that a head does not depend on which others are
    in the grid, but for rounding.

    Parameters
    ----------
    x : ndarray, float32 or float64 [n, d]
        Copied whole to `device`. Trained in its precision; float16 is widened to float32.
    y : ndarray, int64 [n]
        From 0 to n_classes - 1.
    n_classes : int
    learning_rates, weight_decays : sequence of float
        Every pair is a head; those of the first learning rate come first. A decay applies to weights and biases, as
        torch's optimizers do with a layer's parameters; with "adamw" it is decoupled from the gradient.
    **options
        See `HeadOptions`.

    Returns
    -------
    Heads

    Raises
    ------
    BadInput
        If the data or a parameter is out of range.

    Notes
    -----
    On a CPU, a run repeats bit by bit with the same number of threads.
    Memory on `device`: n·d for the rows, H·K·d for weights and gradient each, and once (SGD) or twice (AdamW) more for
    the optimizer, times 4 or 8 bytes.

    Examples
    --------
    The heads of ``dinov2-linear``::

        rates = for_batch_size(DINOV2_LEARNING_RATES, 1024)
        train_heads(x, y, k, learning_rates=rates, iterations=12_500, batch_size=1024)

    and of ``clip-benchmark``::

        train_heads(x, y, k, optimizer="adamw", learning_rates=[0.1], weight_decays=np.logspace(-6, 2, 97), epochs=10,
                    batch_size=64, init_std=None)
    """
    return train_heads_on(
        x, [slice(None)], y, n_classes, learning_rates=learning_rates, weight_decays=weight_decays, **options
    )[0]


def train_heads_on(
    x: Features,
    inputs: Sequence[slice],
    y: Labels,
    n_classes: int,
    *,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float] = (0.0,),
    **options: Unpack[HeadArguments],
) -> list[Heads]:
    """Train the heads of `train_heads` on each of several parts of the columns, all on the same batches.

    A head starts from the weights, and sees the batches, that it would have if its columns were all that there is.

    Parameters
    ----------
    x : ndarray, float32 or float64 [n, d]
        Held once, and each batch is read once, however many parts there are.
    inputs : sequence of slice
        Columns of `x`.
    y, n_classes, learning_rates, weight_decays, **options
        See `train_heads`.

    Returns
    -------
    list of Heads
        Of each part.

    Raises
    ------
    BadInput
        If the data or a parameter is out of range.
    """
    how = HeadOptions(**options)
    x = x if x.dtype == np.float64 else x.astype(np.float32, copy=False)
    rates, decays = [float(r) for r in learning_rates], [float(w) for w in weight_decays]
    _check(x, y, n_classes, rates, decays, how)
    pairs = [(rate, decay) for rate in rates for decay in decays]
    batches = Batches(len(x), how.batch_size, how.epochs, how.iterations)
    widths = [len(range(*columns.indices(x.shape[1]))) for columns in inputs]

    import torch

    weight_seed, order_seed = np.random.SeedSequence(how.seed).spawn(2)
    products = min(how.batch_size, len(x)) * sum(widths) * n_classes * len(pairs)
    threads = max(1, min(torch.get_num_threads(), products // _WORTH_A_THREAD)) if how.device == "cpu" else 1
    with torch.no_grad(), BlockThreads(threads) as pool:
        rows, labels = _tensor(x, how.device), _tensor(y, how.device)
        parameters: list[torch.Tensor] = []  # of each part [d, H K] and [H K]: head after head
        for width in widths:
            start = _initial(width, n_classes, how.init_std, np.random.default_rng(weight_seed))  # [d, K], [K]
            parameters += [torch.from_numpy(p).to(rows).repeat(*(1,) * (p.ndim - 1), len(pairs)) for p in start]
        rate, decay = (rows.new_tensor(v).repeat_interleave(n_classes) for v in zip(*pairs, strict=True))
        update: Update = Momentum(parameters, how.momentum) if how.optimizer == "sgd" else AdamW(parameters)
        last_pass = torch.zeros(len(inputs), len(pairs), dtype=torch.float64, device=rows.device)
        for t, chosen in enumerate(batches.draw(np.random.default_rng(order_seed))):
            picked = torch.from_numpy(chosen).to(how.device)
            gradients, losses = _gradients(rows, inputs, labels, picked, parameters, len(pairs), pool)
            share = (1 + np.cos(np.pi * t / batches.total)) / 2 if how.schedule == "cosine" else 1.0
            update.step(gradients, rate * share, decay)
            if t >= batches.total - batches.last_pass:
                last_pass += losses
        found = [p.cpu().numpy() for p in parameters]
        losses_of = last_pass.cpu().numpy() / batches.last_pass
    h = len(pairs)
    return [
        Heads(
            weights=np.ascontiguousarray(weights.reshape(-1, h, n_classes).transpose(1, 2, 0)),
            biases=biases.reshape(h, n_classes),
            learning_rates=tuple(rate for rate, _ in pairs),
            weight_decays=tuple(decay for _, decay in pairs),
            losses=loss,
            iterations=batches.total,
        )
        for weights, biases, loss in zip(found[::2], found[1::2], losses_of, strict=True)
    ]


def _tensor(array: Features | Labels, device: str) -> torch.Tensor:
    """Return a tensor that is only read from: it may share its memory with a read-only array."""
    import torch

    if any(step < 0 for step in array.strides):  # a reversed view, which torch has not
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def _gradients(
    rows: torch.Tensor,
    inputs: Sequence[slice],
    labels: torch.Tensor,
    picked: torch.Tensor,
    parameters: list[torch.Tensor],
    n_heads: int,
    pool: BlockThreads,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradients of the mean cross-entropy of a batch, as `parameters`, and the losses, float64 [inputs, H].

    In closed form, dL/dlogits = (softmax - onehot) / b: one product forward, one back, and no graph. Each thread
    takes a share of the batch's rows.
    """
    import torch

    def share(piece: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        x, y = rows[piece], labels[piece]
        # By hand: torch's own softmax over a short last axis takes several times as long.
        index = y[:, None, None].expand(-1, n_heads, 1)
        gradients, losses = [], []
        for columns, weights, biases in zip(inputs, parameters[::2], parameters[1::2], strict=True):
            part = x[:, columns]  # a view
            z = torch.addmm(biases, part, weights).view(len(x), n_heads, -1)  # [b, H, K]
            own = z.gather(2, index).squeeze(2)  # [b, H]
            largest = z.amax(dim=2)
            z.sub_(largest[:, :, None]).exp_()
            mass = z.sum(dim=2)
            losses.append(mass.log().add_(largest).sub_(own).sum(dim=0, dtype=torch.float64))
            z.mul_(mass.reciprocal_()[:, :, None])
            z.scatter_add_(2, index, z.new_full((1, 1, 1), -1.0).expand(index.shape))
            flat = z.div_(len(picked)).view(len(x), -1)  # [b, H K]
            gradients += [part.T @ flat, flat.sum(dim=0)]
        return gradients, torch.stack(losses)

    (gradients, losses), *others = pool.map(share, picked.tensor_split(pool.threads))
    for more_gradients, more in others:
        for gradient, addend in zip(gradients, more_gradients, strict=True):
            gradient += addend
        losses += more
    return gradients, losses.div_(len(picked))


def _check(
    x: Features,
    y: Labels,
    n_classes: int,
    rates: list[float],
    decays: list[float],
    how: HeadOptions,
) -> None:
    problem = None
    if x.ndim != 2 or y.shape != x.shape[:1] or x.size == 0:
        problem = f"need features [n, d] and as many labels, not {x.shape} and {y.shape}"
    elif y.dtype != np.int64 or y.min() < 0 or y.max() >= n_classes:
        problem = f"need int64 labels from 0 to {n_classes - 1}"
    elif not rates or not all(0 <= rate < np.inf for rate in rates):
        problem = f"need learning rates of at least 0, not {rates}"
    elif not decays or not all(0 <= decay < np.inf for decay in decays):
        problem = f"need weight decays of at least 0, not {decays}"
    if problem is not None:
        raise BadInput(f"linear heads {problem}", hint="Check the rows and the grid that the heads are trained with.")
    asked = (("optimizer", how.optimizer, ("sgd", "adamw")), ("schedule", how.schedule, ("cosine", "constant")))
    for name, value, known in asked:
        if value not in known:
            raise BadInput(f"there is no {name} {value!r}", hint=f"Give one of {', '.join(known)}.", key=name)


def _initial(d: int, n_classes: int, std: float | None, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Weights [d, K] and biases [K] that every head starts from."""
    if std is not None:
        return std * rng.standard_normal((d, n_classes)), np.zeros(n_classes)
    bound = 1 / np.sqrt(d)
    return rng.uniform(-bound, bound, (d, n_classes)), rng.uniform(-bound, bound, n_classes)

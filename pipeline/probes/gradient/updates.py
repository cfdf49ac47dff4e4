"""Gradient steps whose learning rate differs from column to column.

torch's optimizers have one rate a tensor. Here a rate is a tensor that is multiplied into the step, so that many heads
laid side by side in one matrix are moved at once, each at its own rate. One head's steps are those of ``torch.optim``.

torch is needed for the tensors that come in; it is not imported by this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

ADAMW_BETAS = (0.9, 0.999)
ADAMW_EPSILON = 1e-8


class Update(Protocol):
    """Moves the parameters it was made for."""

    def step(self, gradients: Sequence[torch.Tensor], rate: torch.Tensor, decay: torch.Tensor) -> None:
        """Move each parameter in place.

        Parameters
        ----------
        gradients : sequence of tensor
            As the parameters.
        rate, decay : tensor
            Learning rate and weight decay; scalars, or one for each column of the parameters.
        """


class Momentum:
    """Stochastic gradient descent with momentum; the decay is added to the gradient, as in ``torch.optim.SGD``.

    v ← μ v + (g + λ p), p ← p - η v (Sutskever et al. 2013, section 2, with the rate taken out of v).

    Parameters
    ----------
    parameters : sequence of tensor
        Changed in place.
    momentum : float
        μ.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], momentum: float) -> None:
        self._parameters, self._momentum = parameters, momentum
        self._velocities = [p.new_zeros(p.shape) for p in parameters]

    def step(self, gradients: Sequence[torch.Tensor], rate: torch.Tensor, decay: torch.Tensor) -> None:
        """Move each parameter in place; see `Update`."""
        for p, v, g in zip(self._parameters, self._velocities, gradients, strict=True):
            v.mul_(self._momentum).add_(g).addcmul_(p, decay)
            p.addcmul_(v, rate, value=-1)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), as in ``torch.optim.AdamW``.

    The decay of a step is η λ p: it follows the rate's schedule.

    Parameters
    ----------
    parameters : sequence of tensor
        Changed in place.
    beta1, beta2, epsilon : float
        torch's by default.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        beta1: float = ADAMW_BETAS[0],
        beta2: float = ADAMW_BETAS[1],
        epsilon: float = ADAMW_EPSILON,
    ) -> None:
        self._parameters = parameters
        self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
        self._first = [p.new_zeros(p.shape) for p in parameters]
        self._second = [p.new_zeros(p.shape) for p in parameters]
        self._steps = 0

    def step(self, gradients: Sequence[torch.Tensor], rate: torch.Tensor, decay: torch.Tensor) -> None:
        """Move each parameter in place; see `Update`."""
        self._steps += 1
        # Both moments start at zero; these undo the bias of that.
        unbias1, unbias2 = 1 - self._beta1**self._steps, 1 - self._beta2**self._steps
        for p, m, v, g in zip(self._parameters, self._first, self._second, gradients, strict=True):
            m.lerp_(g, 1 - self._beta1)
            v.mul_(self._beta2).addcmul_(g, g, value=1 - self._beta2)
            p.mul_(1 - rate * decay)
            scale = v.sqrt().div_(unbias2**0.5).add_(self._epsilon)
            p.sub_((m / scale).mul_(rate / unbias1))

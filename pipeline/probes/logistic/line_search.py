"""How far to go along a direction: as far as the objective falls, and not beyond its lowest point.

A Newton step from where rows are undecided can overshoot to where all of them are decided: the loss is gone, hence its
gradient and curvature too, and the penalty on the large weights is all that is left of an objective many times the
smallest one. The objective there may still be lower than at the start, so that a decrease alone is no reason to stop.
Convexity says more of the objective φ(t) along the direction: from t, going back gains at most t φ'(t), and going on
to t' at most (t' - t) (-φ'(t)). Rows that are all but decided need the latter: the loss falls like exp(-t) there, and
each Newton step alone would bring it down by a factor of e.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .objective import Evaluation

if TYPE_CHECKING:
    import torch

_ARMIJO = 1e-4
_LEFT = 0.3
"""What another length along the direction may still gain, over what was gained, for a length to be taken."""

_TRIALS = 14


class LineSearch:
    """Lengths along one direction for each of m models.

    Parameters
    ----------
    objective : tensor, float64 [m]
        At length 0.
    slope : tensor, float64 [m]
        There, along the direction; negative.
    rounding : float
        Relative error of an objective: a length is not refused for less.

    Attributes
    ----------
    best : tensor, float64 [m]
        The length with the lowest objective so far; 0 where none is lower.
    """

    def __init__(self, objective: torch.Tensor, slope: torch.Tensor, rounding: float) -> None:
        import torch

        self._start, self._slope = objective, slope
        self._noise = rounding * objective
        zeros = torch.zeros_like(objective)
        self._low, self._low_value, self._low_slope = zeros.clone(), objective.clone(), slope.clone()
        self._high = torch.full_like(objective, torch.inf)
        self._high_value, self._high_slope = zeros.clone(), zeros.clone()
        self.best, self._best_value = zeros.clone(), objective + self._noise
        self.length = torch.ones_like(objective)

    def run(
        self,
        evaluate: Callable[[torch.Tensor, torch.Tensor], tuple[Evaluation, torch.Tensor]],
        take: Callable[..., None],
    ) -> None:
        """Try lengths until each model has one that is good enough, or none is found.

        Parameters
        ----------
        evaluate : callable
            Called with the indices of models and their lengths; returns the evaluation there, and the slopes.
        take : callable
            Called with the indices of models, which of those just evaluated they are, their lengths, and the
            evaluation: these are the best so far.
        """
        import torch

        todo = torch.arange(len(self.length), device=self.length.device)
        for _ in range(_TRIALS):
            found, slope = evaluate(todo, self.length[todo])
            better = found.objective < self._best_value[todo]  # nan compares false
            if better.any():
                which = todo[better]
                self.best[which], self._best_value[which] = self.length[which], found.objective[better]
                take(which, better, self.length[which], found)
            todo = todo[~self._judge(todo, found.objective, slope)]
            if not len(todo):
                return
            self._interpolate(todo)

    def _judge(self, which: torch.Tensor, value: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Move the bracket; say which models are done, bool."""
        length = self.length[which]
        gained = self._start[which] - value + self._noise[which]
        falls = value <= self._start[which] + _ARMIJO * length * self._slope[which] + self._noise[which]
        beyond = ~falls | (slope > 0)
        far = which[beyond]
        self._high[far], self._high_value[far], self._high_slope[far] = length[beyond], value[beyond], slope[beyond]
        near = which[~beyond]
        self._low[near], self._low_value[near], self._low_slope[near] = length[~beyond], value[~beyond], slope[~beyond]
        room = (self._high[which] - length).minimum(length)
        left = (length * slope).where(beyond, -room * slope)
        # A bracket may have shrunk around a length that was tried before: that one is the best there is.
        narrow = (self._high[which] - self._low[which]) < 1e-3 * self._high[which]
        return (falls & (left <= _LEFT * gained)) | (narrow & (self.best[which] > 0))

    def _interpolate(self, which: torch.Tensor) -> None:
        """Set the next lengths: twice as far, or the lowest point of the cubic through both ends of the bracket."""
        low, high = self._low[which], self._high[which]
        width = high - low
        rise = (self._high_value[which] - self._low_value[which]) / width
        at_low, at_high = self._low_slope[which], self._high_slope[which]
        bend = at_low + at_high - 3 * rise
        root = (bend.square() - at_low * at_high).clamp_min(0).sqrt()
        part = 1 - (at_high + root - bend) / (at_high - at_low + 2 * root)
        inside = low + width * part.nan_to_num(0.5).clamp(0.05, 0.7)
        self.length[which] = inside.where(high.isfinite(), 2 * self.length[which])

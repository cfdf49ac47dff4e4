"""The course of a path: which penalties are fitted when, and from where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .levels import Indices, interpolation, levels, outwards
from .newton import Search
from .rules import Rules

Float64 = npt.NDArray[np.float64]

_SOON = 12
"""Steps from the start after which a penalty of a long path is set aside."""


class Course:
    """Fits penalties level by level, each from those around it that are done.

    Parameters
    ----------
    found : Search
        All models, penalty by penalty, where they start; they end here.
    penalties : ndarray, float64 [L]
    n_columns : int
        Models of a penalty.
    approach : callable
        Brings models near their optimum that start where nothing is known around them.
    descend : callable
        Takes steps until they are done, or the rules say that it is enough.
    """

    def __init__(
        self,
        found: Search,
        penalties: Float64,
        n_columns: int,
        approach: Callable[[Search], None],
        descend: Callable[[Search, Rules], None],
    ) -> None:
        self._found = found
        self._penalties = penalties
        self._n_columns = n_columns
        self._approach = approach
        self._descend = descend
        self._known: list[int] = []

    def together(self, rules: Rules) -> None:
        """Fit all penalties at once."""
        self._fit(np.arange(len(self._penalties)), rules)

    def by_levels(self, rules: Rules) -> None:
        """Fit a few penalties, then those between them; those that would take long from afar come last.

        What starts between optima needs few steps; where it does not, its neighbours are not there yet either. From
        afar, the smallest penalties would take hundreds of products: they are set aside until their neighbours are
        known, and then begin anew, with as many steps.
        """
        first, *others = levels(self._penalties)
        if not others:
            self.together(rules)
            return
        between = replace(rules, max_steps=min(rules.max_steps, max(8, 2 * rules.max_steps // 5)))
        behind = self._fit(first, replace(rules, max_steps=min(rules.max_steps, _SOON)))
        far = self._penalties[behind].max(initial=0.0)
        for level in others:
            if len(level := level[self._penalties[level] > far]):
                self._fit(level, between)
        left = np.setdiff1d(np.flatnonzero(self._penalties <= far), self._known)
        for group in outwards(self._penalties, left):
            self._fit(group, rules)

    def _fit(self, places: Indices, rules: Rules) -> Indices:
        """Fit some of the penalties, from what is known around them; return those that are not done."""
        import torch

        device, columns = self._found.point.w.device, self._n_columns
        which = torch.from_numpy((places[:, None] * columns + np.arange(columns)).ravel()).to(device)
        if self._known:
            around = torch.from_numpy(interpolation(self._penalties[self._known], self._penalties[places])).to(device)
            self._found.interpolate(which, torch.tensor(self._known, device=device), around, columns)
        search = self._found.part(which)
        if not self._known:
            self._approach(search)
        self._descend(search, rules)
        self._found.put(which, search)
        done = search.done.view(-1, columns).all(1).tolist()
        self._known.extend(place for place, is_done in zip(places.tolist(), done, strict=True) if is_done)
        return np.setdiff1d(places, self._known)

"""The order of the fits of a path: which penalties are fitted when, and from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ....arrays import Float64, Indices
from .levels import extrapolations, falling, interpolation, levels, outwards
from .newton import Search
from .objective import Point
from .rules import Rules, Start

if TYPE_CHECKING:
    import torch

_SOON = 12
"""Steps from the start after which a penalty of a long path is set aside."""


class PathSchedule:
    """Fits the first few penalties from the largest down, then level by level, each from those around that are done.

    Parameters
    ----------
    found : Search
        All models, penalty by penalty, where they start; they end here.
    penalties : ndarray, float64 [L]
    n_columns : int
        Models of a penalty.
    approach : callable
        Brings models near their optimum; also given another start to compare with, or None.
    descend : callable
        Takes steps until they are done, or the rules say that it is enough; likewise.
    """

    def __init__(
        self,
        found: Search,
        penalties: Float64,
        n_columns: int,
        approach: Callable[[Search, Start | None], None],
        descend: Callable[[Search, Rules, Start | None], None],
    ) -> None:
        self._found = found
        self._penalties = penalties
        self._n_columns = n_columns
        self._approach = approach
        self._descend = descend
        self._known: list[int] = []

    def together(self, rules: Rules) -> None:
        """Fit all penalties at once, from where they are."""
        self._fit(np.arange(len(self._penalties)), rules)

    def by_levels(self, rules: Rules, *, ahead: bool) -> None:
        """Fit a few penalties, then those between them; those that would take long from afar come last.

        What starts between optima needs few steps; where it does not, its neighbours are not there yet either. From
        afar, the smallest penalties would take hundreds of products: they are set aside until their neighbours are
        known, and then begin anew, with as many steps.

        Parameters
        ----------
        rules : Rules
        ahead : bool
            Fit the first few one after the other to the end. Else they are only brought near their optimum so, and go
            on together: in fewer passes over the rows, and with many models to a product, but what a solve has learnt
            of directions of little curvature is lost to the next.
        """
        first, *others = levels(self._penalties)
        soon = replace(rules, max_steps=min(rules.max_steps, _SOON)) if others else rules
        if ahead:
            behind = self._along(first, soon, enough=bool(others))
        else:
            self._lead(first)
            behind = self._fit(first, soon)
        if not others:
            return
        between = replace(rules, max_steps=min(rules.max_steps, max(8, 2 * rules.max_steps // 5)))
        far = self._penalties[behind].max(initial=0.0)
        for level in others:
            if len(level := level[self._penalties[level] > far]):
                self._start_between(level)
                self._fit(level, between)
        left = np.setdiff1d(np.flatnonzero(self._penalties <= far), self._known)
        for group in outwards(self._penalties, left):
            self._start_between(group)
            self._fit(group, rules)

    def _lead(self, places: Indices) -> None:
        """Bring penalties near their optimum one after the other, each from where those before it lead."""
        for before, place in _one_by_one(falling(self._penalties, places)):
            instead = self._start_ahead(before, place) if len(before) else None
            which = self._models(place)
            search = self._found.part(which)
            self._approach(search, instead)
            self._found.put(which, search)

    def _along(self, places: Indices, rules: Rules, *, enough: bool) -> Indices:
        """Fit penalties one after the other, each from where those before it lead; return those that are not done.

        With `enough`, the first one that is not done is the last that is tried.
        """
        places = falling(self._penalties, places)
        self._lead(places[:1])
        for before, place in _one_by_one(places):
            instead = self._start_ahead(before, place) if len(before) else None
            if len(self._fit(place, rules, instead)) and enough:
                break
        return np.setdiff1d(places, self._known)

    def _start_ahead(self, before: Indices, place: Indices) -> Start:
        """Go on along the polynomial of the degree that would have come closest to the last optimum; first, a line.

        Return the other start that there is: the last optimum itself.
        """
        degree = len(before) - 1
        if degree > 1:
            last = before[-1:]
            was = self._found.point.keep(self._models(last))
            predicted = [
                self._mixed(before[:-1], weights[None])
                for weights in extrapolations(self._penalties[before[:-1]], self._penalties[last])
            ]
            off = [point.plus(was, -1.0) for point in predicted]
            degree = int(np.argmin([float(part.dot(part).sum()) for part in off]))
        weights = extrapolations(self._penalties[before], self._penalties[place])[degree]
        latest, which = self._models(before[-1:]), self._models(place)
        self._found.point.put(which, self._mixed(before, weights[None]))
        self._hand_on(latest, which)
        return self._found.at(latest, which)

    def _start_between(self, places: Indices) -> None:
        if self._known:
            known = np.array(self._known)
            weights = interpolation(self._penalties[known], self._penalties[places])
            self._found.point.put(self._models(places), self._mixed(known, weights))
            apart = np.log(self._penalties[places][:, None] / self._penalties[known])
            self._hand_on(self._models(known[np.abs(apart).argmin(1)]), self._models(places))

    def _hand_on(self, models: torch.Tensor, to: torch.Tensor) -> None:
        """Tell models that start from others what those have learnt.

        Close to the optimum, few products are made: they would show neither the directions of little curvature, nor
        what is left along them. Of that, a line through the last two points has up to four times as much.
        """
        before = self._found.experience.keep(models)
        self._found.experience.put(to, replace(before, left=4 * before.left))

    def _mixed(self, known: Indices, weights: Float64) -> Point:
        """Return the points of new penalties as sums of those of others, by weights [new, known]."""
        import torch

        point, columns = self._found.point, self._n_columns
        mix, which = torch.from_numpy(weights).to(point.w.device), torch.from_numpy(known).to(point.w.device)

        def of(values: torch.Tensor) -> torch.Tensor:
            by_penalty = values.view(-1, columns, *values.shape[1:])[which]
            mixed: torch.Tensor = torch.tensordot(mix, by_penalty, dims=1).flatten(0, 1)
            return mixed

        return Point(of(point.w), of(point.b))

    def _models(self, places: Indices) -> torch.Tensor:
        import torch

        columns = self._n_columns
        which = (places[:, None] * columns + np.arange(columns)).ravel()
        return torch.from_numpy(which).to(self._found.point.w.device)

    def _fit(self, places: Indices, rules: Rules, instead: Start | None = None) -> Indices:
        """Fit some of the penalties, from where they are; return those that are not done."""
        which = self._models(places)
        search = self._found.part(which)
        self._descend(search, rules, instead)
        self._found.put(which, search)
        done = search.done.view(-1, self._n_columns).all(1).tolist()
        self._known.extend(place for place, is_done in zip(places.tolist(), done, strict=True) if is_done)
        return np.setdiff1d(places, self._known)


def _one_by_one(places: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield those before each, and it."""
    for i in range(len(places)):
        yield places[:i], places[i : i + 1]

"""Newton's method for many models at once, and models that drop out when their optimum is certified.

Every step evaluates the objective and gradient of all models that are not done in one pass over the rows, and solves
for their Newton directions together: one product with the features serves every model. Models may learn from each
other: one takes over another's weights where its own objective is lower there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..team import Team
from .certificate import Certificate
from .conjugate_gradients import Effort, newton_directions
from .curvature import Curvature
from .line_search import LineSearch
from .objective import Evaluation, Models, Point
from .sample import Sample

if TYPE_CHECKING:
    import torch

Oracle = Callable[[Models, Point], Evaluation]

_ACCURACY = (0.2, 0.5)
"""Of a Newton direction, close to the optimum and far from it: what more products would gain, the next step gains for
less. Measured: 30,000 rows, ten λ, tol = 1e-4 take 438 products with these, 514 with 0.1 and 0.3."""

_AIM = 0.5
"""Part of the gap at which a direction is good enough."""

_NEAR = 1e-4
"""Relative decrement below which the quadratic model is good, and its minimum worth more products."""

_WORTH_TAKING = 1e-3
"""Relative decrease for which a model takes over another's weights."""

_SMALL_STEP = 0.05
"""Relative decrease below which a step is not worth taking where rounding hides the optimum."""


@dataclass(frozen=True)
class Rules:
    """When to stop, and how hard to try.

    Parameters
    ----------
    gap : float
        A model is done when its objective is at most by this share above the smallest one, proven.
    decrease : float
        A model that is not done goes on as long as a step lowers its objective by at least this share of it.
    rounding : float
        Relative error of an objective: a step is not refused for less.
    max_steps : int
    max_products : int
        With the Hessian, per step; twice as many where the optimum is near.
    """

    gap: float
    decrease: float
    rounding: float
    max_steps: int
    max_products: int


@dataclass(frozen=True)
class Exact:
    """Where objectives are evaluated that count: on all rows.

    Parameters
    ----------
    oracle : callable
        Evaluates objectives and gradients of some models.
    certificate : Certificate
        Of the same rows.
    noise : float
        Variance of the gradient by rounding, for weights of norm 1 and a loss of 1.
    """

    oracle: Oracle
    certificate: Certificate
    noise: float


class Search:
    """The state of m models on their way to the optimum.

    Parameters
    ----------
    models : Models
    point : Point
        Where to start; float64 [m, K, d], changed in place.

    Attributes
    ----------
    objective : tensor, float64 [m]
    gradient : Point
    lower : tensor, float64 [m]
        No objective is lower; the best bound of all points that were seen.
    noise : tensor, float64 [m]
        How much of the distance between `objective` and `lower` rounding may hide.
    done : tensor, bool [m]
    blurred : tensor, bool [m]
        Not done, and left because rounding hides the optimum.
    passes, products : tensor, int64 [m]
        Evaluations of the gradient, and products with the Hessian.
    """

    def __init__(self, models: Models, point: Point) -> None:
        import torch

        m, device = len(models), point.w.device
        self.models, self.point = models, point
        self.objective = torch.zeros(m, dtype=torch.float64, device=device)
        self.gradient = Point(torch.zeros_like(point.w), torch.zeros_like(point.b))
        self.lower = torch.full_like(self.objective, -torch.inf)
        self.noise, self._price, self._rarest = (torch.zeros_like(self.objective) for _ in range(3))
        self.done = torch.zeros(m, dtype=torch.bool, device=device)
        self.blurred = torch.zeros_like(self.done)
        self.passes = torch.zeros(m, dtype=torch.int64, device=device)
        self.products = torch.zeros(m, dtype=torch.int64, device=device)

    @property
    def gap(self) -> torch.Tensor:
        """Bound on the distance of each objective from the smallest one, relative to that; inf where it is not known."""
        import torch

        above = (self.objective - self.lower).clamp_min(0) + self.noise
        return torch.where(self.lower > 0, above / self.lower, torch.inf)

    def part(self, which: torch.Tensor) -> Search:
        """Return the search for some of the models, from where they are."""
        part = Search(self.models.keep(which), self.point.keep(which))
        part.lower = self.lower[which]
        return part

    def put(self, which: torch.Tensor, part: Search) -> None:
        """Take over the state of some of the models, and add their passes and products to what they took before."""
        self.point.put(which, part.point)
        self.gradient.put(which, part.gradient)
        for name in ("objective", "lower", "noise", "done", "blurred"):
            getattr(self, name)[which] = getattr(part, name)
        self.passes[which] += part.passes
        self.products[which] += part.products

    def interpolate(self, which: torch.Tensor, known: torch.Tensor, weights: torch.Tensor, columns: int) -> None:
        """Start some of the models between others: penalties `known`, by weights [penalties of which, known]."""
        import torch

        for values in (self.point.w, self.point.b):
            by_penalty = values.view(-1, columns, *values.shape[1:])[known]
            values[which] = torch.tensordot(weights, by_penalty, dims=1).flatten(0, 1)

    def run(
        self,
        exact: Exact | Oracle,
        sample: Sample,
        rules: Rules,
        team: Team,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Take steps until every model is done, stuck, or out of steps.

        Parameters
        ----------
        exact : Exact or callable
            An oracle alone finds starts, and no model is ever done.
        sample : Sample
            For curvature.
        rules : Rules
        team : Team
        report : callable, optional
            Told a line a step.
        """
        import torch

        oracle = exact.oracle if isinstance(exact, Exact) else exact
        m = len(self.models)
        self.done.zero_()
        self.blurred.zero_()
        alive = torch.arange(m, device=self.done.device)
        self._evaluate(oracle, alive)
        decrease = torch.full_like(self.objective, torch.inf)
        for step in range(rules.max_steps + 1):
            self._learn_from_each_other(alive)
            if isinstance(exact, Exact):
                self._certify(exact, alive, rules)
            going = ~self.done[alive] & (decrease[alive] >= rules.decrease)
            going &= ~self.blurred[alive] | (decrease[alive] >= _SMALL_STEP)
            if report is not None:
                values = " ".join(f"{float(v):.0e}" for v in self.gap[alive][:: max(1, len(alive) // 10)])
                report(f"step {step}: {int(going.sum())} models, gaps {values}")
            if not going.any() or step == rules.max_steps:
                return
            alive = alive[going]
            gradient, before = self.gradient.keep(alive), self.objective[alive]
            direction = self._directions(alive, gradient, sample, rules, team)
            stuck = self._move(oracle, alive, direction, gradient, rules)
            decrease[alive] = (before - self.objective[alive]) / before
            self.blurred[alive[stuck]] = isinstance(exact, Exact)
            alive = alive[~stuck]
            if not len(alive):
                return

    def _evaluate(self, oracle: Oracle, which: torch.Tensor) -> None:
        found = oracle(self.models.keep(which), self.point.keep(which))
        self.objective[which] = found.objective
        self.gradient.put(which, found.gradient)
        self.passes[which] += 1

    def _certify(self, exact: Exact, alive: torch.Tensor, rules: Rules) -> None:
        """Bound the smallest objectives, and say which models are done and which rounding hides."""
        models, point = self.models.keep(alive), self.point.keep(alive)
        at = Evaluation(self.objective[alive], self.gradient.keep(alive))
        lower, self._price[alive] = exact.certificate.bounds(models, point, at)
        self._rarest[alive] = exact.certificate.counts.amin(1)[models.columns]
        self.lower[alive] = lower.maximum(self.lower[alive])
        squares = point.w.square().sum((1, 2))
        loss = at.objective - 0.5 * models.penalties * squares
        self.noise[alive] = exact.noise * squares * loss / (2 * models.penalties)
        self.done[alive] = self.gap[alive] <= rules.gap
        self.blurred[alive] = ~self.done[alive] & (self.noise[alive] > 0.5 * rules.gap * at.objective)

    def _directions(
        self, alive: torch.Tensor, gradient: Point, sample: Sample, rules: Rules, team: Team
    ) -> Point:
        """Return Newton directions, each as good as its model can use."""
        import torch

        models, objective = self.models.keep(alive), self.objective[alive]
        curvature = Curvature(sample, models, self.point.keep(alive), team)
        # Half of gᵀ H⁻¹ g is the distance of a quadratic objective from its minimum; D, the diagonal of H along the
        # principal axes of rows and classes, stands for H here.
        decrement = gradient.dot(curvature.precondition(gradient).to(torch.float64))
        relative = (decrement / objective).clamp_min(1e-300)
        # A direction need not be better than the quadratic model is: roughly far out, closely near the optimum.
        products = torch.where(relative > _NEAR, rules.max_products, 2 * rules.max_products)
        above = _AIM * rules.gap * objective
        least = 0.5 * above / self._price[alive].maximum(objective)
        effort = Effort(
            relative.sqrt().clamp(*_ACCURACY),
            square=2 * models.penalties * above,
            intercepts=least * self._rarest[alive],
            products=products,
        )
        direction, products = newton_directions(curvature, gradient, effort)
        self.products[alive] += products
        direction = direction.to(torch.float64)
        if sample.task.softmax:
            # What all classes share is zero at the optimum, and rounding in a shorter type must not bring it in.
            direction = Point(direction.w - direction.w.mean(1, keepdim=True), direction.b)
        return direction

    def _learn_from_each_other(self, alive: torch.Tensor) -> None:
        """Let each model take over the weights of the one where its own objective is lowest.

        The loss at another's weights is known already, and so is their norm:
        F_i(W_j) = F_j(W_j) + (λ_i - λ_j) ‖W_j‖²/2.
        """
        import torch

        penalties, columns = self.models.penalties, self.models.columns
        half_norms = 0.5 * self.point.w.square().sum((1, 2))
        table = (self.objective - penalties * half_norms)[None, :] + penalties[:, None] * half_norms  # [of, at]
        table[columns[:, None] != columns] = torch.inf
        lowest, at = table.min(1)
        taking = torch.zeros_like(self.done)
        taking[alive] = True
        taking &= lowest < (1 - _WORTH_TAKING) * self.objective
        takers = taking.nonzero().squeeze(1)
        if len(takers):
            source = at[takers]
            change = (penalties[takers] - penalties[source])[:, None, None]
            point = self.point.keep(source)
            self.gradient.put(takers, Point(self.gradient.w[source] + change * point.w, self.gradient.b[source]))
            self.point.put(takers, point)
            self.objective[takers] = lowest[takers]

    def _move(
        self, oracle: Oracle, alive: torch.Tensor, direction: Point, gradient: Point, rules: Rules
    ) -> torch.Tensor:
        """Step along the directions to about the lowest objective; say which did not move at all."""
        start = self.point.keep(alive)
        search = LineSearch(self.objective[alive], gradient.dot(direction), rules.rounding)

        def evaluate(which: torch.Tensor, length: torch.Tensor) -> tuple[Evaluation, torch.Tensor]:
            along = direction.keep(which)
            found = oracle(self.models.keep(alive[which]), start.keep(which).plus(along, length))
            self.passes[alive[which]] += 1
            return found, found.gradient.dot(along)

        def take(which: torch.Tensor, found_at: torch.Tensor, length: torch.Tensor, found: Evaluation) -> None:
            self.point.put(alive[which], start.keep(which).plus(direction.keep(which), length))
            self.objective[alive[which]] = found.objective[found_at]
            self.gradient.put(alive[which], found.gradient.keep(found_at))

        search.run(evaluate, take)
        return search.best == 0

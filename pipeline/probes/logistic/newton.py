"""Newton's method for many models at once, with conjugate gradients, and models that drop out when they are done.

Every step evaluates the objective and gradient of all models that are not done in one pass over the rows, and solves
for their Newton directions together: one product with the features serves every model. Models may learn from each
other: one takes over another's weights where its own objective is lower there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..team import Team
from .curvature import Curvature
from .objective import Evaluation, Models, Point
from .sample import Sample

if TYPE_CHECKING:
    import torch

Oracle = Callable[[Models, Point], Evaluation]

_ARMIJO = 1e-4

_ACCURACY = (0.2, 0.5)
"""Of a Newton direction, close to the optimum and far from it: what more products would gain, the next step gains for
less. Measured: 30,000 rows, ten λ, tol = 1e-4 take 438 products with these, 514 with 0.1 and 0.3."""

_AIM = 0.8
"""Part of `Rules.gradient` at which a direction is good enough."""

_NEAR = 1e-4
"""Relative decrement below which the quadratic model is good, and its minimum worth more products."""

_WORTH_TAKING = 1e-3
"""Relative decrease for which a model takes over another's weights."""


@dataclass(frozen=True)
class Rules:
    """When to stop, and how hard to try.

    Parameters
    ----------
    gradient : float
        A model is done when the largest entry of its gradient is at most so much,
    loss : float
        or less in proportion, where its objective is less than this: with little loss left, gradients are small far
        from the optimum too.
    decrease : float
        A model that is not done goes on as long as a step lowers its objective by at least this share of it.
    rounding : float
        Relative error of an objective: a step is not refused for less.
    max_steps : int
    max_products : int
        With the Hessian, per step; twice as many where the optimum is near.
    """

    gradient: float
    loss: float
    decrease: float
    rounding: float
    max_steps: int
    max_products: int


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
    done : tensor, bool [m]
    passes, products : tensor, int64 [m]
        Evaluations of the gradient, and products with the Hessian.
    """

    def __init__(self, models: Models, point: Point) -> None:
        import torch

        m, device = len(models), point.w.device
        self.models, self.point = models, point
        self.objective = torch.zeros(m, dtype=torch.float64, device=device)
        self.gradient = Point(torch.zeros_like(point.w), torch.zeros_like(point.b))
        self.done = torch.zeros(m, dtype=torch.bool, device=device)
        self.passes = torch.zeros(m, dtype=torch.int64, device=device)
        self.products = torch.zeros(m, dtype=torch.int64, device=device)

    def part(self, which: torch.Tensor) -> Search:
        """Return the search for some of the models, from where they are."""
        return Search(self.models.keep(which), self.point.keep(which))

    def put(self, which: torch.Tensor, part: Search) -> None:
        """Take over the state of some of the models, and add their passes and products to what they took before."""
        self.point.put(which, part.point)
        self.gradient.put(which, part.gradient)
        self.objective[which], self.done[which] = part.objective, part.done
        self.passes[which] += part.passes
        self.products[which] += part.products

    def interpolate(self, which: torch.Tensor, known: torch.Tensor, weights: torch.Tensor, columns: int) -> None:
        """Start some of the models between others: penalties `known`, by weights [penalties of which, known]."""
        import torch

        for values in (self.point.w, self.point.b):
            by_penalty = values.view(-1, columns, *values.shape[1:])[known]
            values[which] = torch.tensordot(weights, by_penalty, dims=1).flatten(0, 1)

    def run(
        self, oracle: Oracle, sample: Sample, rules: Rules, team: Team, report: Callable[[str], None] | None = None
    ) -> None:
        """Take steps until every model is done, stuck, or out of steps.

        Parameters
        ----------
        oracle : callable
            Evaluates objectives and gradients of some models.
        sample : Sample
            For curvature.
        rules : Rules
        team : Team
        report : callable, optional
            Told a line a step.
        """
        import torch

        m = len(self.models)
        self.done.zero_()
        self._evaluate(oracle, torch.arange(m, device=self.done.device))
        alive = torch.arange(m, device=self.done.device)
        decrease = torch.full_like(self.objective, torch.inf)
        for step in range(rules.max_steps + 1):
            self._learn_from_each_other(alive)
            largest = self.gradient.keep(alive).largest()
            bound = rules.gradient * (self.objective[alive] / rules.loss).clamp_max(1)
            self.done[alive] = largest <= bound
            going = ~self.done[alive] & (decrease[alive] >= rules.decrease)
            if report is not None:
                values = " ".join(f"{float(v):.0e}" for v in largest[:: max(1, len(alive) // 10)])
                report(f"step {step}: {int(going.sum())} models, largest entries of gradients {values}")
            if not going.any() or step == rules.max_steps:
                return
            alive, bound = alive[going], bound[going]
            gradient, before = self.gradient.keep(alive), self.objective[alive]
            curvature = Curvature(sample, self.models.keep(alive), self.point.keep(alive), team)
            # Half of gᵀ H⁻¹ g is the distance of a quadratic objective from its minimum; D, the diagonal of H along the
            # principal axes of rows and classes, stands for H here.
            decrement = gradient.dot(curvature.precondition(gradient).to(torch.float64))
            relative = (decrement / before).clamp_min(1e-300)
            # A direction need not be better than the quadratic model is: roughly far out, closely near the optimum.
            most = torch.where(relative > _NEAR, rules.max_products, 2 * rules.max_products)
            direction, products = conjugate_gradients(
                curvature, gradient, relative.sqrt().clamp(*_ACCURACY), _AIM * bound, most
            )
            self.products[alive] += products
            direction = direction.to(torch.float64)
            if sample.task.softmax:
                # What all classes share is zero at the optimum, and rounding in a shorter type must not bring it in.
                direction = Point(direction.w - direction.w.mean(1, keepdim=True), direction.b)
            stuck = self._move(oracle, alive, direction, gradient, rules)
            decrease[alive] = (before - self.objective[alive]) / before
            alive = alive[~stuck]
            if not len(alive):
                return

    def _evaluate(self, oracle: Oracle, which: torch.Tensor) -> None:
        found = oracle(self.models.keep(which), self.point.keep(which))
        self.objective[which] = found.objective
        self.gradient.put(which, found.gradient)
        self.passes[which] += 1

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
        """Step along the directions, as far as each objective falls; say which did not move at all."""
        import torch

        slope = gradient.dot(direction)
        length = torch.ones_like(slope)
        todo = torch.arange(len(alive), device=alive.device)
        start = self.objective[alive]
        for _ in range(12):
            which = alive[todo]
            trial = self.point.keep(which).plus(direction.keep(todo), length[todo])
            found = oracle(self.models.keep(which), trial)
            self.passes[which] += 1
            # nan compares false: it is refused
            allowed = start[todo] + _ARMIJO * length[todo] * slope[todo] + rules.rounding * start[todo]
            good = found.objective <= allowed
            accepted = which[good]
            self.point.put(accepted, trial.keep(good))
            self.objective[accepted] = found.objective[good]
            self.gradient.put(accepted, found.gradient.keep(good))
            if good.all():
                return torch.zeros_like(self.done[alive])
            todo = todo[~good]
            # Lowest point of the parabola through what is known, within bounds.
            tried = length[todo]
            rise = found.objective[~good] - start[todo]
            bend = ((rise - tried * slope[todo]) / tried.square()).nan_to_num(torch.inf)
            length[todo] = (-slope[todo] / (2 * bend)).clamp(0.1 * tried, 0.5 * tried)
        stuck = torch.zeros_like(self.done[alive])
        stuck[todo] = True
        return stuck


def conjugate_gradients(
    curvature: Curvature, gradient: Point, accuracy: torch.Tensor, enough: torch.Tensor, most: torch.Tensor
) -> tuple[Point, torch.Tensor]:
    """Solve Hessian times direction = -gradient for every model, each to its own accuracy.

    Parameters
    ----------
    curvature : Curvature
        Of the same models; afterwards, of those that were left last.
    gradient : Point
    accuracy : tensor [m]
        Norm of the residual, in the preconditioner's metric, relative to that of the gradient.
    enough : tensor [m]
        Largest entry of the residual that is small enough whatever its norm.
    most : tensor, int64 [m]
        Products.

    Returns
    -------
    direction : Point
        In the type of the curvature; a direction of descent also where the accuracy was not reached.
    products : tensor, int64 [m]
    """
    import torch

    residual = curvature.precondition(gradient)
    dtype = residual.w.dtype
    z = Point(-residual.w, -residual.b)
    residual = Point(-gradient.w.to(dtype), -gradient.b.to(dtype))
    direction = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    solution = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    products = torch.zeros(len(z.w), dtype=torch.int64, device=z.w.device)
    search = z
    rz = residual.dot(z)
    small = rz * accuracy.to(dtype).square()
    alive = torch.arange(len(z.w), device=z.w.device)
    for product in range(int(most.max())):
        image = curvature.product(search)
        products[alive] += 1
        curved = search.dot(image)
        # Rounding can make a flat direction look bent the wrong way: stop before it.
        flat = curved <= 0
        step = torch.where(flat, torch.zeros_like(rz), rz / curved)
        direction = direction.plus(search, step)
        residual = residual.plus(image, -step)
        z = curvature.precondition(residual)
        after = residual.dot(z)
        # The residual is the gradient that is to be expected after the step.
        going = (after > small) & (residual.largest() > enough) & ~flat & (product + 1 < most)
        if not going.all():
            solution.put(alive[~going], direction.keep(~going))
            if not going.any():
                return solution, products
        search = z.plus(search, after / rz)
        rz = after
        if not going.all():
            alive, rz, small, enough, most = alive[going], rz[going], small[going], enough[going], most[going]
            direction, residual, search = direction.keep(going), residual.keep(going), search.keep(going)
            curvature.keep(going)
    solution.put(alive, direction)
    return solution, products

"""Newton's method for many models at once, and models that drop out when their optimum is certified.

Every step evaluates the objective and gradient of all models that are not done in one pass over the rows, and solves
for their Newton directions together: one product with the features serves every model. Models may learn from each
other: one takes over another's weights where its own objective is lower there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..block_threads import BlockThreads
from .conjugate_gradients import Directions, Effort, newton_directions
from .curvature import Curvature
from .dense import MOST_UNKNOWNS, dense_directions
from .line_search import LineSearch
from .objective import Evaluation, Models, Point
from .progress import Experience
from .rules import Exact, Oracle, Rules, Start
from .sample import Sample

if TYPE_CHECKING:
    import torch

_ACCURACY = (0.03, 0.5)
"""Of a Newton direction, close to the optimum and far from it: far out, the next step gains for less what more products
would. Measured: ten λ of 2,000 standardised rows of 1,024 take 34 passes and 131 products with these, 47 and 131 with
0.2 instead of 0.03."""

_AIM = 0.5
"""Part of the gap at which a direction is good enough."""

_NEAR = 3e-3
"""Relative decrease from which the minimum of the quadratic model is worth many products, if it has kept its word."""

_LONGER = 10
"""So many times as many: conjugate gradients that begin anew forget what they have learnt of the Hessian."""

_LEFT = 0.3
"""Part of the gap that a longer direction may leave."""

_WORTH_TAKING = 1e-3
"""Relative decrease for which a model takes over another's weights."""

_LEAST_PENALTY = 1e-5
"""Share of the objective that the penalty is taken to be at least: proofs go no further."""

_MANY_PRODUCTS = 100
"""Of one direction of a small model, after which the next ones are solved for directly."""

_MORE_STEPS = 6
"""For the weights, once the objective is good enough."""

_STEPS_UNSEEN = 3
"""Evaluations after which a model is good whose progress rounding hides."""

_SMALL_STEP = 0.05
"""Relative decrease below which a step is not worth taking where rounding hides the optimum, and more digits follow."""


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
    model : tensor, float64 [m]
        What the quadratic model leaves to gain at the point, twice as much for safety; inf where it is not known or was
        not borne out by the last step.
    noise : tensor, float64 [m]
        How much of the distance between `objective` and `lower` rounding may hide.
    good : tensor, bool [m]
        Good enough.
    done : tensor, bool [m]
        Nothing is left to do.
    blurred : tensor, bool [m]
        Not done, and left because rounding hides the optimum.
    experience : Experience
        What the solves so far have shown.
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
        self.model = torch.full_like(self.objective, torch.inf)
        self.noise, self._price, self._rarest = (torch.zeros_like(self.objective) for _ in range(3))
        self.done = torch.zeros(m, dtype=torch.bool, device=device)
        self.good, self.blurred, self._quadratic, self._hard = (torch.zeros_like(self.done) for _ in range(4))
        self._aim, self._gained, self._more = (torch.zeros_like(self.objective) for _ in range(3))
        self.experience = Experience.none(m, device)
        self.passes, self.products = (torch.zeros(m, dtype=torch.int64, device=device) for _ in range(2))

    @property
    def proven(self) -> torch.Tensor:
        """Bound on the distance of each objective from the smallest one, float64 [m]."""
        return (self.objective - self.lower).clamp_min(0) + self.noise

    @property
    def above(self) -> torch.Tensor:
        """The distance as far as it is known: proven, or what the quadratic model says where that is less."""
        return self.proven.minimum(self.model + self.noise)

    def part(self, which: torch.Tensor) -> Search:
        """Return the search for some of the models, from where they are."""
        part = Search(self.models.keep(which), self.point.keep(which))
        part.lower, part.experience = self.lower[which], self.experience.keep(which)
        return part

    def put(self, which: torch.Tensor, part: Search) -> None:
        """Take over the state of some of the models, and add their passes and products to what they took before."""
        self.point.put(which, part.point)
        self.gradient.put(which, part.gradient)
        self.experience.put(which, part.experience)
        for name in ("objective", "lower", "model", "noise", "good", "done", "blurred"):
            getattr(self, name)[which] = getattr(part, name)
        self.passes[which] += part.passes
        self.products[which] += part.products

    def at(self, other: torch.Tensor, which: torch.Tensor) -> Start:
        """Return the points of other models, and what they evaluate to at the penalties of some."""
        point = self.point.keep(other)
        change = self.models.penalties[which] - self.models.penalties[other]
        objective = self.objective[other] + 0.5 * change * point.w.square().sum((1, 2))
        gradient = Point(self.gradient.w[other] + change[:, None, None] * point.w, self.gradient.b[other])
        return point, Evaluation(objective, gradient)

    def run(
        self,
        exact: Exact | Oracle,
        sample: Sample,
        rules: Rules,
        pool: BlockThreads,
        report: Callable[[str], None] | None = None,
        *,
        instead: Start | None = None,
    ) -> None:
        """Take steps until every model is done, stuck, or out of steps.

        Parameters
        ----------
        exact : Exact or callable
            An oracle alone finds starts, and no model is ever done.
        sample : Sample
            For curvature.
        rules : Rules
        pool : BlockThreads
        report : callable, optional
            Told a line a step.
        instead : Start, optional
            Where to begin if that is better. No weights at all are tried, too, if `exact` is more than an oracle.
        """
        import torch

        oracle = exact.oracle if isinstance(exact, Exact) else exact
        m = len(self.models)
        for flags in (self.good, self.done, self.blurred, self._more):
            flags.zero_()
        alive = torch.arange(m, device=self.done.device)
        self._evaluate(oracle, alive)
        if instead is not None:
            self._drop_poor_start(*instead)
        if isinstance(exact, Exact):
            self._drop_poor_start(*exact.certificate.without_weights(self.models))
        decrease = torch.full_like(self.objective, torch.inf)
        for step in range(rules.max_steps + 1):
            self._learn_from_each_other(alive)
            if isinstance(exact, Exact):
                self._certify(exact, alive, rules)
            going = ~self.done[alive] & (decrease[alive] >= rules.decrease)
            going &= ~self.blurred[alive] | (decrease[alive] >= (rules.gap if rules.last else _SMALL_STEP))
            if report is not None:
                shares = (self.above / self.objective)[alive][:: max(1, len(alive) // 10)].tolist()
                report(f"step {step}: {int(going.sum())} models, above by {' '.join(f'{v:.0e}' for v in shares)}")
            if not going.any() or step == rules.max_steps:
                return
            alive = alive[going]
            gradient, before = self.gradient.keep(alive), self.objective[alive]
            direction, found = self._directions(alive, gradient, sample, rules, pool)
            stuck = self._move(oracle, alive, direction, gradient, rules)
            gained = before - self.objective[alive]
            decrease[alive] = gained / before
            if rules.trust and found is not None:
                self._judge_model(alive, found, gradient, gained, rules.rounding * before)
            self.blurred[alive[stuck]] = isinstance(exact, Exact)
            alive = alive[~stuck]
            if not len(alive):
                return

    def _evaluate(self, oracle: Oracle, which: torch.Tensor) -> None:
        found = oracle(self.models.keep(which), self.point.keep(which))
        self.objective[which] = found.objective
        self.gradient.put(which, found.gradient)
        self.passes[which] += 1

    def _drop_poor_start(self, point: Point, found: Evaluation) -> None:
        worse = ~(self.objective <= found.objective)  # nan too
        self.point.put(worse, point.keep(worse))
        self.gradient.put(worse, found.gradient.keep(worse))
        self.objective[worse] = found.objective[worse]

    def _certify(self, exact: Exact, alive: torch.Tensor, rules: Rules) -> None:
        """Bound the smallest objectives, and say which models are done and which rounding hides."""
        import torch

        models, point = self.models.keep(alive), self.point.keep(alive)
        at = Evaluation(self.objective[alive], self.gradient.keep(alive))
        lower, self._price[alive] = exact.certificate.bounds(models, point, at)
        self._rarest[alive] = exact.certificate.counts.amin(1)[models.columns]
        self.lower[alive] = lower.maximum(self.lower[alive])
        squares = point.w.square().sum((1, 2))
        loss = at.objective - 0.5 * models.penalties * squares
        self.noise[alive] = exact.noise * squares * loss / (2 * models.penalties)
        above = self.above[alive]
        least = at.objective - above
        gained = exact.certificate.without_weights(models)[1].objective - at.objective
        # Where rounding hides what was gained, the penalty is so large that a few steps are all it takes.
        hidden = gained <= 100 * rules.rounding * at.objective
        enough = least.minimum(gained.where(~hidden, torch.inf if rules.last else 0.0))
        self.good[alive] = (above <= rules.gap * enough) & (~hidden | (self.passes[alive] > _STEPS_UNSEEN))
        strict, self._aim[alive] = enough, at.objective
        if rules.strict:
            penalty = (0.5 * models.penalties * squares).maximum(_LEAST_PENALTY * at.objective)
            strict, self._aim[alive] = enough.minimum(penalty), at.objective.minimum(penalty)
            self._more[alive] += self.good[alive]
        self._gained[alive] = gained
        self.done[alive] = self.good[alive] & ((above <= rules.gap * strict) | (self._more[alive] > _MORE_STEPS))
        limit = self.noise[alive] > 0.5 * rules.gap * self._aim[alive]
        self.blurred[alive] = ~self.done[alive] & (limit | (hidden & (not rules.last)))

    def _judge_model(
        self, alive: torch.Tensor, found: Directions, gradient: Point, gained: torch.Tensor, rounding: torch.Tensor
    ) -> None:
        """Say what is left to gain after a step: what its direction left, and what the model did not foretell.

        The gradient after the step is the residual of the direction, and what the Hessian changed along it. The
        preconditioner gives the energy of the latter, but it misses directions of little curvature. The solution has
        shown by how much it was too small for the gradient before, and so much is added here.
        """
        import torch

        borne_out = (gained - found.decrease).abs() <= 0.2 * found.decrease + rounding
        self._quadratic[alive] = borne_out & (gained <= _NEAR * self.objective[alive])
        off = self.gradient.keep(alive).plus(found.residual.to(torch.float64))
        missed = (found.decrease + found.experience.left) / found.preconditioner.energy(gradient).clamp_min(1e-300)
        bent = found.preconditioner.energy(off) * missed.clamp_min(1.0)
        self.model[alive] = (2 * (found.left + 2 * bent)).where(borne_out, torch.inf)
        likely = found.experience.left + 2 * bent
        self.experience.left[alive] = likely.where(borne_out & likely.isfinite(), 0.0)

    def _directions(
        self, alive: torch.Tensor, gradient: Point, sample: Sample, rules: Rules, pool: BlockThreads
    ) -> tuple[Point, Directions | None]:
        """Return Newton directions: by iteration, or directly where that takes too many products."""
        import torch

        hard = self._hard[alive]
        if not hard.any():
            found = self._iterate(alive, gradient, sample, rules, pool)
            return found.direction, found
        direction = Point(torch.zeros_like(gradient.w), torch.zeros_like(gradient.b))
        if not hard.all():
            easy = self._iterate(alive[~hard], gradient.keep(~hard), sample, rules, pool)
            direction.put(~hard, easy.direction)
        which = alive[hard]
        models, point = self.models.keep(which), self.point.keep(which)
        direction.put(hard, dense_directions(sample, models, point, gradient.keep(hard), pool.ranks))
        return direction, None

    def _iterate(
        self, alive: torch.Tensor, gradient: Point, sample: Sample, rules: Rules, pool: BlockThreads
    ) -> Directions:
        """Return Newton directions by conjugate gradients, each as good as its model can use."""
        import torch

        models, objective = self.models.keep(alive), self.objective[alive]
        curvature = Curvature(sample, models, self.point.keep(alive), pool)
        # Half of gᵀ H⁻¹ g is the distance of a quadratic objective from its minimum; D, the diagonal of H along the
        # principal axes of rows and classes, stands for H here.
        decrement = 2 * curvature.preconditioner.energy(gradient)
        relative = (decrement / objective).clamp_min(1e-300)
        # A direction need not be better than the quadratic model is: roughly far out, closely near the optimum.
        quadratic = self._quadratic[alive]
        products = torch.where(quadratic, _LONGER * rules.max_products, rules.max_products)
        gained = self._gained[alive].maximum(0.25 * decrement)
        above = _AIM * rules.gap * self._aim[alive].minimum(gained)
        # What the bound loses by a gradient g of the intercepts b: at most ⟨g, b⟩, and what the mixture costs.
        loses = self.point.b[alive].abs().sum(1) + self._price[alive].abs().maximum(objective) / self._rarest[alive]
        effort = Effort(
            relative.sqrt().clamp(*_ACCURACY).where(~quadratic, 0.0),
            square=2 * models.penalties * above,
            intercepts=0.5 * above / loses,
            left=_LEFT * rules.gap * objective.minimum(gained) if rules.trust else -objective,
            products=products,
        )
        found = newton_directions(curvature, gradient, effort, self.experience.keep(alive))
        self.products[alive] += found.products
        self.experience.put(alive, found.experience)
        if rules.strict and sample.x.dtype == torch.float64 and gradient.w[0].numel() <= MOST_UNKNOWNS:
            self._hard[alive] = found.products > _MANY_PRODUCTS
        direction = found.direction.to(torch.float64)
        if sample.weighted.softmax:
            # What all classes share is zero at the optimum, and rounding in a shorter type must not bring it in.
            direction = Point(direction.w - direction.w.mean(1, keepdim=True), direction.b)
        return replace(found, direction=direction)

    def _learn_from_each_other(self, alive: torch.Tensor) -> None:
        """Let each model take over the weights of the one, of its column, where its own objective is lowest.

        The loss at another's weights is known already, and so is their norm:
        F_i(W_j) = F_j(W_j) + (λ_i - λ_j) ‖W_j‖²/2.
        """
        import torch

        if len(self.models) == 1:
            return
        half_norms = 0.5 * self.point.w.square().sum((1, 2))
        losses = self.objective - self.models.penalties * half_norms
        groups = _by_column(self.models.columns)
        nobody = torch.zeros(1, dtype=losses.dtype, device=losses.device)
        theirs, square, penalty = (
            torch.cat((values, nobody + none))[groups]
            for values, none in ((losses, torch.inf), (half_norms, 0.0), (self.models.penalties, 0.0))
        )
        lowest, place = (theirs[:, None] + penalty[:, :, None] * square[:, None]).min(2)  # of [column, at, from]
        there = groups < len(self.models)
        at, takers = groups.gather(1, place)[there], groups[there]
        taking = torch.zeros_like(self.done)
        taking[alive] = True
        chosen = taking[takers] & (lowest[there] < (1 - _WORTH_TAKING) * self.objective[takers])
        at, takers = at[chosen], takers[chosen]
        if len(takers):
            point, found = self.at(at, takers)
            self.gradient.put(takers, found.gradient)
            self.point.put(takers, point)
            self.objective[takers] = found.objective
            self.model[takers], self.experience.left[takers], self._quadratic[takers] = torch.inf, 0.0, False

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


def _by_column(columns: torch.Tensor) -> torch.Tensor:
    """Return the places of the models of each column, int64 [C, most of one]; m where there are fewer."""
    import torch

    order = columns.argsort(stable=True)
    _, of, counts = torch.unique_consecutive(columns[order], return_inverse=True, return_counts=True)
    place = torch.arange(len(columns), device=columns.device) - (counts.cumsum(0) - counts)[of]
    groups = columns.new_full((len(counts), int(counts.max())), len(columns))
    groups[of, place] = order
    return groups

"""One trial, run on loaded rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...stores.store import RowPredictions
from ..probes import ProbeOutcome, run_probe
from ..protocols import MEAN_TOP1_TOP5, Problem, with_mean_top1_top5
from ..provenance import provenance
from .key import TrialKey
from .plan import TrialPlan
from .predictions import row_predictions
from .result import Measured
from .rows import TrialParts, TrialRows


class RunTrial(NamedTuple):
    """A trial that was run.

    Parameters
    ----------
    measured : Measured
    predictions : RowPredictions or None
        What the probe said of each test row, if the protocol tells.
    outcome : ProbeOutcome or None
        With its estimator; None of a trial that another process ran.
    """

    measured: Measured
    predictions: RowPredictions | None
    outcome: ProbeOutcome | None


def run_trial(rows: TrialRows, plan: TrialPlan, key: TrialKey, progress: Callable[[str], None]) -> RunTrial:
    """Run one trial on loaded rows."""
    parts = rows.parts(key.draw, key.seed, plan.sampling)
    protocol = plan.published
    if protocol is None:
        assert plan.request is not None
        done = run_probe(
            plan.request.model_copy(update={"seed": key.seed}),
            parts.train,
            parts.val,
            parts.test,
            rows.classes,
            refit=key.draw.shots is None and (key.draw.fraction is None or rows.val_from_train),
            memory=plan.memory,
            progress=progress,
        )
    else:
        problem = Problem(
            train=parts.train,
            val=parts.val,
            test=parts.test,
            n_classes=len(rows.classes),
            metric=plan.metric,
            val_from_train=rows.val_from_train,
            draw=key.draw,
            seed=key.seed,
            parameters=plan.parameters,
            memory=plan.memory,
            progress=progress,
            taps=rows.taps,
        )
        done = with_mean_top1_top5(protocol.run(problem)) if plan.metric == MEAN_TOP1_TOP5 else protocol.run(problem)
    said = done.prediction
    predictions = None if said is None else row_predictions(said, parts.test, parts.held_out)
    return RunTrial(_measured(rows, plan, parts, done), predictions, done)


def _measured(rows: TrialRows, plan: TrialPlan, parts: TrialParts, done: ProbeOutcome) -> Measured:
    found = {
        "chosen": done.chosen,
        "chosen_by": done.chosen_by,
        "metric": plan.metric or parts.train.task.score,
        "metrics": done.metrics,
        "intervals": done.intervals,
        "curve": done.curve,
        "features": "raw" if plan.raw else "unit",
        "solver": done.solver,
        "converged": done.converged,
        "warnings": [*parts.warnings, *done.warnings],
        "remarks": [*parts.remarks, *done.remarks],
        "test_in_train": parts.test_in_train,
        "rows": parts.counts,
        "dim": parts.train.x.shape[1],
        "classes": rows.classes,
        "fit_seconds": round(done.fit_seconds, 3),
        **done.more,
        **provenance(("scikit-learn", "numpy", "torch")).document,
    }
    return Measured.of(found, plan.what)

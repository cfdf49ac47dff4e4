"""Trials: what identifies one, running one on loaded rows, and running many, stored one by one as they finish."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from .probes import Draw, ProbeOutcome, run_probe
from .protocols import MEAN_TOP1_TOP5, Problem, with_mean_top1_top5
from .provenance import provenance
from .resolve import Sets
from .trial_keys import TrialSpec
from .trial_plan import Plan
from .trial_rows import TrialParts, TrialRows

_WORTH_PROCESSES = 8
"""Trials from which starting processes pays: each takes some seconds to import what it needs."""

_SMALL_ROWS = 20_000
"""Training rows up to which a fit leaves most of several cores idle, so that several fits at once are faster."""


def departures(plan: Plan, sets: Sets, draw: Draw) -> list[str]:
    """Say what sets a trial apart from what is published: words that its result carries."""
    protocol = plan.published
    if protocol is None:
        return []
    said = [*protocol.remarks, *protocol.deviations(plan.parameters)]
    stored = sets.train.manifest.encoder.get("preprocessing")
    if protocol.transform is not None and (remark := protocol.transform.remark(stored)) is not None:
        said.append(remark)
    prescribed = protocol.shots_of(multilabel=sets.train.multilabel)
    if draw.shots is not None and draw.shots not in prescribed and protocol.name != "dinov2-knn":
        said.append(f"not as published: {draw.shots} training rows of every class")
    if draw.fraction is not None:
        said.append(f"not as published: {100 * draw.fraction:g} % of the training rows")
    if isinstance(sets.val, float):
        if protocol.validation == "official":
            # An option of the reference (--val_proportion), which draws at random, whatever the classes.
            said.append(f"chosen on {100 * sets.val:g} % of train, drawn class by class")
        elif draw.shots is None and sets.val != protocol.val_fraction:
            said.append(
                f"not as published: chosen on {100 * sets.val:g} % of train, not {100 * protocol.val_fraction:g} %"
            )
    elif sets.val is not None and protocol.validation == "held":
        said.append(f"chosen on the split {sets.val.split}, and not on a share of train")  # --finetune-dataset
    return said


def run_trial(
    rows: TrialRows, plan: Plan, spec: TrialSpec, progress: Callable[[str], None]
) -> tuple[dict[str, Any], ProbeOutcome]:
    """Run one trial on loaded rows; return what is stored of it, and the outcome with its estimator."""
    parts = rows.parts(spec.draw, spec.seed, plan.carving)
    protocol = plan.published
    if protocol is None:
        assert plan.request is not None
        done = run_probe(
            plan.request.model_copy(update={"seed": spec.seed}),
            parts.train,
            parts.val,
            parts.test,
            len(rows.classes),
            classes=rows.classes,
            refit=spec.draw.shots is None and (spec.draw.fraction is None or rows.val_from_train),
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
            draw=spec.draw,
            seed=spec.seed,
            parameters=plan.parameters,
            memory=plan.memory,
            progress=progress,
        )
        done = with_mean_top1_top5(protocol.run(problem)) if plan.metric == MEAN_TOP1_TOP5 else protocol.run(problem)
    return _recorded(rows, plan, parts, done), done


def _recorded(rows: TrialRows, plan: Plan, parts: TrialParts, done: ProbeOutcome) -> dict[str, Any]:
    return {
        "chosen": done.chosen,
        "chosen_by": done.chosen_by,
        "metric": plan.metric or ("map" if parts.train.multilabel else "top1"),
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
        **provenance(("scikit-learn", "numpy", "torch")),
    }


def run_all(
    rows: TrialRows,
    plan: Plan,
    specs: Sequence[TrialSpec],
    *,
    jobs: int | None,
    progress: Callable[[str], None],
) -> Iterator[tuple[TrialSpec, dict[str, Any]]]:
    """Run trials, and yield each as soon as it is done: in processes where there are many small ones.

    Parameters
    ----------
    rows : TrialRows
        Loaded once; processes share the memory of its features.
    plan, specs
    jobs : int, optional
        Processes; by default one for each core where that is likely to pay, else none beside this one.
    progress : callable
    """
    count = _processes(rows, specs) if jobs is None else jobs
    if count <= 1 or rows.streamed or len(specs) < 2:
        for spec in specs:
            yield spec, run_trial(rows, plan, spec, progress)[0]
        return
    from joblib import Parallel, delayed, parallel_config

    threads = max(1, (os.cpu_count() or 1) // count)
    # Large arrays are mapped into memory once, and not copied to each process.
    with parallel_config(backend="loky", inner_max_num_threads=threads):
        pool = Parallel(n_jobs=count, return_as="generator_unordered", max_nbytes="1M", mmap_mode="r")
        yield from pool(delayed(partial(_in_process, os.getpid(), rows, plan))(spec) for spec in specs)


def _in_process(parent: int, rows: TrialRows, plan: Plan, spec: TrialSpec) -> tuple[TrialSpec, dict[str, Any]]:
    import torch

    _begin_process(parent)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return spec, run_trial(rows, plan, spec, lambda line: None)[0]


@cache
def _begin_process(parent: int) -> None:
    """End this process soon after the one that started it: if that is killed, it cannot say so.

    Ctrl-C reaches the processes of a terminal alike. It is the parent's to answer, in one line; each of the others
    would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="cryoprobe-watch", daemon=True).start()


def _processes(rows: TrialRows, specs: Sequence[TrialSpec]) -> int:
    small = all(spec.draw.shots is not None for spec in specs) or rows.train_rows <= _SMALL_ROWS
    return (os.cpu_count() or 1) if small and len(specs) >= _WORTH_PROCESSES else 1

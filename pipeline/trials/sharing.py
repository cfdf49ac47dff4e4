"""How several ranks share the trials of one call: row by row, trial by trial, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeVar

from ..options import TrialRunOptions
from ..probes import make_estimator
from ..rank_group import can_meet
from ..ranks import Rank, rank_here
from .planned import Planned
from .pool import SMALL_ROWS

By = Literal["rows", "trials", "first", "none"]
"""``rows``: each rank has a part of the rows of every trial. ``trials``: each runs its share of the trials, and then
what is missing. ``first``: the first rank runs them alone. ``none``: every rank runs them by itself."""

Item = TypeVar("Item")


class Sharing(NamedTuple):
    """Which rank this is, and how it shares the trials with the others.

    Parameters
    ----------
    rank : Rank or None
        None if there are no others.
    by : {"rows", "trials", "first", "none"}
    said : str
        What is to be said of it, in one line; empty if there are no others.
    """

    rank: Rank | None
    by: By
    said: str


ALONE = Sharing(None, "none", "")
"""There are no others."""


def sharing_of(planned: Planned, running: TrialRunOptions, environ: Mapping[str, str] | None = None) -> Sharing:
    """Return how the ranks, if there are several, share the trials; all of them come to the same answer.

    Parameters
    ----------
    planned : Planned
    running : TrialRunOptions
    environ : mapping, optional
        By default that of this process.
    """
    env = dict(os.environ if environ is None else environ)
    if can_meet(env):  # the tasks of a job array do not meet each other, but those of a step do
        env = {name: value for name, value in env.items() if not name.startswith("SLURM_ARRAY")}
    told = isinstance(running.rank, Rank)
    rank = rank_here(env) if running.rank == "auto" else running.rank
    if rank is None or rank.of == 1:  # one process of a program that does other things is not to wait for the others
        return ALONE
    several = len(planned.keys) > 1
    few_rows = planned.sets.train.rows <= SMALL_ROWS
    if _shares_rows(planned, saved=running.save is not None) and not (several and few_rows):
        if can_meet(env) or told:
            return Sharing(rank, "rows", f"rank {rank}: {rank.of} ranks share the rows")
        return Sharing(rank, "none", f"rank {rank} runs the trial by itself: without MASTER_ADDR, rows are not shared")
    if several:
        return Sharing(rank, "trials", f"rank {rank}: {rank.of} ranks share {len(planned.keys)} trials")
    what = planned.plan.protocol if planned.plan.request is None else planned.plan.request.probe
    if can_meet(env):
        return Sharing(rank, "first", f"rank {rank}: the rows of {what} cannot be shared, so rank 0 fits it alone")
    return Sharing(rank, "none", f"rank {rank} runs the trial by itself: the rows of {what} cannot be shared")


def _shares_rows(planned: Planned, *, saved: bool) -> bool:
    """Return whether the probe of all trials can be fitted to rows that ranks share."""
    request = planned.plan.request
    if request is None or any(key.draw.shots is not None for key in planned.keys):
        return False
    estimator = make_estimator(request)
    # Neighbours are saved with all their rows, which no rank has.
    return bool(getattr(estimator, "shares_rows", False)) and not (saved and hasattr(estimator, "votes_at"))


def in_turn(items: Sequence[Item], rank: Rank) -> Iterator[Item]:
    """Yield a rank's share of items, then those of the ranks after it, each from its end.

    So that two ranks at work on one share meet in its middle.

    Examples
    --------
    >>> list(in_turn("abcdef", Rank(1, 3)))
    ['c', 'd', 'f', 'e', 'b', 'a']
    """
    yield from (items[i] for i in rank.share(len(items)))
    for step in range(1, rank.of):
        other = replace(rank, index=(rank.index + step) % rank.of)
        yield from (items[i] for i in reversed(other.share(len(items))))


def batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Yield items, so many at a time, drawn when they are wanted."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

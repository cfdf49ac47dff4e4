"""Logging trials to trackers: opened before the work, told after it, and never a reason to lose a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...amounts import count
from ...errors import BadInput
from ...redaction import redacted
from ..doors import TRACKERS, announced, brought
from ..trials.result import Trial
from .base import TrackedTrial, Tracker, TrackerKind
from .mlflow_tracker import open_mlflow
from .wandb_tracker import open_wandb

KINDS = {kind.name: kind for kind in (TrackerKind("mlflow", open_mlflow), TrackerKind("wandb", open_wandb))}

_LONGEST = 300  # characters of what a tracker says


def log_trials(trials: Iterable[Trial], to: str | Sequence[str], page: str | Path | None = None) -> tuple[str, ...]:
    """Log trials to experiment trackers. What a tracker has already is not logged again.

    Parameters
    ----------
    trials : iterable of Trial
        Such as ``probe(...).trials`` or ``results(store)``.
    to : str or sequence of str
        ``mlflow``, ``mlflow:URI`` or ``mlflow:FOLDER``; ``wandb``, ``wandb:PROJECT`` or ``wandb:ENTITY/PROJECT``; or
        the name of a tracker that an installed package brings.
    page : str or Path, optional
        A file to keep with them, such as a report.

    Returns
    -------
    tuple of str
        A line for each tracker: how many were logged; or what went wrong, which raises nothing.

    Raises
    ------
    BadInput
        If a tracker is not known, or its package is not installed.
    """
    return tell(open_trackers([to] if isinstance(to, str) else to), trials, None if page is None else Path(page))


def open_trackers(to: Sequence[str]) -> dict[str, Tracker]:
    """Return the trackers that are meant, by their names; raise `BadInput` for one that cannot be used."""
    return {redacted(text): _kind(text).open(text.partition(":")[2]) for text in dict.fromkeys(to)}


def tell(trackers: Mapping[str, Tracker], trials: Iterable[Trial], page: Path | None = None) -> tuple[str, ...]:
    """Log trials to open trackers; return a line for each."""
    found = [TrackedTrial.of(trial) for trial in trials]
    return tuple(_told(name, tracker, found, page) for name, tracker in trackers.items())


def _told(name: str, tracker: Tracker, trials: Sequence[TrackedTrial], page: Path | None) -> str:
    logged = there = 0
    try:
        for trial in trials:
            if tracker.has(trial):
                there += 1
            else:
                tracker.log(trial)
                logged += 1
        if page is not None:
            tracker.log_page(page)
    except Exception as error:  # a stranger's library, a server that is away: the results are in the store
        said = redacted(" ".join(str(error).split()))[:_LONGEST] or type(error).__name__
        lost = f"{logged} of {count(len(trials), 'trial')} logged to {name}, the others not: {said}"
        return f"{lost} No result is lost: the same command logs what is missing."
    before = f", which had {there} of them before" if there else ""
    return f"{count(logged + there, 'trial')} logged to {name}{before}"


def _kind(text: str) -> TrackerKind:
    """Return the kind of tracker that a text begins with."""
    name = text.partition(":")[0]
    if name in KINDS:
        return KINDS[name]
    found = brought(name, TRACKERS, TrackerKind)
    if found is not None:
        return found.thing
    known = ", ".join([*KINDS, *sorted(announced(TRACKERS))])
    raise BadInput(
        f"There is no experiment tracker {name!r}.",
        hint=f"Known are {known}: --log-to mlflow, mlflow:URI, wandb, wandb:PROJECT.",
        key="log_to",
    )

"""Weights & Biases: a run for each trial, in the project ``cryoprobe`` (or ``$WANDB_PROJECT``).

A run's id is the trial's key, so that what is logged twice is one run there. With ``WANDB_MODE=offline`` runs are
written to ``wandb/`` in the working folder (or ``$WANDB_DIR``), for ``wandb sync``.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import BadInput
from .base import TrackedTrial

_DONE = "cryoprobe-logged"
"""A file in the folder of a run that was finished."""


def open_wandb(project: str) -> WandbTracker:
    """Return the tracker of a project, ``PROJECT`` or ``ENTITY/PROJECT``."""
    if find_spec("wandb") is None:
        raise BadInput(
            "Weights & Biases is not installed.", hint="Install it: pip install 'cryoprobe[wandb]'", key="log_to"
        )
    return WandbTracker(project or os.environ.get("WANDB_PROJECT") or "cryoprobe")


class WandbTracker:
    """Logs to one project.

    Parameters
    ----------
    project : str
        ``PROJECT`` or ``ENTITY/PROJECT``.
    """

    def __init__(self, project: str) -> None:
        entity, _, self._project = project.rpartition("/")
        self._entity = entity or None

    def has(self, trial: TrackedTrial) -> bool:
        """Return whether this machine has logged the trial in this folder; elsewhere the run's id makes them one."""
        folder = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
        return any(folder.glob(f"*run-*-{trial.key}/{_DONE}"))

    def log(self, trial: TrackedTrial) -> None:  # noqa: D102
        with self._run(name=trial.name, config=dict(trial.params), id=trial.key, resume="allow") as run:
            for step, point in enumerate(trial.curve):
                run.log(dict(point), step=step)
            run.summary.update(dict(trial.scores))
        Path(run.dir).parent.joinpath(_DONE).touch()  # a run that was cut short has none, and is logged again

    def log_page(self, page: Path) -> None:  # noqa: D102
        import wandb

        with self._run(name=f"page {page.name}") as run:
            artifact = wandb.Artifact("cryoprobe-page", type="page")
            artifact.add_file(str(page))
            run.log_artifact(artifact)

    def _run(self, **options: Any) -> Any:
        import wandb

        quiet = wandb.Settings(silent=True, console="off")
        # "create_new": a run that the caller has open stays as it is.
        return wandb.init(
            project=self._project, entity=self._entity, job_type="probe", reinit="create_new", settings=quiet, **options
        )

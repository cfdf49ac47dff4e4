"""MLflow: a run for each trial, in the experiment ``cryoprobe`` (or ``$MLFLOW_EXPERIMENT_NAME``).

Its client is given the place of each call, and its global state (the active run, the tracking URI) is left alone.
"""

from __future__ import annotations

import os
import time
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BadInput
from .base import TrackedTrial

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "cryoprobe.key"
_FOLDER = "mlruns"
_MOST_METRICS = 1000  # of one request


def open_mlflow(place: str) -> MlflowTracker:
    """Return the tracker at an MLflow tracking URI, or in a folder; by default where ``$MLFLOW_TRACKING_URI`` says.

    Without either it is MLflow's own default if that can be used, else the folder ``mlruns``: the small package
    mlflow-skinny has no database.
    """
    if find_spec("mlflow") is None:
        raise BadInput("MLflow is not installed.", hint="Install it: pip install 'cryoprobe[mlflow]'", key="log_to")
    if not place and not os.environ.get("MLFLOW_TRACKING_URI") and find_spec("sqlalchemy") is None:
        place = _FOLDER
    return MlflowTracker(place)


class MlflowTracker:
    """Logs to one MLflow server, database or folder.

    Parameters
    ----------
    place : str
        A tracking URI or a folder; empty for the usual one.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def has(self, trial: TrackedTrial) -> bool:  # noqa: D102
        return self._tagged(trial.key)

    def log(self, trial: TrackedTrial) -> None:  # noqa: D102
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in trial.scores.items()]
        metrics += [Metric(n, v, now, i) for i, point in enumerate(trial.curve) for n, v in point.items()]
        run = self._client.create_run(self._experiment, start_time=now, run_name=trial.name)
        run_id = run.info.run_id
        self._client.log_batch(run_id, params=[Param(name, str(value)) for name, value in trial.params.items()])
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MOST_METRICS])
        # Last: what was interrupted has no tag, and is logged again.
        self._client.log_batch(run_id, tags=[RunTag(_TAG, trial.key)])
        self._client.set_terminated(run_id)

    def log_page(self, page: Path) -> None:  # noqa: D102
        run = self._client.create_run(self._experiment, run_name=f"page {page.name}", tags={_TAG: "page"})
        self._client.log_artifact(run.info.run_id, str(page))
        self._client.set_terminated(run.info.run_id)

    def _tagged(self, key: str) -> bool:
        wanted = f"tags.`{_TAG}` = '{key}'"  # hexadecimal digits and a number
        return len(self._client.search_runs([self._experiment], wanted, max_results=1)) > 0

    @cached_property
    def _client(self) -> MlflowClient:
        if not self._place or "://" in self._place or self._place.startswith("databricks"):
            uri = self._place or None
        else:
            uri = Path(self._place).expanduser().absolute().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is what was asked for
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)

    @cached_property
    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "cryoprobe"
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self._client.create_experiment(name))

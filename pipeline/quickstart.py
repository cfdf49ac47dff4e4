"""The quickstart: the main job on real scans with real weights, in under a minute and without a network."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.opening import open_store
from .extract import extract
from .extraction.result import ExtractedSet
from .probe import probe
from .trials.sweep import Sweep

MODEL = "quickstart:efficientnet_lite0"
DATASET = "sklearn:digits"
IMAGE_SIZE = 96
PROBES: tuple[str, ...] = ("logreg", "knn")


@dataclass(frozen=True)
class Quickstart:
    """What the quickstart did.

    Parameters
    ----------
    store : str
        Where the features are.
    first, second : ExtractedSet
        The extraction, and the same one once more: nothing is left to encode.
    trials : tuple of Sweep
        One per probe, of one trial each.
    commands : tuple of str
        What to try next.
    """

    store: str
    first: ExtractedSet
    second: ExtractedSet
    trials: tuple[Sweep, ...]
    commands: tuple[str, ...]

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        trials: list[JsonValue] = [sweep.document for sweep in self.trials]
        sets = {"first": asdict(self.first), "second": asdict(self.second)}
        return {"store": self.store, **sets, "trials": trials, "commands": list(self.commands)}


def quickstart(store: str | Path, reporter: Reporter | None = None, *, progress: bool = True) -> Quickstart:
    """Extract scikit-learn's 1,797 scanned digits, probe them twice, and extract them again.

    Parameters
    ----------
    store : str or Path
        A new folder, or one that holds a store.
    reporter : Reporter, optional
        Is told how far it is, instead of the bar.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.

    Raises
    ------
    NotFound
        If the extra ``[quickstart]`` is not installed.
    """
    reporter = reporter_for(progress, reporter)
    opened = open_store(store, create=True)
    (first,) = extract(MODEL, DATASET, opened, image_size=IMAGE_SIZE, reporter=reporter)
    trials = []
    for name in PROBES:
        reporter.note(f"Probing with {name}.")
        trials.append(probe(opened, model=MODEL, dataset=DATASET, probe=name, reporter=reporter))
    reporter.note("Extracting once more, to show that nothing is encoded twice.")
    (second,) = extract(MODEL, DATASET, opened, image_size=IMAGE_SIZE, reporter=reporter)
    where = f"--store {shlex.quote(opened.url)}"
    return Quickstart(
        store=opened.url,
        first=first,
        second=second,
        trials=tuple(trials),
        commands=(
            f"cryoprobe ls {where}",
            f"cryoprobe results {where}",
            f"cryoprobe probe --model {MODEL} --dataset {DATASET} {where} --probe sklearn.linear_model.RidgeClassifier",
            f"cryoprobe extract --model {MODEL} --dataset folder:PATH {where}",
        ),
    )

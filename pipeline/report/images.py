"""Sections with images: confident mistakes, likely label errors, near-duplicates, plain images and a map.

Of each data set one trial counts: the one with the best score on all training rows whose predictions are kept. Work is
bounded by rows, and thumbnails by bytes, which the data sets share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import CryoprobeError
from ..mistakes import Mistakes, mistakes
from .images_duplicates import duplicates_html
from .images_labels import FOLDS, PENALTY, labels_html
from .images_map import map_of
from .images_mistakes import mistakes_html
from .images_thumbnails import PAGE_BYTES, Thumbnails
from .leaderboard import short
from .section import Chart, ReportData, Section, escaped, left_out

if TYPE_CHECKING:
    from ..trials.result import Trial

_LABEL_ROWS = 3_000
"""Rows of all data sets together whose labels are looked at."""
_DUPLICATE_ROWS = 6_000
"""Rows of all data sets together that are compared with each other."""
_POINTS = 6_000
"""Points of all maps together."""
_SHARES = {"mistakes": 0.2, "labels": 0.2, "duplicates": 0.2, "map": 0.4}
"""Of a data set's bytes for thumbnails."""


@dataclass(frozen=True)
class Shown:
    """The trial that stands for a data set.

    Parameters
    ----------
    number : int
    dataset : str
        Its short name.
    trial : Trial
    mistakes : Mistakes
        All of them.
    """

    number: int
    dataset: str
    trial: Trial
    mistakes: Mistakes

    @property
    def heading(self) -> str:
        """Data set and trial as HTML."""
        trial = self.trial
        score = "" if trial.score is None else f", {trial.metric} {trial.score:.4f}"
        said = f"{trial.model}, {trial.what}{score}, trial {trial.trial[:12]}"
        return f'<h3>{escaped(self.dataset)}</h3><p class="soft">{escaped(said)}</p>'


def sections(data: ReportData) -> list[Section]:
    """Return the sections; none if the page is to have no images."""
    if data.images is None:
        return []
    shown = best_trials(data)
    if not shown:
        return []
    thumbnails = Thumbnails(data)
    each = PAGE_BYTES / len(shown)
    html: dict[str, list[str]] = {kind: [] for kind in _SHARES}
    charts: list[Chart] = []
    for one in shown:
        for kind, share in _SHARES.items():
            thumbnails.left = int(each * share)
            try:
                found = _part(data, one, kind, thumbnails, len(shown), charts)
            except CryoprobeError as e:
                found = f"<p>{escaped(e.message)} {escaped(e.hint or '')}</p>"
            except Exception as e:  # one part that fails must not lose the others
                found = f"<p>{escaped(left_out('This part', e))}</p>"
                data.notes.append(left_out(f"{_TITLES[kind]} of {one.dataset}: this part", e))
            if found:
                html[kind].append(one.heading + found)
    data.notes.extend(thumbnails.notes())
    return [
        section
        for section in (
            Section(f"images-{kind}", title, _INTROS[kind], tuple(charts) if kind == "map" else (), "".join(html[kind]))
            for kind, title in _TITLES.items()
        )
        if section.html or section.charts
    ]


def _part(data: ReportData, one: Shown, kind: str, thumbnails: Thumbnails, shares: int, charts: list[Chart]) -> str:
    """Return one part of what is shown of a data set as HTML; the map goes into `charts`."""
    if kind == "mistakes":
        return mistakes_html(one.mistakes, thumbnails)
    if kind == "labels":
        return labels_html(data, one.trial, thumbnails, _LABEL_ROWS // shares)
    if kind == "duplicates":
        return duplicates_html(data, one.trial, thumbnails, _DUPLICATE_ROWS // shares // 2)
    points = min(3000, _POINTS // shares)
    charts.append(map_of(data, one.number, one.dataset, one.mistakes, thumbnails, points))
    return ""


_MISTAKES = (
    "Test images that the best probe of each data set got wrong, the surest first: the true class, the predicted one, "
    "and what the probe gives that."
)
_LABELS = (
    "Training images whose label a cross-validated probe contradicts (confident learning). Many are right: hard "
    f"images look like this too. Look before you correct a label. To be quick, the page takes {FOLDS} folds, "
    f"C = {PENALTY:g} and at most {_LABEL_ROWS:,} rows of all data sets together. The command takes 5 folds, chooses C "
    "and looks at all rows."
)
_DUPLICATES = (
    "Pairs that show nearly the same image. Those across train and test come first: a test image that stands in "
    "train makes the score too good. Then images of one colour. The page compares at most "
    f"{_DUPLICATE_ROWS:,} rows of all data sets together; the command compares all."
)
_MAP = (
    "Test images as the encoder sees them, in two dimensions: near points have similar embeddings. "
    "Crosses are mistakes."
)
_TITLES = {
    "mistakes": "Most confident mistakes",
    "labels": "Likely label errors",
    "duplicates": "Near-duplicates and plain images",
    "map": "Maps of the embeddings",
}
_INTROS = {"mistakes": _MISTAKES, "labels": _LABELS, "duplicates": _DUPLICATES, "map": _MAP}


def best_trials(data: ReportData) -> list[Shown]:
    """Return the best trial of each data set, of those whose predictions are kept; in the order of the trials."""
    by_dataset: dict[str, list[Trial]] = {}
    for trial in data.trials:
        if trial.predictions is not None and trial.score is not None:
            by_dataset.setdefault(str(trial.dataset), []).append(trial)
    shown: list[Shown] = []
    for name, trials in by_dataset.items():
        for trial in sorted(trials, key=lambda t: (t.draw is not None, -(t.score or 0.0), t.trial)):
            try:
                found = mistakes(data.store, trial.trial)
            except CryoprobeError:
                continue  # its predictions are lost: another trial may have them
            shown.append(Shown(len(shown), short(name), trial, found))
            break
    return shown

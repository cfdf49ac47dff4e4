"""Likely label errors of the training rows, with thumbnails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..label_errors import label_errors
from .images_thumbnails import Thumbnails
from .section import ReportData, escaped

if TYPE_CHECKING:
    from ..trials.result import Trial

SHOWN = 24

FOLDS, PENALTY = 3, 10.0
"""Folds and C of the page's cross-validation, which is to take a few seconds."""


def labels_html(data: ReportData, trial: Trial, thumbnails: Thumbnails, most: int) -> str:
    """Return a list of the most suspicious labels.

    Parameters
    ----------
    data : ReportData
    trial : Trial
    thumbnails : Thumbnails
    most : int
        Rows that are looked at.

    Raises
    ------
    CryoprobeError
        If they cannot be looked for.
    """
    if "map" in trial.metrics:
        return "<p>Not looked for: rows have several labels.</p>"
    found = label_errors(data.store, trial.trial, top=SHOWN, folds=FOLDS, C=PENALTY, max_rows=most)
    said = f"{found.found:,} of {found.of:,} training labels are suspicious; {len(found)} are shown."
    more = "".join(f" {note}." for note in found.notes)
    items = [
        f"<li>{thumbnails.html(found.set, e.row, e.name or f'row {e.row}')}<span>labelled {escaped(e.given)}</span>"
        f"<span>rather {escaped(e.suggested)} <b>{e.suggested_probability:.3f}</b></span>"
        f'<span class="soft">{escaped(e.name or f"row {e.row}")}</span></li>'
        for e in found
    ]
    command = f"cryoprobe label-errors {trial.trial[:12]} --store {data.store.url}"
    return (
        f"<p>{said}{escaped(more)} All of them: <code>{escaped(command)}</code></p>"
        f'<ul class="thumbs">{"".join(items)}</ul>'
    )

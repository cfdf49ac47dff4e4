"""`compare`: whether one encoder is better than another, on the same test samples, from what is kept with trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import BadInput, NotFound
from ..stores.opening import open_store
from ..stores.store import Store
from .comparing.aligned import PredictionReader
from .comparing.comparison import Comparison
from .comparing.holm import holm
from .comparing.pairs import PairComparison, compare_pair
from .comparing.places import Column
from .comparing.ranks import Ranking, ranking
from .comparing.sides import Side, columns_of, sides_of
from .results import results


def compare(
    store: str | Path | Store,
    *which: str,
    dataset: str | None = None,
    protocol: str | None = None,
    probe: str | None = None,
    top: int = 10,
) -> Comparison:
    """Compare models on the same test samples.

    Nothing is encoded or fitted: it reads the predictions that are kept with trials. Two models are compared wherever
    both were probed in the same way on the same data set. See docs/comparing.md for the tests.

    Parameters
    ----------
    store : str, Path or Store
    *which : str
        Two or more: models as they were extracted (or a row of `Trials.pivot`, such as ``timm:m (cls)``), or ids of
        trials or sets, or the first digits of them (four at least).
    dataset, protocol, probe : str, optional
        Only trials of these, as `results` takes them.
    top : int
        Samples to list that only one model has right, of either.

    Returns
    -------
    Comparison
        p values are corrected for all its pairs and data sets (Holm).

    Raises
    ------
    NotFound
        If there is no such model, trial or set; or if the models have no data set and probe in common.
    BadInput
        If a name fits several extractions; if the trials share no test sample, or report different scores.
    """
    if top < 0:
        raise BadInput(f"top is 0 or more, not {top}.", key="top", found=top)
    if len(which) < 2 or len({*which}) < len(which):
        raise BadInput("Two different models, or more, are compared.", hint="Name each once: A B", key="which")
    opened = open_store(store)
    sides = sides_of(opened, which, results(opened, dataset=dataset, protocol=protocol, probe=probe))
    columns = columns_of(sides)
    reader, pairs, notes = PredictionReader(opened), [], [note for side in sides for note in side.notes]
    unequal: set[Column] = set()
    for column, having in columns:
        for one, other in combinations(having, 2):
            cells = one.cells[column], other.cells[column]
            found = compare_pair(reader, (one.label, other.label), column, cells, top)
            if isinstance(found, PairComparison):
                pairs.append(found)
                notes += found.notes
                unequal |= set() if found.same_rows else {column}
            else:
                unequal.add(column)
                notes.append(found)
    if not pairs:
        raise NotFound("There is nothing to compare.", hint="\n  ".join(dict.fromkeys(notes)))
    corrected = holm(np.array([pair.p for pair in pairs])).tolist()
    if unequal and len(columns) > 1:
        notes.append(f"ranks are not over {', '.join(sorted(column.text for column in unequal))}: see above")
    found_ranking, said = _ranking(sides, columns, unequal)
    return Comparison(
        models=tuple(side.label for side in sides),
        pairs=tuple(replace(pair, p_corrected=p) for pair, p in zip(pairs, corrected, strict=True)),
        ranking=found_ranking,
        notes=tuple(dict.fromkeys([*notes, *said])),
    )


def _ranking(
    sides: Sequence[Side], columns: Sequence[tuple[Column, list[Side]]], unequal: set[Column]
) -> tuple[Ranking | None, list[str]]:
    """Rank the models over the data sets that all have in one setting, by the probe that most data sets have.

    Not over those that are `unequal`: of other test samples, or with a score that is in doubt.
    """
    groups: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for column, having in columns:
        cells = [side.cells[column] for side in having]
        scores = [cell.score for cell in cells]
        alike = not any(cell.apart for cell in cells) and column not in unequal
        if alike and len(having) == len(sides) and None not in scores:
            key = column.what, column.draw, column.metric
            groups.setdefault(key, {})[column.dataset] = [score for score in scores if score is not None]
    if not groups:
        return None, []
    chosen = max(groups, key=lambda key: len(groups[key]))
    datasets = groups[chosen]
    if len(datasets) < 2:
        return None, []
    said = []
    if len(groups) > 1:
        what = ", ".join(dict.fromkeys(part for part in chosen if part != "all"))
        said.append(f"ranks are over the {len(datasets)} data sets with {what}; --protocol or --probe chooses another")
    found = ranking([side.label for side in sides], [*datasets], np.array([*datasets.values()]))
    return found, said

"""What people see of a comparison: the sentence, where the models differ, and ranks over data sets. Formatting only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...amounts import count
from .console import note, out, table
from .matrix_tables import short_names

if TYPE_CHECKING:
    from ...pipeline.comparing.comparison import Comparison
    from ...pipeline.comparing.pairs import PairComparison
    from ...pipeline.comparing.ranks import Ranking

_MOST_CLASSES = 10


def comparison(found: Comparison) -> None:
    """Print `cryoprobe compare`."""
    if len(found.pairs) == 1:
        out(found.pair.sentence)
        _pair(found.pair)
    else:
        _pairs(found)
    if found.ranking is not None:
        _ranking(found.ranking)
    for line in found.notes:
        note(f"note: {line}")


def _pair(pair: PairComparison) -> None:
    """Print the classes in which two models differ most, and samples that only one has right."""
    bootstrap = "" if pair.p_bootstrap is None else f"; interval: bootstrap, whose own p is {pair.p_bootstrap:.2g}"
    out(f"{pair.a}: {pair.score_a:.4f}, {pair.b}: {pair.score_b:.4f} (p: {pair.test}{bootstrap})")
    if pair.test == "intervals":
        return
    differing = [c for c in pair.classes if c.a != c.b][:_MOST_CLASSES]
    if differing:
        out("")
        out(f"Classes that differ most, of {len(pair.classes):,} (share of rows that is right; p corrected for all):")
        rows = [[c.name, c.rows, c.a, c.b, f"{c.a - c.b:+.4f}", f"{c.p:.2g}"] for c in differing]
        table(["class", "rows", "A", "B", "A less B", "p"], rows)
    for side, name, number in (("a", pair.a, pair.only_a), ("b", pair.b, pair.only_b)):
        listed = [example for example in pair.examples if example.right == side]
        out("")
        left = f", {len(listed)} of them" if len(listed) < number else ""
        out(f"{count(number, 'row')} that only {'A' if side == 'a' else 'B'}, {name}, has right{left}:")
        if listed:
            named = any(example.name is not None for example in listed)
            columns = ["row", *(["name"] if named else []), "true", "A says", "B says"]
            table(
                columns,
                [[e.row, *([e.name or "-"] if named else []), e.true or "-", e.a or "-", e.b or "-"] for e in listed],
            )
    out("")


def _pairs(found: Comparison) -> None:
    """Print a row for each pair and data set."""
    names = short_names([pair.column.dataset for pair in found.pairs])
    columns = ["dataset", "with", "draw", "metric", "A", "B", "A less B", "95 %", "p", "better", "rows"]
    rows = []
    for pair in found.pairs:
        better = (pair.a if pair.difference > 0 else pair.b) if pair.differs else "-"
        interval = f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}"
        rows.append(
            [
                *(names[pair.column.dataset], pair.column.what, pair.column.draw, pair.column.metric, pair.a, pair.b),
                *(f"{100 * pair.difference:+.1f}", interval, f"{pair.p_corrected:.2g}", better, pair.rows),
            ]
        )
    table(columns, rows, spare=["metric", "rows", "draw", "95 %", "with"])
    told = sum(pair.differs for pair in found.pairs)
    of = f"{told:,} of {count(len(found.pairs), 'comparison')}"
    out(f"{of} are significant (5 %); p is corrected for all (Holm), intervals are not")
    if len(found.models) == 2:
        a, b = found.models
        wins = [sum(p.differs and (p.difference > 0) == first for p in found.pairs) for first in (True, False)]
        out(f"{a} is better in {wins[0]:,}, {b} in {wins[1]:,}; --dataset and --probe show one in full")


def _ranking(ranking: Ranking) -> None:
    """Print mean ranks; bars join models that cannot be told apart (Demsar's critical-difference diagram)."""
    over = f"Mean ranks over {count(len(ranking.datasets), 'data set')}"
    doubt = "too few data sets to test" if ranking.p is None else f"{ranking.test} p = {ranking.p:.2g}"
    out("")
    out(f"{over} ({doubt}):")
    for line in rank_lines(ranking.models, ranking.mean_ranks, ranking.groups):
        out(line)
    if ranking.critical_difference is not None:
        joined = "a bar joins models that cannot be told apart" if ranking.groups else "all can be told apart"
        out(f"  critical difference {ranking.critical_difference:.2f} (Nemenyi, 5 %): {joined}")


def rank_lines(models: Sequence[str], ranks: Sequence[float], groups: Sequence[Sequence[str]]) -> list[str]:
    r"""Return a line for each model, with a bar for each group that it is in.

    Examples
    --------
    >>> print("\n".join(rank_lines(["a", "b", "c"], [1.2, 1.8, 3.0], [["a", "b"], ["b", "c"]])))
      1.20  │    a
      1.80  │ │  b
      3.00    │  c
    """
    lines = []
    for model, rank in zip(models, ranks, strict=True):
        bars = " ".join("│" if model in group else " " for group in groups)
        lines.append(f"  {rank:.2f}  {f'{bars}  ' if groups else ''}{model}")
    return lines

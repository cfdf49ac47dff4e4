"""What `compare` returns: every pair of models on every data set that both have, and their ranks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from ...amounts import count
from ...notebook import Cell as Shown
from ...notebook import data_frame, html_table
from .pairs import PairComparison
from .ranks import Ranking

if TYPE_CHECKING:
    import pandas

_SHOWN = ("dataset", "what", "draw", "a", "b", "metric", "difference", "low", "high", "p_corrected", "rows")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Comparisons of two or more models.

    Parameters
    ----------
    models : tuple of str
        What is compared, in the order in which it was asked for.
    pairs : tuple of PairComparison
        By data set and probe, then pair.
    ranking : Ranking or None
        Over data sets; None if there is only one.
    notes : tuple of str
        What is to be said: what was left out, guessed or could not be tested.
    """

    models: tuple[str, ...]
    pairs: tuple[PairComparison, ...]
    ranking: Ranking | None
    notes: tuple[str, ...]

    @property
    def pair(self) -> PairComparison:
        """The only pair; see `pairs` for several.

        Raises
        ------
        ValueError
            If there are several.
        """
        if len(self.pairs) > 1:
            raise ValueError(f"These are {len(self.pairs)} comparisons: read .pairs.")
        return self.pairs[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each pair, with its uncertainty."""
        return tuple(pair.sentence for pair in self.pairs)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        return {
            "models": list(self.models),
            "pairs": [pair.document for pair in self.pairs],
            "ranking": None if self.ranking is None else self.ranking.document,
            "notes": list(self.notes),
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each pair and data set.

        Raises
        ------
        NotFound
            If pandas is not installed.
        """
        return data_frame([_row(pair) for pair in self.pairs])

    def write_diagram(self, file: str | Path) -> None:
        """Draw the models' mean ranks, and which cannot be told apart, as a PNG file.

        Raises
        ------
        BadInput
            If there are no ranks: they need three models on two data sets.
        NotFound
            If the extra ``report`` is not installed.
        ReadOnly, Unavailable
            If the file cannot be written.
        """
        from .diagram import write_diagram

        write_diagram(self.ranking, Path(file))

    def __repr__(self) -> str:
        """Say what was found."""
        if len(self.pairs) == 1:
            return f"<Comparison: {self.pairs[0].sentence}>"
        told = sum(pair.differs for pair in self.pairs)
        pairs = count(len(self.pairs), "comparison")
        return f"<Comparison of {len(self.models)} models: {told} of {pairs} significant, corrected for all (Holm)>"

    def _repr_html_(self) -> str:
        rows = [_row(pair) for pair in self.pairs]
        return html_table(repr(self)[1:-1], list(_SHOWN), [[row[name] for name in _SHOWN] for row in rows])


def _row(pair: PairComparison) -> dict[str, Shown]:
    fields: dict[str, Any] = asdict(pair)
    left = ("column", "trials", "classes", "examples", "notes", "same_rows")
    return {**fields["column"], **{k: v for k, v in fields.items() if k not in left}, "differs": pair.differs}

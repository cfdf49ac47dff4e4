"""What people see of rows: the samples of a set, and the test rows that a probe got wrong. Formatting only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from ...amounts import be, count
from ...errors import BadInput
from .console import note, out, table
from .formats import csv_table
from .predictions import FORMATS, csv_writer, sink

if TYPE_CHECKING:
    from ...pipeline.mistakes import Mistakes
    from ...stores.samples import Samples


def first(samples: bool, limit: int | None) -> slice | None:
    """Return the rows that ``--limit`` leaves.

    Raises
    ------
    BadInput
        If it is no number of rows, or samples are not asked for.
    """
    if not samples:
        raise BadInput("--limit is of --samples.", hint="Give --samples too, or leave --limit out.", key="limit")
    if limit is not None and limit < 1:
        raise BadInput(f"--limit is 1 or more, not {limit}.", key="limit", found=limit)
    return None if limit is None else slice(limit)


def samples(found: Samples, *, as_json: bool) -> None:
    """Print `cryoprobe show SET --samples`, row by row."""
    screen = sink(sys.stdout)
    if as_json:
        for row, sample in enumerate(found):
            screen.write("[\n" if not row else ",\n")
            screen.write(json.dumps({"row": row, **sample._asdict()}, ensure_ascii=True))
        screen.write("\n]\n" if len(found) else "[]\n")
    else:
        rows = csv_writer(screen)
        rows.writerow(["row", "sample", "name", "label"])
        for row, sample in enumerate(found):
            rows.writerow([row, sample.id, _utf8(sample.name or ""), _utf8(sample.label_text)])
    screen.flush()
    if not found.has_names:
        note("note: the samples have no names: an older version made the set, and extract, run again, writes them")


def mistakes(found: Mistakes, *, form: str = "table") -> None:
    """Print `cryoprobe mistakes`.

    Raises
    ------
    BadInput
        If there is no such form.
    """
    if form == "json":
        out(json.dumps(found.document))
        return
    named = any(m.name is not None for m in found)
    value = {"none": "value"}.get(found.measure, found.measure)
    of_true = any(m.true_value is not None for m in found)
    columns = ["row", *(["name"] if named else []), "true", "predicted", value, *(["of true"] if of_true else [])]
    rows = [
        [m.row, *([m.name or "-"] if named else []), m.true or "-", m.predicted or "-", _number(m.value)]
        + ([_number(m.true_value)] if of_true else [])
        for m in found
    ]
    if form == "csv":
        out(csv_table([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        surest = "the surest is listed" if len(found) == 1 else f"the {len(found):,} surest are listed"
        left = f" ({surest}; --top has more)" if len(found) < found.wrong else ""
        out(f"{found.wrong:,} of {count(found.of, 'test row')} of set {found.set[:12]} {be(found.wrong)} wrong{left}")
        if rows:
            table(columns, rows, spare=["of true", value, "row"])
    for line in found.notes:
        note(f"note: {line}")


def check_form(form: str) -> None:
    """Refuse a format that does not exist, before anything is read."""
    known = ("table", *FORMATS)
    if form not in known:
        raise BadInput(f"There is no format {form!r}.", hint=f"Give one of {', '.join(known)}.", key="format")


def _number(value: float | None) -> float | str:
    return "-" if value is None else value


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair cannot be printed

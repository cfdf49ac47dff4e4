"""What people see: progress, tables, and errors. Formatting only."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.text import Text

from ...amounts import count
from ...class_names import distinct
from ...printable import one_line, plain
from ...progress import Reporter, Unit
from ...progress_bar import Bar, Counts
from ..quiet import is_quiet
from . import tables
from .describing import brief, describe
from .wording import remarks, size, when

if TYPE_CHECKING:
    from ...pipeline.datasets.containers.spool import SpoolState
    from ...pipeline.quickstart import Quickstart
    from ...pipeline.saved import ProbeHeader
    from ...stores.backends.cache import CacheState
    from ...stores.backends.object_cache import Usage
    from ...stores.format.names import NamedSet
    from ...stores.keeping.verify import Verification
    from ...stores.moving.copying import Moved
    from ...stores.moving.export import Exported

Value = TypeVar("Value")

_LINE_SECONDS = 10.0

# The order of scores. What a probe of somebody's own adds comes after them. Stored results are in alphabetical order.
_SCORES = (
    *("top1", "top5", "mean_per_class_recall", "map", "map_11_point", "macro_f1", "micro_f1", "subset_accuracy"),
    *("nll", "ece", "roc_auc"),
)


def reporter(*, logged: bool = True) -> Reporter:
    """Return a bar if a person watches standard error; else lines of what is `logged`, or nothing. Nothing if quiet."""
    if is_quiet.get():
        return Reporter()
    if sys.stderr.isatty():
        return Bar()
    return Lines() if logged else Reporter()


class Lines(Reporter):
    """A line every ten seconds, for logs."""

    def __init__(self) -> None:
        self._title, self._total, self._unit = "", 0, "samples"
        self._counts = Counts()
        self._done = 0
        self._last = 0.0

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:  # noqa: D102
        self._title, self._total, self._unit = title, total, unit
        self._counts, self._done = Counts(), 0
        self._last = time.monotonic()

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._counts.add(encoded, reused, failed)
        self._done += n + encoded + reused + failed
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self._line()

    def end(self) -> None:  # noqa: D102
        self._line()

    def note(self, message: str) -> None:  # noqa: D102
        err(message)

    def _line(self) -> None:
        if self._unit == "samples":
            done = f"{self._done}/{self._total}  {self._counts}"
        elif self._unit == "bytes":
            done = f"{size(self._done)} of {size(self._total)}"
        else:
            done = f"{self._done:,} of {count(self._total, 'object')}"
        err(f"{self._title}: {done}")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    spare: Sequence[str] | None = None,
    more: str = "a wider terminal or --json has all",
) -> None:
    """Print a table: fitted to a terminal, whole where it is piped (to be cut and grepped).

    A line below gives the columns that did not fit, with the value of those that are the same in all rows.

    Parameters
    ----------
    columns : sequence of str
        Heads.
    rows : sequence of sequence
    spare : sequence of str, optional
        Heads of columns that a narrow terminal may lack, the least important first; see `tables.fit`.
    more : str
        Where those are found.
    """
    cells = [[cell_text(name, value) for name, value in zip(columns, row, strict=True)] for row in rows]
    numeric = [all(isinstance(row[i], int | float) or row[i] in ("", "-") for row in rows) for i in range(len(columns))]
    screen = terminal()
    if screen is None:
        for line in tables.full(columns, cells, numeric):
            print(line)
        return
    same, spare = constant(columns, cells), tables.default_spare(columns) if spare is None else spare
    # Words that are the same in all rows go first: a line says them.
    words = [
        head for head, number in zip(columns, numeric, strict=True) if head in same and head in spare and not number
    ]
    fitted = tables.fit(columns, cells, numeric, screen.width, [*words, *(head for head in spare if head not in words)])
    _styled(screen, fitted.head, "bold")
    # Rich is slow for thousands of rows, and they have no style. Its file may be another one than standard output.
    print(*fitted.lines, sep="\n", end="\n" if fitted.lines else "", file=screen.file, flush=True)
    left_out = [head for head in fitted.left_out if head not in same]
    shared = [f"{head} {cells[0][columns.index(head)]}" for head in fitted.left_out if head in same]
    if shared := [text for text in shared if not text.endswith((" ", " -"))]:
        for line in textwrap.wrap(f"The same in all rows: {', '.join(shared)}", screen.width, subsequent_indent="  "):
            _styled(screen, line, "dim")
    if left_out:
        named = f"Left out: {', '.join(left_out)} ({more})"
        counted = f"{count(len(left_out), 'column')} left out ({more})"
        _styled(screen, named if len(named) <= screen.width else counted, "dim")


def constant(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the heads of columns that are the same in all of several rows."""
    if len(rows) < 2:
        return []
    return [name for name, *cells in zip(columns, *rows, strict=True) if len({*cells}) == 1]


def terminal() -> Console | None:
    """Return the terminal on which results are read, or None where they are piped."""
    return Console() if sys.stdout.isatty() else None


def _styled(screen: Console, text: str, style: str) -> None:
    screen.print(Text(text, style=style), no_wrap=True, overflow="ignore", crop=False)


def named_sets(found: Sequence[NamedSet], *, more: str = "a wider terminal or --json has all") -> None:
    """Print `cryoprobe ls`; `more` as for `table`."""
    columns = ["set", "model", "dataset", "split", "tap", "rows", "dim", "size", "extracted", "remarks"]
    rows = [
        [
            *(n.set[:12], n.name.model, n.name.dataset, n.name.split, n.name.tap),
            *(n.rows, n.dim, size(n.size), when(n.named)),
            remarks(
                n.name.model_dump(),
                f"{n.failed} failed" if n.failed else "",
                f"from {n.origin.place}, not trusted" if n.origin else "",
            ),
        ]
        for n in found
    ]
    table(columns, rows, spare=["dim", "size", "extracted", "remarks", "tap", "rows", "split"], more=more)


def described(description: Mapping[str, Any]) -> None:
    """Print `cryoprobe show`."""
    for line in describe(description):
        out(line)


def saved_probe(header: ProbeHeader) -> None:
    """Print `cryoprobe predict --probe-file FILE`: what the file says of itself."""
    encoder = header.encoder
    name = encoder.name
    said = encoder.spec.get("architecture") if name is None else f"{name.model}, {name.tap}"
    options = remarks(name.model_dump()) if name is not None else ""
    out(f"{header.probe or header.kind} on {said}{f' ({options})' if options else ''}")
    out(f"encoder: {encoder.id}")
    out(f"features: {header.features}, d = {header.dim:,}{''.join(f', {step}' for step in header.before)}")
    out(f"gives: {header.probability or 'scores, no probabilities'}{', of flags' if header.multilabel else ''}")
    out(f"{count(len(header.classes), 'class', 'classes')}: {brief(distinct(header.classes))}")
    rows = ", ".join(f"{part} {n:,}" for part, n in header.rows.items() if n)
    out(f"trained on: {header.dataset or '-'}{f' ({rows})' if rows else ''}, {when(header.created)}")
    chosen = ", ".join(f"{k} = {v}" for k, v in {**header.params, **header.chosen}.items())
    out(f"protocol: {header.protocol or '-'}; {chosen or 'no parameters'}; trial {(header.trial or '-')[:12]}")
    if header.metrics:
        metrics = in_order(header.metrics)
        metrics.pop("nll_rows", None)  # not a score
        table(list(metrics), [list(metrics.values())], more="a wider terminal or --format json has all")


def verification(found: Verification) -> None:
    """Print `cryoprobe verify`."""
    for damage in found.damages:
        out(f"{damage.problem}: {damage.key}: expected {damage.expected}, found {damage.found}")
        out(f"  needed by {damage.seal}")
    left = found.objects - found.hashed
    how = "every byte hashed" if found.data else "sizes only; --data reads and hashes every byte"
    if found.data and left:
        how = (
            f"{count(found.hashed, 'object')} hashed, {size(found.hashed_bytes)}; of the other {left:,} only the sizes"
        )
    parts = [count(found.sets, "set"), count(found.units, "unit"), count(found.objects, "object"), size(found.bytes)]
    out(f"{', '.join(parts)} ({how}): {f'{len(found.damages):,} damaged' if found.damages else 'clean'}")


def cache(state: CacheState, spool: SpoolState, removed: tuple[Usage, SpoolState] | None) -> None:
    """Print `cryoprobe cache`."""
    if removed is not None:
        objects, shards = removed
        out(f"removed {count(objects.objects, 'object')}, {size(objects.bytes)}")
        out(f"removed {count(shards.files, 'shard')}, {size(shards.bytes)}")
    out(f"folder: {state.folder}")
    out(f"holds: {count(state.objects, 'object')}, {size(state.bytes)}")
    out(f"at most: {size(state.size) if state.size else '0: nothing is kept'}")
    out(f"shards of data sets: {spool.folder}")
    out(f"holds: {count(spool.files, 'shard')}, {size(spool.bytes)}")
    out(f"at most: {size(spool.size) if spool.size else '0: nothing is kept'}")


def moved(found: Moved) -> None:
    """Print `cryoprobe push`, `pull` and each way of `sync`."""
    if found.sets:
        outcomes = _WOULD if found.dry_run else {}
        rows = [[s.set[:12], outcomes.get(s.outcome, s.outcome), s.objects, size(s.bytes)] for s in found.sets]
        table(["set", "outcome", "objects", "size"], rows)
    counts = {"object": found.objects, "unit": found.units, "name": found.names, "trial": found.trials}
    travelled = [count(n, what) for what, n in counts.items() if n]
    if found.sample_names:
        travelled.append(count(found.sample_names, "list of sample names", "lists of sample names"))
    if found.predictions:
        travelled.append(f"the lost predictions of {count(found.predictions, 'trial')}")
    verb = "would travel" if found.dry_run else "travelled"
    weight = f" ({size(found.bytes)})" if found.bytes else ""
    said = f"{', '.join(travelled)}{weight} {verb}" if travelled else "nothing to move"
    out(f"{said} from {found.source} to {found.target}")
    for line in found.notes:
        note(line)
    if found.remedy is not None and found.sets:
        note(
            "Not trusted: what came can be listed, verified and probed by id, and its rows, names and trials do not "
            f"stand in for the store's own. To trust it: {found.remedy}"
        )


_WOULD = {"moved": "would move", "completed": "would be completed", "adopted": "would be adopted"}
"""What a dry run says instead of what a transfer does."""


def exported(done: Exported) -> None:
    """Print `cryoprobe export`."""
    what = "" if done.format == "zip" else f", {done.features} embeddings"
    out(f"{done.file}: set {done.set[:12]}, {count(done.rows, 'row')}, d = {done.dim:,}{what} ({size(done.bytes)})")


def quickstart(done: Quickstart) -> None:
    """Print `cryoprobe quickstart`."""
    first, second = done.first, done.second
    out("")
    table(
        ["step", "images", "encoded", "seconds"],
        [
            ["extract", first.rows + first.failed, first.encoded, first.seconds],
            ["extract again", second.rows + second.failed, second.encoded, second.seconds],
        ],
    )
    out("")
    table(
        ["probe", "chosen", "top1", "mean recall", "test images", "seconds", "from the store"],
        [
            [
                sweep.trial.probe,
                sweep.trial.chosen_values() or "-",
                sweep.trial.metrics["top1"],
                sweep.trial.metrics["mean_per_class_recall"],
                sweep.trial.rows.test,
                sweep.seconds,
                "yes" if sweep.cached else "no",
            ]
            for sweep in done.trials
        ],
    )
    out(f"\nThe features are in {done.store}. Try next:")
    for command in done.commands:
        out(f"  {command}")


def in_order(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Return metrics in the order in which they are always listed, whether they were computed or stored."""
    known = {name: metrics[name] for name in _SCORES if name in metrics}
    return known | {name: metrics[name] for name in sorted(metrics)}


def out(text: str) -> None:
    """Print to standard output, `plain`."""
    print(plain(text), flush=True)


def note(text: str) -> None:
    """Print what is worth knowing to standard error, unless the command is quiet."""
    if not is_quiet.get():
        err(text)


def err(text: str) -> None:
    """Print to standard error, `plain`."""
    print(plain(text), file=sys.stderr, flush=True)


def cell_text(column: str, value: Any) -> str:
    """Return a value as a table has it."""
    if isinstance(value, float):
        return f"{value:.1f}" if column == "seconds" else f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return one_line(str(value))

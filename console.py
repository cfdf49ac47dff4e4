"""What people see: progress bars and lines, tables, and errors. Formatting only."""

from __future__ import annotations

import datetime
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from .pipeline.progress import Reporter

if TYPE_CHECKING:
    from .pipeline.quickstart import Quickstart
    from .pipeline.saved import ProbeHeader
    from .stores.backends.cache import CacheState
    from .stores.backends.object_cache import Usage
    from .stores.moving.carry import Moved
    from .stores.moving.export import Exported
    from .stores.names import NamedSet
    from .stores.signatures import SetSignatures
    from .stores.verify import Verification

_LINE_SECONDS = 10.0
_PRETTY_ROWS = 200


def reporter() -> Reporter:
    """Return a bar where a person watches standard error, else lines."""
    return Bar() if sys.stderr.isatty() else Lines()


class Bar(Reporter):
    """A progress bar with images/s, time left, and how many samples were encoded, reused and failed."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._counts = _Counts()

    def begin(self, title: str, total: int) -> None:  # noqa: D102
        self._counts = _Counts()
        counts = TextColumn("{task.fields[counts]}")
        self._start(title, total, MofNCompleteColumn(), TimeRemainingColumn(), counts)

    def _start(self, title: str, total: int, *columns: ProgressColumn) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *columns,
            console=self._console,
            redirect_stdout=False,  # rich would print a command's results to standard error
        )
        self._progress.start()
        self._task = self._progress.add_task(_line(title), total=total, counts="")

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._counts.add(encoded, reused, failed)
        if self._progress is not None:
            self._progress.update(self._task, advance=encoded + reused + failed, counts=str(self._counts))

    def begin_bytes(self, title: str, total: int) -> None:  # noqa: D102
        self._start(title, total, DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())

    def advance_bytes(self, n: int) -> None:  # noqa: D102
        if self._progress is not None:
            self._progress.update(self._task, advance=n)

    def end(self) -> None:  # noqa: D102
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def note(self, message: str) -> None:  # noqa: D102
        self._console.print(plain(message), style="dim", markup=False, highlight=False)


class Lines(Reporter):
    """A line every ten seconds, for logs."""

    def __init__(self) -> None:
        self._title, self._total = "", 0
        self._counts = _Counts()
        self._bytes: int | None = None  # done, of a task that counts bytes
        self._last = 0.0

    def begin(self, title: str, total: int) -> None:  # noqa: D102
        self._title, self._total = title, total
        self._counts, self._bytes = _Counts(), None
        self._last = time.monotonic()

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._counts.add(encoded, reused, failed)
        self._line_in_time()

    def begin_bytes(self, title: str, total: int) -> None:  # noqa: D102
        self.begin(title, total)
        self._bytes = 0

    def advance_bytes(self, n: int) -> None:  # noqa: D102
        self._bytes = (self._bytes or 0) + n
        self._line_in_time()

    def end(self) -> None:  # noqa: D102
        self._line()

    def _line_in_time(self) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self._line()

    def note(self, message: str) -> None:  # noqa: D102
        err(message)

    def _line(self) -> None:
        if self._bytes is None:
            done = f"{self._counts.done}/{self._total}  {self._counts}"
        else:
            done = f"{size(self._bytes)} of {size(self._total)}"
        err(f"{self._title}: {done}")


class _Counts:
    """How many samples are done, by how, and how fast the encoder is."""

    def __init__(self) -> None:
        self.encoded = self.reused = self.failed = 0
        self._started = time.monotonic()

    @property
    def done(self) -> int:
        return self.encoded + self.reused + self.failed

    def add(self, encoded: int, reused: int, failed: int) -> None:
        self.encoded += encoded
        self.reused += reused
        self.failed += failed

    def __str__(self) -> str:
        speed = self.encoded / max(time.monotonic() - self._started, 1e-9)
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{speed:.0f} images/s · {self.encoded} encoded, {self.reused} reused{failed}"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; plain, one line a row however long, where it is piped (to be cut and grepped) or has many rows."""
    cells = [[_cell(name, value) for name, value in zip(columns, row, strict=True)] for row in rows]
    numeric = [all(isinstance(row[i], int | float) or row[i] in ("", "-") for row in rows) for i in range(len(columns))]
    if not sys.stdout.isatty() or len(rows) > _PRETTY_ROWS:
        # Rich takes a second for a thousand rows.
        lines = [list(columns), *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True))
            print("  ".join(padded).rstrip())
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column, number in zip(columns, numeric, strict=True):
        grid.add_column(column, justify="right" if number else "left", overflow="fold")
    for line in cells:
        grid.add_row(*(escape(cell) for cell in line))
    Console().print(grid, markup=False)


def named_sets(found: Sequence[NamedSet]) -> None:
    """Print `cryoprobe ls`."""
    columns = ["set", "model", "dataset", "split", "tap", "rows", "dim", "size", "extracted", "remarks"]
    rows = [
        [
            *(n.set[:12], n.name.model, n.name.dataset, n.name.split, n.name.tap),
            *(n.rows, n.dim, size(n.size), when(n.named)),
            remarks(n.name.model_dump(), f"{n.failed} failed" if n.failed else ""),
        ]
        for n in found
    ]
    table(columns, rows)


def remarks(name: Mapping[str, Any], *more: str) -> str:
    """Return the options with which a set was extracted, where they are not the usual ones, and further remarks."""
    checkpoint, limit, side = name.get("checkpoint"), name.get("limit"), name.get("image_size")
    dtype = name.get("stored_dtype", "float16")
    found = [
        f"untrained (seed {name.get('seed')})" if name.get("untrained") else "",
        f"checkpoint {str(checkpoint)[:8]}" if checkpoint else "",
        f"limit {limit} (seed {name.get('limit_seed')})" if limit else "",
        f"image size {side}" if side else "",
        dtype if dtype != "float16" else "",
        *more,
    ]
    return ", ".join(r for r in found if r)


def described(description: Mapping[str, Any]) -> None:
    """Print `cryoprobe show`."""
    for key, value in description.items():
        if isinstance(value, Mapping):
            out(f"{key}:")
            for name, item in value.items():
                out(f"  {_line(name)}: {_brief(item)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            out(f"{key}:")
            for item in value:
                out(
                    "  "
                    + ", ".join(f"{k} {_line(str(v))}" for k, v in item.items() if v is not None and v is not False)
                )
        else:
            out(f"{key}: {_brief(value)}")


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
    out(f"{len(header.classes):,} classes: {_brief(list(header.classes))}")
    rows = ", ".join(f"{part} {n:,}" for part, n in header.rows.items() if n)
    out(f"trained on: {header.dataset or '-'}{f' ({rows})' if rows else ''}, {when(header.created)}")
    chosen = ", ".join(f"{k} = {v}" for k, v in {**header.params, **header.chosen}.items())
    out(f"protocol: {header.protocol or '-'}; {chosen or 'no parameters'}; trial {(header.trial or '-')[:12]}")
    if header.metrics:
        table(list(header.metrics), [list(header.metrics.values())])


def verification(found: Verification) -> None:
    """Print `cryoprobe verify`."""
    for damage in found.damages:
        out(f"{damage.problem}: {damage.key}: expected {damage.expected}, found {damage.found}")
        out(f"  needed by {damage.seal}")
    left = found.objects - found.hashed
    how = "every byte hashed" if found.data else "sizes only; --data reads and hashes every byte"
    if found.data and left:
        how = f"{found.hashed} objects hashed, {size(found.hashed_bytes)}; of the other {left} only the sizes"
    looked = f"{found.sets} sets, {found.units} units, {found.objects} objects, {size(found.bytes)} ({how})"
    out(f"{looked}: {f'{len(found.damages)} damaged' if found.damages else 'clean'}")


def cache(state: CacheState, removed: Usage | None) -> None:
    """Print `cryoprobe cache`."""
    if removed is not None:
        out(f"removed {removed.objects:,} objects, {size(removed.bytes)}")
    out(f"folder: {state.folder}")
    out(f"holds: {state.objects:,} objects, {size(state.bytes)}")
    out(f"at most: {size(state.size) if state.size else '0: nothing is kept'}")


def moved(found: Moved) -> None:
    """Print `cryoprobe push`, `pull` and each way of `sync`."""
    if found.sets:
        rows = [[s.set[:12], s.outcome, s.objects, size(s.bytes)] for s in found.sets]
        table(["set", "outcome", "objects", "size"], rows)
    counts = {"objects": found.objects, "units": found.units, "names": found.names, "trials": found.trials}
    travelled = [f"{n:,} {what if n > 1 else what[:-1]}" for what, n in counts.items() if n]
    verb = "would travel" if found.dry_run else "travelled"
    said = f"{', '.join(travelled)} ({size(found.bytes)}) {verb}" if travelled else "nothing to move"
    out(f"{said} from {found.source} to {found.target}")


def exported(done: Exported) -> None:
    """Print `cryoprobe export`."""
    what = "" if done.format == "zip" else f", {done.features} embeddings"
    out(f"{done.file}: set {done.set[:12]}, {done.rows:,} rows, d = {done.dim:,}{what} ({size(done.bytes)})")


def signatures(found: Sequence[SetSignatures]) -> None:
    """Print what `cryoprobe verify --key` says of each set."""
    for s in found:
        by = f" by {', '.join(mark[:16] for mark in s.by)}" if s.by else ""
        out(f"{s.set[:12]}: {s.status}{by}{f': {s.problem}' if s.problem else ''}")


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
                t["probe"],
                ", ".join(f"{k}={v:g}" for k, v in t["chosen"].items()) or "-",
                t["metrics"]["top1"],
                t["metrics"]["mean_per_class_recall"],
                t["rows"]["test"],
                t["seconds"],
                "yes" if t["cached"] else "no",
            ]
            for t in done.trials
        ],
    )
    out(f"\nThe features are in {done.store}. Try next:")
    for command in done.commands:
        out(f"  {command}")


def _brief(value: Any) -> str:
    text = _line(", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if len(text) <= 500 else f"{text[:500]}… ({len(value):,} in all)"


# Control characters of all kinds but line feed and tab, marks that turn the direction of writing, line separators, and
# halves of a surrogate pair, which cannot be printed at all.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> str:
    r"""Return `text` with what a terminal would obey, and what would disguise it, written as ``\u001b``.

    Names, classes and errors can come from a stranger's store. The form is JSON's, so that JSON stays what it was.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _line(text: str) -> str:
    """Return `text` as `plain` does, on one line: a name must not look like another row."""
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")


def out(text: str) -> None:
    """Print to standard output, `plain`."""
    print(plain(text), flush=True)


def err(text: str) -> None:
    """Print to standard error, `plain`."""
    print(plain(text), file=sys.stderr, flush=True)


def when(milliseconds: int | None) -> str:
    """Return a time stamp as people read it, in their own time zone."""
    if not milliseconds:
        return "-"
    return datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def size(n: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if column == "seconds" else f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(_line(str(value)))

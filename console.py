"""What people see: progress bars and lines, tables, and errors. Formatting only."""

from __future__ import annotations

import datetime
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from .pipeline.progress import Reporter

if TYPE_CHECKING:
    from .pipeline.quickstart import Quickstart
    from .pipeline.saved import ProbeHeader
    from .stores.names import NamedSet
    from .stores.signatures import SetSignatures
    from .stores.verify import Verification

_LINE_SECONDS = 10.0
_PIPED_WIDTH = 240


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
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[counts]}"),
            console=self._console,
            redirect_stdout=False,  # rich would print a command's results to standard error
        )
        self._progress.start()
        self._task = self._progress.add_task(_line(title), total=total, counts="")

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._counts.add(encoded, reused, failed)
        if self._progress is not None:
            self._progress.update(self._task, advance=encoded + reused + failed, counts=str(self._counts))

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
        self._last = 0.0

    def begin(self, title: str, total: int) -> None:  # noqa: D102
        self._title, self._total = title, total
        self._counts = _Counts()
        self._last = time.monotonic()

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._counts.add(encoded, reused, failed)
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self._line()

    def end(self) -> None:  # noqa: D102
        self._line()

    def note(self, message: str) -> None:  # noqa: D102
        err(message)

    def _line(self) -> None:
        err(f"{self._title}: {self._counts.done}/{self._total}  {self._counts}")


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
    """Print a table; wide and without colour where output is piped, so that it can be cut and grepped."""
    piped = not sys.stdout.isatty()
    console = Console(width=_PIPED_WIDTH) if piped else Console()
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        numbers = all(isinstance(row[i], int | float) or row[i] in ("", "-") for row in rows)
        grid.add_column(column, justify="right" if numbers else "left", overflow="fold", no_wrap=piped)
    for row in rows:
        grid.add_row(*(_cell(name, value) for name, value in zip(columns, row, strict=True)))
    console.print(grid, markup=False)


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
    how = "every byte hashed" if found.data else "sizes only; --data reads and hashes every byte"
    looked = f"{found.sets} sets, {found.units} units, {found.objects} objects, {size(found.bytes)} ({how})"
    out(f"{looked}: {f'{len(found.damages)} damaged' if found.damages else 'clean'}")


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
    from rich.markup import escape

    if isinstance(value, float):
        return f"{value:.1f}" if column == "seconds" else f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(_line(str(value)))

"""`report`: the results of a store as one HTML page."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ...amounts import count, when
from ...errors import BadInput, CryoprobeError, NotFound
from ...files import check_writable, replacing
from ...parallel import each
from ...stores.opening import open_store
from ..comparing.matrix import Matrix, matrix_of
from ..results import results
from ..trackers import open_trackers, tell
from . import vega
from .page import Page, html_of
from .section import Chart, ImageSource, Maker, ReportData, Section, ids_of_sets, left_out
from .sections import MAKERS

if TYPE_CHECKING:
    from ...stores.feature_set import FeatureSet
    from ...stores.store import Store
    from ..trials.tables import Trials

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,119}")


class ResultFilters(TypedDict, total=False):
    """Keyword arguments that choose trials, as `results` takes them."""

    model: str | None
    dataset: str | None
    probe: str | None
    protocol: str | None


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Parameters
    ----------
    path : str
        Of the HTML file.
    size : int
        Its bytes.
    models, columns, trials : int
        What it shows.
    sections, charts : tuple of str
        Their names, in order.
    pictures : tuple of str
        Paths of the charts that were written as PNG files.
    notes : tuple of str
        What is left out or cut.
    """

    path: str
    size: int
    models: int
    columns: int
    trials: int
    sections: tuple[str, ...]
    charts: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def _repr_html_(self) -> str:
        said = f"{count(self.models, 'model')}, {count(self.columns, 'column')}, {count(self.trials, 'trial')}"
        return f"<p>{html.escape(self.path)}: {said}</p>"


def report(
    store: str | Path | Store,
    path: str | Path,
    *,
    title: str | None = None,
    images: bool = True,
    data_root: str | Path | None = None,
    png: str | Path | None = None,
    log_to: str | Sequence[str] = (),
    **filters: Unpack[ResultFilters],
) -> Report:
    """Write the results of a store as one HTML file, which requests nothing and runs in any browser.

    The page has the leaderboard, charts, what is odd, the health of the data, and the provenance of every score with
    the commands that repeat it. Needs the extra ``report``.

    Parameters
    ----------
    store : str, Path or Store
    path : str or Path
        Of the HTML file. It appears whole, or stays as it was.
    title : str, optional
        By default it names the store.
    images : bool
        Show images of those data sets that are at hand.
    data_root : str or Path, optional
        Folder of torchvision's data sets.
    png : str or Path, optional
        Write every chart as a PNG file into this folder, too. It is made if it is missing.
    log_to : str or sequence of str
        Experiment trackers that are given the page, and those of its trials that they lack; see `log_trials`.
    **filters
        ``model``, ``dataset``, ``probe`` and ``protocol`` choose trials; see `results`.

    Returns
    -------
    Report

    Raises
    ------
    NotFound
        If no trial fits, or the extra is not installed.
    BadInput, ReadOnly, Unavailable
        If the file or the folder cannot be written.

    Examples
    --------
    >>> import cryoprobe, numpy as np, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> y = np.arange(60) % 3
    >>> x = np.eye(3, 8)[y] + np.random.default_rng(0).normal(0, 0.3, (60, 8))
    >>> np.savez(folder / "all.npz", embeddings=x, labels=y)
    >>> _ = cryoprobe.add(folder / "all.npz", folder / "store", model="mine", dataset="pets", progress=False)
    >>> _ = cryoprobe.probe(folder / "store", model="mine", dataset="pets", probe="ridge", progress=False)
    >>> page = cryoprobe.report(folder / "store", folder / "report.html")
    >>> page.models, page.columns, page.trials
    (1, 1, 1)
    """
    opened = open_store(store)
    check_writable(path)
    vega.converter()
    trackers = open_trackers([log_to] if isinstance(log_to, str) else log_to)
    trials = results(opened, **filters)
    if not trials:
        raise _nothing(opened, filters)
    if png is not None:
        _make_folder(Path(png))
    source = ImageSource(None if data_root is None else Path(data_root)) if images else None
    data = ReportData(opened, trials, matrix_of(opened, trials), source, [], _sets(opened, trials))
    sections = tuple(section for maker in MAKERS for section in _made(maker, data))
    page = Page(
        title or f"Results of {_name_of(opened)}",
        _lead(data.matrix, trials),
        sections,
        tuple(dict.fromkeys((*data.matrix.notes, *data.notes))),
        f"Made by cryoprobe {version('cryoprobe')} from {opened.url}. This file is complete: it requests nothing.",
    )
    content = html_of(page, vega.bundle()).encode()
    with replacing(path) as file:
        file.write(content)
    pictures = () if png is None else tuple(str(_picture(chart, Path(png))) for chart in page.charts)
    return Report(
        str(path),
        len(content),
        len(data.matrix.models),
        len(data.matrix.columns),
        len(trials),
        tuple(section.id for section in sections),
        tuple(chart.name for chart in page.charts),
        pictures,
        (*page.notes, *tell(trackers, trials, Path(path))),
    )


def _made(maker: Maker, data: ReportData) -> list[Section]:
    """Return the sections of one maker; none if it fails, with a note: the others are worth a page."""
    try:
        return maker(data)
    except Exception as e:
        name = maker.__module__.rpartition(".")[2].removeprefix("charts_").replace("_", " ")
        data.notes.append(left_out(f"The section '{name}'", e))
        return []


def _nothing(store: Store, filters: Mapping[str, Any]) -> NotFound:
    """Return the error if there is nothing to report."""
    given = {name: value for name, value in filters.items() if value is not None}
    if given:
        words = " ".join(f"--{name} {value}" for name, value in given.items())
        return NotFound(
            f"No trial in {store.url} fits {words}.", hint=f"List them: cryoprobe results --store {store.url}"
        )
    return NotFound(
        f"{store.url} has no trials to report.",
        hint=f"Run some: cryoprobe probe --store {store.url} --model MODEL --dataset DATASET",
    )


def _name_of(store: Store) -> str:
    return store.url.rstrip("/").rpartition("/")[2] or store.url


def _lead(matrix: Matrix, trials: Trials) -> str:
    """Return a line that says what the page is about."""
    datasets = len({column.dataset for column in matrix.columns})
    times = [t.created for t in trials if t.created]
    span = f", run from {when(min(times))} to {when(max(times))}" if times else ""
    models, columns = count(len(matrix.models), "model"), count(len(matrix.columns), "column")
    return f"{models} on {count(datasets, 'data set')} in {columns}: {count(len(trials), 'trial')}{span}."


def _sets(store: Store, trials: Trials) -> dict[str, FeatureSet]:
    """Return the sets of trials by id, read several at once; those that are missing or damaged are left out."""

    def opened(one: str) -> FeatureSet | None:
        with suppress(CryoprobeError):
            return store.open(one)
        return None

    return {one.id: one for one in each(opened, ids_of_sets(trials)) if one is not None}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BadInput(f"{folder} cannot be made: {e.strerror}.", hint="Name another folder.", key="png") from e
    check_writable(folder / "heat-map.png")


def _picture(chart: Chart, folder: Path) -> Path:
    """Write one chart as a PNG file; return its path."""
    if not _FILE_NAME.fullmatch(chart.name):
        raise BadInput(f"The chart {chart.name!r} has a name that cannot be a file's.", key=chart.name)
    file = folder / f"{chart.name}.png"
    content = vega.png(chart)
    with replacing(file) as written:
        written.write(content)
    return file


__all__ = ["Report", "Section", "report"]

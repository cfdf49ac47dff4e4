"""What a suite is: rows of models, of data sets and of protocols, and how all of them are run."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from ...amounts import parse_bytes
from ...errors import BadInput
from ..joined_taps import taps_in
from ..option_values import Flag, Names, Positive, Text
from ..options import (
    PLAIN,
    DatasetOptions,
    EncoderOptions,
    EngineOptions,
    ExtractRunOptions,
    ProbeOptions,
)
from ..protocols import PROTOCOLS
from ..specs import StoredDtype
from ..trials.plan import PROBE


def _bytes(value: Any) -> Any:
    return parse_bytes(value, "memory") if isinstance(value, str) else value


Row = TypeVar("Row")

Bytes = Annotated[Positive, BeforeValidator(_bytes)]


class ModelRow(EncoderOptions):
    """A row of ``[[models]]``: an encoder with the options that fix it.

    Parameters
    ----------
    name : str
        As `extract` takes it.
    taps : tuple of str
        Where every probe reads the encoder; several are several rows of the matrix. ``cls+patch_mean`` reads two as
        one. Empty for what each protocol prescribes, or else the encoder's default tap.
    checkpoint, checkpoint_key, image_size, …
        See `EncoderOptions`.
    """

    name: str


class DataRow(DatasetOptions):
    """A row of ``[[data]]``: a data set, which of its samples are meant, and how it is read.

    Parameters
    ----------
    name : str
        As `extract` takes it.
    splits, limit, …
        See `DatasetOptions`.
    """

    name: str


class ProtocolRow(ProbeOptions):
    """A row of ``[[protocols]]``: what is fitted, on how many draws of how many rows, and on which splits.

    Parameters
    ----------
    tap : str or None
        Where this row reads every encoder, whatever `ModelRow.taps` says.
    train_split, test_split, val_split : str or None
        See `SetOptions`.
    protocol, probe, params, C, grid, choose_by, shots, fractions, seeds, seed
        See `ProbeOptions`.
    """

    tap: str | None = None
    train_split: str | None = None
    test_split: Text | None = None
    val_split: Text | None = None

    @property
    def fit(self) -> str:
        """The name of the protocol, or else of the probe."""
        return self.protocol if self.protocol != PLAIN else self.probe or PROBE

    @property
    def called(self) -> str:
        """What it is called where a suite is listed.

        Examples
        --------
        >>> ProtocolRow(protocol="clip").called, ProtocolRow(probe="knn", params={"k": 5}).called
        ('protocol clip', 'knn k=5')
        """
        what = f"protocol {self.fit}" if self.protocol != PLAIN else self.fit
        changed = " ".join(f"{name}={value}" for name, value in (self.params or {}).items())
        return f"{what} {changed}".rstrip()


class Suite(ExtractRunOptions, EngineOptions):
    """Models, data sets and protocols, each with each, and how they are run.

    Parameters
    ----------
    models : tuple of ModelRow
    data : tuple of DataRow
    protocols : tuple of ProtocolRow
    store : str or None
        Where features and results are kept.
    stored_dtype : {"float16", "float32"} or None
        See `ExtractionOptions`.
    memory, jobs, rerun, log_to
        See `TrialRunOptions`. `memory` may be text, such as ``"2GiB"``.
    batch_size, workers, device, max_bad, …
        See `RunOptions` and `ExtractRunOptions`.
    engine, address, …
        See `EngineOptions`.

    Examples
    --------
    >>> suite = Suite(models=["timm:resnet18.a1_in1k"], data=["sklearn:digits"], protocols=["clip", "knn"])
    >>> [row.called for row in suite.protocols]
    ['protocol clip', 'knn']
    """

    models: Annotated[tuple[ModelRow, ...], BeforeValidator(lambda rows: named(rows)), Field(min_length=1)]
    data: Annotated[tuple[DataRow, ...], BeforeValidator(lambda rows: named(rows)), Field(min_length=1)]
    protocols: Annotated[tuple[ProtocolRow, ...], BeforeValidator(lambda rows: fitted(rows)), Field(min_length=1)]
    store: str | None = None
    stored_dtype: StoredDtype | None = None
    memory: Bytes | None = None
    jobs: Positive | None = None
    rerun: Flag = False
    log_to: Names = ()

    def only(
        self,
        models: Sequence[str] = (),
        data: Sequence[str] = (),
        protocols: Sequence[str] = (),
        probes: Sequence[str] = (),
    ) -> Suite:
        """Return the suite with those of its rows that have these names, with or without wildcards; () is all.

        Raises
        ------
        BadInput
            If no row has a name.

        Examples
        --------
        >>> suite = Suite(models=["timm:a", "hf:b"], data=["sklearn:digits"], protocols=["clip", "knn"])
        >>> [row.name for row in suite.only(models=["timm:*"]).models]
        ['timm:a']
        """
        kept = {
            "models": _fitting("models", [(row.name, row) for row in self.models], models),
            "data": _fitting("data", [(row.name, row) for row in self.data], data),
            "protocols": _fitting("protocols", [(row.fit, row) for row in self.protocols], (*protocols, *probes)),
        }
        return self.model_copy(update=kept)


def suite_of(
    models: Sequence[str], data: Sequence[str], protocols: Sequence[str] = (), probes: Sequence[str] = ()
) -> dict[str, list[dict[str, str]]]:
    """Return the content of a suite of these names, for `read_suite`; without protocols and probes, of ``logreg``.

    Examples
    --------
    >>> suite_of(["timm:resnet18.a1_in1k"], ["sklearn:digits"], probes=["knn"])["protocols"]
    [{'probe': 'knn'}]
    """
    rows = [{"protocol": name} for name in protocols] + [{"probe": name} for name in probes]
    return {
        "models": [{"name": name} for name in models],
        "data": [{"name": name} for name in data],
        "protocols": rows or [{"probe": PROBE}],
    }


def named(rows: Any) -> Any:
    """Return rows of which some may be names alone as rows with options."""
    return [{"name": row} if isinstance(row, str) else row for row in _several(rows)]


def fitted(rows: Any) -> Any:
    """Return rows of which some may be names alone, of protocols or else of probes, as rows with options."""
    return [_named_fit(row) if isinstance(row, str) else row for row in _several(rows)]


def _fitting(kind: str, rows: Sequence[tuple[str, Row]], wanted: Sequence[str]) -> tuple[Row, ...]:
    names = [name for name, _ in rows]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadInput(
                f"The suite has no {pattern} among its {kind}.", hint=f"It has: {', '.join(names)}", key=pattern
            )
    return tuple(row for name, row in rows if not wanted or any(fnmatchcase(name, of) for of in wanted))


def _several(rows: Any) -> Sequence[Any]:
    return rows if isinstance(rows, list | tuple) else [rows]


def _named_fit(name: str) -> dict[str, str]:
    from ..probes import list_probes
    from ..protocols import protocol_named

    if name in PROTOCOLS or name == PLAIN:
        return {"protocol": name}
    if "." in name or any(probe.name == name for probe in list_probes()):
        return {"probe": name}
    protocol_named(name)  # an installed package's, or it says which there are
    return {"protocol": name}


def taps_to_extract(taps: Sequence[str]) -> Names:
    """Return single taps, each once, of taps that may stand for several.

    Examples
    --------
    >>> taps_to_extract(["pooled", "cls+patch_mean", "cls"])
    ('pooled', 'cls', 'patch_mean')
    """
    return tuple(dict.fromkeys(part for tap in taps for part in taps_in(tap)))

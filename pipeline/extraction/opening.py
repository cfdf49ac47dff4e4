"""The data and the encoder of an extraction: from their names, or as somebody's own objects; checked first of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput
from ...progress import Reporter
from ...stores.local.looks import Look, look_at
from ..datasets import (
    as_dataset,
    check_given_name,
    is_listed,
    is_own,
    limit_split,
    open_dataset,
    reading_in_name,
)
from ..datasets.base import Dataset, Noting, Preparing, Split
from ..encoders import as_encoder, load_encoder
from ..encoders.base import Encoder
from ..encoders.devices import device_names
from ..options import DatasetOptions, EncoderOptions, RunOptions, SourceOptions
from .kept import kept_or_loaded


@dataclass(frozen=True)
class Data:
    """The splits to extract.

    Parameters
    ----------
    name : str
        By which the sets are found again.
    parts : list of Split
    sources : list of sequence of Path
        The files of each.
    listed_again : bool
        Whether `probe` can list the files again by stat calls alone, to see whether they have changed.
    source : str or None
        What the data set would be called, if somebody had not given it a name.
    reading : mapping of str to str
        Fields of the names of its sets; see `reading_in_name`.
    """

    name: str
    parts: list[Split]
    sources: list[Sequence[Path]]
    listed_again: bool
    source: str | None = None
    reading: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def looks(self) -> list[Look]:
        """What the files of each split look like when this is first asked for, before they are read."""
        return [look_at(files) for files in self.sources]


def open_data(dataset: str | Dataset, asked: DatasetOptions, reporter: Reporter) -> Data:
    """Open the splits that are asked for.

    Raises
    ------
    BadInput
        If they are not there, if an option is not for such a data set, or if labels cannot be stored.
    """
    if asked.as_name is not None:
        check_given_name(asked.as_name)
    if isinstance(dataset, str):
        data: Dataset = open_dataset(dataset, asked)
    else:
        data = as_dataset(dataset)
        for option in SourceOptions.model_fields:
            if getattr(asked, option):
                raise BadInput(f"{option} is for data sets that are named.", hint="Give it to load_dataset.")
    if isinstance(data, Preparing):
        data.prepare(reporter)
    parts = [data.split(name) for name in asked.splits or data.splits]
    for note in data.notes() if isinstance(data, Noting) else ():
        reporter.note(note)
    for part in parts:
        _check_labels(part, data.name)
    sources = [part.sources for part in parts]
    if (limit := asked.limit) is not None:
        parts = [limit_split(part, limit, asked.limit_seed) for part in parts]
    name = dataset if isinstance(dataset, str) and is_own(dataset) else data.name
    options = {"layout", "ignore", "unlabelled"}
    listed_again = is_listed(data.name) and not any(getattr(asked, option) for option in options)
    reading = reading_in_name(asked)
    if asked.as_name is None or asked.as_name == name:
        return Data(name, parts, sources, listed_again, reading=reading)
    return Data(asked.as_name, parts, sources, listed_again, source=name, reading=reading)


def _check_labels(part: Split, dataset: str) -> None:
    """Refuse labels of somebody's own data set that no set can hold."""
    labels, n = part.labels, len(part.classes)
    one = labels.ndim == 1 and labels.dtype == np.int64 and bool(((labels >= (0 if n else -1)) & (labels < n)).all())
    flags = labels.ndim == 2 and labels.dtype == np.uint8 and labels.shape[1] == n
    if not (one or flags) or len(labels) != len(part):
        form = f"{labels.dtype} {list(labels.shape)}"
        raise BadInput(
            f"The labels of {dataset} ({part.name}) are {form}; it has {len(part)} samples and {n} classes.",
            hint="Labels are int64 [n], places in the list of classes, or uint8 flags [n, classes].",
            key=dataset,
        )


def open_encoder(model: str | Encoder, asked: EncoderOptions, running: RunOptions) -> Encoder:
    """Load the encoder that is asked for.

    Raises
    ------
    BadInput
        If it cannot be loaded so, or an option is given for an encoder that is loaded already.
    """
    if isinstance(model, str):
        options = {name: getattr(asked, name) for name in EncoderOptions.model_fields}
        device = device_names(running.device, running.local)[0]
        return kept_or_loaded((model, device, *options.values()), lambda: load_encoder(model, device=device, **options))
    encoder = as_encoder(model)
    fields: dict[str, Any] = {**EncoderOptions.model_fields, "device": RunOptions.model_fields["device"]}
    for option, known in fields.items():
        if getattr(running if option == "device" else asked, option) != known.default:
            raise BadInput(
                f"{option} is for encoders that are named, and {encoder.name} is loaded already.",
                hint="Give it to what made the encoder, such as load_encoder.",
                key=option,
            )
    return encoder

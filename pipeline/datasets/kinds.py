"""The kinds of data sets that this package opens: what each is called, which options it takes, and what opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BadInput
from ...folders import cache_folder
from .base import Dataset
from .urls import is_remote

if TYPE_CHECKING:
    from ..options import ReadingOptions, SourceOptions


@dataclass(frozen=True)
class DatasetKind:
    """A row of `cryoprobe datasets`: how to name it, what it is, an example."""

    name: str
    description: str
    example: str


@dataclass(frozen=True)
class Kind:
    """A kind of data set.

    Parameters
    ----------
    shown : DatasetKind
        How it is listed.
    open : callable
        From the canonical name, what stands behind its colon, and the options.
    takes : frozenset of str
        Which options of `SourceOptions` it takes.
    is_path : bool
        Whether a local path, or a pattern of paths, stands behind the colon.
    """

    shown: DatasetKind
    open: Callable[[str, str, SourceOptions], Dataset]
    takes: frozenset[str] = frozenset()
    is_path: bool = True


def _folder(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .folders import folder, unlabelled_folder

    if asked.unlabelled and asked.layout is not None:
        raise BadInput("--layout has no effect with --unlabelled.", hint="Leave one of them out.", key="layout")
    if is_remote(rest):
        from .containers.buckets import bucket_folder

        return bucket_folder(name, rest, asked)
    if asked.unlabelled:
        return unlabelled_folder(name, Path(rest), asked.ignore)
    return folder(name, Path(rest), asked.layout, asked.ignore)


def _csv(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .files import table

    return table(name, Path(rest))


def _npz(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .arrays import npz

    return npz(name, Path(rest))


def _idx(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .arrays import idx

    return idx(name, Path(rest))


def _wds(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .containers.wds import wds

    return wds(name, rest, asked)


def _parquet(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .containers.parquet import parquet

    return parquet(name, rest, asked)


def _hf(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .containers.hf import hf

    return hf(name, rest, asked)


def _torchvision(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .torchvision_sets import torchvision_set

    root = (asked.data_root or cache_folder() / "data").expanduser().absolute()
    return torchvision_set(name, rest, root, asked.download)


def _sklearn(name: str, rest: str, asked: SourceOptions) -> Dataset:
    from .arrays import digits

    return digits(name)


_COLUMNS = frozenset({"class_names", "image_column", "label_column"})

KINDS: Mapping[str, Kind] = {
    "folder": Kind(
        DatasetKind(
            "folder:PATH", "images in PATH/SPLIT/CLASS/* or PATH/CLASS/*; s3://, gs://, az:// too", "folder:~/photos"
        ),
        _folder,
        frozenset({"layout", "ignore", "unlabelled"}),
    ),
    "csv": Kind(DatasetKind("csv:FILE", "columns path, label[, split]; a|b is multi-label", "csv:labels.csv"), _csv),
    "wds": Kind(
        DatasetKind(
            "wds:PATTERN",
            "webdataset's tar files; also s3://, gs://, az://, http(s)://",
            "wds:shards/train-{000..127}.tar",
        ),
        _wds,
        _COLUMNS | {"unlabelled"},
    ),
    "parquet": Kind(
        DatasetKind("parquet:FILE", "a file, a folder or a pattern; columns image, label[, split]", "parquet:data"),
        _parquet,
        _COLUMNS,
    ),
    "hf": Kind(
        DatasetKind("hf:NAME", "a data set of the Hub, or ./PATH that datasets has saved; NAME[:CONFIG]", "hf:./beans"),
        _hf,
        _COLUMNS,
    ),
    "npz": Kind(
        DatasetKind(
            "npz:FILE",
            "arrays images, labels[, split]; MedMNIST's and Keras' names too; encoded images with offsets",
            "npz:bloodmnist.npz",
        ),
        _npz,
    ),
    "idx": Kind(
        DatasetKind("idx:PATH", "MNIST's format, gzipped or not", "idx:/usr/share/datasets/fashion-mnist"), _idx
    ),
    "torchvision": Kind(
        DatasetKind("torchvision:NAME", "a data set of torchvision", "torchvision:CIFAR10 --data-root DIR"),
        _torchvision,
        is_path=False,
    ),
    "sklearn": Kind(
        DatasetKind("sklearn:digits", "1,797 scans of 8 x 8 pixels, 10 classes", "sklearn:digits"),
        _sklearn,
        is_path=False,
    ),
}
"""By what their names begin with, before the colon."""

_EVERYWHERE = frozenset({"data_root", "download"})
"""Options that are taken, and without effect, by all kinds: programs pass them on for whatever they open."""


def check_reading(name: str, asked: ReadingOptions) -> None:
    """Refuse options that tell how a data set is read, and that its kind does not take; see `check_options`."""
    if (kind := name.partition(":")[0]) in KINDS:
        check_options(kind, name, asked)


def check_options(kind: str | None, spec: str, asked: SourceOptions | ReadingOptions) -> None:
    """Refuse options that a kind of data set does not take; None is a kind of somebody else's, which takes none.

    Raises
    ------
    BadInput
        It lists the kinds that take it.
    """
    takes = KINDS[kind].takes | _EVERYWHERE if kind is not None else frozenset()
    everywhere = sorted(_EVERYWHERE) if kind is None else []
    for option in (*sorted(frozenset().union(*(other.takes for other in KINDS.values()))), *everywhere):
        field = type(asked).model_fields.get(option)
        if option in takes or field is None or getattr(asked, option) == field.default:
            continue
        taking = [other.shown.name for other in KINDS.values() if option in other.takes]
        written = option.replace("_", "-")
        is_for = f"is for {', '.join(taking)}, and " if taking else ""
        raise BadInput(f"--{written} {is_for}has no effect on {spec}.", hint="Leave it out.", key=written)

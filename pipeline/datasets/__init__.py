"""Data sets: folders, tables, arrays and torchvision behind one small protocol."""

from .base import Dataset, Split
from .kinds import DatasetKind, check_reading
from .readings import reading_in_name
from .registry import (
    as_dataset,
    canonical_name,
    check_given_name,
    dataset_pattern,
    is_listed,
    is_own,
    known_splits,
    list_datasets,
    load_dataset,
    open_dataset,
    refuse_name,
)
from .subset import limit_split

__all__ = [
    "Dataset",
    "DatasetKind",
    "Split",
    "as_dataset",
    "canonical_name",
    "check_given_name",
    "check_reading",
    "dataset_pattern",
    "is_listed",
    "is_own",
    "known_splits",
    "limit_split",
    "list_datasets",
    "load_dataset",
    "open_dataset",
    "reading_in_name",
    "refuse_name",
]

"""Data sets: folders, tables, arrays and torchvision behind one small protocol."""

from .base import Dataset, Split
from .registry import DatasetKind, canonical_name, dataset_pattern, is_listed, known_splits, list_datasets, load_dataset
from .subset import limit_split

__all__ = [
    "Dataset",
    "DatasetKind",
    "Split",
    "canonical_name",
    "dataset_pattern",
    "is_listed",
    "known_splits",
    "limit_split",
    "list_datasets",
    "load_dataset",
]

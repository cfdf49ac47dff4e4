"""What splits are called, and what they are for: ``Training``, ``train_set`` and ``TRAIN`` are all train."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Role = Literal["train", "val", "test"]

_NAMES: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "hold_out", "heldout", "held_out"),
}
"""The names of each role, the usual first: of test and eval, test is scored."""

_BEHIND = re.compile(r"_?(set|split|data|images)$")


def role_of(name: str) -> Role | None:
    """Return what a split is for, by its name; None of any other name.

    Examples
    --------
    >>> [role_of(name) for name in ("TRAIN", "test_set", "Validation", "validation-set", "holdout", "trains")]
    ['train', 'test', 'val', 'val', 'test', None]
    """
    found = _place(name)
    return None if found is None else found[0]


def of_role(role: Role, names: Iterable[str]) -> list[str]:
    """Return the names of one role, the most usual first: the very name of the role before others.

    Examples
    --------
    >>> of_role("test", ["eval", "Testing", "train", "test"])
    ['test', 'Testing', 'eval']
    """
    places = {name: place for name in names if (place := _place(name)) is not None and place[0] == role}
    return sorted(places, key=lambda name: (name != role, places[name][1], name not in _NAMES[role], name))


def split_order(name: str) -> tuple[int, int, str]:
    """Return what splits are ordered by: train, val, test, and any others by name."""
    role, place = _place(name) or (None, 0)
    return (list(_NAMES).index(role) if role is not None else len(_NAMES), place, name)


def split_in_name(path: str) -> str | None:
    """Return the split that the name of a file tells, or else that of its folder; None if they tell none.

    Examples
    --------
    >>> [split_in_name(p) for p in ("a/train-00000-of-00002.parquet", "val/0.tar", "imagenet-Test_set-001.tar")]
    ['train', 'val', 'Test_set']
    >>> split_in_name("test/birds/0001.tar") is None, split_in_name("train-val-0.tar") is None
    (True, True)
    """
    folders, _, file = path.rpartition("/")
    stem = file.partition(".")[0]
    parts = re.split(r"[-.]", stem)
    for words in (parts, [part for word in parts for part in word.split("_")]):
        told = [word for word in words if role_of(word) is not None]
        if len(told) == 1:
            return told[0]
        if told:
            return None
    folder = folders.rpartition("/")[2]
    return folder if role_of(folder) is not None else None


def _place(name: str) -> tuple[Role, int] | None:
    plain = re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")
    plain = _BEHIND.sub("", plain)
    return next(((role, names.index(plain)) for role, names in _NAMES.items() if plain in names), None)

"""Which features are asked for by name, and what is said where the store does not have them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFound
from ..stores.names import Name, NamedSet
from ..stores.store import Store
from .datasets import canonical_name, is_own, known_splits, refuse_name
from .doors import DATASETS, may_be_own

_MOST_LISTED = 6
"""Extractions that a message lists; `cryoprobe ls` has all."""


@dataclass(frozen=True)
class Request:
    """Which features are asked for, by name.

    Parameters
    ----------
    model, dataset : str
    tap, image_size, limit, checkpoint, data_root
        As given to `extract`; None means the default, or the only one that there is; see `meaning`.
    untrained : bool
        Take random weights, which are taken only if they are asked for.
    """

    model: str
    dataset: str
    tap: str | None = None
    image_size: int | None = None
    limit: int | None = None
    checkpoint: Path | None = None
    data_root: Path | None = None
    untrained: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What tells sets of one name apart, as far as it is asked for: by option of the command line."""
        given = {
            "--tap": self.tap,
            "--image-size": self.image_size,
            "--limit": self.limit,
            "--untrained": self.untrained or None,
            "--checkpoint": self.checkpoint,
        }
        return {option: value for option, value in given.items() if value is not None}


def options_of(name: Name) -> str:
    """Return the options with which a set was extracted, as they are given, but for the tap."""
    return _said(_given(name), ", ") or "no options"


def command(store: Store, request: Request, splits: Sequence[str], like: Name | None = None) -> str:
    """Return the exact command that would make the missing features, with the options of those that are `like` them."""
    words = ["cryoprobe", "extract", "--model", request.model, "--dataset", request.dataset, "--store", store.url]
    options = {
        "--split": ",".join(splits) or None,
        "--tap": request.tap,
        **(_given(like) if like is not None else {}),
        **({"--checkpoint": None} if request.untrained else {}),
        **({"--untrained": None, "--seed": None} if not request.untrained else {}),
        **request.options,
        "--data-root": request.data_root,
    }
    for option, value in options.items():
        if value is not None:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def not_extracted(store: Store, request: Request, absent: Sequence[str], candidates: Sequence[NamedSet]) -> NotFound:
    """Return the error that says what the store lacks, what it has instead, and how to make the rest.

    Parameters
    ----------
    store : Store
    request : Request
    absent : sequence of str
        Splits that are wanted and not there.
    candidates : sequence of NamedSet
        What fits the request but for the split, newest first.
    """
    of_name = store.find(model=request.model, dataset=canonical_name(request.dataset, request.data_root))
    others = [n for n in of_name if n not in candidates]
    what = f"The store {store.url} has no features of {request.model} on {request.dataset}"
    like = next((n.name for n in (*candidates, *others)), None)
    if candidates:
        return _no_split(what, store, request, absent, candidates, others, like)
    if others:
        asked = _said(request.options) or "trained weights"
        message = f"{what} with {asked}. It has, of this model and data set:\n  {_listed(others)}"
        hint = f"Give the options of one of these; or make what is asked for:\n  {command(store, request, [], like)}"
        return NotFound(message, hint=hint, key=request.dataset)
    if is_own(request.dataset) and not may_be_own(request.dataset, DATASETS):
        refuse_name(request.dataset)  # unless a program has named it so, and this store has it
    return NotFound(f"{what}.", hint=f"Make them:\n  {command(store, request, [])}", key=request.dataset)


def _no_split(
    what: str,
    store: Store,
    request: Request,
    absent: Sequence[str],
    candidates: Sequence[NamedSet],
    others: Sequence[NamedSet],
    like: Name | None,
) -> NotFound:
    """Return the error where the store has features as they are asked for, but of other splits."""
    which = ", ".join(repr(s) for s in absent)
    elsewhere = [n for n in others if n.name.split in absent]
    options = {**({"--tap": candidates[0].name.tap} if elsewhere else {}), **request.options}
    message = f"{what}{f' with {_said(options)}' if options else ''}, split {which}."
    message += f" It has: {', '.join(sorted({n.name.split for n in candidates}))}."
    if elsewhere:
        message += f"\nWith other options it has:\n  {_listed(elsewhere)}"
    name = "Name other splits: --train-split, --test-split (a fraction holds out a part of train)."
    there = known_splits(request.dataset, request.data_root)
    if there is not None and (unknown := [s for s in absent if s not in there]):
        hint = f"{request.dataset} has no split {unknown[0]!r}; it has: {', '.join(there)}. {name}"
    else:
        # Whether the data set has such a split cannot be told without opening it.
        if_ = "Make them" if there is not None else f"If the data set has {which}, make them"
        hint = f"{if_}:\n  {command(store, request, absent, like)}\nOr n{name[1:]}"
    return NotFound(message, hint=hint, key=request.dataset)


def _listed(found: Iterable[NamedSet]) -> str:
    """Return a line for each extraction, newest first: its options, and its splits."""
    splits: dict[str, list[str]] = {}
    for n in found:
        words = _said({"--tap": n.name.tap, **_given(n.name)})
        splits.setdefault(words, []).append(n.name.split)
    lines = [f"{words} ({', '.join(sorted(set(names)))})" for words, names in splits.items()]
    more = len(lines) - _MOST_LISTED
    return "\n  ".join([*lines[:_MOST_LISTED], *([f"… and {more} more"] if more > 0 else [])])


def listed_with_ids(found: Iterable[NamedSet]) -> str:
    """Return a line for each extraction: its options, and its splits with the first digits of their sets."""
    splits: dict[str, list[str]] = {}
    for n in found:
        words = _said({"--tap": n.name.tap, **_given(n.name)})
        splits.setdefault(words, []).append(f"{n.name.split} {n.set[:12]}")
    lines = [f"{words} ({', '.join(dict.fromkeys(names))})" for words, names in splits.items()]
    more = len(lines) - _MOST_LISTED
    return "\n  ".join([*lines[:_MOST_LISTED], *([f"… and {more} more"] if more > 0 else [])])


def _given(name: Name) -> dict[str, Any]:
    """Return the options of `extract` that a name stands for, but for the tap."""
    options = {
        "--image-size": name.image_size,
        "--limit": name.limit,
        "--limit-seed": name.limit_seed or None,
        "--untrained": name.untrained or None,
        "--seed": name.seed or None,
        "--precision": name.precision if name.precision != "fp32" else None,
        "--stored-dtype": name.stored_dtype if name.stored_dtype != "float16" else None,
        "--checkpoint": f"FILE with sha256 {name.checkpoint[:12]}…" if name.checkpoint else None,
    }
    return {option: value for option, value in options.items() if value is not None}


def _said(options: dict[str, Any], between: str = " ") -> str:
    return between.join(option if value is True else f"{option} {value}" for option, value in options.items())

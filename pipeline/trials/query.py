"""Which features are asked for by name, and what is said where the store does not have them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from ...errors import BadInput, NotFound
from ...stores.format.names import Name, NamedSet, spelled
from ...stores.store import Store
from ..datasets import canonical_name, is_own, known_splits, refuse_name
from ..datasets.split_names import of_role
from ..doors import DATASETS, may_be_own
from ..encoders import canonical_model, default_tap, default_taps
from ..options import SetFilter, SetOptions
from ..specs import ADDED_TAP

_MOST_LISTED = 6
"""Extractions that a message lists; `cryoprobe ls` has all."""


class FeatureQuery(SetFilter):
    """Which features are asked for, by name.

    Parameters
    ----------
    model, dataset : str
        As given to `extract`; see `meaning`.
    """

    model: Annotated[str, AfterValidator(canonical_model)]
    dataset: str

    @classmethod
    def of(cls, asked: SetOptions, *, tap: str | None) -> FeatureQuery:
        """Return what is asked for by name, read at a tap."""
        fields = {name: getattr(asked, name) for name in cls.model_fields}
        return cls.model_validate({**fields, "tap": tap})


def default_tap_of(model: str) -> str | None:
    """Return where a model is read by default; None if its name does not tell, as of an encoder of one's own."""
    try:
        return default_tap(model)
    except BadInput:
        return None


def default_taps_of(model: str) -> tuple[str, ...]:
    """Return taps in their order: the first that a model has is read by default. Empty if its name does not tell."""
    try:
        return default_taps(model)
    except BadInput:
        return ()


def options_of(name: Name) -> str:
    """Return the options with which a set was extracted, as they are given, but for the tap."""
    return spelled(name.options, ", ") or "no options"


def command(store: Store, query: FeatureQuery, splits: Sequence[str], like: Name | None = None) -> str:
    """Return the exact command that would make the missing features.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    splits : sequence of str
        Empty for all.
    like : Name, optional
        Of the extraction that lacks these splits: the command has its options, those that were not asked for too.
    """
    version = query.model_version or (None if like is None else like.model_version)
    if version is not None or (like is not None and like.tap == ADDED_TAP):
        words = ["cryoprobe", "add", "FILE", "--model", query.model, "--dataset", query.dataset, "--store", store.url]
        words += [word for split in splits for word in ("--split", split)]
        return _joined(words, {"model-version": version})
    words = [
        "cryoprobe",
        "extract",
        "--model",
        query.model,
        *_dataset_words(store, query.dataset),
        "--store",
        store.url,
    ]
    options = {
        "split": ",".join(splits) or None,
        "tap": like.tap if like is not None and like.tap != default_tap_of(query.model) else None,
        **(like.options if like is not None else {}),
        **query.options,
        "data-root": query.data_root,
    }
    return _joined(words, options)


def _scoring_on(store: Store, query: FeatureQuery, val: str) -> str:
    """Return the command that scores on the validation split, and chooses on a tenth of train."""
    words = ["cryoprobe", "probe", "--model", query.model, "--dataset", query.dataset, "--store", store.url]
    options = {"tap": query.tap, **query.options, "data-root": query.data_root}
    return _joined(words, {**options, "test-split": val, "val-split": 0.1})


def _joined(words: list[str], options: Mapping[str, object]) -> str:
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join(words)


def _dataset_words(store: Store, dataset: str) -> list[str]:
    """Return the options that name a data set to `extract`: of a name that somebody gave, where its samples are too."""
    if not is_own(dataset) or may_be_own(dataset, DATASETS):
        return ["--dataset", dataset]
    named = [n for n in store.find(dataset=dataset) if n.origin is None]
    sources = [maker.source for n in named for maker in reversed(n.by) if maker.source]
    return ["--dataset", sources[0] if sources else "folder:PATH", "--as", dataset]


def not_extracted(store: Store, query: FeatureQuery, absent: Sequence[str], candidates: Sequence[NamedSet]) -> NotFound:
    """Return the error that says what the store lacks, what it has instead, and how to make the rest.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    absent : sequence of str
        Splits that are wanted and not there.
    candidates : sequence of NamedSet
        What fits the query but for the split, newest first.
    """
    of_name = store.find(model=query.model, dataset=canonical_name(query.dataset, query.data_root))
    others = [n for n in of_name if n not in candidates]
    what = f"The store {store.url} has no features of {query.model} on {query.dataset}"
    if candidates:
        return _no_split(what, store, query, absent, candidates, others)
    if others:
        asked = spelled(query.options) or "trained weights"
        message = f"{what} with {asked}. It has, of this model and data set:\n  {_listed(others)}"
        added = next((n.name for n in others if n.name.tap == ADDED_TAP), None)
        hint = f"Give the options of one of these; or make what is asked for:\n  {command(store, query, [], added)}"
        return NotFound(message, hint=hint, key=query.dataset)
    if is_own(query.dataset) and not may_be_own(query.dataset, DATASETS):
        known = dict.fromkeys(n.name.dataset for n in store.names() if is_own(n.name.dataset))
        if query.dataset not in known:  # somebody may have named it so, and this store have it of another model
            refuse_name(query.dataset, [*known])
    return NotFound(f"{what}.", hint=f"Make them:\n  {command(store, query, [])}", key=query.dataset)


def _no_split(
    what: str,
    store: Store,
    query: FeatureQuery,
    absent: Sequence[str],
    candidates: Sequence[NamedSet],
    others: Sequence[NamedSet],
) -> NotFound:
    """Return the error where the store has features as they are asked for, but of other splits."""
    which = ", ".join(repr(s) for s in absent)
    elsewhere = [n for n in others if n.name.split in absent]
    options = {**({"tap": candidates[0].name.tap} if elsewhere else {}), **query.options}
    message = f"{what}{f' with {spelled(options)}' if options else ''}, split {which}."
    message += f" It has: {', '.join(sorted({n.name.split for n in candidates}))}."
    if elsewhere:
        message += f"\nWith other options it has:\n  {_listed(elsewhere)}"
    name = "Name other splits: --train-split, --test-split (a fraction holds out a part of train)."
    there = known_splits(query.dataset, query.data_root)
    has = {n.name.split for n in candidates} | set(there or ())
    if list(absent) == ["test"] and (val := of_role("val", has)) and not of_role("test", has):
        # ImageNet's labels of test are not public: its val is what everybody scores on.
        hint = f"To score on {val[0]}, and to choose on a tenth of train:\n  {_scoring_on(store, query, val[0])}"
        return NotFound(message, hint=hint, key=query.dataset)
    if there is not None and (unknown := [s for s in absent if s not in there]):
        hint = f"{query.dataset} has no split {unknown[0]!r}; it has: {', '.join(there)}. {name}"
    else:
        # Whether the data set has such a split cannot be told without opening it.
        if_ = "Make them" if there is not None else f"If the data set has {which}, make them"
        # Of several extractions none is meant more than what was asked for; of several that were added, the newest is.
        newest = candidates[0].name
        alone = newest.tap == ADDED_TAP or len({options_of(n.name) for n in candidates}) == 1
        hint = f"{if_}:\n  {command(store, query, absent, newest if alone else None)}\nOr n{name[1:]}"
    return NotFound(message, hint=hint, key=query.dataset)


def _listed(found: Iterable[NamedSet], *, ids: bool = False) -> str:
    """Return a line for each extraction, newest first: its options, and its splits, with the digits of their ids."""
    splits: dict[str, list[str]] = {}
    for n in found:
        words = spelled({"tap": n.name.tap, **n.name.options})
        splits.setdefault(words, []).append(f"{n.name.split} {n.set[:12]}" if ids else n.name.split)
    each = ((words, dict.fromkeys(names if ids else sorted(names))) for words, names in splits.items())
    lines = [f"{words} ({', '.join(names)})" for words, names in each]
    more = len(lines) - _MOST_LISTED
    return "\n  ".join([*lines[:_MOST_LISTED], *([f"… and {more} more"] if more > 0 else [])])


def listed_with_ids(found: Iterable[NamedSet]) -> str:
    """Return a line for each extraction: its options, and its splits with the first digits of their sets."""
    return _listed(found, ids=True)

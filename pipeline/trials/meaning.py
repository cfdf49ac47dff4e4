"""What a name means: which of the sets that go by it is probed.

An option that is not given means its default: that of a configuration file, where the store has such an extraction, or
else the usual one. If it has neither and exactly one other fits, that one is used; if several fit, it is an error that
lists them. A note says which one was taken that was not asked for. What is not trusted is meant only if
nothing of the store's own fits. Of several contents under one name `contents` finds the one that is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...amounts import count
from ...errors import Conflict
from ...stores.format.names import Name, NamedSet
from ...stores.store import Origin, Store
from ..datasets import canonical_name, check_reading, reading_in_name
from ..defaults import defaults_in_names
from ..encoders import file_sha256
from ..options import SetFilter
from .contents import seen
from .query import FeatureQuery, default_taps_of, listed_with_ids, options_of

_LOOKED_UP = {"model", "dataset", "split", "tap", "untrained", "model_version"}
"""Fields of a name that no default is compared with: they choose by themselves."""


class Meant(NamedTuple):
    """A set, or several that fit, and what is to be said of how they were found."""

    sets: list[NamedSet]
    notes: list[str]


def candidates(store: Store, query: FeatureQuery, among: Collection[str] | None = None) -> Meant:
    """Return the named sets that fit what was given, of one tap; the store's own, unless it has none.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    among : collection of str, optional
        Ids of the only sets that are looked at.

    Raises
    ------
    Conflict
        If they are of several taps, none of which is the model's default.
    """
    check_reading(query.dataset, query)
    of_model = store.find(
        model=query.model,
        tap=query.tap,
        **query.pixels,
        **reading_in_name(query),
        precision=query.precision,
        limit=query.limit,
        checkpoint=None if query.checkpoint is None else file_sha256(query.checkpoint),
        checkpoint_key=query.checkpoint_key,
        model_version=query.model_version,
        untrained=query.untrained,
    )
    if among is not None:
        of_model = [n for n in of_model if n.set in among]
    fitting = _called(canonical_name(query.dataset, query.data_root), of_model)
    own = [n for n in fitting if n.origin is None]
    notes = _on_trust(store, own, [n for n in fitting if n.origin is not None])
    fitting = own or fitting
    taps = {n.name.tap for n in fitting}
    wanted = default_taps_of(query.model)
    default = next((tap for tap in wanted if tap in taps), None)
    if query.tap is None and len(taps) > 1:
        if default is None:
            raise _several(store, query, fitting, "none of the model's default tap")
        fitting = [n for n in fitting if n.name.tap == default]
    elif query.tap is None and taps and wanted and default is None:
        usual = " or ".join(wanted)
        notes.append(f"no extraction at the default tap ({usual}) is there: the only one is used (--tap {min(taps)})")
    return Meant(fitting, notes)


def extraction(store: Store, query: FeatureQuery, fitting: Sequence[NamedSet], like: NamedSet | None = None) -> Meant:
    """Return the sets of one split that are of one extraction: the same options and the same encoder.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    fitting : sequence of NamedSet
        Of one split and tap, in the order of `Store.names`; at least one.
    like : NamedSet, optional
        The train set: its options go first, and sets of its encoder.

    Raises
    ------
    Conflict
        If several extractions fit, and none has the default options.
    """
    if like is not None and any(n.encoder == like.encoder for n in fitting):
        fitting = [n for n in fitting if n.encoder == like.encoder]
    groups: dict[Name, list[NamedSet]] = {}
    for n in fitting:
        groups.setdefault(_options(n.name), []).append(n)
    if like is not None and (same := groups.get(_options(like.name))):
        return Meant(same, [])
    usual = _defaults(query)
    own = {
        field: of
        for field, of in defaults_in_names(query.model, query.pixels).items()
        if of[0] != usual.get(field, of[0])
    }
    preferred = _with(groups, {**usual, **{field: value for field, (value, _) in own.items()}})
    default = preferred or _with(groups, usual)
    if default is None and len(groups) > 1:
        raise _several(store, query, fitting, "none with the default options")
    found = groups[default or next(iter(groups))]
    notes = []
    if preferred is not None:
        notes = [f"{field} = {value} (by {file})" for field, (value, file) in own.items()]
    elif default is None:
        notes = [f"no extraction with default options is there: the only one is used ({options_of(found[0].name)})"]
    elif own:
        said = ", ".join(f"{field} = {value} (by {file})" for field, (value, file) in own.items())
        notes = [f"no extraction with {said} is there: the one with the usual default options is used"]
    return Meant(found, notes if like is None else [])


def _called(dataset: str, named: Sequence[NamedSet]) -> list[NamedSet]:
    """Return the sets of a data set, and those that this machine has extracted from it under another name.

    So a folder that was extracted ``--as birds`` is found by its path too where it was extracted.
    """
    found = [n for n in named if n.name.dataset == dataset]
    known = {n.set for n in found}
    as_called = [n.model_copy(update={"name": n.name.model_copy(update={"dataset": dataset})}) for n in named]
    return [*found, *(n for n in seen(as_called) if n.set not in known)]


def _on_trust(store: Store, own: Sequence[NamedSet], others: Sequence[NamedSet]) -> list[str]:
    """Say what of a name is not trusted, and how to trust it."""
    by_origin: dict[Origin, list[NamedSet]] = {}
    for n in others:
        if n.origin is not None and n.set not in {mine.set for mine in own}:
            by_origin.setdefault(n.origin, []).append(n)
    notes = []
    for origin, named in by_origin.items():
        sets = count(len({n.set for n in named}), "set")
        if own:
            said = f"{sets} of this name from {origin.place} {'is' if len(named) == 1 else 'are'} not used, since that "
        else:
            said = f"nothing of the store's own fits: {sets} from {origin.place} fit, which "
        notes.append(f"{said}is not trusted. To trust it: {origin.remedy(store.url)}")
    return notes


def _options(name: Name) -> Name:
    """Return a name with nothing but its options, each in one form; versions of a model are not told apart."""
    one_form = {"limit_seed": name.limit_seed or None, "seed": name.seed or None}
    return name.model_copy(update={"split": "", "model_version": None, **one_form})


def _defaults(query: FeatureQuery) -> dict[str, Any]:
    """Return the usual value of each option that was not given, by field of a name."""
    given = {*query.pixels, *query.reading}
    given |= {f for f in ("limit", "precision", "checkpoint", "checkpoint_key") if getattr(query, f) is not None}
    return {f: field.default for f, field in Name.model_fields.items() if f not in _LOOKED_UP | given}


def _with(names: Iterable[Name], values: Mapping[str, Any]) -> Name | None:
    """Return the name whose fields have these values; None if there is none."""
    return next((name for name in names if all(getattr(name, f) == value for f, value in values.items())), None)


def _several(store: Store, query: FeatureQuery, fitting: Sequence[NamedSet], which: str) -> Conflict:
    """Return the error that lists extractions, and says which options tell them apart."""
    options = [{"tap": n.name.tap, **n.name.options} for n in fitting]
    every = dict.fromkeys(option for of in options for option in of)
    taken = {field.replace("_", "-") for field in SetFilter.model_fields}
    differing = [f"--{o}" for o in every if o in taken and len({of.get(o) for of in options}) > 1]
    by_option = f"the options of one of these ({', '.join(differing)}), or its ids" if differing else "the ids of one"
    return Conflict(
        f"Several extractions of {query.model} on {query.dataset} in {store.url} fit, {which}:\n"
        f"  {listed_with_ids(fitting)}",
        hint=f"Give {by_option}: --train SET --test SET",
        key=query.dataset,
    )

"""What a name means: which of the sets that go by it is probed.

An option that is not given means its default. If the store has no such extraction and exactly one other fits, that one
is used, and a note says so; if several fit, it is an error that lists them. On a machine that has seen the data set's
content, its path means that content. What is not trusted is meant only if nothing of the store's own fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...amounts import count
from ...errors import BadInput, Conflict, CryoprobeError
from ...stores.format.names import Name, NamedSet
from ...stores.local.sample_index import SampleIndex, View, fingerprint
from ...stores.store import Origin, Store, set_id
from ..datasets import canonical_name, is_listed, load_dataset
from ..encoders import default_tap, file_sha256
from .query import FeatureQuery, command, listed_with_ids, options_of


class Meant(NamedTuple):
    """A set, or several that fit, and what is to be said of how they were found."""

    sets: list[NamedSet]
    notes: list[str]


def candidates(store: Store, query: FeatureQuery) -> Meant:
    """Return the named sets that fit what was given, of one tap; the store's own, unless it has none.

    Raises
    ------
    Conflict
        If they are of several taps, none of which is the model's default.
    """
    fitting = store.find(
        model=query.model,
        dataset=canonical_name(query.dataset, query.data_root),
        tap=query.tap,
        image_size=query.image_size,
        limit=query.limit,
        checkpoint=None if query.checkpoint is None else file_sha256(query.checkpoint),
        checkpoint_key=query.checkpoint_key,
        untrained=query.untrained,
    )
    own = [n for n in fitting if n.origin is None]
    notes = _on_trust(store, own, [n for n in fitting if n.origin is not None])
    fitting = own or fitting
    taps = {n.name.tap for n in fitting}
    default = _default_tap(query.model)
    if query.tap is None and len(taps) > 1:
        if default not in taps:
            raise _several(store, query, fitting, "none of the model's default tap")
        fitting = [n for n in fitting if n.name.tap == default]
    elif query.tap is None and taps and default not in (None, *taps):
        notes.append(f"no extraction at the default tap ({default}) is there: the only one is used (--tap {min(taps)})")
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
    default = [of for name, of in groups.items() if _is_default(name, query)]
    if not default and len(groups) > 1:
        raise _several(store, query, fitting, "none with the default options")
    (found,) = default or groups.values()
    notes = []
    if not default and like is None:
        notes.append(f"no extraction with default options is there: the only one is used ({options_of(found[0].name)})")
    return Meant(found, notes)


def content(store: Store, query: FeatureQuery, named: Sequence[NamedSet]) -> Meant:
    """Return the one set that is meant of several that have one name: the content that this machine has seen.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    named : sequence of NamedSet
        In the order of `Store.names`.

    Raises
    ------
    Conflict
        If this machine has seen other content under that name, which is still there, and the store has none of it.
    """
    newest = named[0]
    seen = _seen(named)
    here = [n for n in named if n.set in seen]
    if here:
        found = here[0]
        notes = []
        if newest.set != found.set:
            notes.append(
                f"{newest.name.dataset} ({newest.name.split}) is what this machine extracted, set {found.set[:12]}; "
                f"there is other, newer content of that name: set {newest.set[:12]} ({count(newest.rows, 'row')})"
            )
        encoders = {n.encoder for n in here}
        return Meant([found], [*notes, *([_contents(here)] if len(encoders) > 1 else [])])
    name = newest.name
    view = _view(name, newest.encoder)
    if view is not None and not is_changed(view, name, query.data_root):
        raise Conflict(
            f"{name.dataset} ({name.split}) on this machine is not what the store {store.url} has under that name:\n"
            f"  {listed_with_ids(named)}",
            hint=f"Extract it here:\n  {command(store, query, [name.split], name)}\n"
            "Or probe what the store has by id: --train SET --test SET",
            key=name.dataset,
            expected=view.dataset_id,
            found=newest.set,
        )
    notes = [_contents(named)] if len({n.set for n in named}) > 1 else []
    if view is not None:
        notes.append(
            f"{name.dataset} ({name.split}) was other content when this machine extracted it: set {newest.set[:12]} is "
            "taken, which was extracted elsewhere"
        )
    return Meant([newest], notes)


def sources_of(view: View, name: Name, data_root: Path | None) -> Sequence[Path] | None:
    """Return the files of a view; None for a data set that cannot be loaded by its name.

    Raises
    ------
    CryoprobeError
        If the data set has to be loaded to tell, and cannot be.
    """
    if view.sources is not None:
        return view.sources
    if not is_listed(name.dataset):
        return None
    return load_dataset(name.dataset, data_root=data_root).split(name.split).sources


def is_changed(view: View, name: Name, data_root: Path | None) -> bool:
    """Return whether the files of a view differ from what they were when it was recorded, or cannot be looked at."""
    try:
        sources = sources_of(view, name, data_root)
    except CryoprobeError:
        return True
    return not sources or fingerprint(sources) != view.fingerprint


def _view(name: Name, encoder: str) -> View | None:
    index = SampleIndex()
    try:
        return index.view(name.view_for(encoder)) or index.view(name.view)
    finally:
        index.close()


def _seen(named: Sequence[NamedSet]) -> set[str]:
    """Return the ids of the sets whose content this machine has extracted last."""
    views = {n.encoder: _view(n.name, n.encoder) for n in named}
    return {set_id(encoder, view.dataset_id) for encoder, view in views.items() if view is not None}


def _contents(named: Sequence[NamedSet]) -> str:
    others = "; ".join(f"{n.set[:12]} ({count(n.rows, 'row')})" for n in named[1:])
    encoders = len({n.encoder for n in named})
    what = f"{count(encoders, 'encoder')} go" if encoders > 1 else f"{len({n.set for n in named})} contents go"
    return (
        f"{what} by the name {named[0].name.dataset} ({named[0].name.split}): the newest is taken, set "
        f"{named[0].set[:12]} ({count(named[0].rows, 'row')}), not {others}; another: --train SET --test SET"
    )


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


def _default_tap(model: str) -> str | None:
    try:
        return default_tap(model)
    except BadInput:  # an encoder of a program's own
        return None


def _options(name: Name) -> Name:
    """Return a name with nothing but its options, each in one form."""
    return name.model_copy(update={"split": "", "limit_seed": name.limit_seed or None, "seed": name.seed or None})


def _is_default(options: Name, query: FeatureQuery) -> bool:
    """Return whether every option that was not given is the default one."""
    return (
        (query.image_size is not None or options.image_size is None)
        and (query.limit is not None or options.limit is None)
        and (query.checkpoint is not None or options.checkpoint is None)
        and (query.checkpoint_key is not None or options.checkpoint_key is None)
        and options.limit_seed is None
        and options.seed is None
        and options.precision == "fp32"
        and options.stored_dtype == "float16"
    )


def _several(store: Store, query: FeatureQuery, fitting: Sequence[NamedSet], which: str) -> Conflict:
    return Conflict(
        f"Several extractions of {query.model} on {query.dataset} in {store.url} fit, {which}:\n"
        f"  {listed_with_ids(fitting)}",
        hint="Give the options of one of these (--tap, --image-size, --limit, --checkpoint, --checkpoint-key), or its "
        "ids: --train SET --test SET",
        key=query.dataset,
    )

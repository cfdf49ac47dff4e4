"""Which of several contents under one name is meant: what this machine has seen, or else none is chosen.

The same path can hold other images on another machine, and data grow. So a path means what this machine has extracted
there. A name that somebody gave (``--as birds``) moves with whoever gave it: their newest content goes before what they
had before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from ...amounts import count
from ...errors import Conflict, CryoprobeError
from ...stores.format.names import Maker, Name, NamedSet
from ...stores.local.looks import fingerprint
from ...stores.local.sample_index import SampleIndex, View
from ...stores.store import Store, set_id
from ..datasets import is_listed, load_dataset
from ..makers import are_unknown, current, makers, said_of, share_one
from .query import FeatureQuery, command, listed_with_ids

_MOST_LISTED = 6
"""Contents that an error lists."""

_OPTIONS = {"train": "--train", "test": "--test", "val": "--val-split"}
"""Which option takes the set of a part, by its id."""


class Asked(NamedTuple):
    """What a probe was asked for, as far as a message about it needs to know.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    candidates : sequence of NamedSet
        All sets that fit, of any split.
    parts : mapping
        The split of each part (``train``, ``test``, ``val``), or the fraction of train that is held out for it.
    """

    store: Store
    query: FeatureQuery
    candidates: Sequence[NamedSet]
    parts: Mapping[str, str]


def content(asked: Asked, named: Sequence[NamedSet]) -> tuple[NamedSet, list[str]]:
    """Return the set that is meant of several that have one name, and what is to be said of it.

    Parameters
    ----------
    asked : Asked
    named : sequence of NamedSet
        Of one split and one extraction, in the order of `Store.names`.

    Raises
    ------
    Conflict
        If this machine has seen other content under that name, which is still there, and the store has none of it; or
        if it has seen none, and there are several.
    """
    here = seen(named)
    if here:
        return here[0], _about_seen(here, named[0])
    newest = named[0]
    name = newest.name
    view = recorded_view(name, newest.encoder)
    if view is not None and not is_changed(view, name, asked.query.data_root):
        raise Conflict(
            f"{name.dataset} ({name.split}) on this machine is not what the store {asked.store.url} has under that "
            f"name:\n  {listed_with_ids(named)}",
            hint=f"Extract it here:\n  {command(asked.store, asked.query, [name.split], name)}\n"
            "Or probe what the store has by id: --train SET --test SET",
            key=name.dataset,
            expected=view.dataset_id,
            found=newest.set,
        )
    meant = current(asked.store, named)
    # Sets are opened only if there are several.
    if len({n.set for n in meant}) > 1 and len({_dataset_id(asked.store, n) for n in meant}) > 1:
        raise _several(asked, meant)
    found = meant[0]
    notes = [_encoders(meant)] if len({n.set for n in meant}) > 1 else []
    kept = {n.set for n in meant}
    earlier = [n for n in named if n.set not in kept]
    if earlier:
        notes.append(
            f"{_called(name)} is {_set(found)}, the newest that it was given to; before it was {_set(earlier[0])}"
        )
    if view is not None:
        notes.append(
            f"{_called(name)} was other content when this machine extracted it: {_set(found)} is taken, which was "
            "extracted elsewhere"
        )
    return found, notes


def of_other_hands(store: Store, named: Mapping[str, NamedSet]) -> Iterator[str]:
    """Yield a line for each part that, as far as is known, nobody has extracted who has extracted the train set."""
    train = named["train"]
    if not _may_differ(train.name.dataset):
        return
    of_train = makers(store, train)
    for part, other in named.items():
        of_part = makers(store, other)
        if part == "train" or seen([train, other]) == [train, other] or are_unknown(of_train) or are_unknown(of_part):
            continue
        if not share_one(of_train, of_part):
            yield (
                f"the train set of {train.name.dataset} was extracted by {said_of(of_train)}, the {part} set by "
                f"{said_of(of_part)}: if these are not the same data, extract both on one machine, or name sets by id"
            )


def seen(named: Sequence[NamedSet]) -> list[NamedSet]:
    """Return those whose content this machine has extracted last under their name."""
    views = {key: recorded_view(*key) for key in {(n.name, n.encoder) for n in named}}
    kept = {key: set_id(key[1], view.dataset_id) for key, view in views.items() if view is not None}
    return [n for n in named if kept.get((n.name, n.encoder)) == n.set]


def recorded_view(name: Name, encoder: str) -> View | None:
    """Return what this machine recorded when it last extracted what is called so, for the encoder or else for any."""
    with closing(SampleIndex()) as index:
        return index.view(name.view_for(encoder)) or index.view(name.view)


def sources_of(view: View, name: Name, data_root: Path | None) -> Sequence[Path] | None:
    """Return the files of a view; None for a data set that cannot be loaded by its name.

    Raises
    ------
    CryoprobeError
        If the data set has to be loaded to tell, and cannot be.
    """
    if view.sources is not None:
        return view.sources
    listed = view.listed or name.dataset
    return load_dataset(listed, data_root=data_root).split(name.split).sources if is_listed(listed) else None


def is_changed(view: View, name: Name, data_root: Path | None) -> bool:
    """Return whether the files of a view differ from what they were when it was recorded, or cannot be looked at."""
    try:
        sources = sources_of(view, name, data_root)
    except CryoprobeError:
        return True
    return not sources or fingerprint(sources) != view.fingerprint


def _about_seen(here: Sequence[NamedSet], newest: NamedSet) -> list[str]:
    notes = []
    if newest.set not in {n.set for n in here}:
        notes.append(
            f"{_called(newest.name)} is what this machine extracted, set {here[0].set[:12]}; there is other, newer "
            f"content of that name: {_set(newest)}"
        )
    return [*notes, *([_encoders(here)] if len({n.encoder for n in here}) > 1 else [])]


def _encoders(named: Sequence[NamedSet]) -> str:
    others = "; ".join(_set(n) for n in named[1:])
    return (
        f"{count(len({n.encoder for n in named}), 'encoder')} go by the name {_called(named[0].name)}: the newest is "
        f"taken, {_set(named[0])}, not {others}; another: --train SET --test SET"
    )


def _several(asked: Asked, named: Sequence[NamedSet]) -> Conflict:
    """Return the error that lists the contents of a name: who made which, and the options that choose it."""
    first = named[0].name
    distinct = list({n.set: n for n in named}.values())
    every = [maker for n in distinct for maker in makers(asked.store, n)]
    alike = len({(maker.user, maker.host) for maker in every}) < len({maker.machine for maker in every})
    lines = [_choice(asked, n, machines=alike) for n in distinct[:_MOST_LISTED]]
    if (more := len(distinct) - _MOST_LISTED) > 0:
        lines.append(f"… and {more} more: cryoprobe ls --store {asked.store.url} --dataset {first.dataset!r}")
    again = command(asked.store, asked.query, [], first)
    return Conflict(
        f"{_called(first)} is the name of {count(len(distinct), 'content')} in {asked.store.url}, and this machine has "
        "extracted none of them:\n  " + "\n  ".join(lines),
        hint="Give the ids of the one that is meant, in place of --model and --dataset. If its images are on this "
        f"machine, extract them here, and the name means them (what the store has is not encoded again):\n  {again}\n"
        "A name of their own keeps them apart for everybody: extract … --as NAME",
        key=first.dataset,
        found=[n.set for n in distinct],
    )


def _choice(asked: Asked, named: NamedSet, *, machines: bool) -> str:
    """Return a line of what chooses a content, and what it is."""
    own = makers(asked.store, named)
    words: list[str] = []
    sizes: list[int] = []
    missing = ""
    for part, split in asked.parts.items():
        fitting = [n for n in asked.candidates if n.name.split == split]
        if split == named.name.split:
            fitting = [named]
        elif not fitting:
            with suppress(ValueError):  # a split that the store does not have, or else a fraction
                words += [_OPTIONS[part], f"{float(split):g}"]
            continue
        partner = _partner(asked.store, named, own, fitting)
        if partner is None:
            missing += f"; no {split} of theirs"
            continue
        words += [_OPTIONS[part], partner.set[:12]]
        sizes.append(partner.rows)
    rows = count(sizes[0], "row") if len(sizes) == 1 else f"{' + '.join(f'{n:,}' for n in sizes)} rows"
    return f"{' '.join(words)}   {rows}, {said_of(own, machines=machines)}{missing}"


def _partner(store: Store, named: NamedSet, own: Sequence[Maker], fitting: Sequence[NamedSet]) -> NamedSet | None:
    """Return the set of another split that goes with one: of the same people, extracted at about the same time."""
    same = [n for n in fitting if n.encoder == named.encoder]
    if not are_unknown(own):
        same = [n for n in same if n.set == named.set or share_one(own, makers(store, n))]
    return min(same, key=lambda n: abs(n.named - named.named), default=None)


def _may_differ(dataset: str) -> bool:
    """Return whether a name can stand for other data elsewhere: torchvision's and scikit-learn's are the same."""
    return dataset.partition(":")[0] not in ("torchvision", "sklearn")


def _dataset_id(store: Store, named: NamedSet) -> str:
    """Return the id of the content of a set; its own if its manifest is damaged."""
    with suppress(CryoprobeError):
        return store.open(named.set).dataset_id
    return named.set


def _called(name: Name) -> str:
    return f"{name.dataset} ({name.split})"


def _set(named: NamedSet) -> str:
    return f"set {named.set[:12]} ({count(named.rows, 'row')})"

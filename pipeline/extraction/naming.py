"""What a sealed set and its samples are called in the store, and what is to be said of that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ...amounts import count
from ...errors import BadInput, ReadOnly
from ...stores.feature_set import FeatureSet
from ...stores.format.names import Maker, Name, NamedSet
from ...stores.store import Origin, Store
from ..makers import about_name
from .planner import Target


def name_set(
    store: Store, feature_set: FeatureSet, name: Name, earlier: Sequence[NamedSet], me: Maker
) -> Iterator[str]:
    """Give a set a name; yield what is to be said of it.

    Parameters
    ----------
    store : Store
    feature_set : FeatureSet
    name : Name
    earlier : sequence of NamedSet
        What has that name so far.
    me : Maker
        Who gives it.

    Raises
    ------
    ReadOnly
        If the store cannot be written, and the set does not have that name already.
    """
    yield from about_name(store, feature_set.id, [n for n in earlier if n.encoder == feature_set.encoder_id], me)
    if feature_set.home != store.url:
        yield (
            f"set {feature_set.id[:12]} is in {feature_set.home}, and nothing of it is in {store.url}: read "
            f"both, or cryoprobe pull {feature_set.home} {feature_set.id[:12]} --store {store.url}"
        )
    named = NamedSet.of(feature_set.manifest, name, time.time_ns() // 1_000_000, me)
    try:
        store.name(named)
    except ReadOnly:
        if not any((n.name, n.set) == (name, feature_set.id) for n in earlier):
            raise


def name_samples(store: Store, feature_set: FeatureSet, names: Sequence[str]) -> Iterator[str]:
    """Keep what the samples of a set are called; yield why that is not done, if it cannot be."""
    try:
        store.name_samples(feature_set, names)
    except ReadOnly:
        pass  # the set was there before
    except BadInput as e:  # too long: the set is worth more than what its samples are called
        yield e.message


def rows_not_trusted(store: Store, targets: Sequence[Target]) -> Iterator[str]:
    """Yield a line for the rows of the encoder that the store has and does not use, since they are not trusted."""
    unused: dict[Origin, int] = {}
    for target in targets:
        for origin, n in target.index.unused.items():
            unused[origin] = unused.get(origin, 0) + n
    for origin, n in unused.items():
        yield (
            f"{count(n, 'row')} of this encoder from {origin.place} {'is' if n == 1 else 'are'} not used, since "
            f"that is not trusted. To trust it: {origin.remedy(store.url)}"
        )

"""Pins: sets that `rm` must not remove, with who wants them kept, and why."""

from __future__ import annotations

import time
from pathlib import Path

from ...checksummed import dump_document
from ...errors import Conflict, NotFound
from ...parallel import each
from ..format.manifest import read_manifest
from ..format.pins_and_removals import PINS, Pin, find_removal, pin_key, pinned_ids, read_pin, whoami
from ..keys import id_in
from ..opening import open_store
from ..store import Store


def pin(store: str | Path | Store, set_id: str, *, why: str = "", remove: bool = False) -> Pin:
    """Pin a set, so that it cannot be removed until the pin is.

    Parameters
    ----------
    store : str, Path or Store
    set_id : str
        Id of a set, or its first digits.
    why : str
        What it is kept for; if that is left out, a set that is pinned already keeps its reason.
    remove : bool
        Take the pin away instead.

    Returns
    -------
    Pin
        The pin that is there now; or, with `remove`, the one that was.

    Raises
    ------
    NotFound
        If there is no such set; with `remove`, if it is not pinned.
    Conflict
        If somebody is just removing the set.
    Corrupt
        If the set's manifest is damaged.

    Guarantees
    ----------
    Once this returns, no `rm` removes the set: `rm` announces first and looks for pins then, and this writes the pin
    first and looks for announcements then.
    """
    opened = open_store(store).own
    backend = opened.backend
    if remove:
        set_ = _pinned_id(opened, set_id)
        found = read_pin(backend, set_) or _new_pin(set_, "")
        backend.delete(pin_key(set_))
        return found
    key = opened.manifest_key(set_id)
    set_, attempt = id_in(key), read_manifest(backend, key).attempt
    earlier = read_pin(backend, set_)  # a damaged one has no date
    made = earlier if earlier is not None and earlier.pinned and not why else _new_pin(set_, why)
    backend.put(pin_key(set_), dump_document(made.model_dump(mode="json")))
    if find_removal(backend, set_, attempt) is not None or not backend.exists(key):
        backend.delete(pin_key(set_))
        raise Conflict(
            f"Set {set_[:12]} in {opened.url} is just being removed.",
            hint="If that was interrupted, let `cryoprobe rm` or `cryoprobe gc --delete` finish first.",
            key=set_,
        )
    return made


def pins(store: str | Path | Store) -> list[Pin]:
    """Return every pin, ordered by set id. A damaged one still pins, without its reason."""
    backend = open_store(store).own.backend
    found = each(lambda info: read_pin(backend, id_in(info.key)), backend.list(PINS))
    return [p for p in found if p is not None]


def _new_pin(set_: str, why: str) -> Pin:
    user, host = whoami()
    return Pin(set=set_, why=why, user=user, host=host, pinned=time.time_ns() // 1_000_000)


def _pinned_id(store: Store, set_id: str) -> str:
    found = [i for i in pinned_ids(store.backend) if set_id and i.startswith(set_id.lower())]
    if len(found) != 1:
        raise NotFound(
            f"{'No set' if not found else 'More than one set'} that begins with {set_id!r} is pinned in {store.url}.",
            hint=f"List the pins: cryoprobe pin --store {store.url}",
            key=set_id,
        )
    return found[0]

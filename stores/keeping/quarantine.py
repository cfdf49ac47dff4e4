"""The place for damaged objects: ``quarantine/<12 digits>/<the object's key>``. `gc` empties it, later."""

from __future__ import annotations

from contextlib import suppress

from ...errors import NotFound
from ..backends.backend import Backend
from ..keys import new_attempt

QUARANTINE = "quarantine/"


def set_aside(backend: Backend, key: str) -> None:
    """Copy an object to the quarantine; nothing happens where there is none. It stays where it is, to be replaced."""
    with suppress(NotFound):
        backend.copy(key, f"{QUARANTINE}{new_attempt()}/{key}")


def original_key(key: str) -> str:
    """Return the key of which an object in quarantine is the damaged content."""
    return key.split("/", 2)[-1]

"""Who made something, where, when and with which versions: recorded beside a result, never part of its identity."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..redaction import redacted

if TYPE_CHECKING:
    from ..stores.store import Provenance

_command: list[str] | None = None
"""The command line, once `record_command` was told it."""


def record_command(words: Sequence[str]) -> None:
    """Let `provenance` record the command line of this process.

    Only Cryoprobe's own command line calls this: the arguments of a program that uses the Python API are its own
    business, and may be secrets. What a URL holds beside its place is left out all the same.
    """
    global _command
    _command = [redacted(word, leave_marks=False) for word in words]


def recorded_command() -> list[str] | None:
    """Return the command line that was told, for a process that works on this one's behalf."""
    return _command


def user_name() -> str | None:
    """Return the name of whoever runs this; a container may run as a user that has none."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return None


def provenance(packages: Sequence[str], **more: Any) -> Provenance:
    """Return what is recorded of something that is made now: time, host, user, command line, versions.

    Integers and strings only, so that any language hashes it alike.

    Parameters
    ----------
    packages : sequence of str
        Whose versions are recorded, beside Python's and Cryoprobe's.
    **more
        Further fields of `Provenance`, as JSON values.
    """
    from ..stores.store import Provenance  # the command line imports this module before it knows what it is asked

    versions = {"python": platform.python_version()}
    for package in ("cryoprobe", *packages):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return Provenance(
        created=time.time_ns() // 1_000_000,
        host=socket.gethostname(),
        user=user_name(),
        command=_command,
        versions=versions,
        **more,
    )

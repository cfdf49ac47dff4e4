"""Who made something, where, when and with which versions: recorded beside a result, never part of its identity."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TypedDict

from ..redaction import redacted

_command: list[str] | None = None
"""The command line, once `record_command` was told it."""


def record_command(words: Sequence[str]) -> None:
    """Let `provenance` record the command line of this process.

    Only Cryoprobe's own command line calls this: the arguments of a program that uses the Python API are its own
    business, and may be secrets. What a URL holds beside its place is left out all the same.
    """
    global _command
    _command = [redacted(word, leave_marks=False) for word in words]


class Provenance(TypedDict):
    """Integers and strings only, so that any language hashes it alike.

    `created` is in milliseconds since 1970. `command` is None if the command line is not one of Cryoprobe's own.
    """

    created: int
    host: str
    user: str | None
    command: list[str] | None
    versions: dict[str, str]


def provenance(packages: Sequence[str]) -> Provenance:
    """Return time, host, user, command line and versions of Python and of `packages`.

    Examples
    --------
    >>> sorted(provenance(["numpy"])["versions"])
    ['cryoprobe', 'numpy', 'python']
    """
    versions = {"python": platform.python_version()}
    for package in ("cryoprobe", *packages):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    user = None
    with suppress(KeyError, OSError):  # a container may run as a user that has no name
        user = getpass.getuser()
    return {
        "created": time.time_ns() // 1_000_000,
        "host": socket.gethostname(),
        "user": user,
        "command": _command,
        "versions": versions,
    }

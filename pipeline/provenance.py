"""Who made something, where, when and with which versions: recorded beside a result, never part of its identity."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


def provenance(packages: Sequence[str]) -> dict[str, Any]:
    """Return time (milliseconds since 1970), host, user and the versions of Python and of `packages`.

    Integers and strings only, so that any language hashes it alike.
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
        "versions": versions,
    }

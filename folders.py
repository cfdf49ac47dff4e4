"""Cryoprobe's folders and files on this machine: where it keeps local state, objects of remote stores, and settings."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for local state: ``$CRYOPROBE_CACHE``, else ``cryoprobe`` in the user's cache folder."""
    if explicit := os.environ.get("CRYOPROBE_CACHE"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cryoprobe"


def objects_folder() -> Path:
    """Return where objects are cached: ``$CRYOPROBE_CACHE_DIR``, else ``objects`` in the folder for local state."""
    explicit = os.environ.get("CRYOPROBE_CACHE_DIR")
    return Path(explicit).expanduser() if explicit else cache_folder() / "objects"


def config_file() -> Path:
    """Return the user's own file: ``cryoprobe/config.toml`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cryoprobe" / "config.toml"

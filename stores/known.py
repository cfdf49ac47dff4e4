"""Names for stores, from configuration files: ``--store team`` in place of ``--store s3://bucket/features``.

    [stores]
    team = "s3://bucket/features"
    scratch = "~/features"

Two files are read: ``cryoprobe.toml`` in the working directory or the nearest folder above it, for a project, and
``cryoprobe/config.toml`` in the user's configuration folder. What the project's file says goes first.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ..errors import BadInput, NotFound

PROJECT_FILE = "cryoprobe.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def config_file() -> Path:
    """Return the user's own file: ``cryoprobe/config.toml`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cryoprobe" / "config.toml"


def project_file() -> Path | None:
    """Return the ``cryoprobe.toml`` of the working directory or the nearest folder above it, if there is one."""
    with suppress(OSError):  # a folder that is gone, or that is not ours to look into
        here = Path.cwd()
        return next((f for f in (folder / PROJECT_FILE for folder in (here, *here.parents)) if f.is_file()), None)
    return None


def known_stores() -> dict[str, str]:
    """Return the stores that have a name: paths, made absolute, and URLs.

    Raises
    ------
    BadInput
        If a file is no TOML, or a store in it no text.
    """
    files = [config_file(), project_file()]
    return {name: address for file in files if file is not None for name, address in _read(file).items()}


def address_of(text: str, *, create: bool = False) -> str:
    """Return what a name stands for; anything that is no name is returned as it is.

    A folder whose path is a single word that is also a name is written ``./word``.

    Parameters
    ----------
    text : str
        What was given as the store.
    create : bool
        Whether a store is made where there is none.

    Raises
    ------
    NotFound
        If names are known, and `text` looks like one, but neither a name nor a folder is called so.
    """
    if not _NAME.fullmatch(text):
        return text
    known = known_stores()
    if text in known:
        return known[text]
    if known and not Path(text).exists():
        raise NotFound(
            f"There is no store called {text!r}, and no folder; known are {', '.join(sorted(known))}.",
            hint=f"Name one of them, or write --store ./{text} for a new folder." if create else "Name one of them.",
            key=text,
        )
    return text


def _read(file: Path) -> dict[str, str]:
    import tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:  # of which TOML's and UTF-8's errors are
        problem = e.strerror if isinstance(e, OSError) else e
        raise BadInput(f"{file} cannot be read: {problem}.", hint="Correct it, or remove it.", key=str(file)) from None
    stores = content.get("stores", {})
    if not isinstance(stores, dict) or not all(isinstance(v, str) and v for v in stores.values()):
        raise BadInput(
            f"[stores] in {file} is not a table of names and places.",
            hint='Write it so:\n[stores]\nteam = "s3://bucket/features"',
            key=str(file),
        )
    return {name: _absolute(address, file.parent) for name, address in stores.items()}


def _absolute(address: str, folder: Path) -> str:
    return address if "://" in address else str(folder / Path(address).expanduser())

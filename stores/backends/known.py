"""Names for stores, from configuration files: ``--store team`` in place of ``--store s3://bucket/features``.

    [stores]
    team = "s3://bucket/features"
    mine = {store = "~/features", from = ["team"]}  # written to ~/features, and read from the team's store too

    [cache]
    size = "20GiB"

    [trust]
    from = ["https://host/features", "/data/archives"]  # what comes from there counts as one's own
    not = ["team"]                                      # although it has a name
    configs = ["/data/project/cryoprobe.toml"]          # another user's file that may be read (own file only)

Two files are read: ``cryoprobe.toml`` in the working directory or the nearest folder above it, for a project, and
``cryoprobe/config.toml`` in the user's configuration folder. What the project's file says goes first. A file that
belongs to another user is refused: whoever can write to a folder above could otherwise say where features go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from ...amounts import parse_bytes
from ...errors import BadInput, NotFound
from ..folders import config_file

PROJECT_FILE = "cryoprobe.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_TABLES = ("stores", "cache", "trust")
_TRUST = ("from", "not", "configs")


class KnownStore(NamedTuple):
    """What a name stands for.

    Parameters
    ----------
    place : str
        Path, made absolute, or URL.
    sources : tuple of str
        Stores that are read too: places, or names.
    """

    place: str
    sources: tuple[str, ...] = ()


def project_file() -> Path | None:
    """Return the ``cryoprobe.toml`` of the working directory or the nearest folder above it, if there is one."""
    with suppress(OSError):  # a folder that is gone, or that is not ours to look into
        here = Path.cwd()
        return next((f for f in (folder / PROJECT_FILE for folder in (here, *here.parents)) if f.is_file()), None)
    return None


def known_stores() -> dict[str, KnownStore]:
    """Return the stores that have a name.

    Raises
    ------
    BadInput
        If a file is no TOML, or a store in it neither a place nor a table of `store` and `from`.
    """
    tables = [(file, _stores(file)) for file in _files()]
    names = {name for _, stores in tables for name in stores}
    return {name: _known(name, value, names, file) for file, stores in tables for name, value in stores.items()}


def known_as(text: str, *, create: bool = False) -> KnownStore:
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
        return KnownStore(text)
    known = known_stores()
    if text in known:
        return known[text]
    if known and not Path(text).exists():
        raise NotFound(
            f"There is no store called {text!r}, and no folder; known are {', '.join(sorted(known))}.",
            hint=f"Name one of them, or write ./{text} for a new folder." if create else "Name one of them.",
            key=text,
        )
    return KnownStore(text)


def deciding_file(text: str | Path) -> Path | None:
    """Return the configuration file that says what the name of a store stands for; None for anything else."""
    if isinstance(text, Path) or not _NAME.fullmatch(text):
        return None
    return next((file for file in reversed(_files()) if text in _stores(file)), None)


def is_trusted(place: str | Path) -> bool:
    """Return whether what comes from a place counts as one's own: it is a store of a configuration file, or in `from`.

    Parameters
    ----------
    place : str or Path
        A store's folder or URL, the name of a store, or the file of an archive. A folder in ``[trust] from`` stands for
        all that is in it.
    """
    stores = known_stores()

    def places(texts: Iterable[str], folder: Path) -> set[str]:
        return {_normal(stores[t].place if t in stores else _absolute(t, folder)) for t in texts}

    def meant(field: str) -> set[str]:
        return {found for file in _files() for found in places(_trust(file)[field], file.parent)}

    listed = {found for known in stores.values() for found in places((known.place, *known.sources), Path.cwd())}
    here = _normal(stores[place].place if isinstance(place, str) and place in stores else str(place))
    if here in meant("not"):
        return False
    return here in listed or any(_is_within(here, trusted) for trusted in meant("from"))


def _normal(place: str) -> str:
    """Return the one form of a place, to compare it with others."""
    scheme, separator, rest = place.partition("://")
    if separator and scheme.lower() != "file":
        return f"{scheme.lower()}://{rest.rstrip('/')}"
    return os.path.realpath(Path(rest if separator else place).expanduser())


def _is_within(place: str, trusted: str) -> bool:
    return place == trusted or place.startswith(f"{trusted.rstrip('/')}/")


def cache_size() -> int | None:
    """Return how many bytes may be cached: ``$CRYOPROBE_CACHE_SIZE``, else what a file says; None where nothing does.

    Raises
    ------
    BadInput
        If that is no amount such as ``20GiB``; 0 is one.
    """
    if text := os.environ.get("CRYOPROBE_CACHE_SIZE", "").strip():
        return parse_bytes(text, "CRYOPROBE_CACHE_SIZE", least=0)
    found = None
    for file in _files():
        cache = _read(file).get("cache", {})
        if not isinstance(cache, dict) or not cache.keys() <= {"size"}:
            raise _misshapen(file, "cache", 'size = "20GiB"')
        if "size" in cache:
            found = parse_bytes(str(cache["size"]), f"[cache] size in {file}", least=0)
    return found


def _files() -> list[Path]:
    """Return the files to read; a later one has the last word."""
    project = project_file()
    return [config_file(), *([project] if project is not None else [])]


def _check_owner(file: Path) -> None:
    """Refuse a configuration file of another user, as git refuses another user's repository.

    Raises
    ------
    BadInput
        Unless the file (and a link that leads to it) is the user's own, or the user's own file allows it.
    """
    if not hasattr(os, "geteuid"):  # Windows
        return
    try:
        owners = {file.stat().st_uid, file.lstat().st_uid}
    except OSError:  # it is gone, which is found as it is read
        return
    sudo = os.environ.get("SUDO_UID", "") if os.geteuid() == 0 else ""
    strangers = owners - {os.geteuid(), *([int(sudo)] if sudo.isdecimal() else [])}
    if not strangers:
        return
    own = config_file()
    if file != own and str(file) in _trust(own)["configs"]:
        return
    raise BadInput(
        f"The configuration file {file} belongs to another user (id {min(strangers)}), and is not read.",
        hint=f"If you trust it, write this into {own}:\n[trust]\nconfigs = [{str(file)!r}]\n"
        "Otherwise work in a folder that is not below it.",
        key=str(file),
    )


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    _check_owner(file)
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:  # of which TOML's and UTF-8's errors are
        problem = e.strerror if isinstance(e, OSError) else e
        raise BadInput(f"{file} cannot be read: {problem}.", hint="Correct it, or remove it.", key=str(file)) from None
    for table in found.keys() - set(_TABLES):  # others are a newer version's, but for one that is mistyped
        if meant := get_close_matches(table, _TABLES, n=1, cutoff=0.75):
            raise BadInput(f"{file} has a table [{table}].", hint=f"Did you mean [{meant[0]}]?", key=str(file))
    return found


def _stores(file: Path) -> dict[str, Any]:
    stores = _read(file).get("stores", {})
    if not isinstance(stores, dict):
        raise _misshapen(file, "stores", 'team = "s3://bucket/features"')
    return stores


def _trust(file: Path) -> dict[str, list[str]]:
    """Return what a file says of trust: places and names of stores, by field."""
    table = _read(file).get("trust", {})
    if not isinstance(table, dict) or not table.keys() <= set(_TRUST):
        raise _misshapen(file, "trust", 'from = ["https://host/features"]')
    found = {}
    for field in _TRUST:
        texts = table.get(field, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise _misshapen(file, "trust", f'{field} = ["https://host/features"]')
        found[field] = texts
    return found


def _known(name: str, value: object, names: set[str], file: Path) -> KnownStore:
    table: dict[str, Any] = value if isinstance(value, dict) else {"store": value}
    place, sources = table.get("store"), table.get("from", [])
    sources = sources if isinstance(sources, list) else [None]
    texts = [place, *sources]
    if not table.keys() <= {"store", "from"} or not all(isinstance(text, str) and text for text in texts):
        example = 'team = "s3://bucket/features"\nmine = {store = "features", from = ["team"]}'
        raise _misshapen(file, f"stores.{name}", example)
    absolute = [text if text in names else _absolute(text, file.parent) for text in sources]
    return KnownStore(_absolute(str(place), file.parent), tuple(absolute))


def _misshapen(file: Path, table: str, example: str) -> BadInput:
    whats = {
        "stores": "a table of names and places",
        "cache": "a table with the cache's size",
        "trust": "a table of lists of places (`from`, `not`, `configs`)",
    }
    what = whats.get(table, "a place, or a table of `store` and `from`")
    heading = table.partition(".")[0]
    return BadInput(f"[{table}] in {file} is not {what}.", hint=f"Write it so:\n[{heading}]\n{example}", key=str(file))


def _absolute(address: str, folder: Path) -> str:
    return address if "://" in address else str(folder / Path(address).expanduser())

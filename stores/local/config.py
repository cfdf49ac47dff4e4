"""Names for stores, from configuration files: ``--store team`` in place of ``--store s3://bucket/features``.

    [stores]
    team = "s3://bucket/features"
    mine = {store = "~/features", from = ["team"]}  # written to ~/features, and read from the team's store too

    [cache]
    size = "20GiB"

    [extract]
    precision = "bf16"                                  # of `extract`, where it is not told otherwise
    workers = 16

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
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...amounts import parse_bytes
from ...errors import BadInput, NotFound
from ...folders import config_file

PROJECT_FILE = "cryoprobe.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_EXAMPLES = {
    "stores": 'team = "s3://bucket/features"\nmine = {store = "features", from = ["team"]}',
    "cache": 'size = "20GiB"',
    "extract": "workers = 16",
    "trust": 'from = ["https://host/features"]',
}

_Place = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Store(_Table):
    store: _Place
    sources: list[_Place] = Field([], alias="from")


class _Cache(_Table):
    size: str | int | None = None


class _Trust(_Table):
    sources: list[_Place] = Field([], alias="from")
    excluded: list[_Place] = Field([], alias="not")
    configs: list[_Place] = []


class _Configuration(BaseModel):
    """What one file says. Tables of other names are a newer version's."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    stores: dict[str, Annotated[_Store, BeforeValidator(lambda v: {"store": v} if isinstance(v, str) else v)]] = {}
    cache: _Cache = _Cache()
    extract: dict[str, Any] = {}
    trust: _Trust = _Trust()


class ConfiguredStore(NamedTuple):
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


def known_stores() -> dict[str, ConfiguredStore]:
    """Return the stores that have a name.

    Raises
    ------
    BadInput
        If a file is no TOML, or a store in it neither a place nor a table of `store` and `from`.
    """
    tables = [(file, _read(file).stores) for file in _files()]
    names = {name for _, stores in tables for name in stores}
    return {name: _known(table, names, file.parent) for file, stores in tables for name, table in stores.items()}


def known_as(text: str, *, create: bool = False) -> ConfiguredStore:
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
        return ConfiguredStore(text)
    known = known_stores()
    if text in known:
        return known[text]
    if known and not Path(text).exists():
        raise NotFound(
            f"There is no store called {text!r}, and no folder; known are {', '.join(sorted(known))}.",
            hint=f"Name one of them, or write ./{text} for a new folder." if create else "Name one of them.",
            key=text,
        )
    return ConfiguredStore(text)


def deciding_file(text: str | Path) -> Path | None:
    """Return the configuration file that says what the name of a store stands for; None for anything else."""
    if isinstance(text, Path) or not _NAME.fullmatch(text):
        return None
    return next((file for file in reversed(_files()) if text in _read(file).stores), None)


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

    listed = {found for known in stores.values() for found in places((known.place, *known.sources), Path.cwd())}
    here = _normal(stores[place].place if isinstance(place, str) and place in stores else str(place))
    said = [(_read(file).trust, file.parent) for file in _files()]
    if any(here in places(trust.excluded, folder) for trust, folder in said):
        return False
    trusted = {found for trust, folder in said for found in places(trust.sources, folder)}
    return here in listed or any(_is_within(here, place) for place in trusted)


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
        if (size := _read(file).cache.size) is not None:
            found = parse_bytes(str(size), f"[cache] size in {file}", least=0)
    return found


def extract_defaults() -> dict[str, tuple[Any, Path]]:
    """Return what the tables ``[extract]`` say, each with the file that has the last word; whoever asks checks it."""
    return {name: (value, file) for file in _files() for name, value in _read(file).extract.items()}


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
    if file != own and str(file) in _read(own).trust.configs:
        return
    raise BadInput(
        f"The configuration file {file} belongs to another user (id {min(strangers)}), and is not read.",
        hint=f"If you trust it, write this into {own}:\n[trust]\nconfigs = [{str(file)!r}]\n"
        "Otherwise work in a folder that is not below it.",
        key=str(file),
    )


def _read(file: Path) -> _Configuration:
    """Read a file; one that is not there says nothing."""
    import tomllib

    _check_owner(file)
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Configuration()
    except (OSError, ValueError) as e:  # of which TOML's and UTF-8's errors are
        problem = e.strerror if isinstance(e, OSError) else e
        raise BadInput(f"{file} cannot be read: {problem}.", hint="Correct it, or remove it.", key=str(file)) from None
    for table in found.keys() - _EXAMPLES.keys():  # others are a newer version's, but for one that is mistyped
        if meant := get_close_matches(table, _EXAMPLES, n=1, cutoff=0.75):
            raise BadInput(f"{file} has a table [{table}].", hint=f"Did you mean [{meant[0]}]?", key=str(file))
    try:
        return _Configuration.model_validate(found)
    except ValidationError as e:
        first = e.errors()[0]
        raise _misshapen(file, [str(part) for part in first["loc"]], first["type"]) from None


def _known(table: _Store, names: set[str], folder: Path) -> ConfiguredStore:
    absolute = [text if text in names else _absolute(text, folder) for text in table.sources]
    return ConfiguredStore(_absolute(table.store, folder), tuple(absolute))


def _misshapen(file: Path, path: list[str], problem: str) -> BadInput:
    """Return the error for a file in which what is at `path` is not what it should be."""
    heading, *below = path
    table = f"stores.{below[0]}" if heading == "stores" and below else heading
    if problem == "extra_forbidden":
        tables: dict[str, type[_Table]] = {"stores": _Store, "cache": _Cache, "trust": _Trust}
        known = [field.alias or name for name, field in tables[heading].model_fields.items()]
        near = get_close_matches(below[-1], known, n=1)
        return BadInput(
            f"[{table}] in {file} has no field {below[-1]!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else f"Its fields are {', '.join(known)}.",
            key=str(file),
        )
    whats = {
        "stores": "a table of names and places",
        "cache": "a table with the cache's size",
        "extract": "a table of options of `extract`",
        "trust": "a table of lists of places (`from`, `not`, `configs`)",
    }
    what = whats.get(table, "a place, or a table of `store` and `from`")
    example = f"[{heading}]\n{_EXAMPLES[heading]}"
    return BadInput(f"[{table}] in {file} is not {what}.", hint=f"Write it so:\n{example}", key=str(file))


def _absolute(address: str, folder: Path) -> str:
    return address if "://" in address else str(folder / Path(address).expanduser())

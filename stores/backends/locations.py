"""From what people write after ``--store`` to a backend: folders, buckets, web servers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import BadInput
from ..local.config import ConfiguredStore, known_as
from .backend import Backend, is_key
from .local import LocalBackend

_FORMS = "a folder, file://, s3://, gs://, az://, or http(s):// to read"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_SLIP = re.compile(r"(s3|gs|az|https?)(?::/?(?!/)|[;.,]?//)", re.IGNORECASE)  # one slash, or no colon
_CREDENTIALS = re.compile(r"[^\s/:]+:[^\s:][^\s]*@")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,19}")


def backend_at(place: str | Path, *, create: bool = False) -> Backend:
    """Return the backend of a store, without looking whether there is one.

    Parameters
    ----------
    place : str or Path
        A folder; a URL; or a name that a configuration file gives to one of these, see `stores.local.config`.
    create : bool
        Whether a store may be made there: a word that is neither a known name nor a folder is then taken for a
        mistyped name, where names are known.

    Raises
    ------
    BadInput
        If it is none of these, or holds credentials, which are never repeated.
    """
    text = str(place) if isinstance(place, Path) else known_as(place, create=create).place
    scheme, separator, rest = text.partition("://")
    if not isinstance(place, Path) and (slip := _SLIP.match(text)):
        scheme = slip[1].lower()  # the rest is not repeated: it may hold a secret
        raise BadInput(
            f"The store's place begins like {scheme}://, and is not a URL.",
            hint=f"Write {scheme}://… with two slashes.",
            key="store",
        )
    if not isinstance(place, Path) and not separator and _CREDENTIALS.match(text) and not Path(text).exists():
        raise BadInput(
            "The store's place looks as if it held a user name and a password.",
            hint=f"Name one of these: {_FORMS}. Credentials are taken from the environment (AWS_ACCESS_KEY_ID …).",
            key="store",
        )
    if isinstance(place, Path) or not separator:
        return _folder(text)
    scheme = scheme.lower()
    text = f"{scheme}://{rest}"
    if scheme == "file":
        return _folder(rest)
    if scheme in ("s3", "gs", "az"):
        from .objects import ObjectBackend

        return ObjectBackend(_bucket_url(text))
    if scheme in ("http", "https"):
        from .http import HttpBackend

        return HttpBackend(_checked(text))
    if scheme == "hf":
        raise BadInput(
            "A data set of the Hugging Face Hub is not a store: sets are sent there, and fetched from there.",
            hint="To send them: cryoprobe push hf://datasets/USER/NAME --store FOLDER\n"
            "To fetch them: cryoprobe pull hf://datasets/USER/NAME --store FOLDER",
            key="store",
        )
    named = f" at {scheme}://" if _SCHEME.fullmatch(scheme) else " there"
    raise BadInput(f"Stores are not kept{named}.", hint=f"Name one of these: {_FORMS}.", key="store")


def layers_at(place: str | Path, sources: Sequence[str | Path] = (), *, create: bool = False) -> list[str | Path]:
    """Return the places of a store: the one that is written to, then those that are read too, each once.

    Parameters
    ----------
    place : str or Path
        As for `backend_at`; a name can have sources of its own.
    sources : sequence of str or Path
        Further ones, which come before those.
    create : bool
        As for `backend_at`.
    """
    found: list[str | Path] = []

    def add(place: str | Path, create: bool) -> None:
        known = ConfiguredStore(str(place)) if isinstance(place, Path) else known_as(place, create=create)
        here = place if isinstance(place, Path) else known.place
        if here not in found:
            found.append(here)
            for source in (*(sources if len(found) == 1 else ()), *known.sources):
                add(source, False)

    add(place, create)
    return found


def _folder(path: str) -> LocalBackend:
    if not path.strip():
        raise BadInput("The store's path is empty.", hint="Name a folder: --store PATH", key="store")
    root = Path(path).expanduser()
    try:
        found = next((p for p in (root, *root.parents) if p.exists()), root)
        if root.is_dir():
            next(root.iterdir(), None)
    except OSError as e:  # a name that is too long, a folder that is not ours to read
        raise BadInput(
            f"{root} cannot be used: {e.strerror}.", hint="Check the path of the store.", key="store"
        ) from None
    if found.exists() and not found.is_dir():
        raise BadInput(f"{found} is a file, not a store.", hint="Name a folder: --store PATH", key="store")
    return LocalBackend(root)


def _checked(url: str) -> str:
    """Return `url` if it holds nothing but scheme, host and path: anything else may be a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadInput("The store's URL has a host or port that cannot be.", hint="Correct it.", key="store") from None
    if "@" in url or parts.query or parts.fragment or "?" in url or "#" in url:
        raise BadInput(
            "The store's URL holds more than its place: a user name, a password or a query.",
            hint="Leave that out. Credentials are taken from the environment (AWS_ACCESS_KEY_ID …).",
            key="store",
        )
    if not host or any(c.isspace() or not c.isprintable() for c in url):
        raise BadInput(
            "The store's URL names no host or bucket, or has blanks.", hint=f"Name one of these: {_FORMS}.", key="store"
        )
    return url.rstrip("/")


def _bucket_url(url: str) -> str:
    url = _checked(url)
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or (prefix and not is_key(prefix)):
        raise BadInput(
            f"{url} is not a place for a store.",
            hint=f"Write {parts.scheme}://BUCKET/PREFIX, of letters, digits, '.', '_' and '-'.",
            key="store",
        )
    return f"{parts.scheme}://{parts.netloc}/{prefix}".rstrip("/")

"""A backend behind a web server that serves a store's folder as files: to read, not to write.

Nothing is asked of the server but its files and its lists of a folder's files, which `python -m http.server`, nginx
(``autoindex on``), Apache and Caddy (``browse``) give as a page of links. Only the links are read, and of those only
the ones that lead one level down; sizes come from a HEAD request for each file.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from ...errors import NotFound, ReadOnly, Unavailable
from .backend import Backend, ObjectInfo, check_key, check_prefix, is_key, too_large

RETRIES = 2
"""How often a request is repeated after a failure that may pass."""

_TIMEOUT = 60.0  # seconds without a byte
_FIRST_PAUSE = 0.2  # seconds, doubled each time
_HEADS = 8
_LARGEST_PAGE = 64 << 20
"""Bytes of a page of links: some hundred thousand files in one folder."""

_DEEPEST = 16
"""Folders within folders: twice what a store has. A server can make up any number of them."""

_MOVED = (301, 302, 303, 307, 308)


class _Answer(NamedTuple):
    body: bytes
    length: int | None


class HttpBackend(Backend):
    """Objects as files of a web server.

    Redirects are not followed: what a store's address is, is for people to say, and not for whoever answers there.

    Parameters
    ----------
    url : str
        ``http://…`` or ``https://…`` of the store's folder, without credentials or a query.
    retries : int
        How often a request is repeated after a failure that may pass.
    """

    remote = True

    def __init__(self, url: str, retries: int = RETRIES) -> None:
        self.url = url.rstrip("/")
        self._retries = retries

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        return self._ask("GET", check_key(key), limit).body

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        raise self._read_only(check_key(key))

    def delete(self, key: str) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def exists(self, key: str) -> bool:  # noqa: D102
        try:
            self._ask("HEAD", check_key(key))
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        check_prefix(prefix)
        found = False
        with ThreadPoolExecutor(_HEADS, thread_name_prefix="cryoprobe-list") as pool:
            for info in self._walk(prefix, pool):
                found = True
                yield info
        if not found and not self._names(""):
            # A server that gives a page of another kind for a folder must not pass for an empty store.
            raise Unavailable(
                f"The server does not list the files of {self.url}.",
                hint="Let it list folders (nginx: autoindex on; Caddy: browse), or open the store by its path.",
                key=self.url,
            )

    def _walk(self, prefix: str, pool: ThreadPoolExecutor) -> Iterator[ObjectInfo]:
        names = self._names(prefix)  # a folder sorts as its name with "/" behind it, as its objects' keys do
        sizes = dict(
            zip(
                (n for n in names if not n.endswith("/")),
                pool.map(self._size, [prefix + n for n in names if not n.endswith("/")]),
                strict=True,
            )
        )
        for name in names:
            if name.endswith("/") and prefix.count("/") < _DEEPEST:
                yield from self._walk(prefix + name, pool)
            elif (size := sizes.get(name)) is not None:
                yield ObjectInfo(prefix + name, size)

    def _names(self, prefix: str) -> Sequence[str]:
        """Return what is in a folder, ordered; names of folders end with ``/``."""
        try:
            page = self._ask("GET", prefix, _LARGEST_PAGE).body
        except NotFound:
            return []
        base = f"{self.url}/{prefix}"
        links = _Links()
        links.feed(page.decode("utf-8", "replace"))
        below = (urljoin(base, link) for link in links.found)
        names = {unquote(link.removeprefix(base)) for link in below if link.startswith(base)}
        return sorted(n for n in names if "/" not in n[:-1] and is_key(n.removesuffix("/")))

    def _size(self, key: str) -> int | None:
        """Return a file's size, or None where there is none any more."""
        try:
            length = self._ask("HEAD", key).length
        except NotFound:
            return None
        if length is None:
            raise Unavailable(
                f"The server does not say how long {key} in {self.url} is.",
                hint="Serve the store's files as they are, without a filter or compression.",
                key=key,
            )
        return length

    def _ask(self, method: str, path: str, limit: int | None = None) -> _Answer:
        """Ask for a file, or for a folder (whose path ends with ``/``, or is empty), of at most `limit` bytes."""
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        pause = _FIRST_PAUSE
        for left in reversed(range(self._retries + 1)):
            try:
                with _OPENER.open(request, timeout=_TIMEOUT) as response:
                    header = response.headers.get("Content-Length")
                    length = int(header) if header is not None else None
                    if limit is not None and length is not None and length > limit:
                        raise too_large(path or "the list of files", self.url, limit, length)
                    # A body whose length is known is read to the end, or the end is missed.
                    body = response.read() if length is not None or limit is None else response.read(limit + 1)
                    if limit is not None and len(body) > limit:
                        raise too_large(path or "the list of files", self.url, limit, len(body))
                    return _Answer(body, length)
            except urllib.error.HTTPError as e:
                with e:
                    if e.code < 500 or not left:
                        raise self._refused(e, path) from None
            except (OSError, http.client.HTTPException, ValueError) as e:
                if not left:
                    raise self._unanswered(e, path) from None
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, e: urllib.error.HTTPError, path: str) -> NotFound | Unavailable:
        if e.code in (404, 410):
            return self._missing(path)
        if e.code in _MOVED:
            to = urlsplit(urljoin(f"{self.url}/{path}", e.headers.get("Location", "")))
            here = urlsplit(f"{self.url}/{path}")
            if (to.hostname, to.path) == (here.hostname, f"{here.path}/"):  # how servers answer for a folder
                return self._missing(path)
            return Unavailable(
                f"{self.url} redirects to {to.scheme}://{to.hostname}, which is not followed.",
                hint="If the store is there, and you trust that host, name that address: --store https://…",
                key=path or self.url,
            )
        if e.code in (401, 403):
            return Unavailable(
                f"The server refuses {path or 'the list of files'} in {self.url} ({e.code}).",
                hint="Ask whoever runs it for access to the files and to the lists of its folders (nginx: autoindex "
                "on). Cryoprobe sends no password over http.",
                key=path or self.url,
            )
        return Unavailable(
            f"Cannot read {path or 'the list of files'} in {self.url}: the server answered {e.code}.",
            hint="Try again when the server is well.",
            key=path or self.url,
        )

    def _unanswered(self, e: BaseException, path: str) -> Unavailable:
        reason = e.reason if isinstance(e, urllib.error.URLError) else e
        words = getattr(reason, "strerror", None) or type(reason).__name__
        return Unavailable(
            f"Cannot read {path or 'the list of files'} in {self.url}: {words}.",
            hint="Check the address and the network.",
            key=path or self.url,
        )

    def _missing(self, path: str) -> NotFound:
        return NotFound(f"There is no object {path} in {self.url}.", key=path)

    def _read_only(self, key: str) -> ReadOnly:
        return ReadOnly(
            f"The store {self.url} cannot be written: over http it is only read.",
            hint="Write to it by its path or its bucket, or name another store with --store.",
            key=key,
        )


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)

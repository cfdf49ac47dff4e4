"""A backend behind a web server that serves a store's folder as files: to read, not to write.

Nothing is asked of the server but its files and its lists of a folder's files, which `python -m http.server`, nginx
(``autoindex on``), Apache and Caddy (``browse``) give as a page of links. Only the links are read, and of those only
the ones that lead one level down; sizes come from a HEAD request for each file.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from html import unescape
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from ...errors import NotFound, ReadOnly, Unavailable
from ...parallel import ordered_map
from ..chunks import Checksum, Part, scatter
from .backend import Backend, ObjectInfo, check_key, check_prefix, is_key, too_large

RETRIES = 2
"""How often a request is repeated after a failure that may pass."""

_TIMEOUT = 60.0  # seconds without a byte
_FIRST_PAUSE = 0.2  # seconds, doubled each time
_HEADS = 8
_LARGEST_PAGE = 64 << 20
"""Bytes of a page of links: some hundred thousand files in one folder."""

_DEEPEST = 10
"""Folders within folders: what a store has, and some more. A server can make up any number of them."""

_MOVED = (301, 302, 303, 307, 308)


_SLOWEST = 1024
_PATIENCE = 30.0
"""A body that has come more slowly than so many bytes a second, beyond these seconds, is not waited for."""

_BLOCK = 1 << 20

_LARGEST_OBJECT = 2 << 30
"""Bytes of an object whose size nobody knows beforehand."""

_LARGEST_LINK = 1 << 10
"""Bytes that a page has for each file, on average."""

_MOST_PAGES = 1_000_000
_MOST_EMPTY = 1000
"""Folders into which one listing may look, and without finding files there."""

_DEPTHS = {
    **{"manifests": 2, "unit-seals": 2, "claims": 2, "gc": 2},
    **{"names": 1, "trials": 1, "pins": 1, "units": 4},
}
"""How many folders deep objects lie, by the first; elsewhere `_DEEPEST`."""

Taken = TypeVar("Taken")


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
        bound = _LARGEST_OBJECT if limit is None else limit
        try:
            return self._ask("GET", check_key(key), partial(_collect, limit=bound))
        except _TooLarge as e:
            raise too_large(key, self.url, bound, e.args[0]) from None

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:  # noqa: D102
        # Block by block, and no further than `parts` hold: the server may go on for ever.
        return self._ask("GET", check_key(key), lambda answer: scatter(answer.blocks(), parts, checksum))

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        raise self._read_only(check_key(key))

    def delete(self, key: str) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def exists(self, key: str) -> bool:  # noqa: D102
        try:
            self._ask("HEAD", check_key(key), lambda _: None)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        check_prefix(prefix)
        found = False
        with ThreadPoolExecutor(_HEADS, thread_name_prefix="cryoprobe-list") as pool:
            for info in self._walk(prefix, pool, _Bounds()):
                found = True
                yield info
        if not found and not self._names("", _Bounds()):
            # A server that gives a page of another kind for a folder must not pass for an empty store.
            raise Unavailable(
                f"The server does not list the files of {self.url}.",
                hint="Let it list folders (nginx: autoindex on; Caddy: browse), or open the store by its path.",
                key=self.url,
            )

    def _walk(self, prefix: str, pool: ThreadPoolExecutor, bounds: _Bounds) -> Iterator[ObjectInfo]:
        names = self._names(prefix, bounds)  # a folder sorts as its name with "/" behind it, as its objects' keys do
        files = [n for n in names if not n.endswith("/")]
        sizes = dict(zip(files, ordered_map(pool, self._size, [prefix + n for n in files], 2 * _HEADS), strict=True))
        for name in names:
            if name.endswith("/") and prefix.count("/") < _depth(prefix):
                yield from self._walk(prefix + name, pool, bounds)
            elif (size := sizes.get(name)) is not None:
                bounds.found += 1
                yield ObjectInfo(prefix + name, size)

    def _names(self, prefix: str, bounds: _Bounds) -> Sequence[str]:
        """Return what is in a folder, ordered; names of folders end with ``/``."""
        try:
            page = self._ask("GET", prefix, partial(_collect, limit=_LARGEST_PAGE))
        except NotFound:
            return []
        except _TooLarge:
            raise _endless(
                self.url, f"its list of {prefix or 'its files'} has more than {_LARGEST_PAGE >> 20} MiB"
            ) from None
        bounds.look(self.url, len(page))
        base = f"{self.url}/{prefix}"
        below = (_absolute(base, link) for link in _links(page.decode("utf-8", "replace")))
        names = {unquote(link.removeprefix(base)) for link in below if link.startswith(base)}
        return sorted(n for n in names if "/" not in n[:-1] and is_key(n.removesuffix("/")))

    def _size(self, key: str) -> int | None:
        """Return a file's size, or None where there is none any more."""
        try:
            length = self._ask("HEAD", key, lambda answer: answer.length)
        except NotFound:
            return None
        if length is None:
            raise Unavailable(
                f"The server does not say how long {key} in {self.url} is.",
                hint="Serve the store's files as they are, without a filter or compression.",
                key=key,
            )
        return length

    def _ask(self, method: str, path: str, take: Callable[[_Answer], Taken]) -> Taken:
        """Ask for a file, or for a folder (whose path ends with ``/``, or is empty); return what `take` makes of it."""
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        pause = _FIRST_PAUSE
        for left in reversed(range(self._retries + 1)):
            try:
                with _OPENER.open(request, timeout=_TIMEOUT) as response:
                    return take(_Answer(response))
            except urllib.error.HTTPError as e:
                with e:
                    if e.code < 500 or not left:
                        raise self._refused(e, path) from None
            except (OSError, http.client.HTTPException, ValueError) as e:
                if not left or isinstance(e, _Hopeless):
                    raise self._unanswered(e, path) from None
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, e: urllib.error.HTTPError, path: str) -> NotFound | Unavailable:
        if e.code in (404, 410):
            return self._missing(path)
        if e.code in _MOVED:
            to = urlsplit(_joined(f"{self.url}/{path}", e.headers.get("Location", "")))
            here = urlsplit(f"{self.url}/{path}")
            if (to.hostname, to.path) == (here.hostname, f"{here.path}/"):  # how servers answer for a folder
                return self._missing(path)
            there = "If the store is there, and you trust that host, name that address: --store https://…"
            return Unavailable(
                f"{self.url} redirects to {to.scheme}://{to.hostname or ''}, which is not followed.",
                hint=there if to.hostname else "No store of this kind does that.",
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
        words = str(e) if isinstance(e, _Hopeless) else getattr(reason, "strerror", None) or type(reason).__name__
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


class _TooLarge(Exception):
    """A body has more bytes than it may have: how many were read, or announced."""


class _Hopeless(http.client.HTTPException):
    """An answer that would be no better if it were asked for again."""


class _Answer:
    """An answer of a server, which is not believed: `length` is what it says, None where it does not say."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        length = response.headers.get("Content-Length")
        if length is not None and not re.fullmatch(r"[0-9]{1,18}", length.strip()):
            raise _Hopeless("its Content-Length is not a number")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            raise _Hopeless("it sends files compressed, which must be served as they are")
        self.length = int(length) if length is not None else None

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it comes. Raises OSError where it breaks off, or comes too slowly to be waited for."""
        size, since = 0, time.monotonic()
        while block := self._response.read1(_BLOCK):
            size += len(block)
            yield block
            if time.monotonic() - since > _PATIENCE + size / _SLOWEST:
                raise _Hopeless(f"it sends less than {_SLOWEST} bytes a second")
        if not self._response.chunked and self.length not in (None, size):
            raise http.client.IncompleteRead(b"", (self.length or 0) - size)


def _collect(answer: _Answer, limit: int) -> bytes:
    """Return the body if it has at most `limit` bytes; otherwise raise `_TooLarge`, and take no memory for the rest."""
    if answer.length is not None and answer.length > limit:
        raise _TooLarge(answer.length)
    body = bytearray()
    for block in answer.blocks():
        body += block
        if len(body) > limit:
            raise _TooLarge(len(body))
    return bytes(body)


class _Bounds:
    """Counts what a listing has looked at: a server can make up folders without end."""

    def __init__(self) -> None:
        self.pages = self.bytes = self.found = 0

    def look(self, url: str, size: int) -> None:
        """Count a folder's page; raise `Unavailable` where there are more than the files that were found can have."""
        self.pages += 1
        self.bytes += size
        if self.pages > _MOST_EMPTY + _DEEPEST * self.found:
            raise _endless(url, f"{self.pages:,} folders have only {self.found:,} files")
        if self.bytes > _LARGEST_PAGE + _LARGEST_LINK * self.found:
            raise _endless(url, f"its lists of {self.found:,} files have {self.bytes >> 20} MiB")
        if self.pages > _MOST_PAGES:
            raise _endless(url, f"it has more than {_MOST_PAGES:,} folders")


def _endless(url: str, what: str) -> Unavailable:
    return Unavailable(
        f"{url} lists more than a store has: {what}.",
        hint="Is it the address of a store, and not of a folder above it or of a whole site?",
        key=url,
    )


def _depth(prefix: str) -> int:
    """Return how many folders deep the objects lie that are listed below a prefix."""
    kind, _, rest = prefix.partition("/")
    if kind in ("origins", "trusted"):  # which are about objects of the other kinds, below the same folders
        return 1 + (_depth(rest) if rest else _DEEPEST - 1)
    return _DEPTHS.get(kind, _DEEPEST)


def _absolute(base: str, link: str) -> str:
    """Return where a link on the page `base` leads, if that may be a level below it: urljoin, but fast."""
    if link.startswith("/"):
        scheme, _, rest = base.partition("://")
        return f"{scheme}:{link}" if link.startswith("//") else f"{scheme}://{rest.partition('/')[0]}{link}"
    return link if "://" in link else base + link.removeprefix("./")


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:  # an address in brackets that is none
        return ""


def _links(page: str) -> Iterator[str]:
    """Yield the targets of a page's links, in time that grows with its length alone, whatever is in it."""
    for found in _LINK.finditer(page):
        yield unescape(found[1] or found[2] or found[3] or "")


_LINK = re.compile(
    r"""<a(?=[\s/])[^<>]{0,1000}?(?<=[\s/"'])href\s{0,9}=\s{0,9}"""
    r"""(?:"([^"<>]{0,4000})"|'([^'<>]{0,4000})'|([^\s"'<>=`]{1,4000}))""",
    re.IGNORECASE,
)


class _Watch:
    """Ends a connection whose server drips its answer's first lines: a time-out starts anew at every byte."""

    sock: socket.socket

    def getresponse(self) -> http.client.HTTPResponse:
        late = threading.Event()
        timer = threading.Timer(_TIMEOUT, partial(_hang_up, self.sock, late))
        timer.daemon = True
        timer.start()
        try:
            response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
            if late.is_set():  # or what has come by then would pass for all
                raise _Hopeless(f"it does not answer within {_TIMEOUT:g} seconds")
        return response


class _Connection(_Watch, http.client.HTTPConnection):
    pass


class _SecureConnection(_Watch, http.client.HTTPSConnection):
    pass


def _hang_up(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._context)  # type: ignore[attr-defined]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_OPENER = urllib.request.build_opener(_NoRedirects, _Http, _Https)

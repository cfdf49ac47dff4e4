"""Files of other people in buckets and on web servers, to read: data sets lie there, and nothing of them is a store.

A file is known by its URL, its size and what the storage says of its version (ETag). Whatever is read is read of that
version, or refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...errors import BadInput, Conflict, CryoprobeError, NotFound, Unavailable
from .objects import RETRIES, check_process, connect, explained, failures, whole

_BLOCK = 1 << 20
_PAGE = 1000
_WHOLE = "Received non-partial response"
"""How obstore says that a server sends whole files only."""
_YOUNG_SECONDS = 2
_FIRST_PAUSE = 0.1  # seconds, doubled each time


class RemoteFile(NamedTuple):
    """A file as the storage describes it.

    Parameters
    ----------
    url : str
    key : str
        What it is called in its bucket, or on its server.
    size : int
        Bytes.
    version : str or None
        Its ETag; the date of its last change if it has none; None if nothing tells a change.
    """

    url: str
    key: str
    size: int
    version: str | None

    @property
    def stamp(self) -> str | None:
        """What changes when the file does."""
        return None if self.version is None else f"{self.size} {self.version}"


class RemoteFiles:
    """The files of a bucket, or of a web server. Thread-safe.

    Parameters
    ----------
    place : str
        ``s3://BUCKET``, ``gs://BUCKET``, ``az://CONTAINER``, ``http://HOST`` or ``https://HOST``; see `root_of`.

    Raises
    ------
    BadInput
        If the package that it needs is not installed, or the settings in the environment cannot be.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._client = connect(place, what="Data")

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFiles, (self.place,)

    def list(self, prefix: str) -> list[RemoteFile]:
        """Return the files below a folder of a bucket by the code points of their names.

        Raises
        ------
        NotFound, Unavailable
        """
        found = self._ask(lambda: [m for page in self._objects.list(prefix or None, chunk_size=_PAGE) for m in page])
        return sorted((self._described(m) for m in found), key=lambda file: file.key.encode())

    def head(self, key: str) -> RemoteFile:
        """Look at one file.

        Raises
        ------
        NotFound, Unavailable
        """
        return self._described(self._ask(lambda: self._objects.head(key), key))

    def read(self, file: RemoteFile, start: int = 0, size: int | None = None) -> bytes:
        """Return a file's bytes, or `size` of them from `start` on.

        Raises
        ------
        Conflict
            If the file has changed since it was described.
        NotFound, Unavailable
        """
        end = file.size if size is None else min(start + size, file.size)
        if end <= start:
            return b""
        part = (start, end) if (start, end) != (0, file.size) else None
        raw: bytes = self._ask(lambda: bytes(self._get(file, part).bytes()), file.key, file)
        if len(raw) != end - start:
            raise _changed(file)
        return raw

    def blocks(self, file: RemoteFile) -> Iterator[bytes]:
        """Yield a file's bytes from its beginning to its end; what breaks off is gone on with, not begun again.

        Raises
        ------
        Conflict, NotFound, Unavailable
            As `read`.
        """
        at, pause = 0, _FIRST_PAUSE
        for left in reversed(range(RETRIES + 1)):
            try:
                for block in self._get(file, {"offset": at} if at else None).stream(min_chunk_size=_BLOCK):
                    at += len(block)
                    yield bytes(block)
                break
            except failures() as e:
                if "body error" not in str(e) or not left:
                    raise self._refusal(e, file.key, file) from None
            time.sleep(pause)
            pause *= 2
        if at != file.size:
            raise _changed(file)

    @property
    def _objects(self) -> Any:
        check_process(self.place)
        return self._client

    def _get(self, file: RemoteFile, part: Any) -> Any:
        options: dict[str, Any] = {} if part is None else {"range": part}
        if (file.version or "").startswith('"'):  # a weak one, W/…, never matches
            options["if_match"] = file.version
        return self._objects.get(file.key, options=options)

    def _ask(self, ask: Callable[[], Any], key: str = "", file: RemoteFile | None = None) -> Any:
        try:
            return whole(ask)
        except failures() as e:
            raise self._refusal(e, key, file) from None

    def _refusal(self, e: BaseException, key: str, file: RemoteFile | None) -> CryoprobeError:
        if file is not None and (type(e).__name__ == "PreconditionError" or "status code: 412" in str(e)):
            return _changed(file)
        if isinstance(e, NotImplementedError) or type(e).__name__ == "NotSupportedError" or _WHOLE in str(e):
            return Unavailable(
                f"{self.place} does not give parts of files (range requests), which {key} needs.",
                hint="Serve it by nginx, Caddy or a bucket; or make room, so that whole files are kept here.",
                key=key,
            )
        found = explained(e, self.place, key)
        if isinstance(found, NotFound) and "no object" in found.message:
            return NotFound(f"There is no {self.place}/{key}.", hint="Check the name of the data set.", key=key)
        return found

    def _described(self, meta: Any) -> RemoteFile:
        key, changed = str(meta["path"]), meta["last_modified"].timestamp()
        # A server that gives no date seems to give the beginning of time; and a date counts seconds.
        dated = 0 < changed < time.time() - _YOUNG_SECONDS
        version = meta["e_tag"] or (f"changed {changed:.6f}" if dated else None)
        return RemoteFile(f"{self.place}/{key}", key, int(meta["size"]), version)


def root_of(url: str) -> tuple[str, str]:
    """Split a URL into the place of `RemoteFiles` and a key.

    Examples
    --------
    >>> root_of("s3://bucket/photos/train")
    ('s3://bucket', 'photos/train')

    Raises
    ------
    BadInput
        If it names no bucket or host, or holds more than its place, which may be a secret.
    """
    scheme, _, rest = url.partition("://")
    host, _, key = rest.partition("/")
    if "@" in host or (scheme.startswith("http") and ("?" in url or "#" in url)):
        raise BadInput(
            "The URL of the data holds more than its place: a user name, a password or a query.",
            hint="Leave that out. Credentials are taken from the environment (AWS_ACCESS_KEY_ID …).",
            key="dataset",
        )
    try:
        named = bool(urlsplit(f"{scheme}://{host}").hostname) and not any(c.isspace() or c in "{*" for c in host)
    except ValueError:
        named = False
    if not named:
        raise BadInput(f"{url} names no bucket or host.", hint="Write s3://BUCKET/PATH.", key="dataset")
    return f"{scheme.lower()}://{host}", key


def _changed(file: RemoteFile) -> Conflict:
    return Conflict(f"{file.url} changed while it was being read.", hint="Run the command again.", key=file.key)

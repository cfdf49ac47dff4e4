"""A backend in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage, by obstore.

Credentials and endpoints come from the environment, as for any tool of that cloud, and stay there: messages are made
of status and error codes alone, since what obstore says can hold signed URLs and headers.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...errors import BadInput, Conflict, CryoprobeError, NotFound, ReadOnly, Unavailable
from ..chunks import Checksum, Part, scatter
from .backend import Backend, ObjectDetails, ObjectInfo, check_key, check_prefix, is_key, too_large
from .environment import CREDENTIALS, POLICY_HINT, check_environment, endpoints

RETRIES = 6
"""How often a request is repeated after a failure that may pass: some ten seconds in all."""

_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(minutes=5)  # a chunk of tens of megabytes, over a slow line
_RETRYING = timedelta(minutes=2)
SILENCE_SECONDS = 45.0
"""After so long without a byte of an answer a request is given up, and repeated: the other side has gone."""

_FIRST_PAUSE = 0.1  # seconds, doubled each time
_PAGE = 1000
_BLOCK = 2**17  # bytes: small enough to stay in the processor's cache until they are copied

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_BROKEN = r"body error"
_UNANSWERED = rf"{_BROKEN}|^(?!.* after \d+ retries).*error sending request"
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
_NO_CREDENTIALS = re.compile(r"/latest/api/token|/latest/meta-data|computeMetadata|metadata/identity")


Answer = TypeVar("Answer")


class ObjectBackend(Backend):
    """Objects below a prefix of a bucket.

    An upload is one request, which the storage carries out whole or not at all; a copy is made by the storage itself.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``, ``gs://…`` or ``az://…``, as `stores.backends.locations` has checked it.
    retries : int
        How often a request is repeated after a failure that may pass.
    silence_seconds : float
        After how long without a byte of an answer a request is repeated.
    """

    unproven = True
    remote = True

    def __init__(self, url: str, retries: int = RETRIES, silence_seconds: float = SILENCE_SECONDS) -> None:
        self.url = url
        self._scheme, self._bucket = urlsplit(url)[:2]
        self._retries = retries
        self._silence_seconds = silence_seconds
        self._client = connect(url, retries, silence_seconds)
        self._service = endpoints(self._scheme)
        self._whole_bucket: Any = None  # a client for copies between stores, made when one is asked for

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process finds its credentials in its own environment: none is ever pickled.
        return ObjectBackend, (self.url, self._retries, self._silence_seconds)

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        check_key(key)

        def ask() -> bytes:
            found = self._objects.get(key)
            if limit is not None and found.meta["size"] > limit:
                raise too_large(key, self.url, limit, found.meta["size"])
            return bytes(found.bytes())

        try:
            return self._whole(ask)
        except failures() as e:
            raise self._explained(e, key) from None

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:  # noqa: D102
        check_key(key)
        try:
            # Block by block as they come: collecting them first takes as long again.
            return self._whole(lambda: scatter(self._objects.get(key).stream(min_chunk_size=_BLOCK), parts, checksum))
        except failures() as e:
            raise self._explained(e, key) from None

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        check_key(key)
        try:
            # In one request: parts of an upload that was killed would stay in the bucket, unseen and paid for.
            self._whole(lambda: self._objects.put(key, data, use_multipart=False))
        except failures() as e:
            raise self._explained(e, key, writing=True) from None

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        from obstore.exceptions import AlreadyExistsError

        check_key(key)
        try:
            # obstore does not repeat it where no answer came, since it may have been done. Here that is no harm: who is
            # told that the object exists reads whose it is.
            whole(lambda: self._objects.put(key, data, mode="create", use_multipart=False), self._retries, _UNANSWERED)
        except AlreadyExistsError:
            return False
        except failures() as e:
            error = self._explained(e, key, writing=True)
            # The answer may be lost and the object written: then it is there, and whose it is the caller reads.
            if isinstance(error, Unavailable) and self._surely_exists(key):
                return False
            raise error from None
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        # Not every server orders by key.
        yield from sorted(ObjectInfo(m["path"], m["size"]) for m in self._listed(prefix))

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:  # noqa: D102
        yield from sorted(
            ObjectDetails(m["path"], m["size"], m["last_modified"].timestamp()) for m in self._listed(prefix)
        )

    def versions(self, prefix: str) -> Mapping[str, str] | None:  # noqa: D102
        tags = {m["path"]: m["e_tag"] for m in self._listed(prefix)}
        return tags if all(tags.values()) else None

    def _listed(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        check_prefix(prefix)
        try:
            found = self._whole(
                lambda: [m for page in self._objects.list(prefix or None, chunk_size=_PAGE) for m in page]
            )
        except failures() as e:
            raise self._explained(e, prefix) from None
        # What some tools keep in the place of a folder is no object of ours.
        return (m for m in found if is_key(m["path"]) and m["path"].startswith(prefix))

    def any_key(self, prefix: str = "") -> str | None:  # noqa: D102
        check_prefix(prefix)

        def first() -> str | None:
            pages = self._objects.list(prefix or None, chunk_size=1)
            return next((str(m["path"]) for page in pages for m in page if is_key(m["path"])), None)

        try:
            return self._whole(first)
        except failures() as e:
            raise self._explained(e, prefix) from None

    def delete(self, key: str) -> None:  # noqa: D102
        check_key(key)
        try:
            self._whole(lambda: self._objects.delete(key))
        except FileNotFoundError:  # as some storages have it
            return
        except failures() as e:
            raise self._explained(e, key, writing=True) from None

    def copy(self, source: str, target: str) -> None:
        """Let the storage copy `source` to `target`: no byte of it passes through here.

        Guarantees
        ----------
        As `put`: atomic and durable.
        """
        check_key(source)
        check_key(target)
        if source == target:  # which S3 refuses
            if not self.exists(source):
                raise self._missing(source)
            return
        try:
            self._whole(lambda: self._objects.copy(source, target))
        except FileNotFoundError as e:
            raise self._explained(e, source) from None
        except failures() as e:
            raise self._explained(e, target, writing=True) from None

    def copy_from(self, other: Backend, key: str, *, link: bool = False) -> bool:
        """Let the storage copy from another store in the same bucket: no byte of it passes through here.

        A bucket shares no bytes between objects, whatever `link` says.

        Guarantees
        ----------
        As `put`: atomic and durable.
        """
        check_key(key)
        here = self._scheme, self._bucket, endpoints(self._scheme)
        for store in (self, other):
            if not isinstance(store, ObjectBackend) or (store._scheme, store._bucket, store._service) != here:
                return False
        check_process(self.url)
        bucket = f"{self._scheme}://{self._bucket}"
        if self._whole_bucket is None:
            self._whole_bucket = connect(bucket, self._retries, self._silence_seconds)
        source, target = (f"{store.url}/{key}".removeprefix(f"{bucket}/") for store in (other, self))
        try:
            self._whole(lambda: self._whole_bucket.copy(source, target))
        except failures():  # a right that copying needs and writing does not: whoever puts the bytes learns more
            return False
        return True

    def exists(self, key: str) -> bool:  # noqa: D102
        check_key(key)
        try:
            self._whole(lambda: self._objects.head(key))
        except FileNotFoundError:
            return False
        except failures() as e:
            raise self._explained(e, key) from None
        return True

    @property
    def _objects(self) -> Any:
        check_process(self.url)
        return self._client

    def _whole(self, ask: Callable[[], Answer]) -> Answer:
        return whole(ask, self._retries)

    def _surely_exists(self, key: str) -> bool:
        try:
            return self.exists(key)
        except CryoprobeError:
            return False

    def _missing(self, key: str) -> NotFound:
        return NotFound(f"There is no object {key} in {self.url}.", key=key)

    def _explained(self, e: BaseException, key: str, *, writing: bool = False) -> CryoprobeError:
        return explained(e, self.url, key, writing=writing)


def whole(ask: Callable[[], Answer], retries: int = RETRIES, broken: str = _BROKEN) -> Answer:
    """Ask, and again where obstore does not by itself: if the answer breaks off, or says that one asks too often.

    Google's storage and R2 refuse to write one object more often than once a second (429). What is asked must be the
    same when it is done twice. `broken` is what obstore says where the answer did not come whole.
    """
    started, pause = time.monotonic(), _FIRST_PAUSE
    for left in reversed(range(retries + 1)):
        try:
            return ask()
        except failures() as e:
            text = str(e)
            may_pass = re.search(broken, text) is not None or _STATUS.findall(text)[-1:] == ["429"]
            if not may_pass or not left or time.monotonic() - started > _RETRYING.total_seconds():
                raise
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt returns or raises")


def explained(e: BaseException, url: str, key: str, *, writing: bool = False) -> CryoprobeError:
    """Return the error of ours that `e` amounts to, with nothing of its text but codes."""
    scheme, bucket = urlsplit(url)[:2]
    text = str(e)
    status = (_STATUS.findall(text) or [None])[-1]
    code = (_CODE.findall(text) or [None])[-1]
    answer = " ".join(part for part in (status, code) if part)
    where = f"{key} in {url}" if key else url
    credentials = CREDENTIALS[scheme]
    if _NO_BUCKET.search(text):
        return NotFound(
            f"There is no bucket {bucket} for {url}.",
            hint=f"Check its name, or make it with your cloud's own tool. What leads to it: {credentials}.",
            key=url,
        )
    if isinstance(e, FileNotFoundError) or status == "404":
        return NotFound(f"There is no object {key} in {url}.", key=key)
    if "redirect" in text:  # the bucket is in another region than one says
        status = answer = "301"
    if _NO_CREDENTIALS.search(text):
        return Unavailable(f"There are no credentials for {url}.", hint=f"Set {credentials}.", key=url)
    if status in ("401", "403") or type(e).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        if writing:
            policy = f"\n{POLICY_HINT}" if scheme == "s3" and code == "AccessDenied" else ""
            return ReadOnly(
                f"The store {url} cannot be written: the storage refuses {key} ({answer}).",
                hint=f"Ask for write access, or check {credentials}.{policy}",
                key=key,
            )
        return Unavailable(
            f"The storage refuses to read {where} ({answer}).",
            hint=f"Ask for access, or check {credentials}.",
            key=key or url,
        )
    verb = "write" if writing else "read"
    region = ["the bucket's region (AWS_REGION)"] if answer == "301" else []
    suspects = " and ".join(["the network", *endpoints(scheme), *region])
    return Unavailable(
        f"Cannot {verb} {where}: the storage {f'answered {answer}' if answer else 'does not answer'}.",
        hint=f"Check {suspects}. When the storage is well again, run the same command: what is sealed is kept.",
        key=key or url,
    )


def connect(url: str, retries: int = RETRIES, silence_seconds: float = SILENCE_SECONDS, what: str = "Stores") -> Any:
    """Return obstore's store for a URL, by the settings in the environment; nothing is asked of the network yet.

    `what` is kept there, for a message about a package that is missing.
    """
    scheme = urlsplit(url).scheme
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise BadInput(
            f"{what} at {scheme}:// need one more package.",
            hint="Install it: pip install 'cryoprobe[cloud]'",
            key="store",
        ) from None
    check_process(url)
    check_environment(scheme)
    addresses = endpoints(scheme)
    settings: dict[str, Any] = {
        "client_options": {
            "allow_http": scheme == "http" or any(e.startswith("http://") for e in addresses.values()),
            "connect_timeout": _CONNECT,
            "read_timeout": timedelta(seconds=silence_seconds),
            "timeout": _REQUEST,
        },
        "retry_config": {"max_retries": retries, "retry_timeout": _RETRYING},
    }
    if scheme == "s3":  # one object is deleted by a request that may be repeated, and that every server understands
        settings["disable_bulk_delete"] = True
    try:
        return from_url(url, **settings)
    except (BaseError, ValueError):
        raise BadInput(
            f"The settings in the environment do not suffice for {url}.",
            hint=f"Set {CREDENTIALS[scheme]}.",
            key=url,
        ) from None


_processes: list[int] = []
"""The process that has used obstore, if one has; a forked child inherits the entry."""


def check_process(url: str) -> None:
    """Refuse to use obstore in a forked child: its threads do not live on there, and a request would wait for ever."""
    if not _processes:
        _processes.append(os.getpid())
    if _processes[0] != os.getpid():
        raise Conflict(
            f"{url} cannot be used in this process, which was forked from one that had opened a store in a bucket.",
            hint="Start processes by 'spawn' (multiprocessing_context='spawn'), or load the features beforehand.",
            key=url,
        )


def failures() -> tuple[type[BaseException], ...]:
    """Return what obstore raises; a function, since obstore is imported only where a bucket is used."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, NotImplementedError

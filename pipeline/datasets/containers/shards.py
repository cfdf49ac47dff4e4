"""Tar files of samples, on a disk or far away: what each holds, and the bytes of one image."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ....errors import BadInput, Conflict, CryoprobeError
from ....stores.backends.remote_files import RemoteFile, RemoteFiles
from ....stores.local.sample_index import Stamp, settled_stamp, stamp
from ...passing import patiently
from ..base import UndecodableImage
from .kept_index import keep_index, kept_index
from .spool import Spool
from .tar_index import TarIndex, Wanted, index_tar

_HEADERS = 4096
"""Bytes that are read at once where headers are looked for: some of them follow each other."""


class Shard(Protocol):
    """A tar file of samples."""

    @property
    def name(self) -> str:
        """Its path or URL."""
        ...

    @property
    def stamp(self) -> str | None:
        """What changes when it does; None if nothing tells."""
        ...

    @property
    def file(self) -> Path | None:
        """It, if it is a local file."""
        ...

    def index(self, wanted: Wanted) -> TarIndex:
        """Return what it holds; as it is remembered, if it has not changed."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return some of its bytes."""
        ...


@dataclass(frozen=True)
class LocalShard:
    """A tar file on a disk; see `Shard`."""

    file: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.file)

    @cached_property
    def stamp(self) -> str | None:
        """Its size, dates and inode; None if it was written just now."""
        return patiently(lambda: settled_stamp(self.file), self.name)

    @cached_property
    def _first_seen(self) -> Stamp:
        return patiently(lambda: stamp(self.file), self.name)

    def index(self, wanted: Wanted) -> TarIndex:
        """Look through it, unless that has been done."""
        try:
            self._first_seen  # noqa: B018  # before it is read
            known = kept_index(self.name, self.stamp, wanted)
            if known is None:
                known = patiently(lambda: self._looked_through(wanted), self.name)
                keep_index(self.name, self.stamp, wanted, known)
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            raise BadInput(
                f"{self.name} cannot be read: {e.strerror}.", hint="Check your rights.", key=self.name
            ) from e
        return known

    def _looked_through(self, wanted: Wanted) -> TarIndex:
        with self.file.open("rb", buffering=_HEADERS) as file:
            return index_tar(file, self.name, wanted)

    def read(self, offset: int, size: int) -> bytes:
        """Read some of it; refuse a file that is not the one that was looked through."""
        with self.file.open("rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            seen = self._first_seen
            if (found.st_size, found.st_mtime_ns) != (seen.size, seen.mtime_ns):
                raise Conflict(f"{self.name} changed while it was used.", hint="Run the command again.", key=self.name)
            parts, left = [], size
            file.seek(offset)
            while left and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        if left:
            raise UndecodableImage("is cut short")
        return b"".join(parts)


@dataclass(frozen=True)
class RemoteShard:
    """A tar file in a bucket or on a web server; see `Shard`."""

    remote: RemoteFile
    files: RemoteFiles
    spool: Spool

    @property
    def name(self) -> str:
        """Its URL."""
        return self.remote.url

    @property
    def stamp(self) -> str | None:
        """Its size and version."""
        return self.remote.stamp

    @property
    def file(self) -> Path | None:
        """None: what the spool has of it may go."""
        return None

    def index(self, wanted: Wanted) -> TarIndex:
        """Look through it, unless that has been done: in the spool if it fits there, or else by its headers alone."""
        known = kept_index(self.name, self.stamp, wanted)
        if known is None:
            path = self.spool.fetched(self.files, self.remote)
            if path is not None:
                with path.open("rb", buffering=_HEADERS) as file:
                    known = index_tar(file, self.name, wanted)
            else:
                with io.BufferedReader(_Ranges(self.files, self.remote), _HEADERS) as remote:
                    known = index_tar(remote, self.name, wanted)
            keep_index(self.name, self.stamp, wanted, known)
        return known

    def read(self, offset: int, size: int) -> bytes:
        """Read some of it, in the spool or where it is."""
        if (path := self.spool.kept(self.remote)) is not None:
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(offset)
                    raw = file.read(size)
                if len(raw) == size:
                    return raw
            except OSError:  # it has made room for another one
                pass
        return self.files.read(self.remote, offset, size)


class _Ranges(io.RawIOBase):
    """A remote file that is read part by part, where it is sought."""

    def __init__(self, files: RemoteFiles, file: RemoteFile) -> None:
        self._files, self._file, self._at = files, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        raw = self._files.read(self._file, self._at, len(buffer))
        buffer[: len(raw)] = raw
        self._at += len(raw)
        return len(raw)

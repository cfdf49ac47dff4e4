"""A whole set as one file: a zip that holds a store of just this set, its manifest first.

Unpacked, it is a store; read here without unpacking, it is the source of an ordinary transfer. Nothing is compressed:
embeddings hardly shrink, any part can be read where it lies, and a small file cannot grow into a large one.

An archive may come from anybody. Before anything is written, its directory is checked by its own sizes, every member
against what the manifest says of it, and every byte against the manifest's hashes.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ...errors import BadInput, Corrupt, NotFound, ReadOnly, Unavailable
from ...parallel import each, within_memory
from ...progress import Reporter
from ..backends.backend import Backend, ObjectInfo, check_key, check_prefix, is_key, too_large
from ..chunks import check_object
from ..format.documents import SMALL
from ..format.manifest import read_manifest
from ..format.marker import MARKER, check_marker, marker_document
from ..format.sample_names import SAMPLE_NAMES, check_list, get_list, most_bytes, parse_key
from ..format.stored_names import find_name
from ..keys import id_in
from ..store import Store
from .transfer_plan import read_item

MOST_MEMBERS = 200_000
"""Of an archive: some 270 million rows in chunks of the usual size."""

_MOST_NAMES = 1000
_NAME_BYTES = 64 * 1024
_MANIFEST_BYTES = 16 * 2**20  # and `_RECORD_BYTES` more for every member
_RECORD_BYTES = 1024
_MOST_OBJECT_BYTES = 2**31
_ENTRY_BYTES = 46 + 512 + 64  # of the directory: an entry, the longest key, sizes beyond 4 GiB

_END, _END_MARK = 22, b"PK\5\6"
_LOCATOR, _LOCATOR_MARK = 20, b"PK\6\7"
_END64, _END64_MARK = 56, b"PK\6\6"
_LOCAL = 30

_SHOWN = 200  # characters of a name
_ASK = "Nothing of it has been imported. Ask whoever sent it for another: cryoprobe export SET FILE.zip"

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(file: BinaryIO, backend: Backend, manifest_key: str, reporter: Reporter) -> int:
    """Write a set as an archive, object by object; the same set gives the same bytes.

    Parameters
    ----------
    file : binary file
        Seekable.
    backend : Backend
    manifest_key : str
    reporter : Reporter

    Returns
    -------
    int
        Bytes of the set's objects.

    Raises
    ------
    Corrupt
        If an object is not what was sealed.
    """
    sealed = read_item(backend, manifest_key)
    total = sum(record.size for record in sealed.objects.values())

    def read(key: str) -> tuple[str, bytes]:
        record = sealed.objects[key]
        try:
            data = backend.get(key, record.size)
        except NotFound:
            data = b""
        check_object(data, record, key=key, url=backend.url)
        return key, data

    with reporter.task("Exporting", total, "bytes"), zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        add = partial(_add, archive)
        add(manifest_key, sealed.seal)
        add(MARKER, marker_document())
        for info in backend.list("names/"):
            if id_in(info.key) == sealed.id and find_name(backend, info.key) is not None:
                add(info.key, backend.get(info.key, SMALL))
        manifest = read_manifest(backend, manifest_key)
        if (found := get_list(backend, manifest)) is not None:
            check_list(backend, *found, manifest.rows)  # what is damaged is not passed on
            add(found[0].key, found[1])
        at_once = within_memory(record.size for record in sealed.objects.values())
        for key, data in each(read, sealed.objects, at_once):
            add(key, data)
            reporter.advance(len(data))
    return total


def _add(archive: zipfile.ZipFile, key: str, data: bytes) -> None:
    info = zipfile.ZipInfo(key, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data)


@contextmanager
def open_archive(path: Path, reporter: Reporter) -> Iterator[Store]:
    """Open an archive as a store that is only read, after everything in it has been checked.

    Raises
    ------
    NotFound
        If there is no such file.
    BadInput
        If it is no zip.
    Corrupt
        If any member is not what an archive of this set would have: by its name, kind, place, size or content.
    Incompatible
        If a newer version wrote it.

    Guarantees
    ----------
    Takes memory in proportion to the file, and never more than the limits above allow; nothing is unpacked.
    """
    if "\0" in str(path) or not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}.", hint="Check the path.", key=str(path))
    try:
        file = path.open("rb")
    except OSError as e:
        raise Unavailable(f"Cannot read {path}: {e.strerror}.", hint="Check your rights.", key=str(path)) from None
    with file:
        _check_directory(file, path)
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError, EOFError) as e:
            raise _refused(path, f"its directory cannot be read ({e})") from None
        with archive:
            backend = ArchiveBackend(archive, path)
            try:
                _check_content(backend, path, reporter)
            except Corrupt as e:
                raise Corrupt(e.message, hint=_ASK, key=e.key, expected=e.expected, found=e.found) from None
            yield Store(backend)


class ArchiveBackend(Backend):
    """The members of a zip as objects, to read.

    Parameters
    ----------
    archive : ZipFile
        Open; its directory is small enough to be held.
    path : Path
        Where it is, for messages.

    Raises
    ------
    Corrupt
        If a member is none that an archive would have, whatever is in it.
    """

    near = True

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.url = str(path)
        self._archive = archive
        # Of 3.13.0, zipfile skips a member's extra field from where the file stands: another thread may have moved it.
        self._one_reads = Lock()
        self._members: dict[str, zipfile.ZipInfo] = {}
        at = 0
        for info in sorted(archive.infolist(), key=lambda i: i.header_offset):
            name = info.orig_filename  # `filename` ends at the first NUL
            kind = stat.S_IFMT(info.external_attr >> 16)
            if not is_key(name) or name != info.filename:
                raise _refused(path, "its name is not an object key", name)
            if name in self._members:
                raise _refused(path, "there are two of that name", name)
            if kind not in (0, stat.S_IFREG):
                raise _refused(path, "it is a link, or no ordinary file", name)
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits:
                raise _refused(path, "it is compressed, encrypted or not of one piece", name)
            if info.header_offset < at:
                raise _refused(path, "it lies over another member", name)
            at = info.header_offset + _LOCAL + len(name) + info.file_size
            self._members[name] = info
        if at > archive.start_dir:
            raise _refused(path, "members are longer than the file")

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        info = self._members.get(check_key(key))
        if info is None:
            raise NotFound(f"There is no object {key} in {self.url}.", key=key)
        if limit is not None and info.file_size > limit:
            raise too_large(key, self.url, limit, info.file_size)
        try:
            with self._one_reads:
                return self._archive.read(info)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as e:
            raise _refused(Path(self.url), f"it cannot be read ({e})", key) from None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        check_prefix(prefix)
        for key in sorted(self._members):
            if key.startswith(prefix):
                yield ObjectInfo(key, self._members[key].file_size)

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        raise self._read_only(check_key(key))

    def delete(self, key: str) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def _read_only(self, key: str) -> ReadOnly:
        return ReadOnly(f"The archive {self.url} is only read.", hint="Import it into a store.", key=key)


def _check_directory(file: BinaryIO, path: Path) -> None:
    """Refuse a directory that is too large to be held, by the record at the end of the file and before it is read.

    It must be the last thing in the file, as we write it: then zipfile finds the same one.
    """
    size = file.seek(0, os.SEEK_END)
    tail_length = min(size, _END + _LOCATOR + _END64)
    file.seek(size - tail_length)
    tail = file.read(tail_length)
    end = tail[-_END:]
    if len(end) < _END or end[:4] != _END_MARK:
        if zipfile.is_zipfile(file):
            raise _refused(path, "something follows its directory")
        raise BadInput(
            f"{path} is cut short, or is not an archive of Cryoprobe's.",
            hint="Copy it again, or make one: cryoprobe export SET FILE.zip",
            key=str(path),
        )
    directory = int.from_bytes(end[12:16], "little")
    locator = tail[-_END - _LOCATOR : -_END]
    if locator[:4] == _LOCATOR_MARK:
        end64 = tail[-_END - _LOCATOR - _END64 : -_END - _LOCATOR]
        if len(end64) < _END64 or end64[:4] != _END64_MARK:
            raise _refused(path, "its directory cannot be found")
        directory = int.from_bytes(end64[40:48], "little")
    if directory > min(size, MOST_MEMBERS * _ENTRY_BYTES):
        raise _refused(path, f"its directory is too large ({directory} bytes)")
    file.seek(0)


def _check_content(backend: ArchiveBackend, path: Path, reporter: Reporter) -> None:
    """Compare the members with the manifest: which there are, their sizes, and every byte."""
    members = {info.key: info.size for info in backend.list()}
    manifests = [key for key in members if key.startswith("manifests/")]
    named = [key for key in members if key.startswith("names/")]
    lists = [key for key in members if key.startswith(SAMPLE_NAMES)]
    if len(members) > MOST_MEMBERS or len(named) > _MOST_NAMES or len(lists) > 1:
        raise _refused(path, f"it has too many members ({len(members)})")
    if len(manifests) != 1 or manifests[0].count("/") != 2:
        raise _refused(path, f"it has {len(manifests)} manifests of sets, and not one")
    if members.get(MARKER, _NAME_BYTES + 1) > _NAME_BYTES:
        raise _refused(path, "it does not say that it is a store", MARKER)
    if members[manifests[0]] > _MANIFEST_BYTES + _RECORD_BYTES * len(members):
        raise _refused(path, "a manifest is not as long as that", manifests[0])
    for key in named:
        if members[key] > _NAME_BYTES:
            raise _refused(path, "a name is not as long as that", key)
    check_marker(backend)
    sealed = read_item(backend, manifests[0])
    expected = {MARKER: members[MARKER], sealed.key: len(sealed.seal)}
    expected |= {key: record.size for key, record in sealed.objects.items()}
    for key in named:
        found = find_name(backend, key)
        if found is None or found.set != sealed.id:
            raise _refused(path, "it is not a name of the set", key)
        expected[key] = members[key]
    rows = read_manifest(backend, sealed.key).rows
    for key in lists:
        parts = parse_key(key)
        if parts is None or parts.set != sealed.id:
            raise _refused(path, "it does not name the samples of the set", key)
        check_list(backend, parts, backend.get(key, most_bytes(rows)), rows)
        expected[key] = members[key]
    for key in sorted(expected.keys() ^ members.keys()):
        raise _refused(path, "it is not in the manifest" if key in members else "it is missing", key)
    for key, size in expected.items():
        if members[key] != size or size > _MOST_OBJECT_BYTES:
            raise _refused(path, f"it has {members[key]} bytes, and in the manifest {size}", key)

    def check(key: str) -> int:
        check_object(backend.get(key), sealed.objects[key], key=key, url=backend.url)
        return expected[key]

    with reporter.task("Checking", sum(record.size for record in sealed.objects.values()), "bytes"):
        for n in each(check, sealed.objects, within_memory(expected.values())):
            reporter.advance(n)


def _refused(path: Path, problem: str, member: str | None = None) -> Corrupt:
    about = f"{path} is refused" if member is None else f"The member {member[:_SHOWN]!r} of {path} is refused"
    return Corrupt(
        f"{about}: {problem}.",
        hint=_ASK,
        key=str(path) if member is None else member[:_SHOWN],
    )

"""Sending sets to a data set of the Hub, and opening one as a store that `pull` reads.

Both are ordinary transfers: every object is compared with its seal on the way. What is sent is one commit, so readers
of the Hub see all of a push or nothing of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...amounts import count
from ...errors import BadInput, Corrupt, NotFound, Unavailable
from ...progress import Reporter
from ..format.manifest import Manifest, read_manifest
from ..format.marker import MARKER, marker_document
from ..format.origins import arriving
from ..format.sample_names import read_sample_names
from ..moving.copying import UNDONE, Moved, TransferRun, foretold
from ..moving.transfer_plan import plan_transfer
from ..store import Store
from .backend import HubBackend, HubDraft, described
from .card import card
from .client import Commit, HubClient, operation
from .index import CARD, INDEX, OBJECTS, HubFile, HubIndex, HubSet, Shard, config_and_split, data_files, read_index
from .index import replaced_files as files_of
from .place import HubPlace
from .rows import pyarrow, shard_rows, write_shard

_TRIES = 3
_SHOWN = "origins/trusted/"  # says only where something came from: a place on the sender's machine
_NOTE = (
    "What goes along says who made the sets: user, host, paths and command line, as in any copy of a store. "
    "{repo} is {visibility}."
)


class Sending(NamedTuple):
    """What is sent, and how.

    Parameters
    ----------
    sets : mapping of str to str
        Ids of the sets, with the keys of their manifests.
    everything : bool
        Whether trials may be on any sets that are there afterwards.
    trials, private, dry_run : bool
    """

    sets: Mapping[str, str]
    everything: bool
    trials: bool
    private: bool
    dry_run: bool


def open_hub(place: HubPlace) -> Store:
    """Return a data set of the Hub as a store that is only read.

    Raises
    ------
    NotFound
        If there is no such data set, or it has no features of Cryoprobe's.
    Unavailable
        If the Hub is not reached, or does not let it be read.
    """
    client = HubClient(place)
    commit = client.newest()
    if commit is None:
        raise NotFound(
            f"There is no data set {place.url} on the Hub, or this token may not see it.",
            hint="Check the name; for a private one log in (`hf auth login`), or set HF_TOKEN.",
            key=place.url,
        )
    if INDEX not in commit.paths:
        raise NotFound(
            f"{place.url} has no features of Cryoprobe's: there is no {INDEX} in it.",
            hint="To encode its images: cryoprobe extract --dataset hf:USER/NAME",
            key=place.url,
        )
    return Store(_backend(client, commit))


def push_to_hub(source: Store, place: HubPlace, sending: Sending, reporter: Reporter) -> Moved:
    """Send sets to a data set of the Hub, which is made if there is none, as one commit.

    Raises
    ------
    BadInput
        If a revision is named, or a public data set is asked to be private.
    Corrupt
        If an object of the source is not what was sealed: nothing is sent then.
    ReadOnly, Unavailable
        If the Hub refuses, or is not reached. The same call sends what is missing.

    Guarantees
    ----------
    Readers of the Hub see the data set before the push or after it. Of several that push at once, each keeps what the
    others have sent.
    """
    if place.revision is not None:
        raise BadInput(f"{place.url} names a revision.", hint=f"Push to hf://datasets/{place.repo}", key="to")
    pyarrow()  # what is missing is said before anything is asked or sent
    client = HubClient(place)
    for _ in range(_TRIES):
        commit = client.newest()
        if commit is not None and sending.private and not commit.private:
            raise BadInput(
                f"{place.url} is public, and --private only makes new data sets private.",
                hint="Change it in its settings on the Hub first, or leave --private out.",
                key="private",
            )
        with tempfile.TemporaryDirectory(prefix="cryoprobe-") as folder:
            done = _push(source, client, commit, sending, reporter, Path(folder))
        if done is not None:
            return done
    raise Unavailable(
        f"{place.url} was changed by others each time that a commit was made ({_TRIES} times).",
        hint="Run the same command again.",
        key=place.url,
    )


def _push(
    source: Store, client: HubClient, commit: Commit | None, sending: Sending, reporter: Reporter, folder: Path
) -> Moved | None:
    """Send what the data set lacks; None if somebody else has changed it meanwhile."""
    draft = HubDraft(_backend(client, commit), folder / "objects")
    if not draft.exists(MARKER):
        draft.put(MARKER, marker_document())
    target = Store(draft)
    origin = arriving(source.url, "pull", trusted=True)
    plan = plan_transfer(
        source,
        target,
        sending.sets,
        origin=origin,
        trials=sending.trials,
        units=False,
        everything=sending.everything,
    )
    visible = commit.private if commit is not None else sending.private
    note = _NOTE.format(repo=client.place.url, visibility="private" if visible else "public: anybody can read it")
    if sending.dry_run:
        return replace(foretold(source, target, plan), notes=(note,))
    try:
        moved = TransferRun(source.backend, target, plan, reporter).run()
    except Corrupt as e:
        raise Corrupt(f"{e.message.removesuffix(UNDONE)}Nothing has been sent.", hint=e.hint, key=e.key) from None
    renewed = [s.set for s in moved.sets if s.outcome in ("moved", "completed")]
    written = [info.key for info in draft.written.list() if not info.key.startswith(_SHOWN)]
    if written == [MARKER] or not (written or renewed or draft.deleted):
        return moved
    moved = replace(moved, notes=(note,))
    if commit is None:
        client.create(private=sending.private)
        commit = client.newest()
        if commit is None:
            raise Unavailable(f"{client.place.url} was made, and is not there.", hint="Run the same command again.")
    send = _Commit(source, client, draft, folder, reporter)
    what = f"Features: {count(len(renewed), 'set')}" if renewed else "Names and results"
    return moved if send.run(renewed, written, commit, f"{what} (Cryoprobe)") else None


class _Commit:
    """One commit: the rows of new sets, other objects, the list of all files, and the card."""

    def __init__(self, source: Store, client: HubClient, draft: HubDraft, folder: Path, reporter: Reporter) -> None:
        self._source, self._client, self._draft, self._folder = source, client, draft, folder
        self._reporter = reporter

    def run(self, renewed: list[str], written: list[str], parent: Commit, message: str) -> bool:
        """Send it; return False if somebody else has made a commit since `parent`."""
        index = self._draft.index
        gone = {OBJECTS + key for key in self._draft.deleted} | files_of(index, renewed)
        files = {path: file for path, file in index.files.items() if path not in gone}
        sets = dict(index.sets)
        operations = []
        for key in written:
            data = self._draft.written.get(key)
            files[OBJECTS + key] = _file(data)
            operations.append(operation(OBJECTS + key, data))
        names = {n.set: n for n in reversed(Store(self._draft).names())}
        manifests = {s: read_manifest(self._source.backend, self._source.manifest_key(s)) for s in renewed}
        total = sum(m.rows * m.dim * (2 if m.dtype == "float16" else 4) for m in manifests.values())
        with self._reporter.task("Sending", total, "bytes"):
            for set_id, manifest in manifests.items():
                taken = {(found.config, found.split) for other, found in sets.items() if other != set_id}
                config, split = config_and_split(manifest, names[set_id], taken)
                shards = [self._send_rows(manifest, *shard) for shard in self._shards(manifest, config, split)]
                operations += [sent for sent, _, _ in shards]
                files |= {shard.path: file for _, shard, file in shards}
                found = tuple(shard for _, shard, _ in shards)
                sets[set_id] = HubSet(manifest=manifest.key, config=config, split=split, shards=found)
        now = HubIndex(files=files, sets=sets)
        operations.append(operation(INDEX, now.dump()))
        operations.append(operation(CARD, self._card(now, parent).encode("utf-8", "backslashreplace")))
        deleted = sorted((gone - files.keys()) & parent.paths)
        return self._client.commit(operations, deleted, message, parent.id) is not None

    def _shards(self, manifest: Manifest, config: str, split: str) -> Iterator[tuple[str, range, list[str] | None]]:
        ranges = shard_rows(manifest)
        names = read_sample_names(self._source.backend, manifest)
        for path, rows in zip(data_files(config, split, len(ranges)), ranges, strict=True):
            yield path, rows, names

    def _send_rows(
        self, manifest: Manifest, path: str, rows: range, names: list[str] | None
    ) -> tuple[Any, Shard, HubFile]:
        """Send a file of rows ahead of the commit. It is not kept here, unless the Hub takes it with the commit."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_shard(file, self._source.backend, manifest, names, rows)
        size, sha256 = described(file)
        sent = self._client.upload(path, file)
        if getattr(sent, "_is_uploaded", False):
            file.unlink()
        self._reporter.advance(len(rows) * manifest.dim * (2 if manifest.dtype == "float16" else 4))
        return sent, Shard(path=path, rows=len(rows)), HubFile(size=size, sha256=sha256)

    def _card(self, index: HubIndex, parent: Commit) -> str:
        there = ""
        if CARD in parent.paths:
            with suppress(UnicodeDecodeError):
                there = self._client.fetch(CARD, parent.id).read_text(encoding="utf-8")
        return card(Store(self._draft), index, self._client.place, there)


def _file(data: bytes) -> HubFile:
    return HubFile(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _backend(client: HubClient, commit: Commit | None) -> HubBackend:
    """Return what a commit has, or nothing."""
    if commit is None or INDEX not in commit.paths:
        paths = frozenset() if commit is None else commit.paths
        return HubBackend(client.place.url, HubIndex(), _no_file, paths)
    fetch = partial(client.fetch, commit=commit.id)
    index = read_index(fetch(INDEX).read_bytes(), client.place.url)
    return HubBackend(client.place.url, index, fetch, commit.paths)


def _no_file(path: str) -> Path:
    raise NotFound(f"There is no file {path}.", key=path)

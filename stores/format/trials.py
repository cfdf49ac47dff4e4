"""Stored results of trials: JSON documents whose field ``trial`` is their id. What else is in one is the pipeline's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import JsonValue

from ...checksummed import LARGE, checksum_holds, dump_document
from ...errors import Corrupt, CryoprobeError, NotFound
from ..backends.backend import Backend
from ..keys import id_in, trial_key
from .documents import damaged, parse_json, read_document
from .origins import Marks, Origin, arrival_of, checksum_of, origin_of
from .predictions import record_in


def read_trial(backend: Backend, trial_id: str, *, trusted: bool = False) -> dict[str, JsonValue] | None:
    """Return the stored result of a trial, or None if it has not been run; raise `Corrupt` if it is damaged.

    With `trusted`, one that came from elsewhere and is not trusted counts as not run.
    """
    key = trial_key(trial_id)
    if trusted and origin_of(backend, key, "") is not None:  # in a layer that is not trusted, whatever it is
        return None
    what, hint = "trial", f"Set it aside, and run the same probe again: cryoprobe repair --store {backend.url}"
    try:
        content = read_document(backend, key, what, hint, LARGE)
    except NotFound:
        return None
    if content.get("trial") != trial_id:
        raise damaged(backend, key, what, "it is another trial", hint)
    if trusted and origin_of(backend, key, content["checksum"]) is not None:
        return None
    return {k: v for k, v in content.items() if k != "checksum"}


def read_trials(backend: Backend) -> Iterator[dict[str, JsonValue]]:
    """Yield every stored trial, ordered by id. A damaged one is left out: `verify` names it.

    One that came from elsewhere and is not trusted has ``origin``, the place.
    """
    marks: Marks | None = None
    for key, data in backend.read_all("trials/", LARGE):
        with suppress(Corrupt):
            content = parse_json(data, key, backend.url)
            if is_trial(content, key, data):
                marks = marks if marks is not None else Marks(backend, "trials/")
                trial = {k: v for k, v in content.items() if k not in ("checksum", "origin")}
                origin = marks.of(key, content["checksum"])
                yield trial if origin is None else {**trial, "origin": origin.place}


def is_trial(content: Any, key: str, data: bytes | None = None) -> bool:
    """Return whether what was parsed of the object `key` is the trial that it should be, intact."""
    return checksum_holds(content, data) and content.get("trial") == id_in(key)


def names_predictions(backend: Backend, key: str) -> bool:
    """Return whether a trial names the predictions `key`, or one that cannot be read may do so."""
    try:
        trial = read_trial(backend, key.split("/")[1])
    except CryoprobeError:
        return True
    record = None if trial is None else record_in(trial)
    return trial is not None and record is not None and record.key(str(trial["trial"])) == key


def write_trial(backend: Backend, trial_id: str, result: Mapping[str, Any], *, replace: bool = False) -> None:
    """Store the result of a trial, whose field ``trial`` is its id; the first one stays, unless told to replace."""
    key, data = trial_key(trial_id), dump_document(result)
    if replace:
        backend.put(key, data)
    else:
        backend.put_if_absent(key, data)


def origin_of_trial(backend: Backend, trial_id: str) -> Origin | None:
    """Return where the stored result of a trial came from, if that is not trusted."""
    key = trial_key(trial_id)
    try:
        checksum = checksum_of(backend.get(key, LARGE), key, backend.url)
    except NotFound:
        return None
    except Corrupt:
        checksum = ""
    return origin_of(backend, key, checksum)


def arrival_of_trial(backend: Backend, trial_id: str) -> str | None:
    """Return from where the stored result of a trial came, trusted or not; None if it was run in this store."""
    key = trial_key(trial_id)
    with suppress(NotFound, Corrupt):
        checksum = checksum_of(backend.get(key, LARGE), key, backend.url)
        if (origin := arrival_of(backend, key, checksum)) is not None:
            return origin.place
        home = backend.home(key)
        return home if home != backend.url else None
    return None

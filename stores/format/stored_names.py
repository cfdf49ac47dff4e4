"""Names as a store has them: written, read, and listed for every set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from ...checksummed import checksum_holds, dump_document
from ...errors import Corrupt, Incompatible, NotFound
from ...parallel import each
from ...validation import LATEST, first_problem
from ..backends.backend import Backend
from ..keys import manifest_key, name_key
from .documents import SMALL, damaged, parse_json, read_document
from .manifest import read_manifest
from .names import Name, NamedSet, digits_of, is_future
from .origins import Marks, Origin

_FIELDS = Name.model_fields.keys()
_MOST_MAKERS = 16
"""Recorded with a name; earlier ones are forgotten."""


def names_of_sets(backend: Backend, sealed: Mapping[str, str]) -> list[NamedSet]:
    """Return every name of every set, in the order of `NamedSet.rank`; an unnamed set has that of its provenance.

    Parameters
    ----------
    backend : Backend
    sealed : mapping
        Ids of the sealed sets, with the keys of their manifests.
    """
    found = [n for n in read_names(backend) if n.set in sealed]
    unnamed = sealed.items() - {(n.set, manifest_key(n.encoder, n.set)) for n in found}
    for _, key in unnamed:
        with suppress(Corrupt, Incompatible, NotFound, ValidationError):  # `verify` names what is damaged
            found.append(NamedSet.of(read_manifest(backend, key)))
    return sorted(_with_origins(backend, found), key=lambda n: n.rank)


def _with_origins(backend: Backend, found: list[NamedSet]) -> list[NamedSet]:
    """Return names with where they, or their sets, came from if that is not trusted."""
    if not found:
        return found
    of_names, of_sets = Marks(backend, "names/"), Marks(backend, "manifests/")
    if not of_names and not of_sets:
        return found
    origins: dict[str, Origin | None] = {}
    for n in found:
        key = manifest_key(n.encoder, n.set)
        if n.set not in origins:
            origins[n.set] = None
            if of_sets.may_be(key):
                with suppress(Corrupt, Incompatible, NotFound):
                    origins[n.set] = of_sets.of(key, read_manifest(backend, key).checksum)
    origin = {n: origins[n.set] or (of_names.of(n.key, n.checksum) if n.checksum else None) for n in found}
    return [n if origin[n] is None else n.model_copy(update={"origin": origin[n]}) for n in found]


def write_name(backend: Backend, named: NamedSet) -> None:
    """Write a name, last of all: whoever finds it finds the set behind it sealed.

    It gets a later time than every other set of that name, if the clocks of their writers were ahead of ours: the one
    that is named last is the newest. Names that are not trusted, and dates in the future, do not count. Whoever has
    given the set that name before stays recorded.
    """
    ending = named.key.removeprefix(f"names/{named.set}")
    same = [key for key in backend.keys("names/") if key.endswith(ending) and key != named.key]
    found = [named for named in each(lambda key: find_name(backend, key), same) if named is not None]
    marks = Marks(backend, "names/")
    others = [n.named for n in found if not is_future(n.named) and marks.of(n.key, n.checksum) is None]
    latest = max([named.named, *(min(other + 1, LATEST) for other in others)])
    before = find_name(backend, named.key)
    earlier = () if before is None or marks.of(before.key, before.checksum) is not None else before.by
    by = [maker for maker in earlier if not any(maker.is_also(mine) for mine in named.by)]
    by += [maker.model_copy(update={"named": latest}) for maker in named.by]
    sealed = named.model_copy(update={"named": latest, "by": tuple(by[-_MOST_MAKERS:])})
    defaults = {field for field in ("below", "by") if not getattr(sealed, field)}
    content = sealed.model_dump(mode="json", exclude={"name", "origin", *defaults})
    if sealed.by:
        content["by"] = [maker.model_dump(mode="json", exclude_defaults=True) for maker in sealed.by]
    content["name"] = sealed.name.written
    backend.put(named.key, dump_document(content, SMALL))
    if not backend.exists(manifest_key(named.encoder, named.set)):  # removed this instant, and its names before
        backend.delete(named.key)


def read_names(backend: Backend) -> Iterator[NamedSet]:
    """Yield every name in the store. What cannot be read is no name: names can be given again at no cost."""
    for key, data in backend.read_all("names/", SMALL):
        with suppress(Corrupt, ValueError):
            content = parse_json(data, key, backend.url)
            if checksum_holds(content, data):
                named = _as_written(content)
                # To make the digits of what was read is cheaper than to make them of the model.
                if key == name_key(named.set, digits_of(content["name"])) and content["name"].keys() <= _FIELDS:
                    yield named


def read_name(backend: Backend, key: str) -> NamedSet:
    """Read one name.

    Raises
    ------
    NotFound
        If there is none.
    Corrupt
        If it is damaged.
    """
    what, hint = (
        "name",
        "The set goes by the name in its manifest, or is named by extract again: cryoprobe repair sets this one aside.",
    )
    try:
        named = _as_written(read_document(backend, key, what, hint))
    except ValidationError as e:
        raise damaged(backend, key, what, first_problem(e), hint) from None
    if named.key != key:
        raise damaged(backend, key, what, "it is the name of another set", hint)
    return named


def find_name(backend: Backend, key: str) -> NamedSet | None:
    """Return one name, or None where it is gone or damaged."""
    with suppress(Corrupt, NotFound):
        return read_name(backend, key)
    return None


def _as_written(content: Mapping[str, Any]) -> NamedSet:
    """Return a name; where it came from is never taken from what it says itself."""
    return NamedSet.model_validate({**content, "origin": None})

"""What people call a set: model and data set as they were typed, and the options beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, ValidationError

from ..canonical import digest
from ..errors import Corrupt, NotFound
from . import layout
from .backends.backend import Backend
from .chunks import LATEST, Count, Milliseconds
from .parallel import each


class Name(BaseModel):
    """One way in which a set was asked for. The newest of that name is what the name means.

    Parameters
    ----------
    model, dataset, split, tap : str
        As they are named on the command line; `dataset` with an absolute path where there is one.
    image_size, limit, limit_seed : int or None
        Options that were given.
    precision, stored_dtype : str
    untrained : bool
    seed : int or None
        Of random weights.
    checkpoint : str or None
        sha256 of the checkpoint file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    dataset: str
    split: str
    tap: str
    image_size: int | None = None
    limit: int | None = None
    limit_seed: int | None = None
    precision: str = "fp32"
    stored_dtype: str = "float16"
    untrained: bool = False
    seed: int | None = None
    checkpoint: str | None = None

    @property
    def view(self) -> str:
        """Which part of which data set: the key under which the sample index remembers what it amounted to."""
        return f"{self.dataset} {self.split} {self.limit} {self.limit_seed}"


class NamedSet(BaseModel):
    """A name given to a set: the summary that listings and look-ups read.

    Parameters
    ----------
    name : Name
    set, encoder : str
        Ids.
    rows, dim, failed, size : int
        Counts, and the set's bytes.
    named : int
        When, in milliseconds since 1970, by the clock of whoever named it.
    below : bool
        Whether the set is in another store, from which the one that has the name was read too.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    set: str
    encoder: str
    rows: Count
    dim: Count
    failed: Count
    size: Count
    named: Milliseconds
    below: bool = False

    @property
    def key(self) -> str:
        """Key of the name in the store."""
        return _key(self.set, digest(self.name.model_dump(mode="json")))


def fits(name: Name, **patterns: str | None) -> bool:
    """Return whether fields of a name fit patterns: the very text, or with wildcards (``*``, ``?``, ``[…]``).

    Parameters
    ----------
    name : Name
    **patterns
        By field of `Name`; None fits anything.
    """
    return all(
        pattern is None or getattr(name, field) == pattern or fnmatchcase(getattr(name, field), pattern)
        for field, pattern in patterns.items()
    )


def record(backend: Backend, named: NamedSet) -> None:
    """Write a name, last of all: whoever finds it finds the set behind it sealed.

    It gets a later time than every other set of that name, whatever the clocks of their writers said: the one that is
    named last is the one that is meant.
    """
    ending = named.key.removeprefix(f"names/{named.set}")
    same = [key for key in backend.keys("names/") if key.endswith(ending) and key != named.key]
    others = [found.named for found in each(lambda key: find(backend, key), same) if found is not None]
    latest = max([named.named, *(min(other + 1, LATEST) for other in others)])
    sealed = named.model_copy(update={"named": latest})
    content = sealed.model_dump(mode="json", exclude=None if sealed.below else {"below"})
    backend.put(named.key, layout.dump_seal(content, layout.SMALL))
    if not backend.exists(layout.manifest_key(named.encoder, named.set)):  # removed this instant, and its names before
        backend.delete(named.key)


def read_all(backend: Backend) -> Iterator[NamedSet]:
    """Yield every name in the store. What cannot be read is no name: names can be given again at no cost."""
    for key, data in backend.read_all("names/", layout.SMALL):
        with suppress(Corrupt, ValueError):
            content = layout.parse_json(data, key, backend.url)
            if isinstance(content, dict) and layout.is_whole(content, data):
                named = NamedSet.model_validate(content)
                written = content["name"]
                # To make the digits of what was read is cheaper than to make them of the model.
                whole = written.keys() == Name.model_fields.keys()
                if key == (_key(named.set, digest(written)) if whole else named.key):
                    yield named


def read(backend: Backend, key: str) -> NamedSet:
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
        named = NamedSet.model_validate(layout.read_sealed(backend, key, what, hint))
    except ValidationError as e:
        raise layout.damaged(backend, key, what, layout.first_problem(e), hint) from None
    if named.key != key:
        raise layout.damaged(backend, key, what, "it is the name of another set", hint)
    return named


def find(backend: Backend, key: str) -> NamedSet | None:
    """Return one name, or None where it is gone or damaged."""
    with suppress(Corrupt, NotFound):
        return read(backend, key)
    return None


def _key(set_: str, of_name: str) -> str:
    """Return the key of a name: 16 digits of its digest tell those of a set apart."""
    return f"names/{set_}.{of_name[:16]}.json"

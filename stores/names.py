"""What people call a set: model and data set as they were typed, and the options beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, ValidationError

from ..canonical import digest
from ..errors import Corrupt, NotFound
from . import layout
from .backend import Backend
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

    @property
    def key(self) -> str:
        """Key of the name in the store."""
        return f"names/{self.set}.{_mark(self.name)}.json"


def record(backend: Backend, named: NamedSet) -> None:
    """Write a name, last of all: whoever finds it finds the set behind it sealed.

    It gets a later time than every other set of that name, whatever the clocks of their writers said: the one that is
    named last is the one that is meant.
    """
    ending = f".{_mark(named.name)}.json"
    same = [info for info in backend.list("names/") if info.key.endswith(ending) and info.key != named.key]
    others = [found.named for found in each(lambda info: _readable(backend, info.key), same) if found is not None]
    latest = max([named.named, *(min(other + 1, LATEST) for other in others)])
    sealed = named.model_copy(update={"named": latest})
    backend.put(named.key, layout.dump_seal(sealed.model_dump(mode="json"), layout.SMALL))


def read_all(backend: Backend) -> Iterator[NamedSet]:
    """Yield every name in the store. What cannot be read is no name: names can be given again at no cost."""
    found = each(lambda info: _readable(backend, info.key), backend.list("names/"))
    yield from (named for named in found if named is not None)


def read(backend: Backend, key: str) -> NamedSet:
    """Read one name.

    Raises
    ------
    NotFound
        If there is none.
    Corrupt
        If it is damaged.
    """
    what, hint = "name", "Delete the object: the set goes by the name in its manifest, or is named by extract again."
    try:
        named = NamedSet.model_validate(layout.read_sealed(backend, key, what, hint))
    except ValidationError as e:
        raise layout.damaged(backend, key, what, layout.first_problem(e), hint) from None
    if named.key != key:
        raise layout.damaged(backend, key, what, "it is the name of another set", hint)
    return named


def _readable(backend: Backend, key: str) -> NamedSet | None:
    with suppress(Corrupt, NotFound):
        return read(backend, key)
    return None


def _mark(name: Name) -> str:
    """Return the 16 digits by which names tell each other apart in keys."""
    return digest(name.model_dump(mode="json"))[:16]

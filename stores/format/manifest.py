"""The manifest of a feature set: its seal, its identity and the hash of every object that it consists of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...canonical import digest
from ...checksummed import LARGE, dump_document
from ...errors import Incompatible, NotFound
from ...id_arrays import SAMPLE_BYTES
from ...validation import Count, first_problem
from ..backends.backend import Backend, is_key
from ..chunks import ObjectRecord, chunk_size
from ..keys import manifest_key, set_folder, set_id
from .documents import damaged, read_document
from .provenance import Provenance

MANIFEST_VERSION = 1

ARRAYS = ("embeddings", "norms", "labels", "samples")

_Positive = Annotated[Count, Field(gt=0)]


class FailedSample(BaseModel):
    """A sample that has no row: its name, its id where it could be read at all, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    sample: str | None
    error: str


class _Dataset(BaseModel):
    """Those fields of a data set's spec by which a set is read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    rows: Count
    classes: list[str]
    split: str
    multilabel: bool = False
    failed: list[str] = []


class Form(NamedTuple):
    """How an array of a set is cut up: dtype, shape behind the rows, and rows in a chunk."""

    dtype: str
    tail: tuple[int, ...]
    chunk_rows: int

    def key(self, name: str, chunk: int) -> str:
        """Return zarr's key of a chunk that spans all columns."""
        return f"{name}/c/{chunk}" + "/0" * len(self.tail)


class Manifest(BaseModel):
    """Everything that a reader needs to know of a set before it reads any of it.

    Parameters
    ----------
    version : int
        Of the manifest's own format.
    set, encoder_id, dataset_id : str
        The ids: `set` is made of the other two, and those are the hashes of the two specs.
    encoder, dataset : dict
        The specs.
    attempt : str
        Which folder below ``sets/<set>/`` is the set.
    rows, dim : int
        Shape of the embeddings.
    dtype : str
        dtype of the embeddings.
    chunk_rows, label_chunk_rows : int
        Rows in a chunk of embeddings, norms and samples, and of labels.
    objects : dict of str to ObjectRecord
        Every object of the group, by its key below the group's folder.
    units : tuple of str
        Units whose rows the set covers whole.
    failed : tuple of FailedSample
    provenance : Provenance
        Who made it, where, when, with what. Never part of an identity.
    checksum : str
        Of the manifest as it was read; empty for one that was not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = MANIFEST_VERSION
    set: str
    encoder_id: str
    dataset_id: str
    encoder: dict[str, Any]
    dataset: dict[str, Any]
    attempt: str
    rows: _Positive
    dim: _Positive
    dtype: Literal["float16", "float32"]
    chunk_rows: _Positive
    label_chunk_rows: _Positive
    objects: dict[str, ObjectRecord]
    units: tuple[str, ...] = ()
    failed: tuple[FailedSample, ...] = ()
    provenance: Provenance = Field(default_factory=Provenance)
    checksum: str = Field(default="", exclude=True)

    @property
    def key(self) -> str:
        """Key of the manifest in the store."""
        return manifest_key(self.encoder_id, self.set)

    @property
    def folder(self) -> str:
        """Folder of the zarr group in the store."""
        return set_folder(self.set, self.attempt)

    @property
    def multilabel(self) -> bool:
        """Whether a sample has any number of classes rather than exactly one."""
        return bool(self.dataset.get("multilabel", False))

    @property
    def size(self) -> int:
        """Bytes of all objects of the set."""
        return sum(o.size for o in self.objects.values())

    @property
    def object_keys(self) -> list[str]:
        """Keys of all of the set's objects in the store."""
        return [f"{self.folder}/{key}" for key in self.objects]

    def form(self, array: str) -> Form:
        """Return how one of the arrays is cut up."""
        if array == "labels":
            flags = (len(self.dataset["classes"]),) if self.multilabel else ()
            return Form("uint8" if flags else "int64", flags, self.label_chunk_rows)
        dtype, tail = {
            "embeddings": (self.dtype, (self.dim,)),
            "norms": ("float32", ()),
            "samples": ("uint8", (SAMPLE_BYTES,)),
        }[array]
        return Form(dtype, tail, self.chunk_rows)

    def contradiction(self) -> str | None:
        """Return what of the manifest does not fit together, so that no set can be as it says; None for a sound one.

        Whoever wrote a checksum can have written anything under it: what is allocated and opened later is bounded here
        by the sizes that the objects must have.
        """
        try:
            dataset = _Dataset.model_validate(self.dataset)
        except ValidationError as e:
            return first_problem(e)
        if dataset.rows != self.rows:
            return "it has not as many rows as its data set"
        if "/" in self.attempt:
            return "its attempt is not a name"
        if (bad := next((k for k in self.objects if not is_key(f"{self.folder}/{k}")), None)) is not None:
            return f"{bad[:80]!r} is not one of its objects"
        if max(self.chunk_rows, self.label_chunk_rows) > self.rows:
            return "its chunks are longer than its arrays"
        for array in ARRAYS:
            form = self.form(array)
            size = chunk_size(form.dtype, (form.chunk_rows, *form.tail))
            chunks = -(-self.rows // form.chunk_rows)
            if chunks > len(self.objects):
                return f"its {array} would have {chunks} chunks"
            for key in (form.key(array, chunk) for chunk in range(chunks)):
                record = self.objects.get(key)
                if record is None or record.crc32c is None or record.size != size:
                    return f"what it says of {key} does not fit its rows"
        return None

    def dump(self) -> bytes:
        """Return the object to be stored: the manifest with a checksum of its own content."""
        return dump_document(self.model_dump(mode="json"))


def read_manifest(backend: Backend, key: str) -> Manifest:
    """Read a manifest and check that it is whole and is the one that its key names.

    Raises
    ------
    NotFound
        If there is none.
    Incompatible
        If a newer version of Cryoprobe wrote it.
    Corrupt
        If it is damaged.
    """
    what = "manifest"
    hint = (
        "Restore it from a copy of the store, or delete it and run extract again: the rows that are sealed are used "
        "again."
    )
    content = read_document(backend, key, what, hint, LARGE)
    version = content.get("version")
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise Incompatible(
            f"{key} in {backend.url} has manifest version {version}; this version knows {MANIFEST_VERSION}.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=key,
            expected=MANIFEST_VERSION,
            found=version,
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as e:
        raise damaged(backend, key, what, first_problem(e), hint) from None
    if (digest(manifest.encoder), digest(manifest.dataset)) != (manifest.encoder_id, manifest.dataset_id):
        problem: str | None = "its ids are not those of its specs"
    elif manifest.key != key or set_id(manifest.encoder_id, manifest.dataset_id) != manifest.set:
        problem = "it is the manifest of another set"
    else:
        problem = manifest.contradiction()
    if problem is not None:
        raise damaged(backend, key, what, problem, hint)
    return manifest


def find_manifest(backend: Backend, encoder_id: str, set_: str) -> Manifest | None:
    """Return the manifest of a set, or None while it is not sealed."""
    try:
        return read_manifest(backend, manifest_key(encoder_id, set_))
    except NotFound:
        return None

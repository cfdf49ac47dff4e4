"""The manifest of a feature set: its seal, its identity and the hash of every object that it consists of."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..canonical import digest
from ..errors import Corrupt, Incompatible, NotFound
from . import layout
from .backend import Backend
from .chunks import ObjectRecord
from .fences import is_whole

MANIFEST_VERSION = 1


class FailedSample(BaseModel):
    """A sample that has no row: its name, its id where it could be read at all, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    sample: str | None
    error: str


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
    provenance : dict
        Who made it, where, when, with what. Never part of an identity.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = MANIFEST_VERSION
    set: str
    encoder_id: str
    dataset_id: str
    encoder: dict[str, Any]
    dataset: dict[str, Any]
    attempt: str
    rows: int = Field(gt=0)
    dim: int = Field(gt=0)
    dtype: Literal["float16", "float32"]
    chunk_rows: int = Field(gt=0)
    label_chunk_rows: int = Field(gt=0)
    objects: dict[str, ObjectRecord]
    units: tuple[str, ...] = ()
    failed: tuple[FailedSample, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the manifest in the store."""
        return layout.manifest_key(self.encoder_id, self.set)

    @property
    def folder(self) -> str:
        """Folder of the zarr group in the store."""
        return layout.set_folder(self.set, self.attempt)

    @property
    def size(self) -> int:
        """Bytes of all objects of the set."""
        return sum(o.size for o in self.objects.values())

    def is_whole(self, backend: Backend) -> bool:
        """Return whether the set's objects are there to stay, once it is sealed; see `fences`."""
        return is_whole(backend, self.folder, [f"{self.folder}/{key}" for key in self.objects])

    def discard(self, backend: Backend) -> None:
        """Remove the set's objects."""
        for key in self.objects:
            backend.delete(f"{self.folder}/{key}")

    def dump(self) -> bytes:
        """Return the object to be stored: the manifest with a checksum of its own content."""
        return layout.dump_seal(self.model_dump(mode="json"))


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
    content = layout.read_json(backend, key)
    problem = None
    manifest = None
    if not isinstance(content, dict):
        problem = "it is not an object"
    elif not layout.is_whole(content):
        problem = "its checksum does not agree with its content"
    elif isinstance(content.get("version"), int) and content["version"] > MANIFEST_VERSION:
        raise Incompatible(
            f"{key} in {backend.url} has manifest version {content['version']}; this version knows {MANIFEST_VERSION}.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=key,
            expected=MANIFEST_VERSION,
            found=content["version"],
        )
    else:
        try:
            manifest = Manifest.model_validate(content)
        except ValidationError as e:
            problem = f"{'.'.join(map(str, e.errors()[0]['loc']))}: {e.errors()[0]['msg']}"
        else:
            if (digest(manifest.encoder), digest(manifest.dataset)) != (manifest.encoder_id, manifest.dataset_id):
                problem = "its ids are not those of its specs"
            elif manifest.key != key or layout.set_id(manifest.encoder_id, manifest.dataset_id) != manifest.set:
                problem = "it is the manifest of another set"
    if manifest is None or problem is not None:
        raise Corrupt(
            f"The manifest {key} in {backend.url} is damaged: {problem}.",
            hint="Restore it from a copy of the store, or from the images: cryoprobe repair --store "
            f"{backend.url} --from OTHER (or --model … --dataset …)",
            key=key,
        )
    return manifest


def find_manifest(backend: Backend, encoder_id: str, set_: str) -> Manifest | None:
    """Return the manifest of a set, or None while it is not sealed."""
    try:
        return read_manifest(backend, layout.manifest_key(encoder_id, set_))
    except NotFound:
        return None

"""`repair`: put damaged objects of a store right, from copies or from the images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import CryoprobeError
from ..stores import layout, names
from ..stores.backends.known import is_trusted
from ..stores.feature_set import FeatureSet
from ..stores.keeping.overlay import Overlay
from ..stores.keeping.restore import Repair, Restorer, mend_marker
from ..stores.manifest import Manifest, read_manifest
from ..stores.names import Name
from ..stores.origins import arriving, origin_of
from ..stores.rows import RowIndex
from ..stores.store import Store, open_store
from ..stores.verify import Damage, verify
from .progress import Reporter

if TYPE_CHECKING:
    from .datasets.base import Dataset
    from .encoders.base import Encoder


@dataclass(frozen=True)
class Images:
    """The images from which lost rows can be encoded again, and how to run.

    Parameters
    ----------
    model, dataset : str, Encoder or Dataset
        As `extract` takes them; options such as the image size are those with which a set was made.
    checkpoint, data_root : Path, optional
    batch_size, workers, device
        How to run; the batch is the set's own by default, for equal batches give equal bits.
    layout, ignore : str, sequence of str
        How a folder is read, as `extract` takes them.
    """

    model: str | Encoder
    dataset: str | Dataset
    checkpoint: str | Path | None = None
    data_root: str | Path | None = None
    batch_size: int | None = None
    workers: int | None = None
    device: str = "auto"
    layout: str | None = None
    ignore: Sequence[str] = ()


def repair(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    source: str | Path | Store | None = None,
    images: Images | None = None,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> list[Repair]:
    """Hash every object of a store, and put right what is damaged.

    A damaged object is copied to the store's ``quarantine/`` and replaced by a whole one: a copy elsewhere in the
    store, what its manifest amounts to, a copy in another store, or what encoding the images again gives, if that is
    the same to the last bit. If it is not (another machine, other versions), the set's manifest is set aside, and the
    set is sealed again with the new rows. Damaged units, names and trials of which there is no copy are set aside: what
    they held is made again when it is needed.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; with none, the whole store.
    source : str, Path or Store, optional
        Another store that may have what is damaged here. Unless a configuration file lists it, its names and trials
        are not taken, and a set of which data had to be fetched there is not trusted from then on.
    images : Images, optional
        From what to encode lost rows again.
    trust : bool
        Trust the other store.
    reporter : Reporter, optional

    Returns
    -------
    list of Repair
        What was done about each damage; empty for a store that is whole.

    Raises
    ------
    NotFound, BadInput, ReadOnly, Unavailable, Incompatible

    Guarantees
    ----------
    What is whole is neither changed nor deleted, and what is damaged is not deleted. A reader sees the damage or the
    whole object. Killed at any instant, the same call goes on.
    """
    marker = None if isinstance(store, Store) else mend_marker(store)
    opened = open_store(store).own
    other = None if source is None else open_store(source)
    place = source.url if isinstance(source, Store) else source
    origin = None if other is None or place is None or trust or is_trusted(place) else arriving(other.url, "pull")
    restorer = Restorer(opened, other, origin)
    chosen = [layout.stem(opened.manifest_key(s)) for s in sets]
    known: dict[str, Damage] = {}
    done: dict[str, Repair] = {}
    for _ in range(2):  # what a restored seal promises can be damaged too
        fresh = [d for d in verify(opened, chosen, data=True).damages if d.key not in known]
        known.update({d.key: d for d in fresh})
        done.update({d.key: restorer.restore(d) for d in fresh})
        if not any(d.key == d.seal and done[d.key].action == "restored" for d in fresh):
            break
    lost = [d for key, d in known.items() if done[key].action == "not repaired"]
    if images is not None:
        done.update(_encode_lost(opened, lost, images, restorer, reporter or Reporter()))
    for damage in lost:
        if done[damage.key].action == "not repaired" and not damage.seal.startswith("manifests/"):
            again = restorer.restore(damage)  # a set that was put right may have the unit's rows
            done[damage.key] = again if again.action == "restored" else restorer.give_up(damage)
    return [*([marker] if marker is not None else []), *done.values()]


@dataclass(frozen=True)
class _Wound:
    """A damaged set: the key of its manifest; that, if it is whole; and what is damaged."""

    seal: str
    manifest: Manifest | None
    damages: list[Damage]

    @property
    def set(self) -> str:
        return layout.stem(self.seal)

    def damaged(self) -> list[str]:
        """Return the damaged objects by their keys below the set's folder."""
        assert self.manifest is not None
        return [d.key.removeprefix(f"{self.manifest.folder}/") for d in self.damages]


class _Mending(Store):
    """A store without its damaged sets and units, but with the rows of those sets' whole chunks."""

    def __init__(self, overlay: Overlay, wounded: Sequence[_Wound]) -> None:
        super().__init__(overlay)
        self._wounded = wounded

    def rows_of(self, encoder_id: str) -> RowIndex:
        index = super().rows_of(encoder_id)
        for wound in self._wounded:
            manifest = wound.manifest
            own = manifest is not None and origin_of(self.backend, manifest.key, manifest.checksum) is None
            if manifest is not None and own and manifest.encoder_id == encoder_id:
                chunks = range(-(-manifest.rows // manifest.chunk_rows))
                parts = [{f"embeddings/c/{c}/0", f"norms/c/{c}", f"samples/c/{c}/0"} for c in chunks]
                whole = [c for c in chunks if not parts[c].intersection(wound.damaged())]
                index.add_chunks(FeatureSet(self.backend, manifest), whole)
        return index


def _encode_lost(
    store: Store, lost: Sequence[Damage], images: Images, restorer: Restorer, reporter: Reporter
) -> dict[str, Repair]:
    """Encode again, aside from the store, what is lost of each damaged set; return what came of each damage."""
    done = {}
    wounded: dict[str, _Wound] = {}
    for damage in lost:
        if damage.seal.startswith("manifests/"):
            if damage.seal not in wounded:
                manifest = None
                with suppress(CryoprobeError):
                    manifest = read_manifest(store.backend, damage.seal)
                wounded[damage.seal] = _Wound(damage.seal, manifest, [])
            wounded[damage.seal].damages.append(damage)
    for wound in wounded.values():
        with tempfile.TemporaryDirectory(prefix="cryoprobe-repair-") as folder:
            overlay = Overlay(store.backend, Path(folder), {d.seal for d in lost})
            try:
                why_not = _encode_set(store, _Mending(overlay, list(wounded.values())), wound, images, reporter)
                action, how = ("not repaired", why_not) if why_not else _take_over(store, overlay, wound, restorer)
            except CryoprobeError as e:
                action, how = "not repaired", e.message
        done.update({d.key: Repair(d.key, d.owner, d.problem, action, how) for d in wound.damages})
    return done


def _encode_set(store: Store, mending: _Mending, wound: _Wound, images: Images, reporter: Reporter) -> str | None:
    """Extract the set aside; return why that is not the set that is damaged, or None."""
    from .extract import UNIT_ROWS, extract

    manifest = wound.manifest
    name = _name_of(store, wound)
    if name is None:
        return "it is not known how the set was made: it has no name"
    provenance: dict[str, Any] = {} if manifest is None else manifest.provenance
    batch = provenance.get("batch_size")
    extracted = extract(
        images.model,
        images.dataset,
        mending,
        splits=[name.split],
        taps=[name.tap],
        checkpoint=images.checkpoint,
        image_size=name.image_size,
        precision=name.precision,
        untrained=name.untrained,
        seed=name.seed or 0,
        limit=name.limit,
        limit_seed=name.limit_seed or 0,
        layout=images.layout,
        ignore=images.ignore,
        data_root=images.data_root,
        stored_dtype="float32" if name.stored_dtype == "float32" else "float16",
        unit_rows=UNIT_ROWS if manifest is None else manifest.chunk_rows,
        max_bad=0 if manifest is None else len(manifest.failed),
        batch_size=images.batch_size or (batch if isinstance(batch, int) and batch > 0 else None),
        workers=images.workers,
        device=images.device,
        reporter=reporter,
    )
    found = extracted[0].set
    if found != wound.set:
        return f"these images, by this model, are another set: {found[:12]}"
    return None


def _take_over(store: Store, overlay: Overlay, wound: _Wound, restorer: Restorer) -> tuple[str, str]:
    """Put the damaged objects right by what was encoded; or, if its bits are others, seal the set anew with it."""
    new, old = read_manifest(overlay, wound.seal), wound.manifest
    if old is not None and all(new.objects.get(key) == old.objects[key] for key in wound.damaged()):
        for key in wound.damaged():
            restorer.put_right(f"{old.folder}/{key}", old.objects[key], overlay.get(f"{new.folder}/{key}"))
        return "restored", "from the images, to the last bit"
    overlay.publish()
    if not new.is_whole(store.backend):
        return "not repaired", "what was written vanishes from the store: is somebody running gc?"
    if old is None:
        return "made anew", "the set is sealed again, with what the store had of it and the images"
    return "made anew", "the images gave other bits than before: the set is sealed again, its old manifest set aside"


def _name_of(store: Store, wound: _Wound) -> Name | None:
    """Return how a set was made: by its manifest, or else by a name that it has."""
    if wound.manifest is not None:
        with suppress(ValidationError):
            return Name.model_validate(wound.manifest.provenance.get("name"))
    return next((n.name for n in names.read_all(store.backend) if n.set == wound.set), None)

"""What a stranger can make: well-formed sets, units, names and trials about the victim's own images and encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import cryoprobe
from cryoprobe.canonical import canonical_json, digest
from cryoprobe.checksummed import dump_document
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.units import Rows, write_unit

LATEST = 253402214400000
"""A day in the year 9999: the last time that a name can have."""


def poison(
    honest: FeatureSet, place: Path, *, flip: bool = False, named: int = LATEST, units_alone: bool = False
) -> Store:
    """Make a store with made-up embeddings of the images of a set, under its encoder's id and its name.

    Parameters
    ----------
    honest : FeatureSet
    place : Path
    flip : bool
        Turn the labels round too; otherwise the set has the id of the honest one.
    named : int
        When the set was named, as the stranger says.
    units_alone : bool
        Have the set of other images, and those of the victim in units only.
    """
    evil = cryoprobe.open_store(place, create=True)
    ids, labels, manifest = [s.tobytes() for s in honest.sample_ids()], honest.labels(), honest.manifest
    index = evil.rows_of(honest.encoder_id)
    rng = np.random.default_rng(0)

    def write(of: list[bytes]) -> None:
        x = rng.standard_normal((len(of), honest.dim)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        rows = Rows(
            np.frombuffer(b"".join(of), np.uint8).reshape(-1, 32), x.astype(manifest.dtype), np.ones(len(of), "f4")
        )
        index.add(write_unit(evil.backend, honest.encoder_id, unit_id(honest.encoder_id, of), rows))

    write(ids)
    dataset = dict(manifest.dataset)
    if units_alone:
        ids = [bytes(32 - len(i)) + i for i in (b"%d" % n for n in range(len(ids)))]
        write(ids)
    if flip or units_alone:
        labels = 1 - labels
        dataset["samples"] = digest([*(i.hex() for i in ids), labels.tolist()])
    name = Name.model_validate(manifest.provenance.name)
    feature_set, _ = evil.seal(
        index,
        encoder=manifest.encoder,
        dataset=dataset,
        ids=ids,
        labels=labels,
        provenance={"name": name.model_dump(mode="json"), "created": named},
    )
    summary = {"rows": len(ids), "dim": honest.dim, "failed": 0, "size": feature_set.manifest.size}
    written = NamedSet(name=name, set=feature_set.id, encoder=honest.encoder_id, named=named, **summary)
    evil.backend.put(written.key, dump_document(written.model_dump(mode="json", exclude={"below", "origin"})))
    return evil


def better_scores(store: Store, top1: float = 0.999) -> int:
    """Rewrite the score of every trial of a store; return how many there are."""
    keys = list(store.backend.keys("trials/"))
    for key in keys:
        trial = json.loads(store.backend.get(key))
        del trial["checksum"]
        trial["metrics"]["top1"] = top1
        store.backend.put(key, canonical_json({**trial, "checksum": digest(trial)}))
    return len(keys)

"""Keys of the objects in a store, and ids made of ids: strings alone, nothing is read or written.

=====================================================  =========================================================
``cryoprobe.json``                                     format marker and version
``units/<encoder>/<unit>/<attempt>/<array>``           rows that were encoded together, one object per array
``unit-seals/<encoder>/<unit>.json``                   which attempt is the unit, with sizes and hashes
``claims/<encoder>/<set>.<generation>.json``           who is sealing it now: advice, never truth
``claims/<encoder>/<owner>-<number>.json``             who is encoding which samples now: advice too
``shared/<work>/…``                                    what processes that share the work on a split tell each other
``sets/<set>/<attempt>/…``                             a feature set: a plain zarr v3 group
``manifests/<encoder>/<set>.json``                     the seal of a set: its attempt, every object with its hash
``names/<set>.<digest>.json``                          what people call a set
``sample-names/<set>/<time>.<hash>.jsonl.gz``          what the sample of each row of a set is called
``trials/<trial>.json``                                the result of one probe
``predictions/<trial>/<hash>.safetensors``             what that probe said of each test row
``pins/<set>.json``                                    a set that must not be removed
``origins/…``                                          what came from elsewhere, see `stores.format.origins`
``gc/…``                                               what is being removed and collected
``quarantine/<digits>/<key>``                          a damaged object that `repair` has replaced
=====================================================  =========================================================
"""

from __future__ import annotations

import hashlib
import secrets

from ..canonical import digest
from ..id_arrays import AnyIds, sample_array


def new_attempt() -> str:
    """Return a name that no other writer will choose."""
    return secrets.token_hex(6)


def set_id(encoder_id: str, dataset_id: str) -> str:
    """Return the id of the feature set of one encoder on one data set."""
    return digest({"dataset": dataset_id, "encoder": encoder_id})


def unit_id(encoder_id: str, sample_ids: AnyIds) -> str:
    """Return the id of the rows of `sample_ids`, in that order, by one encoder.

    sha256 over the 32 bytes of the encoder id and the sample ids one after another.
    """
    h = hashlib.sha256(bytes.fromhex(encoder_id))
    h.update(sample_array(sample_ids).tobytes())
    return h.hexdigest()


def unit_folder(encoder_id: str, unit: str, attempt: str) -> str:
    """Return the folder of one attempt at a unit."""
    return f"units/{encoder_id}/{unit}/{attempt}"


def unit_seal_key(encoder_id: str, unit: str) -> str:
    """Return the key of a unit's seal."""
    return f"unit-seals/{encoder_id}/{unit}.json"


def set_folder(set_: str, attempt: str) -> str:
    """Return the folder of one attempt at a set: the zarr group."""
    return f"sets/{set_}/{attempt}"


def manifest_key(encoder_id: str, set_: str) -> str:
    """Return the key of a set's manifest."""
    return f"manifests/{encoder_id}/{set_}.json"


def name_key(set_: str, digits: str) -> str:
    """Return the key of one of a set's names."""
    return f"names/{set_}.{digits}.json"


def sample_names_folder(set_: str) -> str:
    """Return the prefix of the keys of what the samples of a set are called."""
    return f"sample-names/{set_}/"


def predictions_folder(trial_id: str) -> str:
    """Return the prefix of the keys of what the probe of a trial said of each row."""
    return f"predictions/{trial_id}/"


def trial_key(trial_id: str) -> str:
    """Return the key of the result of a trial."""
    return f"trials/{trial_id}.json"


def id_in(key: str) -> str:
    """Return the last segment of `key` without its ending: the id in a seal's or manifest's key."""
    return key.rpartition("/")[2].partition(".")[0]

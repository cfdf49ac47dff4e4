"""Signatures: a person or a pipeline vouches for a sealed set with an Ed25519 key, and others see that it was them.

Checksums tell damage, not malice: whoever can write to a store can write a set with matching checksums. A signature
covers the manifest's checksum, and through it the specs and the hash of every object. It says nothing about whether the
embeddings are right: run ``verify --data`` before you sign.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BadInput, Corrupt, Incompatible, NotFound
from ..files import read_small, write_new
from . import layout
from .backends.backend import Backend
from .chunks import Milliseconds, Sha256
from .parallel import each
from .store import Store, open_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN = "cryoprobe-set-signature-v1"
"""First line of what is signed: no signature made for something else is one of a set."""

PASSPHRASE = "CRYOPROBE_KEY_PASSPHRASE"
"""The environment variable that commands take a key's passphrase from."""

SIGNATURE_VERSION = 1

_HINT = "Sign the set again, or delete the object."


class Signature(BaseModel):
    """One key's signature of one set, as it is stored.

    Parameters
    ----------
    version : int
    set, manifest : str
        Id of the set, and the checksum of its manifest.
    key : str
        Fingerprint of the public key: sha256 of its 32 bytes.
    signature : str
        64 bytes in hexadecimal digits, over `message`.
    signed : int
        When, in milliseconds since 1970, by the signer's clock; not signed itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Annotated[int, Field(strict=True)] = SIGNATURE_VERSION
    set: Sha256
    manifest: Sha256
    key: Sha256
    signature: Annotated[str, Field(pattern=r"\A[0-9a-f]{128}\z")]
    signed: Milliseconds


@dataclass(frozen=True)
class SetSignatures:
    """Who vouches for a set.

    Parameters
    ----------
    set : str
        Its id.
    status : str
        ``signed``: by at least one of the keys that were asked about, as the set is now; ``bad signature``: there is
        one that does not hold; ``not signed``: there is none by these keys.
    by : tuple of str
        Fingerprints of the keys whose signature holds.
    problem : str or None
        Of a bad signature: by which key it is, and what is wrong with it.
    """

    set: str
    status: Literal["signed", "not signed", "bad signature"]
    by: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Signed:
    """What `sign_sets` did with one set: its id, the key's fingerprint, and whether it had not been signed before."""

    set: str
    key: str
    new: bool


def message(set_id: str, checksum: str) -> bytes:
    """Return what is signed: the domain, the set id and the checksum of its manifest, a line each."""
    return f"{DOMAIN}\n{set_id}\n{checksum}\n".encode("ascii")


def generate_key(path: str | Path, passphrase: str | None = None) -> str:
    """Make a pair of keys: the private one in `path`, the public one in `path` with ``.pub`` behind it.

    Parameters
    ----------
    path : str or Path
        For a file that does not exist; it is made readable by its owner alone. PEM, as openssl reads it.
    passphrase : str, optional
        Encrypts the private key.

    Returns
    -------
    str
        The fingerprint, 64 hexadecimal digits.

    Raises
    ------
    BadInput
        If one of the files exists: a key is never overwritten. If `cryptography` is not installed.
    ReadOnly, Unavailable
        If the files cannot be written.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = Path(path)
    public_path = path.with_name(f"{path.name}.pub")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_new(public_path, public, 0o644)
    try:
        write_new(path, private, 0o600)
    except BaseException:
        public_path.unlink(missing_ok=True)
        raise
    return fingerprint(key.public_key())


def sign_sets(
    store: str | Path | Store, key: str | Path, sets: Sequence[str] = (), *, passphrase: str | None = None
) -> list[Signed]:
    """Sign sets as they are now, and keep the signatures in the store.

    Parameters
    ----------
    store : str, Path or Store
    key : str or Path
        File of the private key.
    sets : sequence of str
        Ids of sets, or their first digits; with none, every set.
    passphrase : str, optional
        Of the private key.

    Returns
    -------
    list of Signed

    Raises
    ------
    BadInput
        If the key cannot be used, or `cryptography` is not installed.
    NotFound, Corrupt, Incompatible
        If a set is not there, or its manifest cannot be read: then nothing is signed.
    ReadOnly, Unavailable
        If the store cannot be written.
    """
    private = _private_key(Path(key), passphrase)
    opened = open_store(store)
    mark = fingerprint(private.public_key())
    checksums = list(each(partial(_checksum, opened.backend), _manifest_keys(opened, sets)))
    done = []
    for set_id, checksum in checksums:
        signature = Signature(
            set=set_id,
            manifest=checksum,
            key=mark,
            signature=private.sign(message(set_id, checksum)).hex(),
            signed=time.time_ns() // 1_000_000,
        )
        stored = layout.dump_seal(signature.model_dump(mode="json"), layout.SMALL)
        place = signature_key(set_id, mark)
        new = opened.backend.put_if_absent(place, stored)
        if not new and _problem(opened.backend, set_id, checksum, mark, private.public_key()) is not None:
            opened.backend.put(place, stored)  # our own, of what the set was before
            new = True
        done.append(Signed(set_id, mark, new))
    return done


def check_signatures(
    store: str | Path | Store, keys: Sequence[str | Path], sets: Sequence[str] = ()
) -> list[SetSignatures]:
    """Say of each set whether one of some keys signed it as it is now.

    Parameters
    ----------
    store : str, Path or Store
    keys : sequence of str or Path
        Files of public keys.
    sets : sequence of str
        Ids of sets, or their first digits; with none, every set.

    Returns
    -------
    list of SetSignatures
        Ordered by set id.

    Raises
    ------
    BadInput
        If a key cannot be used, or `cryptography` is not installed.
    NotFound
        If a set is not there.
    """
    public = {fingerprint(key): key for key in (_public_key(Path(k)) for k in keys)}
    opened = open_store(store)

    def check(manifest_key: str) -> SetSignatures:
        set_id = layout.stem(manifest_key)
        try:
            _, checksum = _checksum(opened.backend, manifest_key)
        except (Corrupt, Incompatible, NotFound) as e:
            return SetSignatures(set_id, "bad signature", problem=e.message)
        good, bad = [], []
        for mark, key in public.items():
            try:
                problem = _problem(opened.backend, set_id, checksum, mark, key)
            except NotFound:
                continue
            if problem is None:
                good.append(mark)
            else:
                bad.append(f"by {mark[:16]}: {problem}")
        status: Literal["signed", "not signed", "bad signature"] = "signed" if good else "not signed"
        return SetSignatures(set_id, "bad signature" if bad else status, tuple(good), bad[0] if bad else None)

    return sorted(each(check, _manifest_keys(opened, sets)), key=lambda s: s.set)


def signature_key(set_id: str, mark: str) -> str:
    """Return the key of the signature of a set by the key with fingerprint `mark`."""
    return f"signatures/{set_id}/{mark}.json"


def signatures_of(backend: Backend, set_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield the key and content of every signature of a set that is one, whether it fits or not."""
    for key, data in backend.read_all(f"signatures/{set_id}/", layout.SMALL):
        with suppress(Corrupt, ValidationError):
            content = layout.parse_json(data, key, backend.url)
            if isinstance(content, dict) and layout.is_whole(content, data):
                found = Signature.model_validate(content)
                if key == signature_key(found.set, found.key) and found.set == set_id:
                    yield key, data


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the sha256 of a public key's 32 bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _manifest_keys(store: Store, sets: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(store.manifest_key(s) for s in sets)) if sets else list(store.set_ids().values())


def _checksum(backend: Backend, manifest_key: str) -> tuple[str, str]:
    """Return the id of a set and the checksum of its manifest, which is sound."""
    from ..canonical import digest
    from .manifest import read_manifest

    manifest = read_manifest(backend, manifest_key)
    content = layout.read_json(backend, manifest_key, layout.LARGE)
    return manifest.set, digest({k: v for k, v in content.items() if k != "checksum"})


def _problem(backend: Backend, set_id: str, checksum: str, mark: str, key: Ed25519PublicKey) -> str | None:
    """Return why a stored signature does not hold; None where it does. Raise `NotFound` where there is none."""
    from cryptography.exceptions import InvalidSignature

    place = signature_key(set_id, mark)
    try:
        signature = Signature.model_validate(layout.read_sealed(backend, place, "signature", _HINT))
    except Corrupt as e:
        return e.message
    except ValidationError as e:
        return layout.damaged(backend, place, "signature", layout.first_problem(e), _HINT).message
    if signature.version != SIGNATURE_VERSION:
        return f"the signature is of version {signature.version}, which this version of Cryoprobe does not know"
    if (signature.set, signature.key) != (set_id, mark):
        return "it is the signature of another set, or by another key"
    if signature.manifest != checksum:
        return "another manifest of this set was signed: the set has been sealed anew since"
    try:
        key.verify(bytes.fromhex(signature.signature), message(set_id, checksum))
    except InvalidSignature:
        return "the signature was not made with this key"
    return None


def _private_key(path: Path, passphrase: str | None) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = read_small(path, "key")
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError:  # one is given and not needed, or needed and not given
        raise BadInput(
            f"The private key in {path} has {'no' if passphrase else 'a'} passphrase.",
            hint=f"{'Unset' if passphrase else 'Set'} {PASSPHRASE}.",
            key=str(path),
        ) from None
    except Exception as e:  # what is no key, or whose passphrase is wrong: cryptography raises ValueError and others
        if b"-----BEGIN PUBLIC KEY-----" in data:
            raise BadInput(f"{path} is a public key.", hint="Sign with the private one.", key=str(path)) from None
        encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
        raise BadInput(
            f"The passphrase does not open {path}." if encrypted else f"{path} holds no private key.",
            hint=f"Check {PASSPHRASE}." if encrypted else "Make one: cryoprobe keygen FILE",
            key=str(path),
        ) from e
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_kind(path)
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = read_small(path, "key")
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as e:  # cryptography raises ValueError and others
        private = b"PRIVATE KEY-----" in data
        raise BadInput(
            f"{path} is a private key." if private else f"{path} holds no public key.",
            hint=f"Give the public one: {path}.pub" if private else "`cryoprobe keygen FILE` makes FILE.pub.",
            key=str(path),
        ) from e
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_kind(path)
    return key


def _wrong_kind(path: Path) -> BadInput:
    return BadInput(f"The key in {path} is not of the kind Ed25519.", hint="Make one: cryoprobe keygen FILE")


def _require_cryptography() -> None:
    """Raise `BadInput` where `cryptography` is missing; it is imported only where something is signed or checked."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise BadInput(
            "Signatures need one more package.", hint="Install it: pip install 'cryoprobe[sign]'", key="key"
        ) from None

"""Fetching published weights: the file on this machine, the file from the hub, or one message that says what to do.

Only files are fetched here. They are read by `checkpoint.read_checkpoint`, as a user's own files are, so that nothing
that comes from the network is unpickled either, whichever version of open_clip or timm is installed.
"""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import NotFound
from .files_read import note_file

CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Source:
    """Where weights are published.

    Parameters
    ----------
    repo : str
        Repository on the Hugging Face hub, with ``@revision`` where one is fixed; empty where there is only a URL.
    filenames : tuple of str
        Names that the file may have there, the preferred one first.
    url : str
        Address of the file, where it is not on the hub.
    """

    repo: str = ""
    filenames: tuple[str, ...] = ()
    url: str = ""

    def __str__(self) -> str:
        return f"https://huggingface.co/{self.repo} ({' or '.join(self.filenames)})" if self.repo else self.url


def fetch(source: Source, model: str, untrained: str) -> Path:
    """Return the local file of published weights, downloading it if need be.

    Parameters
    ----------
    source : Source
    model : str
        The model as the user named it.
    untrained : str
        The name under which the same architecture is had with random weights.

    Raises
    ------
    NotFound
        If the weights are not on this machine and cannot be downloaded.
    """
    try:
        return from_hub(source) if source.repo else _from_url(source.url)
    except Exception as error:  # requests, httpx, hub and socket errors share no root
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise NotFound(
            f"The weights of {model} are not on this machine and cannot be downloaded: {reason}\n"
            f"They come from {source}.",
            hint=f"Fetch that file where there is a network and pass it with --checkpoint FILE, "
            f"or take random weights: {untrained} --untrained --seed 0.",
            key=model,
        ) from error


def from_hub(source: Source) -> Path:
    """Return the local file of a repository, downloading it if need be; raises what its client raises."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = source.repo.partition("@")
    for filename in source.filenames:  # a cached file needs no network at all
        try:
            found = Path(hf_hub_download(repo, filename, revision=revision or None, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        _note_choice(found, filename, source.filenames, revision)
        return found
    _require_reachable(constants.ENDPOINT)
    absent: EntryNotFoundError | None = None
    for filename in source.filenames:
        try:
            return Path(hf_hub_download(repo, filename, revision=revision or None))
        except LocalEntryNotFoundError:  # an EntryNotFoundError by inheritance, but it means that the network failed
            raise
        except EntryNotFoundError as error:
            absent = error
    raise absent or FileNotFoundError(f"{repo} names no file")


def _note_choice(found: Path, filename: str, filenames: Sequence[str], revision: str) -> None:
    """Note what makes another file than this one the weights: another commit, or a preferred file that comes."""
    snapshot = found.parents[len(Path(filename).parts) - 1]  # REPOSITORY/snapshots/COMMIT
    note_file(snapshot.parents[1] / "refs" / (revision or "main"))
    for preferred in filenames[: filenames.index(filename)]:
        note_file(snapshot / preferred)


def _from_url(url: str) -> Path:
    import torch

    target = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(url).path).name)
    if not target.is_file():
        _require_reachable(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target))
    return target


def _require_reachable(url: str) -> None:
    """Fail within seconds where there is no network; the hub's own client retries for half a minute."""
    parts = urlsplit(url)
    if parts.scheme in urllib.request.getproxies():
        return  # names are then the proxy's to resolve
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise OSError(f"no connection to {parts.hostname} ({error})") from error


def hub_filenames(default: str, safe: Sequence[str], filename: str = "") -> tuple[str, ...]:
    """List the names to try, safetensors first: `filename` and its twin where one is given, else the usual ones."""
    if not filename:
        return (*safe, default)
    twin = str(Path(filename).with_suffix(".safetensors"))
    return (filename,) if twin == filename else (twin, filename)

"""Where the files of a transformers model are: a folder, the hub's cache on this machine, or the hub.

Files are read here, as plain JSON and by `checkpoint.read_checkpoint`: nothing is unpickled, and no code of a
repository is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BadInput, NotFound
from ..encoders import hub
from .checkpoint import read_checkpoint
from .families import is_path
from .files_read import note_file

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Either may say how images are prepared; the second one goes first if it does, as in transformers."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model.

    Parameters
    ----------
    name : str
        As people name it: ``hf:OWNER/NAME`` or ``hf:FOLDER``.
    repo : str
        On the hub, with ``@revision`` where one is fixed; empty of a folder.
    folder : Path
        Where the files are, or some of them.
    """

    name: str
    repo: str
    folder: Path

    @classmethod
    def of(cls, name: str, place: str) -> ModelFiles:
        """Find a model's folder; of a repository, by fetching its configuration.

        Raises
        ------
        NotFound
            If there is no such folder, or the repository's file is not here and cannot be fetched.
        """
        if is_path(place):
            folder = Path(place).expanduser()
            if not (folder / CONFIG).is_file():
                what = f"has no {CONFIG}" if folder.is_dir() else "is not there"
                raise NotFound(
                    f"The folder {folder} {what}.",
                    hint="Name a folder that save_pretrained wrote, or that `hf download OWNER/NAME --local-dir DIR` "
                    "made.",
                    key=name,
                )
            return cls(name, "", folder)
        if place.count("/") != 1:
            raise NotFound(
                f"There is no folder {place}, and repositories of the hub are called OWNER/NAME.",
                hint="Such as hf:facebook/dinov2-small, or hf:./FOLDER.",
                key=name,
            )
        return cls(name, place, _fetched(name, place, (CONFIG,)).parent)

    def config(self) -> dict[str, Any]:
        """Return the configuration of the architecture.

        Raises
        ------
        BadInput
        """
        return _json(self.folder / CONFIG, self.name)

    def fetch_processor(self) -> None:
        """See to it that the files that say how images are prepared are in the folder, if there are any.

        Raises
        ------
        NotFound
        """
        if not self.repo:
            if not any((self.folder / file).is_file() for file in PROCESSORS):
                raise self._without_processor()
            return
        found = []
        for file in PROCESSORS:
            try:
                found.append(_fetched(self.name, self.repo, (file,)))
            except NotFound:
                continue
        if not found:
            raise self._without_processor()

    def _without_processor(self) -> NotFound:
        return NotFound(
            f"{self.name} has no {PROCESSORS[0]}, which says how images are prepared for it.",
            hint=f"Copy that file of the model it was trained from into the folder{_to_fetch(self.repo)}.",
            key=self.name,
        )

    def weights(self) -> tuple[dict[str, torch.Tensor], str]:
        """Read all tensors of the model, of several files if they are split; and say where they are from.

        Raises
        ------
        NotFound
            If there are none.
        BadInput
            If a file cannot be read safely, or the index of split files makes no sense.
        """
        if self.repo:
            first = _fetched(self.name, self.repo, WEIGHTS)
        else:
            there = [self.folder / file for file in WEIGHTS if (self.folder / file).is_file()]
            if not there:
                raise NotFound(
                    f"{self.name} has no weights ({' or '.join(WEIGHTS[::2])}).",
                    hint=f"Give --checkpoint FILE, or take random ones: {self.name} --untrained --seed 0",
                    key=self.name,
                )
            first = there[0]
            for preferred in WEIGHTS[: WEIGHTS.index(first.name)]:
                note_file(self.folder / preferred)
        if first.suffix != ".json":
            return read_checkpoint(first).tensors, first.name
        tensors: dict[str, torch.Tensor] = {}
        for part in _parts(first, self.name):
            path = _fetched(self.name, self.repo, (part,)) if self.repo else self.folder / part
            tensors |= read_checkpoint(path).tensors
        return tensors, first.name.removesuffix(".index.json")


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers show no bar of its own while it loads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _parts(index: Path, name: str) -> list[str]:
    """Return the files that an index of split weights lists; all of them are in its folder."""
    listed = _json(index, name).get("weight_map")
    files = sorted({str(file) for file in listed.values()}) if isinstance(listed, dict) else []
    if not files or any(file != Path(file).name for file in files):
        raise BadInput(f"{index} lists no weights in its own folder.", hint="Fetch it again.", key=name)
    return files


def _json(path: Path, name: str) -> dict[str, Any]:
    note_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {error}.", hint="Fetch it again.", key=name) from error
    if not isinstance(found, dict):
        raise BadInput(f"{path} is not a configuration.", hint="Fetch it again.", key=name)
    return found


def _fetched(name: str, repo: str, files: tuple[str, ...]) -> Path:
    source = hub.Source(repo=repo, filenames=files)
    try:
        return hub.from_hub(source)
    except Exception as error:  # requests, httpx, hub and socket errors share no root
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise NotFound(
            f"{files[0]} of {name} is not on this machine and cannot be downloaded: {reason}\nIt comes from {source}.",
            hint=f"Fetch the model where there is a network{_to_fetch(repo)}.",
            key=name,
        ) from error


def _to_fetch(repo: str) -> str:
    bare, _, revision = repo.partition("@")
    at = f" --revision {revision}" if revision else ""
    return f": hf download {bare}{at} --local-dir DIR, and name it as hf:DIR" if repo else ""

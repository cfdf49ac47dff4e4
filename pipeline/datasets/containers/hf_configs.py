"""Configurations of a local folder that is kept as the Hub keeps one: which there are, and which files each has.

The package datasets reads them from the head of the folder's README.md: ``configs:`` lists them with their files.
Older folders have no such list. Of them, a configuration is what ``dataset_info`` names and has a folder of its own.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ....errors import BadInput, NotFound

_ENDINGS = (".parquet", ".pq")


class ConfigFiles(NamedTuple):
    """The files of a configuration.

    Parameters
    ----------
    name : str
        Of the configuration.
    paths : list of Path
    splits : list of str or None
        Of each file; None if the names of the files tell.
    note : str
        Which configuration was taken of which.
    """

    name: str
    paths: list[Path]
    splits: list[str] | None
    note: str


def config_files(name: str, folder: Path, config: str) -> ConfigFiles | None:
    """Return the files of one configuration of a folder; None if the folder has no configurations.

    Parameters
    ----------
    name : str
        Of the data set, in messages.
    folder : Path
    config : str
        Empty for the default, or the only one.

    Raises
    ------
    NotFound
        If there is no such configuration, or it has no parquet files.
    BadInput
        If there are several, none is named, and none is the default; or the README's head cannot be read.
    """
    found = _declared(name, folder)
    if not found and not config:
        return None
    listed = ", ".join(found) or "none"
    if config and config not in found:
        raise NotFound(
            f"{folder} has no configuration {config!r}. Configurations of its README.md: {listed}.",
            hint=f"Name one of them: hf:{folder}:{next(iter(found))}" if found else f"Leave it out: hf:{folder}",
            key=name,
        )
    default = [one for one, of in found.items() if one == "default" or of.get("default")]
    chosen = config or (next(iter(found)) if len(found) == 1 else default[0] if len(default) == 1 else "")
    if not chosen:
        raise BadInput(
            f"{folder} has several configurations: {listed}.",
            hint=f"Name one of them: hf:{folder}:{next(iter(found))}",
            key=name,
        )
    parts = _patterns(found[chosen])
    if out := [p for _, patterns in parts for p in patterns if p.startswith("/") or ".." in p.split("/")]:
        raise _unreadable(name, folder, f"the files {out[0]} of {chosen} are not in the folder")
    paths = [(path, split) for split, patterns in parts for path in _matching(folder, patterns)]
    if not paths:
        raise NotFound(
            f"The configuration {chosen} of {folder} has no files {' or '.join('*' + e for e in _ENDINGS)}.",
            hint="Fetch them, or name another configuration. Other files: folder:PATH, csv:FILE",
            key=name,
        )
    splits = [split for _, split in paths if split is not None]
    others = f", of {listed}" if len(found) > 1 else ""
    unasked = "" if config or len(found) == 1 else ", which is the default"
    return ConfigFiles(
        chosen,
        [path for path, _ in paths],
        splits if len(splits) == len(paths) else None,
        f"Configuration {chosen}{unasked}{others}",
    )


def _declared(name: str, folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the configurations of a folder, in their order."""
    head = _head(name, folder)
    try:
        configs = {str(one["config_name"]): one for one in head.get("configs") or ()}
        if configs:
            return configs
        infos = head.get("dataset_info") or ()
        names = [str(one["config_name"]) for one in infos] if isinstance(infos, list) else []
    except (TypeError, KeyError, AttributeError):
        raise _unreadable(name, folder, "its configs have no config_name") from None
    with suppress(OSError, ValueError):
        names = names or [*json.loads((folder / "dataset_infos.json").read_text("utf-8"))]
    own = [one for one in names if (folder / one).is_dir()]
    return {one: {"data_dir": one} for one in own} if len(own) > 1 else {}


def _head(name: str, folder: Path) -> Mapping[str, Any]:
    """Return what the head of a README.md says, which is YAML; nothing without one."""
    file = folder / "README.md"
    if not file.is_file():
        return {}
    from huggingface_hub import metadata_load

    try:
        return metadata_load(file) or {}
    except Exception as e:  # whatever the parser raises
        raise _unreadable(name, folder, " ".join(str(e).split())[:200]) from None


def _unreadable(name: str, folder: Path, why: str) -> BadInput:
    return BadInput(
        f"The head of {folder / 'README.md'} cannot be read: {why}.",
        hint=f"Correct it; or read all files of the folder as one data set: parquet:{folder}",
        key=name,
    )


def _patterns(config: Mapping[str, Any]) -> list[tuple[str | None, list[str]]]:
    """Return the patterns of the files of a configuration, each with its split; None if it does not say."""
    inside = str(config.get("data_dir") or "").rstrip("/")
    within = f"{glob.escape(inside)}/" if inside else ""
    told = config.get("data_files")
    if told is None:
        return [(None, [f"{within}**/*"])]
    each: Sequence[Any] = told if isinstance(told, list) else [told]
    parts: list[tuple[str | None, list[str]]] = []
    for one in each:
        split, path = (str(one.get("split")), one.get("path")) if isinstance(one, dict) else (None, one)
        parts.append((split, [f"{within}{p}" for p in (path if isinstance(path, list) else [path])]))
    return parts


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the parquet files that patterns name, in the order of the patterns, then of their names."""
    found = (name for p in patterns for name in sorted(glob.glob(p, root_dir=folder, recursive=True)))  # noqa: PTH207
    return [folder / name for name in dict.fromkeys(found) if name.lower().endswith(_ENDINGS)]

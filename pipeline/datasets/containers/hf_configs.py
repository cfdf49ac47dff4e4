"""Configurations of a local folder that is kept as the Hub keeps one: which there are, and which files each has.

The package datasets reads them from the head of the folder's README.md: ``configs:`` lists them with their files.
Older folders have no such list. Of them, a configuration is what ``dataset_info`` names and has a folder of its own.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ....amounts import count
from ....errors import BadInput, NotFound
from .patterns import PARQUET


class ConfigFiles(NamedTuple):
    """The files of a configuration.

    Parameters
    ----------
    paths : list of Path
    splits : list of str or None
        Of each file; None if the names of the files tell.
    note : str
        The configuration that was taken, and all that there are.
    """

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
        If there is no such configuration, or one of its patterns names no parquet file.
    BadInput
        If there are several, none is named, and none is the default; or the README's head cannot be read.
    """
    found = _declared(name, folder)
    if not found and not config:
        return None
    chosen = _chosen(name, folder, config, found)
    paths: list[tuple[Path, str | None]] = []
    for split, patterns in _patterns(name, folder, chosen, found[chosen]):
        for pattern in patterns:
            if not (matching := _matching(folder, pattern)):
                raise _nothing(name, folder, chosen, split, pattern)
            paths += [(path, split) for path in matching if (path, split) not in paths]
    splits = [split for _, split in paths if split is not None]
    others = f", of {', '.join(found)}" if len(found) > 1 else ""
    unasked = "" if config or len(found) == 1 else ", which is the default"
    twice = len(paths) - len({path for path, _ in paths})
    shared = f"; {count(twice, 'file')} in more than one split" if twice else ""
    return ConfigFiles(
        [path for path, _ in paths],
        splits if len(splits) == len(paths) else None,
        f"Configuration {chosen}{unasked}{others}{shared}",
    )


def _chosen(name: str, folder: Path, config: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the configuration that is asked for; else the only one, or the default."""
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
    return chosen


def _nothing(name: str, folder: Path, config: str, split: str | None, pattern: str) -> NotFound:
    whose = f"The split {split} of the configuration" if split else "The configuration"
    return NotFound(
        f"{whose} {config} of {folder} has the files {pattern}, and no file "
        f"{' or '.join('*' + ending for ending in PARQUET)} is called so.",
        hint=f"Fetch them, or correct the head of its README.md. All its tables as one: parquet:{folder}",
        key=name,
    )


def _declared(name: str, folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the configurations of a folder, in their order."""
    head = _head(name, folder)
    try:
        listed = list(head.get("configs") or ())
        configs = {str(one["config_name"]): one for one in listed}
        if len(configs) < len(listed):
            raise _unreadable(name, folder, "two of its configs have one config_name")
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
    try:
        from huggingface_hub import metadata_load
    except ImportError:
        raise NotFound(
            f"{file} is read by the package huggingface_hub, which is not installed.",
            hint="pip install 'cryoprobe[hf]'",
            key=name,
        ) from None
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


def _patterns(name: str, folder: Path, chosen: str, config: Mapping[str, Any]) -> list[tuple[str | None, list[str]]]:
    """Return the patterns of the files of a configuration, each with its split; None if it does not say."""
    inside = str(config.get("data_dir") or "").rstrip("/")
    within = f"{glob.escape(inside)}/" if inside else ""
    told = "**/*" if config.get("data_files") is None else config["data_files"]
    each: list[Any] = told if isinstance(told, list) else [told]
    if isinstance(told, dict):
        each = [{"split": split, "path": path} for split, path in told.items()]
    parts: list[tuple[str | None, list[str]]] = []
    for one in each:
        split, path = (one.get("split"), one.get("path")) if isinstance(one, dict) else (None, one)
        patterns = path if isinstance(path, list) else [path]
        if (isinstance(one, dict) and split is None) or not all(isinstance(pattern, str) for pattern in patterns):
            raise _unreadable(name, folder, f"data_files of {chosen} are no patterns, nor patterns by split")
        parts.append((None if split is None else str(split), [f"{within}{pattern}" for pattern in patterns]))
    if out := [p for _, patterns in parts for p in patterns if p.startswith("/") or ".." in p.split("/")]:
        raise _unreadable(name, folder, f"the files {out[0]} of {chosen} are not in the folder")
    return parts


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the parquet files that a pattern names, in the order of their names."""
    found = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    return [folder / name for name in found if name.lower().endswith(PARQUET)]

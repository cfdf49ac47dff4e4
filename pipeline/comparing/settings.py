"""Whether trials of several models were made in one setting: the same splits, grid and way of choosing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..trials.result import Trial

PROBE = ("grid", "params", "schema")
"""Fields that belong to the probe: trials of two probes differ in them anyway."""


def setting_of(trial: Trial) -> dict[str, Any]:
    """Return what must be the same for two models to be compared, by the names that notes use.

    Sets of two models have different ids, so splits are told by their names.
    """
    splits = trial.splits if isinstance(trial.splits, dict) else {}
    return {
        "train split": splits.get("train"),
        "val split": trial.val if isinstance(trial.val, dict) else splits.get("val"),
        "choose by": trial.chosen_by,
        "grid": trial.grid,
        "params": trial.params,
        "schema": trial.schema_version,
    }


def difference(one: Trial, other: Trial, *, but: Sequence[str] = ()) -> str:
    """Return in which fields the settings of two trials differ, with the values that are short; empty if in none."""
    a, b = setting_of(one), setting_of(other)
    differing = [name for name in a if a[name] != b[name] and name not in but]
    return ", ".join(f"{name}{_values(a[name], b[name])}" for name in differing)


def _values(one: Any, other: Any) -> str:
    short = [_short(value) for value in (one, other)]
    return "" if None in short else f" ({short[0]}, not {short[1]})"


def _short(value: Any) -> str | None:
    if isinstance(value, dict) and len(value) == 1:
        ((name, number),) = value.items()
        return f"{name} {number}"
    return None if isinstance(value, dict | list) else str(value if value is not None else "none")

"""Which versions made the rows that a set reuses: recorded with it, and told where they matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from pydantic import JsonValue

from ...id_arrays import AnyIds
from ...stores.store import RowIndex


def reused_rows(index: RowIndex, ids: AnyIds, own: Container[str]) -> list[JsonValue]:
    """Return what is recorded of the rows that a set reuses, by where they are from, those with the most rows first.

    Parameters
    ----------
    index : RowIndex
    ids : sequence of bytes, or ndarray, uint8 [n, 32]
        Sample ids of the set.
    own : container of str
        Ids of the units that were encoded for it just now.
    """
    found: list[JsonValue] = []
    makers: dict[str, dict[str, JsonValue]] = {}
    rows: Counter[str] = Counter()
    for source in index.sources(ids):
        if source.id in own:
            continue
        if source.is_set:
            found.append({"rows": source.rows, "set": source.id, **source.made_by})
            continue
        # Units of a run that was stopped, or of somebody who is at work: one entry for all of the same versions.
        maker = repr(sorted(source.made_by.items()))
        makers[maker] = source.made_by
        rows[maker] += source.rows
    return [*found, *({"rows": rows[maker], **made_by} for maker, made_by in makers.items())]


def made_with(reused: Sequence[JsonValue], here: Mapping[str, JsonValue]) -> str:
    """Return a sentence on how the versions that made rows differ from those of today.

    Examples
    --------
    >>> before = {"rows": 2, "set": "5e7" * 20, "device": "cuda:0", "versions": {"timm": "1.0.9", "torch": "2.9"}}
    >>> made_with([before], {"device": "cpu", "versions": {"timm": "1.0.11", "torch": "2.9"}})
    'They were made with timm 1.0.9 (here 1.0.11), on cuda:0 (here cpu).'
    >>> made_with([{"rows": 2}], {})
    'It is not recorded with which versions they were made.'
    """
    makers = [entry for entry in reused if isinstance(entry, Mapping)]
    told = [entry for entry in makers if isinstance(entry.get("versions"), Mapping)]
    if not told:
        return "It is not recorded with which versions they were made."
    versions, today = told[0]["versions"], here.get("versions")
    assert isinstance(versions, Mapping)
    now = today if isinstance(today, Mapping) else {}
    other = [
        f"{name} {version} (here {now.get(name)})" for name, version in versions.items() if now.get(name) != version
    ]
    device = told[0].get("device")
    parts = [f"with {', '.join(other)}"] if other else ["with the versions that are here"]
    if device != here.get("device"):
        parts.append(f"on {device} (here {here.get('device')})")
    return f"They were made {', '.join(parts)}."

"""What people see of keeping a store: what it takes, how it came to be, what differs. Formatting only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .console import out, remarks, size, table, when

if TYPE_CHECKING:
    from .stores.compare import Difference
    from .stores.history import Entry
    from .stores.usage import Usage


def as_json(value: Any) -> Any:
    """Return a result as JSON values: dataclasses and names become objects."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return value


def usage(found: Usage) -> None:
    """Print `cryoprobe du`."""
    rows = []
    for s in found.sets:
        name = [s.name.model, s.name.dataset, s.name.split, s.name.tap] if s.name else ["?", "?", "?", "?"]
        rows.append([s.set[:12], *name, size(s.size), size(s.own)])
    table(["set", "model", "dataset", "split", "tap", "size", "not shared"], rows)
    out("")
    table(["model", "size"], [[model, size(n)] for model, n in found.models.items()])
    out("")
    beside = ("units", "abandoned", "trials", "quarantine", "other", "leftovers")
    table(["beside the sets", "size"], [[part, size(getattr(found, part))] for part in beside])
    out(f"total: {size(found.total)}")


def history(entries: Sequence[Entry]) -> None:
    """Print `cryoprobe log`."""
    for e in entries:
        name = e.name
        what = f"{name.model} {name.dataset} {name.split} {name.tap}" if name else "no name"
        options = remarks(name.model_dump()) if name else ""
        encoded = f", {e.encoded:,} encoded" if e.encoded is not None else ""
        out(f"{e.set[:12]}  {when(e.created)}  {e.user or '?'}@{e.host or '?'}{f'  {e.device}' if e.device else ''}")
        out(f"  {what}{f' ({options})' if options else ''}: {e.rows:,} rows{encoded}")
        out(f"  {', '.join(f'{package} {version}' for package, version in e.versions.items()) or 'no versions'}")
        if e.command:
            out(f"  $ {shlex.join(e.command)}")


def difference(found: Difference) -> None:
    """Print `cryoprobe diff`."""
    changed = [
        [f"{spec}.{field}", _brief(a), _brief(b)]
        for spec in ("encoder", "dataset")
        for field, (a, b) in getattr(found, spec).items()
    ]
    if changed:
        table(["field", found.a[:12], found.b[:12]], changed)
    else:
        out("The specs are equal.")
    only = f"only in {found.a[:12]}: {found.only_a:,}; only in {found.b[:12]}: {found.only_b:,}"
    out(f"images in both: {found.common:,}; {only}")
    for which, samples, n in (("a", found.only_a_samples, found.only_a), ("b", found.only_b_samples, found.only_b)):
        if samples:
            more = f" … and {n - len(samples):,} more" if n > len(samples) else ""
            out(f"  only in {getattr(found, which)[:12]}: {', '.join(s[:12] for s in samples)}{more}")
    if found.relabelled is None:
        out("labels: one a row in one set, several in the other")
    else:
        out(f"labels: {found.relabelled:,} of {found.common:,} differ" if found.common else "labels: none in common")
    d = found.distances
    if d is not None:
        out(f"embeddings: {d.identical:,} of {found.common:,} are identical, bit by bit")
        out(f"  cosine distance: mean {d.mean:.3g}, median {d.median:.3g}, at most {d.largest:.3g}")
        out(f"  norms: apart by a factor of at most {d.largest_norm_ratio:.6g}")
    elif found.common:
        out("embeddings: of different widths")


def _brief(value: Any) -> str:
    text = "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 64 else f"{text[:61]}…"

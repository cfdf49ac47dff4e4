"""What people see of keeping a store: what it takes, how it came to be, what differs. Formatting only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import BaseModel

from ...amounts import count
from ...errors import BadInput
from ...stores.format.pins_and_removals import Removal, RemovedTrial
from ...stores.keys import id_in
from .console import err, named_sets, out, table
from .wording import came_from, remarks, shell, size, versions, when

if TYPE_CHECKING:
    from ...pipeline.recompute import Recomputed
    from ...stores.format.pins_and_removals import Pin
    from ...stores.keeping.compare import Difference
    from ...stores.keeping.gc import Collected
    from ...stores.keeping.history import Entry
    from ...stores.keeping.repair_from_copies import Repair
    from ...stores.keeping.usage import Usage
    from ...stores.store import Store


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
    table(["set", "model", "dataset", "split", "tap", "size", "not shared"], rows, spare=["not shared", "tap", "split"])
    out("")
    table(["model", "size"], [[model, size(n)] for model, n in found.models.items()])
    out("")
    beside = ("units", "abandoned", "trials", "quarantine", "other", "leftovers")
    table(["beside the sets", "size"], [[part, size(getattr(found, part))] for part in beside])
    out(f"total: {size(found.total)}")


def recomputed(found: Sequence[Recomputed]) -> None:
    """Print what `cryoprobe verify --recompute` found."""
    rows = []
    for r in found:
        compared = r.comparison
        distance = "" if compared is None else f"{compared.largest:.2g}"
        rows.append([r.set[:12], r.name, "0" if compared is None else count(compared.rows, "row"), distance])
    if rows:
        table(["set", "name", "encoded again", "largest distance"], rows)
    for r in found:
        if r.remark:
            err(f"{r.set[:12]}: {r.remark}")


def history(entries: Sequence[Entry]) -> None:
    """Print `cryoprobe log`."""
    for e in entries:
        name = e.name
        what = f"{name.model} {name.dataset} {name.split} {name.tap}" if name else "no name"
        options = remarks(name.model_dump()) if name else ""
        encoded = f", {e.encoded:,} encoded" if e.encoded is not None else ""
        out(f"{e.set[:12]}  {when(e.created)}  {e.user or '?'}@{e.host or '?'}{f'  {e.device}' if e.device else ''}")
        out(f"  {what}{f' ({options})' if options else ''}: {count(e.rows, 'row')}{encoded}")
        if e.origin is not None:
            out(f"  {came_from(e.origin)}")
        out(f"  {versions(e.versions)}")
        if e.command:
            out(f"  $ {shell(e.command)}")


def difference(found: Difference, stores: tuple[str, str] | None = None) -> None:
    """Print `cryoprobe diff`.

    Parameters
    ----------
    found : Difference
    stores : tuple of str, optional
        Where each of the two sets is; they are named where they differ.
    """
    a, b = found.a[:12], found.b[:12]
    apart = stores is not None and stores[0] != stores[1]
    if apart or a == b:
        places = [f"in {place}" for place in stores] if stores and apart else ["named first", "named second"]
        ids = [a, b] if a != b or found.a == found.b else [found.a, found.b]
        out(f"a: {ids[0]}, {places[0]}")
        out(f"b: {ids[1]}, {places[1]}")
        if a == b:
            a, b = "a", "b"
    changed = [
        [f"{spec}.{field}", _brief(old), _brief(new)]
        for spec in ("encoder", "dataset")
        for field, (old, new) in getattr(found, spec).items()
    ]
    if changed:
        table(["field", a, b], changed)
    else:
        out("The specs are equal.")
    out(f"images in both: {found.common:,}; only in {a}: {found.only_a:,}; only in {b}: {found.only_b:,}")
    for which, samples, n in ((a, found.only_a_samples, found.only_a), (b, found.only_b_samples, found.only_b)):
        if samples:
            more = f" … and {n - len(samples):,} more" if n > len(samples) else ""
            out(f"  only in {which}: {', '.join(s[:12] for s in samples)}{more}")
    if found.relabelled is None:
        out("labels: not compared, as one set has none or several a row")
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


def confirm_removal(store: Store, ids: Sequence[str], stdin: TextIO) -> None:
    """Show what is to be removed, and ask; raise `BadInput` where nobody can answer, or the answer is no."""
    kinds = {digits: store.kind_of(digits) for digits in ids}
    trials = dict.fromkeys(store.trial_id(digits) for digits, kind in kinds.items() if kind == "trial")
    found = dict.fromkeys(id_in(store.manifest_key(digits)) for digits, kind in kinds.items() if kind == "set")
    what = " and ".join(count(len(of), kind) for of, kind in ((found, "set"), (trials, "trial")) if of)
    if not stdin.isatty():
        raise BadInput(f"{what} would be removed.", hint="Say so with --yes.", key="yes")
    if found:
        names = {n.set: n for n in reversed(store.names())}
        named_sets([names[s] for s in found if s in names], more="a wider terminal, or `ls --json`, has all")
    if trials:
        from ...pipeline.results import results
        from . import trial_tables

        trial_tables.trials([t for t in results(store) if t.trial in trials])
    err(f"Remove {what} from {store.url}? [y/N] ")
    if stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadInput("Nothing was removed.", key="yes")


def removed(found: Sequence[Removal | RemovedTrial], *, now: bool) -> None:
    """Print `cryoprobe rm`."""
    sets = [r.set for r in found if isinstance(r, Removal)]
    trials = [r.trial for r in found if isinstance(r, RemovedTrial)]
    for removed_id in (*sets, *trials):
        out(f"removed {removed_id}")
    if sets and not now:
        whose = "Its" if len(found) == 1 else "Their" if len(sets) == len(found) else "The sets'"
        out(f"{whose} data take space until `cryoprobe gc --delete` runs after the grace period.")


def pins(found: Sequence[Pin], *, removed: bool) -> None:
    """Print `cryoprobe pin`."""
    if removed:
        out(f"not pinned any more: {found[0].set}")
    else:
        table(
            ["set", "pinned", "by", "why"],
            [[p.set[:12], when(p.pinned), f"{p.user or '?'}@{p.host}", p.why or "-"] for p in found],
        )


def collected(found: Collected) -> None:
    """Print `cryoprobe gc`."""
    rows = []
    for kind in dict.fromkeys(g.kind for g in found.garbage):
        members = [g for g in found.garbage if g.kind == kind]
        due = [g for g in members if (g.deleted if found.delete else not g.waiting)]
        waiting = [g.waiting for g in members if g.waiting]
        soon = f"{len(waiting)}, the first in {_span(min(waiting))}" if waiting else "-"
        rows.append([kind, len(members), size(sum(g.size for g in members)), len(due), soon])
    if rows:
        table(["what", "found", "size", "due" if not found.delete else "deleted", "waiting"], rows)
    else:
        out("Nothing is to be collected.")
    if found.delete:
        out(f"freed: {size(found.freed)}")
    elif rows:
        at_once = not any(g.waiting for g in found.garbage)
        would = (
            "with this grace period would delete all of it at once"
            if at_once
            else "starts the grace period, and deletes what is due"
        )
        out(f"Nothing was deleted: --delete {would}.")


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def repaired(done: Sequence[Repair]) -> None:
    """Print `cryoprobe repair`."""
    for r in done:
        out(f"{r.action}: {r.key} ({r.problem}): {r.how}")
    left = sum(r.action == "not repaired" for r in done)
    if not done:
        out("Every object is what was sealed.")
    elif left:
        still = "is" if left == 1 else "are"
        out(f"{left:,} of {count(len(done), 'object')} {still} still damaged: name a copy of the store with --from,")
        sets = any(r.action == "not repaired" and not r.key.startswith("predictions/") for r in done)
        out(f"or {'remove the set with `cryoprobe rm` and extract it again' if sets else 'run the trial again'}.")
    else:
        dealt = "It is" if len(done) == 1 else f"All {len(done):,} are"
        out(f"{dealt} dealt with. What was damaged is in the store's quarantine/, until gc.")

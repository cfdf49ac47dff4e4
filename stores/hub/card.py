"""The card of a data set of the Hub: what its rows are, of which encoders and data, what they scored, how to read them.

Everything in it comes from what is sent, and may have been written by anybody: it is escaped. What people have written
into the card on the Hub stays: our part stands between two comments, and of the metadata only ours are replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...errors import CryoprobeError
from ...printable import one_line
from ..format.manifest import Manifest, read_manifest
from ..format.names import NamedSet, spelled
from ..format.trials import read_trials
from ..store import Store
from .index import HubIndex, HubSet
from .place import HubPlace
from .rows import iter_columns

_BEGIN, _END = "<!-- cryoprobe: from here -->", "<!-- cryoprobe: to here -->"
_TAGS = ("cryoprobe", "embeddings", "linear-probe")
_MOST_TRIALS = 200
_LONGEST_CELL = 120

_HEALTH = (
    ("failed", "without a row", "images that could not be decoded"),
    ("repeated_images.repeated", "repeated", "rows whose image stands in an earlier row"),
    ("repeated_images.contradicted", "contradicted", "repeated images with another label"),
    ("shared_embeddings.shared", "one embedding", "different images with the embedding of another one"),
    ("decoded_images.plain", "one colour", "images of one colour"),
    ("decoded_images.transparent", "transparent", "images whose transparency was dropped"),
    ("decoded_images.rotated", "rotated", "images that EXIF says to rotate"),
    ("class_sizes.smallest", "smallest class", "rows of the smallest class"),
    ("class_sizes.largest", "largest class", "rows of the largest class"),
)


def card(store: Store, index: HubIndex, place: HubPlace, there: str = "") -> str:
    """Return the card.

    Parameters
    ----------
    store : Store
        What the data set will have.
    index : HubIndex
        Its list of files.
    place : HubPlace
    there : str
        The card that is there now.
    """
    metadata, text = _front_and_text(there)
    metadata["tags"] = [*dict.fromkeys([*_TAGS, *_strings(metadata.get("tags"))])]
    metadata["configs"] = list(_configs(index))
    # JSON is YAML: so nothing that a name holds can end a string, or begin another key.
    front = "\n".join(f"{json.dumps(key)}: {json.dumps(value, default=str)}" for key, value in metadata.items())
    ours = f"{_BEGIN}\n{_body(store, index, place)}\n{_END}"
    begin, end = text.find(_BEGIN), text.find(_END)
    before, after = (text[:begin], text[end + len(_END) :]) if 0 <= begin < end else (f"{text.rstrip()}\n\n", "\n")
    text = f"{before}{ours}{after}".lstrip()
    return f"---\n{front}\n---\n{text}"


def _front_and_text(there: str) -> tuple[dict[str, Any], str]:
    """Return the metadata of a card, and the text below."""
    if not there.startswith("---"):
        return {}, there
    from huggingface_hub import RepoCard

    found = RepoCard(there, ignore_metadata_errors=True)
    metadata = found.data.to_dict()  # type: ignore[no-untyped-call]
    return {str(key): value for key, value in metadata.items()}, str(found.text)


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _configs(index: HubIndex) -> Iterator[dict[str, Any]]:
    """Yield the metadata by which the Hub and the package datasets find the rows."""
    for config in sorted({found.config for found in index.sets.values()}):
        splits = sorted((s for s in index.sets.values() if s.config == config), key=lambda s: s.split)
        files = [{"split": s.split, "path": [shard.path for shard in s.shards]} for s in splits]
        yield {"config_name": config, "data_files": files}


def _body(store: Store, index: HubIndex, place: HubPlace) -> str:
    """Return our part of the card."""
    named = {n.set: n for n in reversed(store.names())}
    sets = sorted(index.sets.items(), key=lambda item: (item[1].config, item[1].split))
    known = []
    for set_id, where in sets:
        with suppress(CryoprobeError):
            known.append((where, read_manifest(store.backend, where.manifest), named.get(set_id)))
    return "\n\n".join(
        [
            f"# Image features: {escaped(place.repo)}",
            "Embeddings of images by frozen encoders, kept by Cryoprobe: one row an image, normalised to unit length. "
            "The images themselves are not here. No license is stated unless the metadata above have one: those of the "
            "images and of the encoder's weights apply.",
            "## Sets\n\n" + _sets(known),
            "## How to read them\n\n" + _reading(known, place),
            "## Data health\n\n" + _health(known),
            "## Results\n\n" + _results(store),
            "## Encoders\n\n" + _specs(known),
        ]
    )


_Known = Sequence[tuple[HubSet, Manifest, NamedSet | None]]


def _sets(known: _Known) -> str:
    head = ["config", "split", "model", "data set", "tap", "options", "rows", "width", "dtype", "classes", "set"]
    return table(
        head,
        [
            [
                where.config,
                where.split,
                *((n.name.model, n.name.dataset, n.name.tap, spelled(n.name.options)) if n else ("?",) * 4),
                f"{m.rows:,}",
                m.dim,
                m.dtype,
                len(m.dataset["classes"]),
                m.set[:12],
            ]
            for where, m, n in known
        ],
    )


def _reading(known: _Known, place: HubPlace) -> str:
    where, manifest, _ = known[0]
    columns = "\n".join(f"- `{name}`: {what}" for name, what in iter_columns(manifest, named=True))
    return f"""```python
from datasets import load_dataset

rows = load_dataset({place.repo!r}, {where.config!r}, split={where.split!r}).with_format("numpy")
rows["embedding"][:5]
```

{columns}

(`name` is missing if the store did not have it.) To probe them, or to have the very sets that were sealed, bit by bit:

```
pip install 'cryoprobe[hf]'
cryoprobe pull {place.url} --store features
cryoprobe ls --store features
cryoprobe probe --train SET --test SET --store features
```

`pull` compares every file with its sha256, and every chunk of the sets that it makes with the one that was sealed."""


def _health(known: _Known) -> str:
    rows = []
    for where, manifest, _ in known:
        found = {**manifest.provenance.document, "failed": len(manifest.failed)}
        rows.append([where.config, where.split, *(_number(found, path) for path, _, _ in _HEALTH)])
    meaning = "; ".join(f"*{head}*: {what}" for _, head, what in _HEALTH)
    return table(["config", "split", *(head for _, head, _ in _HEALTH)], rows) + f"\n\n{meaning}; `-`: not looked at."


def _number(found: object, path: str) -> str:
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return f"{found:,}" if isinstance(found, int) else "-"


def _results(store: Store) -> str:
    trials = [t for t in read_trials(store.backend) if "origin" not in t]
    rows = sorted(_result(trial) for trial in trials)
    if not rows:
        return "None were sent."
    more = f"\n\n{len(rows) - _MOST_TRIALS} more are in `cryoprobe/store/trials`." if len(rows) > _MOST_TRIALS else ""
    head = [
        "data set",
        "model",
        "tap",
        "probe",
        "rows (train + val)",
        "seed",
        "score",
        "value",
        "95 % interval",
        "trial",
    ]
    return table(head, rows[:_MOST_TRIALS]) + more


def _result(trial: Mapping[str, Any]) -> list[str]:
    """Return a trial as a row; a field of another form than ours is a question mark."""

    def of(name: str) -> Any:
        return trial.get(name)

    metric, metrics, intervals = of("metric"), of("metrics"), of("intervals")
    score = metrics.get(metric) if isinstance(metrics, dict) and isinstance(metric, str) else None
    ends = intervals.get(metric) if isinstance(intervals, dict) and isinstance(metric, str) else None
    whole = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
    rows = trial.get("rows")
    what = of("probe") if of("protocol") == "plain" else f"protocol {of('protocol')}"
    return [
        str(of("dataset") or "?"),
        str(of("model") or "?"),
        str(of("tap") or "?"),
        str(what),
        _rows_of(rows if isinstance(rows, dict) else {}),
        str(of("seed")),
        str(metric),
        f"{score:.4f}" if isinstance(score, int | float) else "?",
        f"{ends[0]:.4f} to {ends[1]:.4f}" if whole and isinstance(ends, list) else "-",
        str(of("trial"))[:12],
    ]


def _rows_of(rows: Mapping[str, Any]) -> str:
    """Return the rows of a trial: those that were trained on and, if any chose, those that did."""
    chose = rows.get("val")
    return str(rows.get("train", "?")) + (f" + {chose}" if chose else "")


def _specs(known: _Known) -> str:
    parts = []
    for encoder_id, spec in {m.encoder_id: m.encoder for _, m, _ in known}.items():
        # No fence can be closed from inside: JSON has no line that begins with backquotes.
        parts.append(f"`{encoder_id[:12]}`\n\n```json\n{_json(spec)}\n```")
    parts.append("Data sets (of classes, and of images without a row, only how many there are):")
    for where, manifest, _ in known:
        lists = {name: len(value) for name, value in manifest.dataset.items() if isinstance(value, list)}
        spec = {**manifest.dataset, **lists}
        parts.append(f"{escaped(where.config)}, {escaped(where.split)}\n\n```json\n{_json(spec)}\n```")
    return "\n\n".join(parts)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of Markdown, with its cells escaped and cut."""
    lines = [[escaped(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([*head], ["---"] * len(head), *lines))


def escaped(value: object) -> str:
    r"""Return a text as it reads in Markdown, on one line: no markup, no HTML, no end of a cell.

    Examples
    --------
    >>> print(escaped("a|b <b>*x*</b>"))
    a\|b &lt;b&gt;\*x\*&lt;/b&gt;
    """
    text = one_line(str(value))
    text = text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$!])", r"\\\1", text)

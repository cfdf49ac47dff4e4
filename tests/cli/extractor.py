"""One extraction in a process of its own, small enough to be killed often: DATA STORE UNIT_ROWS.

Prints ``begin`` when the work on the split begins, and the summary when it is done.
"""

from __future__ import annotations

import json
import sys

import torch

import cryoprobe


class Announce(cryoprobe.Reporter):
    def begin(self, title: str, total: int) -> None:
        print("begin", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, store, unit_rows = sys.argv[1:]
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    sets = cryoprobe.extract(
        encoder, data, store, unit_rows=int(unit_rows), batch_size=4, workers=1, reporter=Announce()
    )
    print(json.dumps(cryoprobe.summary(sets)), flush=True)

"""Fail if a probe's score is below what it must be, by more than its test images can tell.

After ``cryoprobe probe … --json > result.json``: ``python check_score.py result.json 0.85``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: str, least: float) -> None:
    """Print one line of Markdown; exit code 1 if the whole 95 % interval lies below `least`."""
    (trial,) = json.loads(Path(file).read_text())["trials"]
    metric = trial["metric"]
    score, (low, high) = trial["metrics"][metric], trial["intervals"][metric]
    what = f"**{trial['model']}** on {trial['dataset']}"
    print(f"{what}: {metric} {score:.4f} ({low:.4f} to {high:.4f}), wanted: {least}")
    if high < least:
        sys.exit(f"{metric} is below {least}: even the upper end of its 95 % interval is {high:.4f}.")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

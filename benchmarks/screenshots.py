"""Screenshots of a page: python benchmarks/screenshots.py report.html FOLDER makes one for each width and theme."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.chromium import DESKTOP, LIGHT_AND_DARK, PHONE, chromium, draw_all, opened


def take(file: Path, folder: Path) -> list[Path]:
    """Write the pictures of a page, whole, at 1280 and 390 pixels, light and dark; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with chromium() as browser:
        for theme in LIGHT_AND_DARK:
            for size in (DESKTOP, PHONE):
                with opened(browser, file.resolve(), size, theme) as found:
                    draw_all(found.page)
                    written.append(folder / f"{file.stem}-{size[0]}-{theme}.png")
                    found.page.screenshot(path=written[-1], full_page=True)
                    found.assert_quiet()
    return written


if __name__ == "__main__":
    sys.stdout.write("\n".join(map(str, take(Path(sys.argv[1]), Path(sys.argv[2])))) + "\n")

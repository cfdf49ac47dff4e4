"""Draw the pictures of the tutorial: ``python docs/_site/tutorial_pictures.py``. They are kept in docs/images."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_ROOT = Path(__file__).resolve().parents[2]
_IMAGES = _ROOT / "docs" / "images"
_MISTAKES = [("circle", 6, "triangle, 0.88"), ("square", 56, "circle, 0.81"), ("square", 14, "circle, 0.57")]
_TEXT = 22  # pixels


def _label(image: Image.Image, at: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(image).text(at, text, fill="black", font=ImageFont.load_default(15))


def main() -> None:
    """Draw both."""
    sys.path.insert(0, str(_ROOT / "examples"))
    from shapes import SIDE, draw  # type: ignore[import-not-found]

    step, left = SIDE + 4, 80
    sheet = Image.new("RGB", (left + 10 * step, 4 * step), "white")
    for y, shape in enumerate(("circle", "square", "star", "triangle")):
        _label(sheet, (8, y * step + SIDE // 2 - 8), shape)
        for x in range(10):
            sheet.paste(draw(shape, x), (left + x * step, y * step))
    sheet.save(_IMAGES / "tutorial-shapes.jpg", quality=80)

    side = 2 * SIDE
    row = Image.new("RGB", (len(_MISTAKES) * (side + 16), side + 2 * _TEXT), "white")
    for x, (shape, number, predicted) in enumerate(_MISTAKES):
        row.paste(draw(shape, number).resize((side, side)), (x * (side + 16), 0))
        _label(row, (x * (side + 16), side + 2), f"{shape}/{number:03d}.png")
        _label(row, (x * (side + 16), side + _TEXT), f"predicted: {predicted}")
    row.save(_IMAGES / "tutorial-mistakes.png", optimize=True)


if __name__ == "__main__":
    main()

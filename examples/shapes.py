"""Make a small folder of images: 60 drawings each of circles, squares, stars and triangles.

    python examples/shapes.py FOLDER [HOW MANY OF EACH]

The tutorial (docs/tutorial.md) uses it. The same numbers make the same images.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE = 96


def corners(shape: str, radius: float, turned: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around the origin."""
    count = {"circle": 60, "square": 4, "star": 10, "triangle": 3}[shape]
    radii = [radius * (0.45 if shape == "star" and i % 2 else 1.0) for i in range(count)]
    angles = [turned + 2 * math.pi * i / count for i in range(count)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def draw(shape: str, number: int) -> Image.Image:
    """Draw one shape: any size, place, turn and colour, on a background of any colour, blurred and noisy."""
    chance = random.Random(f"{shape} {number}")
    paper, ink = [tuple(chance.randrange(256) for _ in range(3)) for _ in range(2)]
    image = Image.new("RGB", (SIDE, SIDE), paper)
    radius, turned = chance.uniform(12, 40), chance.uniform(0, 2 * math.pi)
    x, y = chance.uniform(radius, SIDE - radius), chance.uniform(radius, SIDE - radius)
    points = [(x + dx, y + dy) for dx, dy in corners(shape, radius, turned)]
    ImageDraw.Draw(image).polygon(points, fill=ink)
    image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0, 3)))
    noise = Image.frombytes("L", (SIDE, SIDE), chance.randbytes(SIDE * SIDE)).convert("RGB")
    return Image.blend(image, noise, chance.uniform(0, 0.5))


def main(folder: Path, each: int = 60) -> None:
    """Write FOLDER/CLASS/NUMBER.png; images that are there already are left as they are."""
    for shape in ("circle", "square", "star", "triangle"):
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            path = folder / shape / f"{number:03d}.png"
            if not path.exists():
                draw(shape, number).save(path)
    print(f"{4 * each} images in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))

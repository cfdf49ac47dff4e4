"""Pages in headless Chromium, which note what goes wrong and what is requested."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LIGHT_AND_DARK = ("light", "dark")
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Debian's Chromium; skip the test where there is none, unless the environment requires it."""
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    if place is None:
        assert "CRYOPROBE_REQUIRE_CHROMIUM" not in os.environ, "Chromium is required, and not installed"
        pytest.skip("no Chromium is installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page, what it printed to its console, what it asked for, and dialogs that it opened."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def assert_quiet(self) -> None:
        """Nothing went wrong, nothing but the file was asked for, and no script of a stranger ran."""
        assert self.console == [], self.console
        assert self.dialogs == []
        assert len(self.requests) == 1, self.requests


@contextmanager
def opened(browser: Any, file: Path, size: tuple[int, int] = DESKTOP, theme: str = "light") -> Iterator[Opened]:
    """Open a file in a window of some size."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    try:
        page = context.new_page()
        found = Opened(page)
        page.on("console", lambda m: m.type == "error" and found.console.append(m.text))
        page.on("pageerror", lambda e: found.console.append(str(e)))
        page.on("request", lambda r: r.url.startswith("data:") or found.requests.append(r.url))

        def dismiss(dialog: Any) -> None:
            found.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.goto(file.as_uri())
        yield found
    finally:
        context.close()


def draw_all(page: Any) -> int:
    """Bring every chart into the window until it is drawn; return how many there are."""
    plots = page.locator(".plot[data-chart]")
    for i in range(plots.count()):
        plots.nth(i).scroll_into_view_if_needed()
        page.wait_for_function(
            "i => document.querySelectorAll('.plot[data-chart]')[i].matches('.drawn, .failed')", arg=i
        )
    page.evaluate("window.scrollTo(0, 0)")
    return int(plots.count())


_TEXTS = "h1, h2, h3, figcaption, p, .plot, .tools, .scroll, nav, #theme, summary"
_LABELS = ", ".join(f".role-{part} text" for part in ("axis-label", "axis-title", "legend-label", "legend-title"))

OVERLAPS = f"""() => {{
  const found = [];
  const meets = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
  const isFolded = (one) => one.closest('details:not([open]) > :not(summary)');
  // A slanted label's box is larger than the label.
  const isSlanted = (one) => /rotate\\((?!-?90\\))/.test(one.getAttribute('transform') || '');
  const isShown = (one) => one.textContent && one.getAttribute('opacity') !== '0' && !isSlanted(one);
  const groups = [[...document.querySelectorAll('{_TEXTS}')].filter((one) => !isFolded(one))];
  for (const plot of document.querySelectorAll('.plot svg'))
    groups.push([...plot.querySelectorAll('{_LABELS}')].filter(isShown));
  for (const group of groups) {{
    const boxes = group.map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {{
      if (boxes[i][0].contains(boxes[j][0]) || boxes[j][0].contains(boxes[i][0])) continue;
      if (meets(boxes[i][1], boxes[j][1]))
        found.push(`${{boxes[i][0].textContent.slice(0, 60)}} | ${{boxes[j][0].textContent.slice(0, 60)}}`);
    }}
  }}
  return found;
}}"""
"""Pairs of texts that lie on one another: headings, paragraphs and charts; and the labels within each chart."""

UNTITLED_AXES = """() => [...document.querySelectorAll('.plot svg')].flatMap((plot) => {
  const labelled = plot.querySelectorAll('.role-axis-label').length;
  const titles = [...plot.querySelectorAll('.role-axis-title text, .role-title-text text')];
  const isTitled = titles.some((one) => one.textContent);
  return labelled && !isTitled ? [plot.closest('.plot').dataset.chart] : [];
})"""
"""Charts with labelled axes of which none has a title."""

"""The page in headless Chromium: it works, it fits, it is readable, and it asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import DESKTOP, LIGHT_AND_DARK, OVERLAPS, PHONE, UNTITLED_AXES, draw_all, opened

pytestmark = pytest.mark.slow


def models_of(page: Any) -> list[str]:
    return [text for text in page.locator("#board tbody tr:visible .model").all_inner_texts()]


@pytest.mark.parametrize("theme", LIGHT_AND_DARK)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_is_readable_and_asks_for_nothing(
    browser: Any, page: Path, size: tuple[int, int], theme: str
) -> None:
    with opened(browser, page, size, theme) as found:
        assert draw_all(found.page) >= 1
        assert found.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert found.page.evaluate(OVERLAPS) == []
        assert found.page.evaluate(UNTITLED_AXES) == []
        ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (theme == "light")
        found.assert_quiet()


def test_columns_are_sorted_by_click_and_by_keyboard(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        head = found.page.locator("#board thead th").nth(2)
        scores = "() => [...document.querySelectorAll('#board tbody tr')].map((r) => r.cells[2].dataset.value ?? null)"
        head.locator("button").click()
        falling = found.page.evaluate(scores)
        assert head.get_attribute("aria-sort") == "descending"
        assert falling == sorted(falling, key=float, reverse=True)
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert found.page.evaluate(scores) == falling[::-1]
        found.page.locator("#board thead th").nth(0).locator("button").click()
        assert models_of(found.page) == sorted(models_of(found.page))
        found.assert_quiet()


def test_what_was_not_run_is_last_in_both_directions(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        values = "at => [...document.querySelectorAll('#board tbody tr')].map((r) => r.cells[at].dataset.value ?? null)"
        heads = found.page.locator("#board thead th")
        (at,) = [i for i in range(heads.count()) if {"birds", "logreg"} <= {*heads.nth(i).inner_text().split()}]
        for _ in range(2):
            heads.nth(at).locator("button").click()
            order = found.page.evaluate(values, at)
            assert [value is None for value in order] == [False, False, False, True]


def test_rows_and_columns_are_filtered(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        models, columns = found.page.locator(".tools input").all()
        models.fill("RESNET")
        assert models_of(found.page) == ["lab:resnet18"]
        assert found.page.locator(".tools output").inner_text() == "1 of 4 models"
        columns.fill("fish knn")
        shown = found.page.locator("#board thead th[data-text]:visible").all_inner_texts()
        assert [text.split()[0] for text in shown] == ["fish"]
        models.fill("")
        columns.fill("")
        assert len(models_of(found.page)) == 4
        found.assert_quiet()


def test_the_pointer_shows_what_a_mark_stands_for(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        draw_all(found.page)
        found.page.locator("#chart-heat-map .mark-rect path").first.hover(force=True)
        tooltip = found.page.locator("#vg-tooltip-element.visible")
        tooltip.wait_for()
        assert "points below the best" in tooltip.inner_text()
        found.assert_quiet()


def test_the_button_changes_the_colours_of_page_and_charts(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        draw_all(found.page)
        label = "() => getComputedStyle(document.querySelector('#chart-heat-map .role-axis-label text')).fill"
        before = found.page.evaluate(label)
        found.page.locator("#theme").click()
        assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        found.page.wait_for_function(f"before => ({label})() !== before", arg=before)
        found.assert_quiet()


def test_a_score_leads_to_its_provenance(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        link = found.page.locator("#board tbody td a").first
        anchor = link.get_attribute("href")
        assert anchor is not None
        link.click()
        entry = found.page.locator(f"details{anchor}")
        entry.locator("pre").last.wait_for()
        assert entry.locator("pre").last.inner_text().startswith("cryoprobe probe --store")
        # Charts that are drawn on the way there make the page longer: the entry stays in view.
        found.page.wait_for_function(
            """() => [...document.querySelectorAll('.plot[data-chart]')].every((plot) => {
              const box = plot.getBoundingClientRect();
              return box.bottom < -300 || box.top > innerHeight + 300 || plot.matches('.drawn, .failed');
            })"""
        )
        top = entry.evaluate("(one) => one.getBoundingClientRect().top")
        is_end = found.page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 2")
        assert -2 <= top < (DESKTOP[1] if is_end else 50)


def test_numbers_stand_under_one_another(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        ragged = found.page.evaluate(
            """() => [...document.querySelectorAll('#board tbody tr')].flatMap((row) => [...row.cells].slice(1))
              .filter((cell) => getComputedStyle(cell).textAlign !== 'right').length"""
        )
        assert ragged == 0

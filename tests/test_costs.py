"""What docs/scale.md says that large extractions cost is what the script computes from what was measured."""

from __future__ import annotations

import doctest
from pathlib import Path

import costs
import pytest

import cryoprobe

PAGE = Path(cryoprobe.__file__).resolve().parent / "docs" / "scale.md"


def test_the_example_holds() -> None:
    done = doctest.testmod(costs)
    assert (done.failed, done.attempted) == (0, 4)


def test_the_tables_of_the_page_are_those_of_the_script(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["costs.py"])
    costs.main()
    _, *tables = capsys.readouterr().out.strip().split("\n\n")
    page = PAGE.read_text()
    assert len(tables) == len(costs.CASES)
    assert [table.partition("\n")[0] for table in tables if table not in page] == []


def test_a_set_is_cut_where_its_manifest_would_be_too_large() -> None:
    requests = costs.UnitRequests(20, 10)
    whole = costs.MANIFEST_LIMIT // 460 * costs.UNIT_ROWS
    assert costs.Costs(whole, 768, 1000, requests).sets == 1
    assert costs.Costs(whole + costs.UNIT_ROWS, 768, 1000, requests).sets == 2

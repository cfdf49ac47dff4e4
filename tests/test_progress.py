"""Long tasks say how far they are: to a reporter, or as a bar if somebody can see it, and to nobody otherwise."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.data import Heard, put_set

import cryoprobe
from cryoprobe.progress import Reporter
from cryoprobe.progress_bar import Bar
from cryoprobe.reporting import reporter_for

Task = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> cryoprobe.Store:
    """A store of one set, and of an attempt that nobody has sealed."""
    made = cryoprobe.open_store(tmp_path / "store", create=True)
    put_set(
        made,
        np.random.default_rng(0).normal(size=(20, 6)),
        np.arange(20) % 3,
        classes="abc",
        split="train",
        chunk_rows=8,
    )
    made.backend.put(f"sets/{'0' * 64}/killed/zarr.json", b"{")
    return made


def titles(call: Task, *args: Any, **options: Any) -> list[str]:
    """Return the tasks that a call tells of, each of which has ended with all of it done."""
    heard = Heard()
    call(*args, **options, reporter=heard)
    assert not heard.running
    assert all(steps[-1] == (steps[-1][1],) * 2 for steps in heard.told.values())
    return list(heard.told)


def test_every_long_task_of_a_store_tells_how_far_it_is(store: cryoprobe.Store, tmp_path: Path) -> None:
    (set_,) = store.set_ids()
    looking = ["Reading manifests", "Reading unit seals"]
    assert titles(cryoprobe.verify, store, data=True) == [*looking, "Verifying"]
    assert titles(cryoprobe.repair, store) == [*looking, "Verifying"]
    assert titles(cryoprobe.gc, store) == looking
    assert titles(cryoprobe.gc, store, delete=True, grace=0) == [*looking, "Deleting"]
    assert titles(cryoprobe.push, store, tmp_path / "pushed") == ["Moving"]
    assert titles(cryoprobe.pull, tmp_path / "pulled", store.url) == ["Moving"]
    assert titles(cryoprobe.sync, store, tmp_path / "synced") == ["Moving"]
    assert titles(cryoprobe.export_set, store, set_, tmp_path / "set.npz") == ["Exporting"]
    assert titles(cryoprobe.export_set, store, set_, tmp_path / "set.zip") == ["Exporting"]
    assert titles(cryoprobe.import_set, tmp_path / "imported", tmp_path / "set.zip") == ["Checking", "Moving"]
    assert titles(cryoprobe.rm, store, [set_], now=True)[-1] == "Deleting"


def test_a_bar_is_shown_only_where_somebody_can_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(reporter_for(True, None)) is Bar
    assert type(reporter_for(False, None)) is Reporter
    own = Heard()
    assert reporter_for(True, own) is own
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert type(reporter_for(True, None)) is Reporter
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))  # a notebook; rich needs ipywidgets there
    (tmp_path / "ipywidgets.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert type(reporter_for(True, None)) is Bar


def on_a_terminal(*command: str) -> tuple[str, str]:
    """Run a command whose standard error is a terminal; return what it printed there, and on standard output."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as running:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(terminal)
        assert running.stdout is not None
        out = running.stdout.read()
    assert running.returncode == 0, shown
    return shown.decode(), out


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Verifying", ("verify", "--data", "--store", "STORE")),
        ("Deleting", ("gc", "--delete", "--grace", "0s", "--store", "STORE")),
        ("Moving", ("push", "TO", "--store", "STORE")),
    ],
)
def test_commands_show_a_bar_on_a_terminal_and_nothing_else_changes(
    store: cryoprobe.Store, tmp_path: Path, title: str, words: tuple[str, ...]
) -> None:
    places = {"STORE": store.url, "TO": str(tmp_path / "to")}
    command = [sys.executable, "-m", "cryoprobe", *(places.get(word, word) for word in words), "--json"]
    shown, out = on_a_terminal(*command)
    assert title in shown
    assert isinstance(json.loads(out), dict)
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(piped.stdout).keys() == json.loads(out).keys()
    assert piped.stderr == ""


def test_python_shows_a_bar_on_a_terminal_unless_told_not_to(store: cryoprobe.Store) -> None:
    program = "import cryoprobe, sys; cryoprobe.verify(sys.argv[1], progress=sys.argv[2] == 'yes')"
    assert "Verifying" in on_a_terminal(sys.executable, "-c", program, store.url, "yes")[0]
    assert on_a_terminal(sys.executable, "-c", program, store.url, "no") == ("", "")

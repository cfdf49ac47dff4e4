"""The site of the documentation: it is built strictly, has every public name and command, and asks no network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cryoprobe
import cryoprobe.testing
from cryoprobe import errors
from cryoprobe.cli import app

pytest.importorskip("mkdocs")

ROOT = Path(cryoprobe.__file__).resolve().parent
DOCS = ROOT / "docs"


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it once; strict mode ends a build in which a link, an anchor or a name leads nowhere."""
    if built := os.environ.get("CRYOPROBE_SITE"):
        return Path(built)
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(ROOT / "mkdocs.yml")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_has_its_own_heading_and_asks_nothing_of_a_network(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 40
    for page in pages:
        text = page.read_text()
        assert text.count("<h1") == 1, page
        asked = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"\w+:[^\"]*|<link[^>]* href=\"\w+:[^\"]*", text)
        assert asked == [], page
        assert "<!-- include" not in text, page


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path) -> None:
    text = "".join(page.read_text() for page in [*(site / "reference").glob("*.html"), site / "errors.html"])
    named = {*re.findall(r'id="(cryoprobe\.[\w.]+)"', text)}
    public = {f"cryoprobe.{name}" for name in cryoprobe.__all__ if name != "__version__"}
    public |= {f"cryoprobe.testing.{name}" for name in cryoprobe.testing.__all__}
    assert public - named == set()


@pytest.mark.slow
def test_the_reference_has_every_command_and_option(site: Path) -> None:
    text = (site / "reference" / "command-line.html").read_text()
    for registered in app.registered_commands:
        name = registered.name or registered.callback.__name__.replace("_", "-")
        assert f">cryoprobe {name}<" in text
    for option in ("--no-trials", "--image-size", "--max-bad", "--val-split", "--rank"):
        assert option in text


@pytest.mark.slow
def test_the_search_finds_a_message_and_a_name(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text()
    assert "No space is left for the store" in index
    assert "plan_extraction" in index


def test_every_error_and_exit_code_has_an_entry_with_causes() -> None:
    text = (DOCS / "errors.md").read_text()
    messages = hook("messages")
    for name, found in messages.CLASSES.items():
        assert f"\n## Exit code {found.exit_code}: {name}\n" in text
        assert f"\n::: cryoprobe.{name}\n" in text
    for code in (errors.INTERRUPTED, errors.TERMINATED):
        assert str(code) in text
    assert "\n## CryoprobeWarning\n" in text
    assert "\n::: cryoprobe.CryoprobeWarning\n" in text


def test_the_messages_on_the_page_of_errors_stand_in_the_code() -> None:
    text = (DOCS / "errors.md").read_text()
    known = hook("messages").messages()
    sections = re.split(r"^## Exit code \d: (\w+)$", text, flags=re.MULTILINE)[1:]
    for name, section in zip(sections[::2], sections[1::2], strict=True):
        templates = {" ".join(message.split()) for message, _ in known.get(name, [])}
        rows = re.findall(r"^\| `([^|]+)` \|", section, re.MULTILINE)
        assert rows or name == "CryoprobeError"
        for row in rows:
            assert any(template.startswith(row.removesuffix("…").rstrip()) for template in templates), (name, row)


def test_a_section_of_the_readme_is_found_by_its_anchor() -> None:
    repository = hook("repository")
    text = "# Title\nfirst\n## One, and two\nsecond\n### Below\nthird\n## Last\n"
    assert repository.section(text, "") == "first"
    assert repository.section(text, "one-and-two") == "second\n### Below\nthird"
    with pytest.raises(ValueError, match="no section #other"):
        repository.section(text, "other")

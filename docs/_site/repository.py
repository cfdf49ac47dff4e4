"""A hook of mkdocs: pages of the site for what the documentation links to outside of docs/, and parts of the README.

On GitHub a page links to ``../README.md#sharing`` or ``../examples/own_encoder.py`` as to any file. The site gets a
page for each file or folder that is linked to so, under ``repository/``: Markdown as it is, other files as code.

A line ``<!-- include --> [title](target)`` becomes the text of the target: a section of the README, or a file as code.
Links to that section lead to the page that includes it, and on GitHub to the README itself.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = _ROOT / "docs"
_README = _ROOT / "README.md"
_HOME = "index.md"

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
_INCLUDE = re.compile(r"^<!-- include --> *\[[^\]]*\]\(([^)\s#]+)(?:#([^)\s]*))?\)$", re.MULTILINE)
_LANGUAGES = {".py": "python", ".sh": "bash", ".sbatch": "bash", ".yaml": "yaml", ".toml": "toml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages for what lies elsewhere in the repository; their texts are made here, those of docs/ when read."""
    site = _Site({Path(f.abs_src_path or ""): f.src_uri for f in files if f.abs_src_path})
    for path, uri in list(site.pages.items()):
        if uri.endswith(".md"):
            for included in _INCLUDE.finditer(path.read_text()):
                if _resolve(path.parent, included[1]) == _README:
                    site.sections[included[2]] = uri
    # Pages that only the site has link from the README's sections to further ones.
    waiting = [_README, *(path for path, uri in site.pages.items() if uri.endswith(".md"))]
    while waiting:
        waiting += site.add_targets(waiting.pop())
    for path, uri in site.elsewhere.items():
        files.append(File.generated(config, uri, content=site.page(path, uri)))
    config.extra["_repository"] = site
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Put in what a page of docs/ includes, and turn its links out of docs/ into links to their pages."""
    source = Path(page.file.abs_src_path or "")
    site: _Site = config.extra["_repository"]
    if source not in site.pages or page.file.src_uri in site.elsewhere.values():
        return markdown
    return site.rewritten(markdown, source.parent, page.file.src_uri)


class _Site:
    """Which page of the site stands for which file of the repository."""

    def __init__(self, pages: dict[Path, str]) -> None:
        self.pages = pages
        self.elsewhere: dict[Path, str] = {}
        self.sections: dict[str, str] = {}  # anchor in the README → the page that includes it

    def add_targets(self, page: Path) -> list[Path]:
        """Add a page for each thing that a page links to and that has none; return these things."""
        new = []
        if page.is_dir() or page.suffix != ".md":
            return []
        for target, _ in _LINK.findall(page.read_text()):
            path = _resolve(page.parent, target)
            known = path in self.pages or path in self.elsewhere or path == _README
            if path.exists() and not known and _ROOT in path.parents:
                self.elsewhere[path] = _uri_of(path)
                new.append(path / "README.md" if (path / "README.md").exists() else path)
        return new

    def page(self, path: Path, uri: str) -> str:
        """Return the Markdown of a page for what is not in docs/, or for a folder."""
        if path.is_dir() and (path / "README.md").exists():
            path = path / "README.md"
        if path.is_dir():
            return self._listing(path, uri)
        if path.suffix == ".md":
            return self.rewritten(path.read_text(), path.parent, uri)
        return f"# {path.relative_to(_ROOT).as_posix()}\n\n{_fenced(path)}\n"

    def rewritten(self, text: str, folder: Path, uri: str) -> str:
        """Return a text of that folder as it must stand on that page."""
        text = _INCLUDE.sub(lambda found: self._included(_resolve(folder, found[1]), found[2], uri), text)
        parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
        return "".join(
            p if p.startswith("```") else _LINK.sub(lambda found: self._link(found, folder, uri), p) for p in parts
        )

    def _included(self, path: Path, anchor: str | None, uri: str) -> str:
        if path != _README:
            return _fenced(path)
        text = section(_README.read_text(), anchor or "").replace("](#", "](README.md#")
        return self.rewritten(text, _ROOT, uri)

    def _link(self, found: re.Match[str], folder: Path, uri: str) -> str:
        target, anchor = _resolve(folder, found[1]), found[2] or ""
        if target == _README:
            to, anchor = self.sections.get(anchor.removeprefix("#"), _HOME), ""
        elif target in self.pages:
            to = self.pages[target]
        elif target in self.elsewhere:
            to = self.elsewhere[target]
        else:
            return found[0]  # already a link of the site; mkdocs checks it
        return f"]({posixpath.relpath(to, posixpath.dirname(uri))}{anchor})"

    def _listing(self, folder: Path, uri: str) -> str:
        lines = [f"# {folder.name.capitalize()}", ""]
        for path in sorted(folder.iterdir()):
            if path in self.pages:
                title = path.read_text().partition("\n")[0].lstrip("# ") if path.suffix == ".md" else path.name
                day = path.name[:10] if path.suffix == ".md" else ""
                link = posixpath.relpath(self.pages[path], posixpath.dirname(uri))
                lines.append(f"- {day} [{title}]({link})" if day else f"- [{title}]({link})")
        return "\n".join(lines) + "\n"


def section(text: str, anchor: str) -> str:
    """Return what stands below a heading of the second level; without an anchor, below the title."""
    heading = None
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(("# ", "## ")):
            heading = "" if line.startswith("# ") else _slug(line[3:])
        elif heading == anchor:
            lines.append(line)
    if not lines:
        raise ValueError(f"README.md has no section #{anchor}")
    return "\n".join(lines).strip()


def _slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")


def _resolve(folder: Path, target: str) -> Path:
    return Path(os.path.normpath(folder / target))


def _uri_of(path: Path) -> str:
    if _DOCS in path.parents:  # a folder of docs/
        return f"{path.relative_to(_DOCS).as_posix()}/index.md"
    name = path.relative_to(_ROOT).as_posix()
    return f"repository/{name.removesuffix('.md')}{'/index' if path.is_dir() else ''}.md"


def _fenced(path: Path) -> str:
    return f"```{_LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n```"

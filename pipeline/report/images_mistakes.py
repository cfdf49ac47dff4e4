"""The most confident mistakes, with thumbnails."""

from __future__ import annotations

from ..mistakes import Mistakes
from .images_thumbnails import Thumbnails
from .section import escaped

SHOWN = 24


def mistakes_html(found: Mistakes, thumbnails: Thumbnails) -> str:
    """Return a list of the surest mistakes."""
    if not found.wrong:
        return "<p>No test image is wrong.</p>"
    items = []
    for m in found[:SHOWN]:
        name = m.name or f"row {m.row}"
        value = "" if m.value is None else f" <b>{m.value:.3f}</b>"
        items.append(
            f"<li>{thumbnails.html(found.set, m.row, name)}<span>{escaped(m.true or '-')} &rarr; "
            f'{escaped(m.predicted or "-")}{value}</span><span class="soft">{escaped(name)}</span></li>'
        )
    said = f"{found.wrong:,} of {found.of:,} are wrong; {len(items)} are shown."
    return f'<p>{said}</p><ul class="thumbs">{"".join(items)}</ul>'

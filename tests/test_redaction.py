"""What of a URL is never printed, raised or recorded."""

from __future__ import annotations

import pytest

from cryoprobe.errors import BadInput
from cryoprobe.pipeline import provenance
from cryoprobe.redaction import redacted


@pytest.mark.parametrize(
    "text",
    [
        "https://me:secret@host/f",
        "https://host/f?sig=secret",
        "https://host/f#secret",
        "s3:/KEY:a/secret@bucket",
        "s3//KEY:secret@bucket",
        "abfss://KEY:secret@host is not a place",
        "--store=https://me:secret@host",
        "['gs:///secret@host']",
    ],
)
def test_credentials_are_taken_out_of_texts_errors_and_recorded_commands(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_command", None)
    provenance.record_command(["cryoprobe", "ls", text])
    error = BadInput(text, hint=text, key=text, found=text, expected=text)
    seen = f"{error} {vars(error)} {error.args} {provenance.provenance([]).command} {redacted(text)}"
    assert "secret" not in seen
    assert "ls" in seen


@pytest.mark.parametrize("text", ["folder:/data/me@lab/what?/x", "/mnt/s3/me@lab", "user@host", "a: https://host/x"])
def test_what_holds_no_credentials_stays(text: str) -> None:
    assert redacted(text) == text

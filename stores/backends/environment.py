"""What the environment says of a cloud: endpoints, credentials, and whether they can be what they should be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from ...errors import BadInput

_ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "http": (),
    "https": (),
}
_PREFIXES: Mapping[str, str] = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
CREDENTIALS: Mapping[str, str] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_SKIP_SIGNATURE=true for a public bucket), AWS_REGION, "
    "and AWS_ENDPOINT_URL for a server of your own",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    **dict.fromkeys(("http", "https"), "the address: a web server is asked without credentials"),
}

POLICY_HINT = (
    "If a policy of the bucket demands conditional writes (s3:if-none-match), limit it to manifests/ and unit-seals/ "
    "(docs/scale.md)."
)


def endpoints(scheme: str) -> dict[str, str]:
    """Return the settings in the environment that lead to another server than the cloud's own."""
    return {name: os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)}


def check_environment(scheme: str) -> None:
    """Refuse settings that obstore would not answer with an error, but panic at."""
    for name, value in os.environ.items():
        if name.startswith(_PREFIXES.get(scheme, "\0")) and not value.isprintable():
            raise BadInput(
                f"{name} holds a line break or another control character.", hint="Set it anew, or unset it.", key=name
            )
    for name in _ENDPOINTS[scheme]:
        endpoint = os.environ.get(name)
        if endpoint is None:
            continue
        if "@" in endpoint:
            raise BadInput(
                f"{name} holds a user name or password, which would end up in logs.",
                hint=f"Leave it out of the URL, and set {CREDENTIALS[scheme]}.",
                key=name,
            )
        if not _is_endpoint(endpoint):
            raise BadInput(
                f"{name} is not an address: {endpoint!r}.",
                hint=f"Write {name}=https://HOST:PORT (or http://…), or unset it.",
                key=name,
            )


def _is_endpoint(text: str) -> bool:
    """Return whether a text is the URL of a web server."""
    try:
        parts = urlsplit(text)
        port = parts.port  # raises where it is none
    except ValueError:
        return False
    plain = not any(c.isspace() for c in text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and plain

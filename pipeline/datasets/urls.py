"""Which names of data sets are URLs of places far away."""

from __future__ import annotations

SCHEMES = ("s3", "gs", "az", "http", "https")
BUCKETS = SCHEMES[:3]


def is_remote(name: str) -> bool:
    """Say whether a text is a URL of a bucket or a web server.

    Examples
    --------
    >>> is_remote("s3://bucket/photos"), is_remote("photos/s3:/x")
    (True, False)
    """
    scheme, separator, _ = name.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def is_hf_path(name: str) -> bool:
    """Say whether a name behind ``hf:`` is a local path: it begins with a slash, a dot or ~. The Hub's never do.

    Examples
    --------
    >>> is_hf_path("./beans"), is_hf_path("AI-Lab-Makerere/beans")
    (True, False)
    """
    return name.startswith(("/", ".", "~"))

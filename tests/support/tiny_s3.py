"""A server that speaks as much of S3 as a store needs, and can be as bad as real ones sometimes are."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


class Faults:
    """What is wrong with the server; nothing at first.

    Attributes
    ----------
    ignores_conditions : bool
        A conditional PUT overwrites, as on servers that do not know If-None-Match.
    loses_answers : str
        Objects whose key this pattern fits are written, and the answer is an error all the same.
    answers : int or None
        Every request gets this status.
    busy : int
        So many PUTs are yet refused with 429, as where an object is written more often than once a second.
    demands_conditions : str
        Where the key fits this pattern, a PUT or copy without If-None-Match is refused, as by a bucket's policy.
    lists_late : bool
        Listings are empty, as on storage that is only eventually consistent.
    """

    ignores_conditions = False
    loses_answers = ""
    answers: int | None = None
    busy = 0
    demands_conditions = ""
    lists_late = False


def tiny_s3(faults: Faults) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of a new, empty server."""
    objects: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self._failed():
                return
            if faults.busy:
                faults.busy -= 1
                self._answer(429, b"<Error><Code>TooManyRequests</Code></Error>")
                return
            conditional, demanded = "If-None-Match" in self.headers, faults.demands_conditions
            if not conditional and demanded and re.search(demanded, self.path):
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                return
            if conditional and self.path in objects and not faults.ignores_conditions:
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            source = self.headers.get("x-amz-copy-source")
            if source is not None:
                objects[self.path] = objects["/" + source.lstrip("/")]
                self._answer(200, b"<CopyObjectResult><ETag>0</ETag></CopyObjectResult>")
                return
            objects[self.path] = data
            lost = bool(faults.loses_answers) and re.search(faults.loses_answers, self.path)
            self._answer(504 if lost else 200)

        def do_GET(self) -> None:
            if self._failed():
                return
            if "?" in self.path:
                self._answer(200, self._listing())
            elif self.path in objects:
                self._answer(200, objects[self.path])
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _listing(self) -> bytes:
            address = urlsplit(self.path)
            below = f"{address.path.rstrip('/')}/"
            prefix = below + parse_qs(address.query).get("prefix", [""])[0]
            found = "".join(
                f"<Contents><Key>{path.removeprefix(below)}</Key><Size>{len(data)}</Size>"
                "<LastModified>2026-11-24T12:00:00.000Z</LastModified></Contents>"
                for path, data in sorted(objects.items())
                if path.startswith(prefix) and not faults.lists_late
            )
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            if not self._failed():
                objects.pop(self.path, None)
                self._answer(204)

        def _failed(self) -> bool:
            if faults.answers is None:
                return False
            # What a server repeats of a request must not be repeated to people.
            self._answer(faults.answers, b"<Error><Code>SomeCode</Code><StringToSign>secret</StringToSign></Error>")
            return True

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"0"')
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler

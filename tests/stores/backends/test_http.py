"""Stores behind a web server: read as they are, never written, and no server is followed elsewhere."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.servers import serving, serving_folder
from support.store_data import keys, make_rows, overwrite, sample_ids, sealed_set

from cryoprobe.errors import NotFound, ReadOnly, Unavailable
from cryoprobe.stores.backends.http import HttpBackend
from cryoprobe.stores.format.marker import MARKER, marker_document
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

IDS = sample_ids(21)


@pytest.fixture
def served(store: Store) -> Iterator[str]:
    """Return the address of the `store` in a folder, served as `python -m http.server` does."""
    with serving_folder(Path(store.url)) as url:
        yield url


class TestReading:
    def test_a_set_is_found_read_and_verified(self, store: Store, served: str) -> None:
        found = sealed_set(store.backend, IDS)
        remote = open_store(served + "/")
        assert remote.url == served
        assert remote.set_ids() == store.set_ids()
        np.testing.assert_array_equal(remote.open(found.id[:8]).load()[0], make_rows(IDS).embeddings.astype(np.float32))
        assert remote.describe(found.id)["path"].startswith(served)
        assert verify(remote, data=True) == verify(store, data=True)

    def test_damage_is_named(self, store: Store, served: str) -> None:
        sealed_set(store.backend, IDS)
        key = next(k for k in keys(store.backend, "sets/") if "/norms/c/1" in k)
        overwrite(Path(store.url), key, b"")
        (damage,) = verify(served).damages
        assert (damage.key, damage.problem) == (key, "wrong size")
        (Path(store.url) / key).unlink()
        (damage,) = verify(served).damages
        assert (damage.key, damage.problem) == (key, "missing")

    def test_a_folder_that_holds_no_store(self, tmp_path: Path) -> None:
        with serving_folder(tmp_path) as url, pytest.raises(NotFound, match="no feature store"):
            open_store(url)

    def test_a_store_below_a_path(self, store: Store) -> None:
        where = Path(store.url)
        with serving_folder(where.parent) as url:
            assert keys(open_store(f"{url}/{where.name}").backend) == [MARKER]

    def test_a_folder_is_no_object(self, store: Store, served: str) -> None:
        store.backend.put("a/b", b"x")
        backend = HttpBackend(served)
        assert not backend.exists("a")
        with pytest.raises(NotFound):
            backend.get("a")


class TestWriting:
    def test_every_verb_that_writes_is_refused(self, store: Store, served: str) -> None:
        backend = HttpBackend(served)
        verbs: list[Callable[[], object]] = [
            lambda: backend.put("a", b"x"),
            lambda: backend.put_if_absent("a", b"x"),
            lambda: backend.delete(MARKER),
            lambda: backend.copy(MARKER, "b"),
            lambda: open_store(served).record_trial("t", {"trial": "t"}),
        ]
        for verb in verbs:
            with pytest.raises(ReadOnly, match="over http it is only read"):
                verb()
        assert keys(store.backend) == [MARKER]

    def test_a_store_that_is_there_may_be_opened_to_be_made_and_none_is_made(self, served: str, tmp_path: Path) -> None:
        assert open_store(served, create=True).url == served
        empty = tmp_path / "empty"
        empty.mkdir()
        with serving_folder(empty) as url, pytest.raises((ReadOnly, Unavailable)):
            open_store(url, create=True)


NGINX = """<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre><a href="../">../</a>
<a href="names/">names/</a>                                             24-Nov-2026 12:00                   -
<a href="cryoprobe.json">cryoprobe.json</a>                                     24-Nov-2026 12:00                  46
</pre><hr></body></html>"""
APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr><tr><td><a href="names/">names/</a></td></tr>
<tr><td><a href="cryoprobe.json">cryoprobe.json</a></td></tr></table>"""
CADDY = """<a href="..">Up</a><a href="./names/"><span>names/</span></a><a href="./cryoprobe.json">cryoprobe.json</a>
<a href="https://caddyserver.com">Caddy</a><a href="./?sort=name">x</a>"""
ABSOLUTE = """<A HREF="/">home</A><A HREF="/names/">n</A><A HREF="/cryoprobe.json">c</A><a href="/%2e%2e/etc/">e</a>
<a href="/.tmp-0/">t</a><a href="names/x/y.json">deep</a><a href="javascript:void(0)">j</a><a>none</a>"""


class Pages(BaseHTTPRequestHandler):
    """Serves what `pages` has, as (status, body) or as a place that is redirected to."""

    def __init__(self, pages: dict[str, tuple[int, bytes] | str], *args: object) -> None:
        self.pages = pages
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        found = self.pages.get(self.path, (404, b""))
        if isinstance(found, str):
            self.send_response(302)
            self.send_header("Location", found)
            found = (302, b"")
        else:
            self.send_response(found[0])
        self.send_header("Content-Length", str(len(found[1])))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(found[1])

    def do_HEAD(self) -> None:
        self.do_GET()


def serving_pages(pages: dict[str, tuple[int, bytes] | str]) -> AbstractContextManager[str]:
    return serving(partial(Pages, pages))


@pytest.mark.parametrize("page", [NGINX, APACHE, CADDY, ABSOLUTE], ids=["nginx", "apache", "caddy", "absolute"])
def test_lists_of_files_are_read_from_whatever_server(page: str) -> None:
    names = '<a href="../">../</a><a href="b.json">b</a> <a href="a.json">a</a>'
    pages: dict[str, tuple[int, bytes] | str] = {
        "/": (200, page.encode()),
        "/names/": (200, names.encode()),
        "/names/a.json": (200, b"aa"),
        "/names/b.json": (200, b"bbb"),
        "/cryoprobe.json": (200, b"{}"),
    }
    with serving_pages(pages) as url:
        assert list(HttpBackend(url).list()) == [("cryoprobe.json", 2), ("names/a.json", 2), ("names/b.json", 3)]
        assert keys(HttpBackend(url), "names/") == ["names/a.json", "names/b.json"]
        assert keys(HttpBackend(url), "trials/") == []


class Answering(BaseHTTPRequestHandler):
    """Answers as a test says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the client has given up
            super().handle()


MANY = 1 << 30
"""Bytes that stand for a body without end: a client that takes them all has no bound."""


def endless(modes: dict[str, str], sent: Counter[str], folder: Path) -> type[BaseHTTPRequestHandler]:
    """Return what serves a folder, but for paths that hold a text of `modes`, whose bodies have no end."""

    class Endless(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            mode = next((mode for part, mode in modes.items() if part in self.path), None)
            if mode is None:
                super().do_GET()
                return
            self.close_connection = True
            self.send_response(200)
            chunked = mode in ("chunked", "lies")
            for header in {
                "lies": ["Content-Length: 10", "Transfer-Encoding: chunked"],
                "chunked": ["Transfer-Encoding: chunked"],
                "long": [f"Content-Length: {MANY}"],
                "says nothing": [],
            }[mode]:
                self.send_header(*header.split(": "))
            self.end_headers()
            block = b"x" * 65536
            with suppress(OSError):
                while sent[mode] < MANY:
                    self.wfile.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
                    sent[mode] += len(block)

    return Endless


@pytest.mark.parametrize("mode", ["lies", "chunked", "long", "says nothing"])
class TestBodiesWithoutEnd:
    def test_b1_http_endless_of_small_objects(self, mode: str, store: Store) -> None:
        sealed_set(store.backend, IDS)
        sent: Counter[str] = Counter()
        for part, code in (("cryoprobe.json", 4), ("manifests/", 8)):
            with serving(endless({part: mode}, sent, Path(store.url))) as url:
                told = run("ls", "--store", url, code=code).stderr
                assert "Traceback" not in told
                assert ("too large" if code == 4 else "lists more than a store has") in told
        assert sent[mode] < 256 << 20  # two objects' bounds, and what is on its way

    def test_b1_http_endless_of_chunks(self, mode: str, store: Store, tmp_path: Path) -> None:
        found = sealed_set(store.backend, IDS)
        sent: Counter[str] = Counter()
        with serving(endless({"/embeddings/c/0/0": mode}, sent, Path(store.url))) as url:
            told = run("export", found.id, tmp_path / "a.npz", "--store", url, code=4).stderr
            assert "wrong size" in told
            assert {d.problem for d in verify(url, data=True).damages} == {"unreadable"}
        assert not list(tmp_path.glob("*.npz"))
        assert sent[mode] < 256 << 20


class TestPagesWithoutEnd:
    @pytest.mark.parametrize("with_files", [False, True])
    def test_b2_http_pages_endless(self, with_files: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each folder has fifty more."""
        requests = Counter[str]()
        page = "".join(f"<a href='{'a' * 30}{i}/'>x</a>" for i in range(50)) + "<a href='f'>" * with_files
        monkeypatch.setattr("cryoprobe.stores.backends.http._MOST_PAGES", 1_000)

        class Tree(Answering):
            def do_GET(self) -> None:
                requests[self.command] += 1
                body = marker_document() if self.path.endswith(".json") else page.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")

            do_HEAD = do_GET  # noqa: N815

        with serving(Tree) as url:
            for prefix in ("", "sets/"):
                with pytest.raises(Unavailable, match="lists more than a store has"):
                    list(HttpBackend(url).list(prefix))
            assert not with_files or not Store(HttpBackend(url)).set_ids().keys() - {"f"}
        assert requests.total() < 5000

    def test_b2_http_pages_endless_on_the_command_line(self) -> None:
        """Folders of the kinds that a store has are looked into no deeper than a store has them."""
        page = "".join(f'<a href="{"a" * 30}{i}/">x</a>' for i in range(50)).encode()
        requests = []

        class Tree(Answering):
            def do_GET(self) -> None:
                requests.append(self.path)
                body = marker_document() if self.path == "/cryoprobe.json" else page
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        with serving(Tree) as url:
            assert "Traceback" not in run("ls", "--store", url).stderr
            assert "lists more than a store has" in run("du", "--store", url, code=8).stderr
        assert len(requests) < 3000

    @pytest.mark.parametrize(
        "unit",
        ["<", "<a ", "<!--", "<?", '<a href="', "<a href='", "&#", "<![CDATA[", "</", "<a x=", "<a/ ", "<a href=&"],
    )
    def test_b2_http_pages_take_time_by_their_length_alone(self, unit: str) -> None:
        """8 MiB of what readers of HTML need hours for."""
        page = (unit * ((8 << 20) // len(unit))).encode()
        with serving_pages({"/": (200, page), "/names/": (200, page)}) as url, pytest.raises(Unavailable):
            keys(HttpBackend(url), "names/")

    @pytest.mark.parametrize(
        "link", ["http://[", "//[::", "http://[x]/names/a.json", "%00", "a\0b", "&#" + "9" * 4000 + ";"]
    )
    def test_links_that_lead_nowhere_are_left_out(self, link: str) -> None:
        page = f'<a href="{link}">x</a><a class="x" data-href="y" href = a.json>a</a><p href="z">'.encode()
        with serving_pages({"/": (200, page), "/names/": (200, page), "/names/a.json": (200, b"x")}) as url:
            assert keys(HttpBackend(url), "names/") == ["names/a.json"]


class TestSlowServers:
    """Each drips a byte just before one would give up waiting for one."""

    @pytest.mark.parametrize("where", ["first line", "headers", "body"])
    @pytest.mark.parametrize("verb", ["get", "list"])
    def test_b2_http_pages_loris(self, where: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cryoprobe.stores.backends.http._TIMEOUT", 0.5)
        monkeypatch.setattr("cryoprobe.stores.backends.http._PATIENCE", 0.5)
        ending = threading.Event()

        class Dripping(Answering):
            def do_GET(self) -> None:
                self.close_connection = True
                drip = {"first line": b"HTTP/1.1 200 ", "headers": b"HTTP/1.1 200 OK\r\nX: ", "body": b""}[where]
                self.wfile.write(drip or b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
                with suppress(OSError):
                    while not ending.wait(0.05):
                        self.wfile.write(b"x")

        with serving(Dripping) as url:
            backend = HttpBackend(url, retries=0)
            with pytest.raises(Unavailable, match="bytes a second" if where == "body" else "does not answer within"):
                backend.get("a") if verb == "get" else list(backend.list())
            ending.set()


class TestBadServers:
    @pytest.mark.parametrize("body", [b"", b"<html>Welcome</html>", b'<a href="https://elsewhere/">x</a>', b"\xff\0"])
    def test_a_server_that_lists_no_files_does_not_pass_for_an_empty_store(self, body: bytes) -> None:
        with (
            serving_pages({"/": (200, body), "/names/": (200, body)}) as url,
            pytest.raises(Unavailable, match="does not list") as caught,
        ):
            keys(HttpBackend(url), "names/")
        assert "autoindex" in str(caught.value)

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_is_no_absence(self, status: int) -> None:
        with serving_pages({"/a": (status, b"secret"), "/": (status, b"")}) as url:
            backend = HttpBackend(url)
            for verb in (lambda: backend.get("a"), lambda: backend.exists("a"), lambda: keys(backend)):
                with pytest.raises(Unavailable, match=f"refuses.*{status}") as caught:
                    verb()
                assert "secret" not in str(caught.value)

    def test_no_redirect_is_followed(self, store: Store, served: str) -> None:
        store.backend.put("a", b"x")
        for target in (f"{served.replace('127.0.0.1', 'localhost')}/a?token=secret", f"{served}/a", "/b", "file:///a"):
            with serving_pages({"/a": target, "/b": (200, b"x")}) as url:
                backend = HttpBackend(url)
                for verb in (lambda b=backend: b.get("a"), lambda b=backend: b.exists("a")):
                    with pytest.raises(Unavailable, match=r"redirects to .* not followed") as caught:
                        verb()
                    assert "secret" not in str(caught.value)
                    assert "None" not in str(caught.value)

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_server_that_fails(self, status: int) -> None:
        with serving_pages({"/a": (status, b"")}) as url, pytest.raises(Unavailable, match=str(status)):
            HttpBackend(url, retries=0).get("a")

    def test_a_failure_that_passes_is_not_noticed(self) -> None:
        answers = iter([(500, b""), (503, b"")])

        class Once(Pages):
            def do_GET(self) -> None:
                self.pages = {"/a": next(answers, (200, b"x"))}
                super().do_GET()

        with serving(partial(Once, {})) as url:
            assert HttpBackend(url).get("a") == b"x"

    def test_a_server_that_is_not_there(self) -> None:
        for url in ("http://127.0.0.1:1", "http://name.invalid"):
            with pytest.raises(Unavailable, match="Check the address"):
                HttpBackend(url, retries=0).get("a")

    def test_half_an_object_is_no_object(self) -> None:
        class Half(SimpleHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"x" * 50)

        with serving(Half) as url, pytest.raises(Unavailable, match="Cannot read"):
            HttpBackend(url, retries=0).get("a")

    @pytest.mark.parametrize(
        ("headers", "says"),
        [
            ({"Content-Length": "-1"}, "Content-Length is not a number"),
            ({"Content-Length": "1e9"}, "Content-Length is not a number"),
            ({"Content-Length": "9" * 5000}, "Content-Length is not a number"),
            ({"Content-Length": "1", "Content-Encoding": "gzip"}, "compressed"),
            ({"Content-Length": "1", "X-Long": "x" * 100_000}, "Cannot read"),
            ({"Content-Length": "1", **{f"X-{i}": "x" for i in range(1000)}}, "Cannot read"),
            ({"Content-Length": "1000"}, "Cannot read"),
            ({"Location": "http://[", "Content-Length": "0"}, "redirects"),
        ],
        ids=["negative", "no integer", "endless digits", "compressed", "long", "many", "more than is sent", "nowhere"],
    )
    def test_headers_that_make_no_sense(self, headers: dict[str, str], says: str) -> None:
        class Odd(Answering):
            def do_GET(self) -> None:
                self.send_response(302 if "Location" in headers else 200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"" if "Location" in headers else b"x")

        with serving(Odd) as url:
            backend = HttpBackend(url, retries=0)
            for verb in (lambda: backend.get("a"), lambda: list(backend.list("names/"))):
                with pytest.raises(Unavailable, match=says):
                    verb()

    def test_what_is_no_web_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def answer() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(Unavailable, match="Cannot read"):
                HttpBackend(f"http://127.0.0.1:{listening.getsockname()[1]}", retries=0).get("a")
            thread.join()

"""Stores behind a web server: read as they are, never written, and no server is followed elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from store_data import keys, make_rows, overwrite, sample_ids, sealed_set
from tests_servers import serving, serving_folder

from cryoprobe.errors import NotFound, ReadOnly, Unavailable
from cryoprobe.stores.backends.http import HttpBackend
from cryoprobe.stores.layout import MARKER
from cryoprobe.stores.store import Store, open_store
from cryoprobe.stores.verify import verify

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

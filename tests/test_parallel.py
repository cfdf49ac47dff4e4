"""Work in threads: whoever waits is not forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from cryoprobe.parallel import wait_until_ended


def test_who_waits_for_what_is_cancelled_before_it_began_goes_on() -> None:
    may_end = threading.Event()
    pool = ThreadPoolExecutor(1)
    pool.submit(may_end.wait)
    never_begun = [pool.submit(int), pool.submit(int)]
    waiting = threading.Thread(target=wait_until_ended, args=(never_begun,), daemon=True)
    waiting.start()
    pool.shutdown(wait=False, cancel_futures=True)
    waiting.join(60)
    may_end.set()
    assert not waiting.is_alive()


def test_what_fails_has_ended_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(int, "x"), pool.submit(int, "3")]
        wait_until_ended(futures)
        assert all(future.done() for future in futures)

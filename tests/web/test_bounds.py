"""Memory, queue and sessions keep to their bounds."""

import asyncio
import threading

import pytest
from fastapi import Request

from sightline.web.limits import Limits, Refused
from sightline.web.pictures import Picture
from sightline.web.pool import Pool
from sightline.web.session import Sessions
from sightline.web.shelf import Shelf
from sightline.web.upload import body


def test_a_shelf_lets_go_of_the_owners_oldest_first_then_of_anybodys():
    shelf = Shelf(total=100, each=60)
    for name in ("a1", "a2", "a3"):
        shelf.put(name, "a", 20, name)
    shelf.put("b1", "b", 20, "b1")
    assert shelf.get("a1") == "a1"  # used now, so a2 is the oldest of a
    shelf.put("a4", "a", 20, "a4")
    assert [shelf.get(name) for name in ("a1", "a2", "a3", "a4", "b1")] == ["a1", None, "a3", "a4", "b1"]
    shelf.put("c1", "c", 40, "c1")  # b1 and the others were used after a1
    assert shelf.get("a1") is None
    assert shelf.bytes <= 100


def test_a_shelf_keeps_nothing_that_is_too_large_and_counts_right():
    shelf = Shelf(total=100, each=60)
    shelf.put("a", "x", 61, "a")
    assert len(shelf) == 0
    shelf.put("a", "x", 30, "a")
    shelf.put("a", "x", 40, "again")
    assert (shelf.bytes, shelf.bytes_of("x"), shelf.get("a")) == (40, 40, "again")
    shelf.forget("x")
    assert (shelf.bytes, shelf.bytes_of("x"), len(shelf)) == (0, 0, 0)


@pytest.mark.parametrize(("announced", "received"), [(None, 6), (10**6, 0), (3, 6)])
def test_a_body_is_not_received_beyond_its_limit(announced, received):
    given = []

    async def receive():
        given.append(1)
        return {"type": "http.request", "body": b"x" * 1000, "more_body": len(given) < 100}

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    request = Request({"type": "http", "headers": headers}, receive)
    with pytest.raises(Refused) as refused:
        asyncio.run(body(request, 5000))
    assert refused.value.status == 413
    assert len(given) == received


def picture(size=10):
    return Picture(b"p" * size, 1, 1, 1, 1, {})


def test_sessions_end_when_unused_and_take_everything_along():
    now = [0.0]
    sessions = Sessions(Limits(idle_seconds=100), clock=lambda: now[0])
    one, two = sessions.begin(), sessions.begin()
    name = sessions.add(one, picture())
    sessions.keep(one.name, "map", 5, "map")
    assert sessions.kept(one.name, "map") == "map"
    assert sessions.bytes == 15
    now[0] = 99.0
    assert sessions.find(two.name) is two
    now[0] = 101.0
    sessions.sweep()
    assert len(sessions) == 1
    assert sessions.bytes == 0
    assert sessions.find(one.name) is None
    with pytest.raises(Refused, match="not known here"):
        sessions.picture(two, name)


def test_what_comes_after_the_end_is_not_kept():
    sessions = Sessions(Limits())
    one = sessions.begin()
    sessions.end(one.name)
    sessions.keep(one.name, "map", 5, "map")
    with pytest.raises(Refused, match="ended meanwhile"):
        sessions.add(one, picture())
    assert sessions.bytes == 0


def test_the_oldest_picture_and_the_oldest_session_go():
    sessions = Sessions(Limits(pictures_each=2, sessions=2))
    first = sessions.begin()
    names = [sessions.add(first, picture()) for _ in range(3)]
    assert sessions.pictures_of(first) == names[1:]
    sessions.begin()
    sessions.find(first.name)
    third = sessions.begin()
    assert sessions.find(first.name) is first
    assert sessions.find(third.name) is third
    assert len(sessions) == 2


def test_pictures_of_one_session_are_not_anothers():
    sessions = Sessions(Limits())
    one, two = sessions.begin(), sessions.begin()
    name = sessions.add(one, picture())
    with pytest.raises(Refused):
        sessions.picture(two, name)


def test_equal_work_is_done_once_and_a_full_queue_refuses():
    async def run():
        pool, gate, calls = Pool(Limits(workers=1, waiting=2, waiting_each=2)), threading.Event(), []

        def work(name):
            calls.append(name)
            gate.wait(10)
            return name

        same = [asyncio.create_task(pool.run("a", "x", lambda: work("a"))) for _ in range(3)]
        other = asyncio.create_task(pool.run("b", "y", lambda: work("b")))
        await asyncio.sleep(0.05)
        with pytest.raises(Refused) as refused:
            await pool.run("c", "z", lambda: work("c"))
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        gate.set()
        assert await asyncio.gather(*same, other) == ["a", "a", "a", "b"]
        await asyncio.sleep(0.05)
        assert len(pool) == 0
        assert calls == ["a", "b"]
        pool.close()

    asyncio.run(run())


def test_one_owner_can_not_fill_the_queue_and_the_forsaken_leave_it():
    async def run():
        pool, gate, calls = Pool(Limits(workers=1, waiting=9, waiting_each=2)), threading.Event(), []
        first = asyncio.create_task(pool.run(1, "x", lambda: gate.wait(10)))
        second = asyncio.create_task(pool.run(2, "x", lambda: calls.append(2)))
        await asyncio.sleep(0.05)
        with pytest.raises(Refused, match="you have 2 jobs"):
            await pool.run(3, "x", lambda: calls.append(3))
        second.cancel()
        await asyncio.sleep(0.05)
        third = asyncio.create_task(pool.run(3, "x", lambda: calls.append(3)))
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(first, third)
        assert calls == [3]
        pool.close()

    asyncio.run(run())


def test_an_error_of_work_reaches_who_waits_and_frees_its_place():
    async def run():
        pool = Pool(Limits(workers=1))

        def fail():
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await pool.run("a", "x", fail)
        await asyncio.sleep(0.05)
        assert len(pool) == 0
        assert await pool.run("a", "x", lambda: 5) == 5
        pool.close()

    asyncio.run(run())

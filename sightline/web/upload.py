"""Receive a body: counted while it streams in, whatever its header claims, and only so many at a time."""

import asyncio
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from sightline.web.limits import MEBI, Limits, Refused


class Gate:
    """Let `limits.uploads` bodies in at a time and `limits.waiting` wait, so that what is received stays bounded."""

    def __init__(self, limits: Limits) -> None:
        self._turn = asyncio.Semaphore(limits.uploads)
        self._most, self._inside = limits.waiting, 0

    async def __aenter__(self) -> None:
        if self._inside >= self._most:
            raise Refused(503, "too many pictures are being sent; try again in a moment", 2)
        self._inside += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(self, *_: Any) -> None:
        self._inside -= 1
        self._turn.release()


async def body(request: Request, most: int) -> bytes:
    """The body of a request, at most `most` bytes. Raises Refused: 413 once it is known to be more, 400 when it breaks off."""
    claimed = request.headers.get("content-length", "0")
    if claimed.isdecimal() and int(claimed) > most:
        raise _too_large(most)
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > most:
                raise _too_large(most)
    except ClientDisconnect as error:
        raise Refused(400, "the body broke off") from error
    return bytes(received)


def _too_large(most: int) -> Refused:
    size = f"{most // MEBI} MiB" if most >= MEBI else f"{most} bytes"
    return Refused(413, f"the body is larger than {size}; make it smaller")

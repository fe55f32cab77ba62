"""What stands before every request: the host it names, where it comes from, the key, its time; and the headers it leaves with.

A page of another site can make a browser send requests here, under a name of its own that it lets point to this machine (DNS
rebinding). Such a request names that host, so only names of this machine are answered. An address written as a number can not be
rebound.
"""

import asyncio
import hmac
import ipaddress
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import cookie_parser

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_OWN = ("same-origin", "none")
Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """ASGI middleware: let a request through or answer it with an error in JSON.

    Args:
        app: what it guards.
        host: the address the server is bound to; beyond loopback a key is needed.
        names: further host names to answer to.
        seconds: a request may take.

    Attributes:
        key: to be given once as `/?key=...`, then held by a cookie; "" where none is needed.
    """

    def __init__(self, app: Any, host: str, names: Iterable[str] = (), seconds: float = 30.0) -> None:
        self._app = app
        self._seconds = seconds
        self._names = {"localhost", socket.gethostname().lower(), host.lower(), *(name.lower() for name in names)}
        self.key = "" if is_loopback(host) else secrets.token_urlsafe(32)
        self._cookie = f"sightline_key_{secrets.token_hex(4)}"  # two explorers on one machine share their cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        send = _with_headers(send)
        refusal = self._refusal(headers)
        if refusal:
            await _answer(send, *refusal)
        elif self.key and not self._holds_key(headers):
            await self._ask_for_key(scope, send)
        else:
            await self._in_time(scope, receive, send)

    def _refusal(self, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                421,
                f"this server does not answer to the host {host[:100]!r}; start it with --allow-host NAME if it should",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "the request comes from another site"
        if headers.get("sec-fetch-site", "none") not in _OWN and headers.get("sec-fetch-mode") != "navigate":
            return 403, "the request comes from another site"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host).lower()
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._names
        return True

    def _holds_key(self, headers: dict[str, str]) -> bool:
        held = cookie_parser(headers.get("cookie", "")).get(
            self._cookie
        )  # cookies of others on this host may be of any form
        return held is not None and self._opens(held)

    def _opens(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.key.encode())

    async def _ask_for_key(self, scope: Scope, send: Send) -> None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and self._opens(given):
            cookie = f"{self._cookie}={self.key}; Path=/; HttpOnly; SameSite=Lax"
            await send(_start(303, {"location": "/", "set-cookie": cookie, "content-length": "0"}))
            await send({"type": "http.response.body", "body": b""})
        else:
            await _answer(
                send, 401, "a key is needed: open the address that `sightline explore` printed, with its ?key=..."
            )

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, note)
        except TimeoutError:
            if begun:
                return  # whoever reads this slowly loses the connection
            await _answer(send, 503, f"not done within {self._seconds:g} s; try again, or with fewer nets", 5)


def _name_of(host: str) -> str:
    """A Host header without its port; IPv6 addresses stand in brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _with_headers(send: Send) -> Send:
    async def sender(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
            message = message | {"headers": [*message["headers"], *more]}
        await send(message)

    return sender


async def _answer(send: Send, status: int, reason: str, retry_after: int | None = None) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}

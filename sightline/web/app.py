"""The routes of the explorer. Every error is an answer in JSON, {"error": sentence}; no path of a request is a path of the disk."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from sightline.web.examples import Example
from sightline.web.house import Asked, House
from sightline.web.limits import Limits, Refused
from sightline.web.methods import ATTENTION
from sightline.web.nets import Net
from sightline.web.pictures import check_length, check_type
from sightline.web.security import Guard
from sightline.web.session import Session
from sightline.web.start import MOST_AT_ONCE, start, told
from sightline.web.upload import Gate, body

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SWEEP = 60.0  # seconds
_MOST_JSON = 64 * 1024
_FORM = (
    '{"kind": "json" or "npz", "picture": name, "looks": [{"net", "method", "layer", "target", "head", "query"}, ...]}'
)
Name = Annotated[str, Query(max_length=200)]


def create_app(
    nets: Mapping[str, Net],
    examples: Mapping[str, Example],
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    names: Iterable[str] = (),
) -> Guard:
    """The explorer as an ASGI application behind its guard.

    Args:
        nets: by name, see `load_nets`.
        examples: by name, see `examples`.
        limits: of everything.
        host: the address it will be bound to; beyond loopback, `Guard.key` must be given.
        names: further host names to answer to.
    """
    limits = limits or Limits()
    house = House(nets, examples, limits)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lambda _: _sweeping(house))
    _errors(app)
    session_of = _pages(app, house)
    _questions(app, house, session_of)
    _uploads(app, house, session_of)
    return Guard(app, host, names, limits.seconds)


@asynccontextmanager
async def _sweeping(house: House) -> AsyncIterator[None]:
    """Forget idle sessions from time to time, and at the end take no more work."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            house.sessions.sweep()

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()
        house.pool.close()


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        again = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        return JSONResponse({"error": error.reason}, error.status, again)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def missing(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "this did not work, by a fault of the server; its terminal shows more"}, 500)


def _pages(app: FastAPI, house: House) -> Any:
    cookie = f"sightline_session_{secrets.token_hex(4)}"  # two explorers on one machine share their cookies
    static = _static()

    def session_of(request: Request) -> Session:
        session = house.sessions.find(request.cookies.get(cookie, ""))
        if session is None:
            raise Refused(401, "your session has ended, and what it had is forgotten; load the page again")
        return session

    @app.get("/")
    async def page(request: Request) -> Response:
        if "key" in request.query_params:
            return RedirectResponse("/", 303)
        content, kind = static["index.html"]
        answer = Response(content, media_type=kind)
        session = house.sessions.find(request.cookies.get(cookie, "")) or house.sessions.begin()
        answer.set_cookie(cookie, session.name, httponly=True, samesite="lax")
        return answer

    @app.get("/static/{name}")
    async def part(name: str) -> Response:
        if name not in static:
            raise Refused(404, "there is no such file")
        content, kind = static[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(static["icon.svg"][0], media_type=static["icon.svg"][1])

    @app.get("/api/start")
    async def begin(request: Request) -> Response:
        return JSONResponse(start(house, session_of(request)))

    @app.post("/api/forget")
    async def forget(request: Request) -> Response:
        house.sessions.end(session_of(request).name)
        return Response(status_code=204)

    return session_of


def _questions(app: FastAPI, house: House, session_of: Any) -> None:
    @app.get("/api/pictures/{name}")
    async def picture(request: Request, name: str) -> Response:
        _, found = house.picture(session_of(request), name)
        return Response(found.png, media_type="image/png")

    @app.get("/api/predictions")
    async def predictions(request: Request, picture: Name, net: Name) -> Response:
        classes = await house.predictions(session_of(request), picture, house.net(net))
        return JSONResponse({"classes": classes})

    @app.get("/api/maps")
    async def maps(
        request: Request,
        picture: Name,
        net: Name,
        layer: Annotated[int, Query(ge=0)] = 0,
        method: Name = ATTENTION,
        target: Annotated[int | None, Query(ge=0)] = None,
        head: Annotated[str | None, Query(max_length=20)] = None,
    ) -> Response:
        packed = await house.maps(session_of(request), picture, Asked(net, method, layer, target, head))
        return Response(packed, media_type="application/octet-stream")

    @app.post("/api/data")
    async def data(request: Request) -> Response:
        session = session_of(request)
        kind, picture, wanted = _wanted(await body(request, _MOST_JSON))
        if kind == "json":
            return Response(await house.numbers(session, picture, wanted), media_type="application/json")
        return Response(await house.data(session, picture, wanted), media_type="application/x-npz")


def _uploads(app: FastAPI, house: House, session_of: Any) -> None:
    gate = Gate(house.limits)

    @app.post("/api/pictures")
    async def take(request: Request) -> Response:
        session = session_of(request)
        check_type(request.headers.get("content-type", ""))
        async with gate:
            sent = await body(request, house.limits.upload_bytes)
            check_length(len(sent), house.limits)
            name, picture = await house.take(session, sent)
        return JSONResponse(told(house, name, picture))


def _wanted(sent: bytes) -> tuple[str, str, list[Asked]]:
    """What a request for data asks for; see _FORM."""
    try:
        asked = json.loads(sent)
        kind, picture, looks = asked["kind"], asked["picture"], [Asked(**look) for look in asked["looks"]]
        right = kind in ("json", "npz") and isinstance(picture, str) and 0 < len(looks) <= MOST_AT_ONCE
        if not right or not all(_is_well_formed(look) for look in looks):
            raise ValueError("of other types")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refused(422, f"the body must be {_FORM}") from error
    return kind, picture, looks


def _is_well_formed(look: Asked) -> bool:
    numbers = (look.layer, look.target or 0, look.query or 0)
    words = (look.net, look.method, look.head or "")
    return all(type(one) is int and one >= 0 for one in numbers) and all(type(one) is str for one in words)


def _static() -> dict[str, tuple[bytes, str]]:
    """The files of the page, read once: a request can only name one of them. It looks as the report does."""
    found = [*(files("sightline.web") / "static").iterdir(), files("sightline.report") / "page.css"]
    return {one.name: (one.read_bytes(), _KINDS[one.name.rpartition(".")[2]]) for one in found if one.is_file()}

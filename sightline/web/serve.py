"""Serve the explorer until it is interrupted."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import uvicorn

from sightline.web.app import create_app
from sightline.web.examples import examples
from sightline.web.limits import Limits
from sightline.web.nets import Net, first_choice, load_nets
from sightline.web.protocol import TimedProtocol
from sightline.web.security import Guard

PORT = 8000
_CONNECTIONS = 256  # open at a time; a page holds up to six


def serve(
    runs: Sequence[str] = (),
    models: Sequence[str] = (),
    pictures: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    names: Sequence[str] = (),
    browser: bool = True,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Load the nets, print the address, answer until Ctrl-C.

    Args:
        runs, models: see `load_nets`.
        pictures: files or folders shown as examples before the ones that are always there.
        host: address to listen on; beyond loopback the printed address holds a key that is needed once.
        port: to listen on; 0: any free one; None: 8000, or any free one where that is taken.
        names: further host names to answer to.
        browser: open the page there.
        limits: of everything.
        say: gets the lines to print.

    Raises:
        ValueError, RunFolderError, UnreadableImage: see `load_nets` and `examples`.
        OSError: the port is taken or the address is not this machine's.
    """
    limits = limits or Limits()
    if not runs and not models:
        runs, models = first_choice()
    listening = listen(host, port)
    try:
        nets = load_nets(runs, models)
        eyes = tuple({net.eye: None for net in nets.values()})
        app = create_app(nets, examples(eyes, pictures, runs, limits), limits, host, names)
        address = address_of(host, listening.getsockname()[1], app.key)
        _introduce(say, nets, address, app.key)
        if browser:
            _open(address)
        with suppress(KeyboardInterrupt):
            server(app).run(sockets=[listening])
    finally:
        listening.close()
    say("Stopped; nothing was kept.")


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens. Raises OSError with the remedy."""
    wanted = PORT if port is None else port
    try:
        family, _, _, _, place = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0]
        try:
            return _bound(family, place)
        except OSError:
            if port is not None:
                raise
            return _bound(family, (place[0], 0, *place[2:]))  # nobody asked for 8000 in particular
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot listen on {host}, port {wanted}: {reason}. Choose another --port or --host") from error


def address_of(host: str, port: int, key: str = "") -> str:
    """What to open in a browser."""
    reachable = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"http://{name}:{port}/" + (f"?key={key}" if key else "")


def _bound(family: int, place: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def _introduce(say: Callable[[str], None], nets: Mapping[str, Net], address: str, key: str) -> None:
    untrained = [net.name for net in nets.values() if not net.trained]
    say(f"{len(nets)} nets: {', '.join(nets)}")
    if untrained:
        say(f"Untrained, their maps and answers mean nothing: {', '.join(untrained)}")
    if key:
        say(
            "Others can reach this address. Whoever has the key in it may look and send pictures; nothing is encrypted."
        )
    say(f"Open {address}   (Ctrl-C stops)")


def _open(address: str) -> None:
    """Open a browser that has windows; one that takes over the terminal would hide the address."""
    windows = (
        os.name == "nt" or sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if windows:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def server(app: Guard) -> uvicorn.Server:
    """The HTTP server of the explorer; `run(sockets=[...])` answers until it is told to stop."""
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=TimedProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
            limit_concurrency=_CONNECTIONS,
        )
    )

"""Databases: log in with verified TLS, ask who is connected, look at the served chain. Everything has a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..engines import Census, Engine, Target, WatchfulContext, Wire
from ..errors import RdscaError, Unreachable
from ..model import Secret
from . import wire

T = TypeVar("T")
PATIENCE = 8.0  # seconds for one endpoint, all in all
THREAD = "rdsca login"


def ask(
    engine: Engine,
    *,
    host: str,
    address: tuple[str, int],
    user: str,
    password: Secret,
    roots_file: str,
    database: str = "",
) -> tuple[Census, Wire | None]:
    """Log in as *user*, take the census with the counters, and give the chain that this login saw where it shows.

    Raises ``Unreachable`` with a reason that never holds the password, in at most ``PATIENCE`` seconds.
    """
    connect, census = engine.connect, engine.census
    if connect is None or census is None:
        raise Unreachable(f"{engine.name} tells nobody who is connected", "its parameters say who must use TLS")
    context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=roots_file)
    target = Target(host, address, user, password, context, roots_file, PATIENCE / 2, database=database)

    def work() -> Census:
        connection = connect(target)
        with contextlib.closing(connection):
            return _with_counts(engine, connection, census(connection))

    return _within(PATIENCE, work, target.opened, password), context.wire


def _with_counts(engine: Engine, connection: Any, census: Census) -> Census:
    """Add what the server has counted; the census stands without it."""
    if engine.counters:
        with contextlib.suppress(Exception):
            census = replace(census, counters=engine.counters(connection))
    if engine.handshake_errors:
        with contextlib.suppress(Exception):
            census = replace(census, handshake_errors=engine.handshake_errors(connection))
    return census


def look(engine: Engine, *, host: str, address: tuple[str, int]) -> Wire:
    """Fetch the served chain, whatever it is worth, and send no password; raises ``Unreachable`` with the obstacle."""
    return wire.probe(engine, host=host, address=address, deadline=PATIENCE)


def _within(seconds: float, work: Callable[[], T], opened: Sequence[socket.socket], password: Secret) -> T:
    """Do *work* in a thread of its own, cut its sockets after *seconds*: drivers hang on a server that is silent."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(work())
        except BaseException as e:  # noqa: BLE001  it is told to the caller below
            failure.append(e)

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        thread.join(1)
    for sock in opened:
        sock.close()
    if answer:
        return answer[0]
    if not failure:
        raise Unreachable(f"no answer within {seconds:.0f} s")
    if isinstance(failure[0], RdscaError):
        raise failure[0]
    raise Unreachable(_words(failure[0], password)) from None


def _words(error: BaseException, password: Secret) -> str:
    """Say in one line what a driver raised, without the password and without its multi-line advice."""
    if isinstance(error, UnicodeError):  # its text and arguments hold the password that could not be encoded
        return "the password holds a character that the driver cannot send"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved from here; name a tunnel or bastion in the reach file"
    text: Any = error.args[-1] if error.args else ""
    lines = [line.strip() for line in password.redact(str(text)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}"

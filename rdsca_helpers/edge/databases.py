"""Databases: log in with verified TLS, ask who is connected, look at the served chain. Everything has a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..engines import Census, Engine, Target, WatchfulContext, Wire, seen_by
from ..errors import RdscaError, Unreachable
from ..model import Secret

T = TypeVar("T")
PATIENCE = 8.0  # seconds for one endpoint, all in all


def ask(
    engine: Engine, *, host: str, address: tuple[str, int], user: str, password: Secret, roots_file: str
) -> tuple[Census, Wire | None]:
    """Log in as *user*, take the census, and give the chain that this login saw where the driver shows it.

    Raises ``Unreachable`` with a reason that never holds the password, in at most ``PATIENCE`` seconds.
    """
    context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=roots_file)
    target = Target(host, address, user, password, context, roots_file, PATIENCE / 2)

    def work() -> Census:
        connection = engine.connect(target)
        with contextlib.closing(connection):
            return engine.census(connection)

    return _within(PATIENCE, work, target.opened, password), context.wire


def look(engine: Engine, *, host: str, address: tuple[str, int]) -> Wire:
    """Fetch the served chain, whatever it is worth, and send no password.

    MySQL and MariaDB block a host after a number of broken-off handshakes (max_connect_errors), so there the login
    is finished, as a user that does not exist, and its refusal read.
    """
    context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # The reader must also read servers that offer nothing newer; what they offer is judged, not used.
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:!kDHE:@SECLEVEL=0")
    context.options |= 0x4  # OP_LEGACY_SERVER_CONNECT, by number: the name is new in Python 3.12
    nobody = Secret("")
    target = Target(host, address, "rdsca_probe", nobody, context, "", PATIENCE / 2)

    def work() -> Wire:
        starttls = engine.starttls
        if starttls:
            with target.dial() as sock:
                starttls(sock)
                with context.wrap_socket(sock, server_hostname=host) as tls:
                    return seen_by(tls)
        refused: Exception | None = None
        try:
            engine.connect(target).close()
        except Exception as e:  # noqa: BLE001  the refusal of the login is expected, in each driver's own words
            refused = e
        if context.wire is None:
            raise Unreachable(_words(refused, nobody))
        return context.wire

    return _within(PATIENCE, work, target.opened, nobody)


def _within(seconds: float, work: Callable[[], T], opened: Sequence[socket.socket], password: Secret) -> T:
    """Do *work* in a thread of its own, cut its sockets after *seconds*: drivers hang on a server that is silent."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(work())
        except BaseException as e:  # noqa: BLE001  it is told to the caller below
            failure.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        thread.join(1)
    if answer:
        return answer[0]
    if not failure:
        raise Unreachable(f"no answer within {seconds:.0f} s")
    if isinstance(failure[0], RdscaError):
        raise failure[0]
    raise Unreachable(_words(failure[0], password)) from None


def _words(error: BaseException | None, password: Secret) -> str:
    """Say in one line what a driver raised, without the password and without its multi-line advice."""
    if error is None:
        return "it accepted a login without TLS"
    if isinstance(error, UnicodeError):  # its text and arguments hold the password that could not be encoded
        return "the password holds a character that the driver cannot send"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved from here; name a tunnel or bastion in the reach file"
    text: Any = error.args[-1] if error.args else ""
    lines = [line.strip() for line in password.redact(str(text)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}"

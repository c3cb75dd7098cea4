"""Background clients of the practice databases: each has one session and comes back by itself after a failure."""

from __future__ import annotations

import importlib.util
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pymysql

from ..engines import Target, WatchfulContext, sqlserver
from ..errors import RdscaError
from ..model import Secret

QUERY = "select count(*) from orders"
QUERY_SECONDS = 0.5
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 3  # for each of connecting, reading and writing; it also bounds stop()

# sslmode=require verifies as soon as it finds a root file, and without a name it looks in the user's home.
NO_FILE = "/nonexistent/root.crt"


@dataclass(frozen=True)
class Endpoint:
    """Where a client goes: by the endpoint's own *host* name, over a port of this machine.

    *source* is the loopback address that it comes from; the server knows the client by it.
    """

    engine: str  # "postgres", "sqlserver", or "mysql", which is MariaDB's protocol too
    host: str
    port: int
    user: str
    password: str
    database: str = "app"
    source: str = "127.0.0.1"


@dataclass(frozen=True)
class State:
    """What a client has been through; an error is told by its class only, for messages carry settings."""

    connected: bool = False
    tls: bool = False
    last_error: str = ""
    reconnects: int = 0
    queries: int = 0


class Client:
    """An application with one session; *tls* is "verify-full" (against *store*), "prefer", "require" or "disable".

    "require" encrypts and believes any certificate; "prefer" goes on in clear text when the certificate does not lead
    to *store*. Only libpq has them here. After *stay* seconds the session is closed and a new one opened.
    """

    def __init__(
        self, name: str, endpoint: Endpoint, tls: str, store: Path | None = None, stay: float = float("inf")
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.state = State()
        self._tls = settings(endpoint.engine, tls, store)
        self._stay = stay
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"client {name}", daemon=True)

    def start(self) -> None:
        """Begin in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End; back when the session is closed."""
        self._ending.set()
        self._thread.join(3 * TIMEOUT_SECONDS)

    def status(self) -> dict[str, Any]:
        """Give the state with the name, for the lab's status page."""
        return {"name": self.name, "host": self.endpoint.host, **asdict(self.state)}

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._session()
            except _failures() as e:
                self.state = replace(self.state, connected=False, tls=False, last_error=type(e).__name__)
                self._ending.wait(RETRY_SECONDS)
        self.state = replace(self.state, connected=False, tls=False)

    def _session(self) -> None:
        """Work on one session until it fails or its time is up; the trust store is read anew for each."""
        leave = time.monotonic() + self._stay
        session, tls = _CONNECT[self.endpoint.engine](self.endpoint, self.name, self._tls)
        came_back = int(self.state.queries > 0)
        self.state = replace(self.state, connected=True, tls=tls, reconnects=self.state.reconnects + came_back)
        try:
            cursor = session.cursor()
            while not self._ending.is_set() and time.monotonic() < leave:
                cursor.execute(QUERY)
                cursor.fetchall()
                self.state = replace(self.state, queries=self.state.queries + 1)
                self._ending.wait(QUERY_SECONDS)
        finally:
            with suppress(pymysql.Error):  # which PyMySQL raises for a session that has been cut
                session.close()


# The driver's own settings, given the path of the trust store.
_TLS: dict[tuple[str, str], Callable[[str], dict[str, Any]]] = {
    ("postgres", "verify-full"): lambda store: {"sslmode": "verify-full", "sslrootcert": store},
    ("postgres", "prefer"): lambda store: {"sslmode": "prefer", "sslrootcert": store},
    ("postgres", "require"): lambda _: {"sslmode": "require", "sslrootcert": NO_FILE},
    ("postgres", "disable"): lambda _: {"sslmode": "disable"},
    # Of all that PyMySQL offers, this alone checks the chain and the name as well.
    ("mysql", "verify-full"): lambda store: {"ssl": {"ca": store}},
    ("mysql", "disable"): lambda _: {"ssl_disabled": True},
    ("sqlserver", "verify-full"): lambda store: {"cafile": store},
    ("sqlserver", "disable"): lambda _: {},
}


def settings(engine: str, tls: str, store: Path | None) -> dict[str, Any]:
    """Give the driver's own settings for *tls* with the trust store *store*."""
    return _TLS[engine, tls](str(store))


def has_driver(kind: str) -> bool:
    """Say whether a client of a server of *kind* can run; the driver for SQL Server is an extra of rdsca."""
    return kind != "sqlserver" or importlib.util.find_spec("pytds") is not None


def protocol(kind: str) -> str:
    """Name the protocol of a server of *kind*."""
    return "mysql" if kind == "mariadb" else kind


def has_mode(kind: str, tls: str) -> bool:
    """Say whether a client of a server of *kind* can connect with *tls*."""
    return (protocol(kind), tls) in _TLS and has_driver(kind)


def _failures() -> tuple[type[Exception], ...]:
    own = [sys.modules["pytds"].Error] if "pytds" in sys.modules else []  # once a client has used it
    return (psycopg2.Error, pymysql.MySQLError, RdscaError, OSError, *own)


def _connect_postgres(endpoint: Endpoint, name: str, tls: dict[str, Any]) -> tuple[Any, bool]:
    with _way(endpoint) as port:
        session = psycopg2.connect(
            host=endpoint.host,
            hostaddr="127.0.0.1",
            port=port,
            user=endpoint.user,
            password=endpoint.password,
            dbname=endpoint.database,
            application_name=name,
            gssencmode="disable",
            connect_timeout=TIMEOUT_SECONDS,
            options=f"-c statement_timeout={TIMEOUT_SECONDS}s",
            **tls,
        )
    session.autocommit = True
    return session, bool(session.info.ssl_in_use)


@contextmanager
def _way(endpoint: Endpoint) -> Iterator[int]:
    """Give the port to connect to: libpq cannot choose its source address, so a relay does it for other ones."""
    if endpoint.source == Endpoint.source:
        yield endpoint.port
        return
    with _Relay(endpoint) as relay:
        threading.Thread(target=relay.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield relay.server_address[1]
        finally:
            relay.shutdown()


class _Relay(socketserver.ThreadingTCPServer):
    """Passes connections on to an endpoint's port from its source address; what is under way outlives it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._endpoint = endpoint

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Carry bytes both ways until one side closes."""
        there = ("127.0.0.1", self._endpoint.port)
        with socket.create_connection(there, TIMEOUT_SECONDS, (self._endpoint.source, 0)) as server:
            server.settimeout(None)
            back = threading.Thread(target=_pump, args=(server, request), daemon=True)
            back.start()
            _pump(request, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _connect_mysql(endpoint: Endpoint, name: str, tls: dict[str, Any]) -> tuple[Any, bool]:
    session = pymysql.connect(
        host=endpoint.host,
        user=endpoint.user,
        password=endpoint.password,
        database=endpoint.database,
        program_name=name,
        autocommit=True,
        defer_connect=True,
        read_timeout=TIMEOUT_SECONDS,
        write_timeout=TIMEOUT_SECONDS,
        **tls,
    )
    wire = socket.create_connection(("127.0.0.1", endpoint.port), TIMEOUT_SECONDS, (endpoint.source, 0))
    session.connect(wire)
    with session.cursor() as cursor:
        cursor.execute("show session status like 'Ssl_cipher'")
        row = cursor.fetchone()
    return session, bool(row and row[1])


def _connect_sqlserver(endpoint: Endpoint, name: str, tls: dict[str, Any]) -> tuple[Any, bool]:
    address = ("127.0.0.1", endpoint.port)
    if tls:
        context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=tls["cafile"])
        password = Secret(endpoint.password)
        target = Target(endpoint.host, address, endpoint.user, password, context, tls["cafile"], TIMEOUT_SECONDS)
        try:
            return sqlserver.connect(target, name), True
        finally:
            for sock in target.opened:
                sock.close()
    import pytds  # noqa: PLC0415  an extra of rdsca

    session = pytds.connect(
        dsn=address[0],
        port=address[1],
        user=endpoint.user,
        password=endpoint.password,
        appname=name,
        login_timeout=TIMEOUT_SECONDS,
        timeout=TIMEOUT_SECONDS,
        autocommit=True,
    )
    return session, False


_CONNECT = {"postgres": _connect_postgres, "mysql": _connect_mysql, "sqlserver": _connect_sqlserver}

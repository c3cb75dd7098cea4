"""Background clients of the practice databases: each keeps one session and comes back by itself after a failure."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pymysql

QUERY = "select count(*) from orders"
QUERY_SECONDS = 0.5
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 3  # for each of connecting, reading and writing; it also bounds stop()

# sslmode=require verifies as soon as it finds a root file, and without a name it looks in the user's home.
_NO_FILE = "/nonexistent/root.crt"


@dataclass(frozen=True)
class Endpoint:
    """Where a client goes: by the endpoint's own *host* name, over a port of this machine."""

    engine: str  # "postgres" or "mysql", which is MariaDB's protocol too
    host: str
    port: int
    user: str
    password: str
    database: str = "app"


@dataclass(frozen=True)
class State:
    """What a client has been through; an error is told by its class only, for messages carry settings."""

    connected: bool = False
    tls: bool = False
    last_error: str = ""
    reconnects: int = 0
    queries: int = 0


class Client:
    """An application with one session; *tls* is "verify-full" (against *store*), "require" or "disable".

    "require" encrypts and believes any certificate; only libpq has it here.
    """

    def __init__(self, name: str, endpoint: Endpoint, tls: str, store: Path | None = None) -> None:
        self.name = name
        self.endpoint = endpoint
        self.state = State()
        self._tls = _TLS[endpoint.engine, tls](str(store))
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
            except (psycopg2.Error, pymysql.MySQLError, OSError) as e:
                self.state = replace(self.state, connected=False, tls=False, last_error=type(e).__name__)
                self._ending.wait(RETRY_SECONDS)
        self.state = replace(self.state, connected=False, tls=False)

    def _session(self) -> None:
        """Work on one session until it fails or the end comes; the trust store is read anew for each."""
        connect = _connect_postgres if self.endpoint.engine == "postgres" else _connect_mysql
        session, tls = connect(self.endpoint, self.name, self._tls)
        came_back = int(self.state.queries > 0)
        self.state = replace(self.state, connected=True, tls=tls, reconnects=self.state.reconnects + came_back)
        try:
            cursor = session.cursor()
            while not self._ending.is_set():
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
    ("postgres", "require"): lambda _: {"sslmode": "require", "sslrootcert": _NO_FILE},
    ("postgres", "disable"): lambda _: {"sslmode": "disable"},
    # Of all that PyMySQL offers, this alone checks the chain and the name as well.
    ("mysql", "verify-full"): lambda store: {"ssl": {"ca": store}},
    ("mysql", "disable"): lambda _: {"ssl_disabled": True},
}


def _connect_postgres(endpoint: Endpoint, name: str, tls: dict[str, Any]) -> tuple[Any, bool]:
    session = psycopg2.connect(
        host=endpoint.host,
        hostaddr="127.0.0.1",
        port=endpoint.port,
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
    wire = socket.create_connection(("127.0.0.1", endpoint.port), TIMEOUT_SECONDS)
    session.connect(wire)
    with session.cursor() as cursor:
        cursor.execute("show session status like 'Ssl_cipher'")
        row = cursor.fetchone()
    return session, bool(row and row[1])

"""The background clients, on real servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from practice import NAME, NEW, OLD, PASSWORDS, certificate, prepared, roots_file

from rdsca_helpers.lab.clients import Client, Endpoint
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.servers import KINDS, Server


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, templates: Path, pki: Pki) -> Iterator[Server]:
    server = prepared(request.param, templates)
    server.start(certificate(pki, OLD))
    yield server
    server.stop()


@contextmanager
def running(server: Server, name: str, tls: str, store: Path | None = None) -> Iterator[Client]:
    engine = "postgres" if server.kind == "postgres" else "mysql"
    client = Client(name, Endpoint(engine, NAME, server.port, "app", PASSWORDS["app"]), tls, store)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        assert not client._thread.is_alive()
        assert not client.state.connected


def eventually(seen: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not seen():
        time.sleep(0.05)
    return seen()


def test_a_verifying_client_fails_on_the_new_ca_and_comes_back_once_its_store_holds_the_root(
    server: Server, pki: Pki, tmp_path: Path
) -> None:
    server.serve(certificate(pki, OLD))
    store = roots_file(tmp_path, pki, OLD)
    with running(server, "webshop", "verify-full", store) as client:
        assert eventually(lambda: client.state.queries > 0)
        assert client.state.tls
        server.serve(certificate(pki, NEW))
        assert client.state.connected
        server.restart()
        assert eventually(lambda: not client.state.connected)
        assert not eventually(lambda: client.state.connected, seconds=2.5)
        assert client.state.last_error == "OperationalError"
        roots_file(tmp_path, pki, OLD, NEW)
        assert eventually(lambda: client.state.connected and client.state.tls)
        assert client.state.reconnects == 1


def test_a_client_that_does_not_verify_comes_through_a_rotation(server: Server, pki: Pki) -> None:
    tls = "require" if server.kind == "postgres" else "disable"
    server.serve(certificate(pki, OLD))
    with running(server, "batch", tls) as client:
        assert eventually(lambda: client.state.queries > 0)
        server.serve(certificate(pki, NEW))
        server.restart()
        assert eventually(lambda: client.state.reconnects == 1)
        assert client.state.tls == (tls == "require")


def test_the_server_knows_a_client_by_its_name(server: Server) -> None:
    with running(server, "reports", "disable") as client:
        assert eventually(lambda: client.state.queries > 0)
        query = {"postgres": "select application_name from pg_stat_activity where usename = 'app'"}.get(
            server.kind,
            "select attr_value from performance_schema.session_connect_attrs where attr_name = 'program_name'",
        )
        assert ("reports",) in server.sql(query)


def test_a_client_waits_for_a_server_that_is_not_there(tmp_path: Path) -> None:
    client = Client("early", Endpoint("mysql", NAME, 1, "app", "secret"), "disable")
    client.start()
    assert eventually(lambda: bool(client.state.last_error))
    client.stop()
    assert client.status() == {
        "name": "early",
        "host": NAME,
        "connected": False,
        "tls": False,
        "last_error": "ConnectionRefusedError",
        "reconnects": 0,
        "queries": 0,
    }

"""The practice servers, logged into by real drivers and judged by openssl."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest
from practice import NAME, NEW, OLD, PASSWORDS, certificate, prepared, roots_file

from rdsca_helpers.lab import servers
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.servers import KINDS, Server


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, templates: Path, pki: Pki) -> Iterator[Server]:
    server = prepared(request.param, templates)
    server.start(certificate(pki, OLD))
    yield server
    server.stop()


def log_in(server: Server, roots: Path | None, user: str = "app") -> Any:
    """Log in as an application does: with *roots* it verifies certificate and name, without it has no TLS."""
    if server.kind == "postgres":
        tls = {"sslmode": "verify-full", "sslrootcert": str(roots)} if roots else {"sslmode": "disable"}
        return psycopg2.connect(
            host=NAME,
            hostaddr="127.0.0.1",
            port=server.port,
            user=user,
            password=PASSWORDS[user],
            dbname="app" if user == "app" else "postgres",
            **tls,
        )
    settings: dict[str, Any] = {"ssl": {"ca": str(roots)}} if roots else {"ssl_disabled": True}
    session = pymysql.connect(
        host=NAME,
        user=user,
        password=PASSWORDS[user],
        database="app" if user == "app" else None,
        defer_connect=True,
        read_timeout=10,
        **settings,
    )
    session.connect(socket.create_connection(("127.0.0.1", server.port)))
    return session


def ask(session: Any, statement: str) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def s_client(server: Server) -> str:
    protocol = "postgres" if server.kind == "postgres" else "mysql"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-starttls", protocol, "-showcerts"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_application_logs_in_verifying_all_and_another_in_plain_text(
    server: Server, pki: Pki, tmp_path: Path
) -> None:
    server.serve(certificate(pki, OLD))
    for roots in (roots_file(tmp_path, pki, OLD), None):
        with closing(log_in(server, roots)) as session:
            assert ask(session, "select count(*) from orders") == [(3,)]


def test_the_server_shows_leaf_subordinate_and_root(server: Server, pki: Pki) -> None:
    server.serve(certificate(pki, OLD))
    assert re.findall(r"^ \d s:CN ?= ?([^,]+)", s_client(server), re.M) == [
        NAME,
        "Practice RDS eu-west-1 Subordinate CA RSA2048 G1.A.1",
        "Practice RDS eu-west-1 Root CA RSA2048 G1",
    ]


def test_after_a_rotation_old_sessions_live_and_clients_with_the_old_root_only_are_refused(
    server: Server, pki: Pki, tmp_path: Path
) -> None:
    server.serve(certificate(pki, OLD))
    old = roots_file(tmp_path, pki, OLD)
    with closing(log_in(server, old)) as session:
        server.serve(certificate(pki, NEW))
        assert ask(session, "select count(*) from orders") == [(3,)]
        assert "Practice RDS eu-west-1 Root CA ECC384 G1" in s_client(server)
        with pytest.raises((psycopg2.OperationalError, pymysql.OperationalError), match=r"(?i)certificate.verify"):
            log_in(server, old)
    with closing(log_in(server, roots_file(tmp_path, pki, OLD, NEW))) as session:
        assert ask(session, "select 1") == [(1,)]


@pytest.mark.parametrize("ca", ["rds-ca-2019", "rds-ca-rsa4096-g1"])
def test_an_expired_certificate_is_served_as_well(server: Server, pki: Pki, ca: str) -> None:
    served = certificate(pki, ca, days=-1)
    server.serve(served)
    assert served.not_after.strftime("NotAfter: %b %e %H:%M:%S %Y") in s_client(server)


def test_the_readonly_user_sees_sessions_of_others_and_cannot_write(server: Server, pki: Pki) -> None:
    with closing(log_in(server, None)) as app, closing(log_in(server, None, user="rdsca_ro")) as session:
        ask(app, "select 1")
        query = {
            "postgres": "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'app'",
        }.get(
            server.kind,
            "select connection_type from performance_schema.threads where processlist_user = 'app'",
        )
        assert ask(session, query) == [(False,) if server.kind == "postgres" else ("TCP/IP",)]
        with pytest.raises((psycopg2.Error, pymysql.Error)):
            ask(session, "select * from app.orders")


def test_nobody_passes_for_the_administrator_over_the_port(server: Server) -> None:
    driver: Any = psycopg2 if server.kind == "postgres" else pymysql
    with pytest.raises(driver.OperationalError):
        driver.connect(host="127.0.0.1", port=server.port, user="rdsadmin", database="app")


def test_a_restart_cuts_sessions_and_keeps_port_and_passwords(server: Server, pki: Pki, tmp_path: Path) -> None:
    server.serve(certificate(pki, OLD))
    port = server.port
    with closing(log_in(server, None)) as session:
        server.restart()
        with pytest.raises((psycopg2.Error, pymysql.Error)):
            ask(session, "select 1")
    assert server.port == port
    log_in(server, roots_file(tmp_path, pki, OLD)).close()


@pytest.mark.parametrize("kind", KINDS)
def test_one_starts_on_an_expired_certificate_and_stop_leaves_nothing(kind: str, templates: Path, pki: Pki) -> None:
    server = prepared(kind, templates, performance_schema=False)
    server.start(certificate(pki, OLD, days=-1))
    pid, folder = server.pid, server.folder
    try:
        assert "Practice RDS eu-west-1 Root CA RSA2048 G1" in s_client(server)
        if kind != "postgres":
            assert server.sql("select @@performance_schema") == [(0,)]
    finally:
        server.stop()
    assert not is_alive(pid)
    assert not folder.exists()


def test_two_servers_started_together_do_not_meet(templates: Path, pki: Pki) -> None:
    pair = [prepared("postgres", templates) for _ in range(2)]
    try:
        for server in pair:
            server.start(certificate(pki, OLD))
        pair[0].sql("create database only_here")
        assert pair[0].port != pair[1].port
        assert not pair[1].sql("select 1 from pg_database where datname = %s", "only_here")
    finally:
        for server in pair:
            server.stop()


def test_a_missing_server_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RDSCA_SERVERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    servers.find.cache_clear()
    try:
        if os.access("/usr/sbin/mysqld", os.X_OK):
            pytest.skip("this machine has a MySQL of its own")
        assert "no MySQL server (mysqld) found" in servers.why_missing("mysql")
        assert "run tools/setup.sh" in servers.why_missing("mysql")
    finally:
        servers.find.cache_clear()

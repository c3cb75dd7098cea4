"""PostgreSQL. Measured on 15: to a user without pg_monitor other users' sessions show no TLS column at all."""

from __future__ import annotations

import socket
import struct
from typing import Any

from .. import rejections
from ..model import Client, Confidence
from . import PROGRAM, Census, Channel, Counters, Engine, NoTls, Target

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

# What came over the network or a socket has a port (a socket's is -1): clients, and walsenders, since tools that copy
# changes check the certificate like any other client. What the server runs by itself has none: workers for parallel
# queries, autovacuum. To a user with few privileges the port is hidden too, and such a row may be a client.
# No "WHERE ssl": to that user ssl is NULL for everybody else, and the answer would be "nobody".
# No "usename IS NOT NULL": a session outlives its dropped role. Query texts are only compared, in the server.
# Any client may name itself as we do: other sessions of ours have our user and our address too.
_SESSIONS = """
SELECT a.usename, CASE WHEN a.client_port = -1 THEN '[local]' ELSE host(a.client_addr) END, a.application_name,
       s.version, s.cipher, s.ssl, a.query = '<insufficient privilege>' AS hidden, count(*)
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid)
WHERE a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
  AND coalesce(a.usename, '') NOT IN ('rdsadmin', 'rdsrepladmin')
  AND (a.client_port IS NOT NULL OR a.query = '<insufficient privilege>')
  AND (a.application_name = %s AND a.usename = session_user
       AND a.client_addr IS NOT DISTINCT FROM inet_client_addr()) IS NOT TRUE
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
# pg_read_all_stats is new in PostgreSQL 10. A role that does not inherit (NOINHERIT) has no USAGE of it.
_SEES_ALL = """
SELECT bool_or(rolname = current_user AND rolsuper
               OR rolname IN ('pg_read_all_stats', 'rds_superuser') AND pg_has_role(current_user, oid, 'USAGE'))
FROM pg_roles
"""
_FORCED = "SELECT current_setting('rds.force_ssl', true) IN ('1', 'on')"
_COUNTED = """
SELECT extract(epoch FROM now() - pg_postmaster_start_time())::bigint, sum(sessions)::bigint FROM pg_stat_database
"""


def connect(target: Target) -> Any:
    """Log in over TLS that is verified, name included, before the password is sent."""
    import psycopg2

    host, port = target.address
    connection = psycopg2.connect(
        host=target.host,
        hostaddr=_resolved(host, port),
        port=port,
        user=target.user,
        password=target.password.reveal(),
        dbname="postgres",
        sslmode="verify-full",
        sslrootcert=target.roots_file,
        connect_timeout=max(2, int(target.timeout)),
        application_name=PROGRAM,
        options=f"-c statement_timeout={int(target.timeout * 1000)}",
        gssencmode="disable",
    )
    target.watch(connection.fileno())
    connection.set_session(readonly=True, autocommit=True)
    return connection


def census(connection: Any) -> Census:
    """Ask pg_stat_ssl who uses TLS (PostgreSQL manual, "pg_stat_ssl"), and whether this user may see all.

    A session that the server hides from this user is unknown. A pool or a proxy shows as the client that it is.
    """
    sees_all, forced = _rows(connection, _SEES_ALL)[0][0], _rows(connection, _FORCED)[0][0]
    rows = _rows(connection, _SESSIONS, PROGRAM)
    clients = tuple(
        Client(
            user=_text(user),
            host=_text(host),
            program=_text(program),
            tls=tls,
            version=_text(version),
            cipher=_text(cipher),
            count=count,
        )
        for user, host, program, version, cipher, tls, _, count in rows
    )
    if sees_all and not any(hidden for *_, hidden, _ in rows):
        return Census("pg_stat_ssl", Confidence.FULL, clients)
    remedy = "this user sees other users' sessions but not their TLS use: GRANT pg_monitor to it"
    remedy += " (before PostgreSQL 10: rds_superuser)"
    if forced:
        remedy += "; rds.force_ssl is on: new connections over the network use TLS, older sessions may not"
    return Census("pg_stat_ssl", Confidence.PARTIAL, clients, remedy)


def counters(connection: Any) -> Counters | None:
    """Read how many sessions there were since the server started; ``None`` before PostgreSQL 14.

    A session may be counted some seconds late, and pg_stat_reset sets the count back. TLS handshakes are not counted.
    """
    if connection.server_version < 140000:
        return None
    uptime, sessions = _rows(connection, _COUNTED)[0]
    return Counters(uptime, sessions)


def starttls(channel: Channel) -> Channel:
    """Ask for TLS with an SSLRequest; raises ``NoTls`` when the server has none, else ``ConnectionError``."""
    channel.send(_SSL_REQUEST)
    # One byte and no more: what a server sends in clear after its "S" would be taken for TLS data.
    if (answer := channel.receive(1)) != b"S":
        raise NoTls("it offers no TLS") if answer == b"N" else ConnectionError("this is no PostgreSQL server")
    return channel


def _rows(connection: Any, query: str, *parameters: str) -> list[tuple[Any, ...]]:
    """Run *query*; texts come as bytes, because a role made in a database with another encoding is no UTF-8."""
    from psycopg2.extensions import BYTES, register_type

    with connection.cursor() as cursor:
        register_type(BYTES, cursor)
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def _text(value: bytes | None) -> str:
    return value.decode(errors="backslashreplace") if value else ""


def _resolved(host: str, port: int) -> str:
    return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])


ENGINE = Engine(
    name="postgres",
    rds_names=("postgres",),
    port=5432,
    connect=connect,
    census=census,
    starttls=starttls,
    counters=counters,
    log="postgresql.log",
    log_rejections=rejections.of_postgres_log,
)

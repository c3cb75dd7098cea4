"""PostgreSQL. Measured on 15: to a user without pg_monitor other users' sessions show no TLS column at all."""

from __future__ import annotations

import socket
import struct
from typing import Any

from ..model import Client, Confidence
from . import PROGRAM, Census, Engine, Target

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

# A walsender is a client too: change-data-capture tools check the certificate like any other.
# No "WHERE ssl": to a low-privileged user ssl is NULL for everybody else, and the answer would be "nobody".
_EXACT = """
SELECT a.usename, host(a.client_addr), a.application_name, s.ssl, s.version, s.cipher, count(*)
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid)
WHERE a.pid <> pg_backend_pid() AND a.usename IS NOT NULL AND a.usename NOT IN ('rdsadmin', 'rdsrepladmin')
  AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'walsender')
  AND coalesce(a.application_name, '') <> %s
GROUP BY 1, 2, 3, 4, 5, 6
"""
_SEES_ALL = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"


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
    connection.set_session(readonly=True, autocommit=True)
    return connection


def census(connection: Any) -> Census:
    """Ask pg_stat_ssl who uses TLS (PostgreSQL manual, "pg_stat_ssl"), and whether this user may see all."""
    with connection.cursor() as cursor:
        cursor.execute(_SEES_ALL)
        sees_all = bool(cursor.fetchone()[0])
        cursor.execute(_EXACT, (PROGRAM,))
        clients = tuple(
            Client(
                user=user,
                host=host or "",
                program=program or "",
                tls=tls,
                version=version or "",
                cipher=cipher or "",
                count=count,
            )
            for user, host, program, tls, version, cipher, count in cursor.fetchall()
        )
    if sees_all:
        return Census("pg_stat_ssl", Confidence.FULL, clients)
    remedy = "this user sees other users' sessions but not their TLS use: GRANT pg_monitor to it"
    return Census("pg_stat_ssl", Confidence.PARTIAL, clients, remedy)


def starttls(sock: socket.socket) -> None:
    """Ask for TLS with an SSLRequest; raises ``ConnectionError`` when the server has none."""
    sock.sendall(_SSL_REQUEST)
    # One byte and no more: what a server sends in clear after its "S" would be taken for TLS data.
    if (answer := sock.recv(1)) != b"S":
        raise ConnectionError("the server offers no TLS" if answer == b"N" else "this is not a PostgreSQL server")


def _resolved(host: str, port: int) -> str:
    return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])


ENGINE = Engine(name="postgres", rds_names=("postgres",), port=5432, connect=connect, census=census, starttls=starttls)

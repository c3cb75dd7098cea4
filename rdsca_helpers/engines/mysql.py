"""MySQL 5.7 and later. Measured on 9.7: performance_schema OFF answers every question with no rows and no error."""

from __future__ import annotations

from typing import Any

from ..model import Client, Confidence
from . import PROGRAM, Census, Engine, Target

_BACKGROUND = ("rdsadmin", "event_scheduler", "system user", "mysql.session", "mysql.sys", "rdsrepladmin")
_TLS = {"SSL/TLS": True, "TCP/IP": False, "Socket": False, "Named Pipe": False, "Shared Memory": False}

# Grouped in the server, so that twenty thousand sessions are a few rows.
# Query texts are never read: they may hold secrets.
_EXACT = """
SELECT t.PROCESSLIST_USER, t.PROCESSLIST_HOST, p.ATTR_VALUE, t.CONNECTION_TYPE,
       v.VARIABLE_VALUE, c.VARIABLE_VALUE, COUNT(*)
FROM performance_schema.threads t
LEFT JOIN performance_schema.status_by_thread v ON v.THREAD_ID = t.THREAD_ID AND v.VARIABLE_NAME = 'Ssl_version'
LEFT JOIN performance_schema.status_by_thread c ON c.THREAD_ID = t.THREAD_ID AND c.VARIABLE_NAME = 'Ssl_cipher'
LEFT JOIN performance_schema.session_connect_attrs p
       ON p.PROCESSLIST_ID = t.PROCESSLIST_ID AND p.ATTR_NAME = 'program_name'
WHERE t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_USER IS NOT NULL AND t.PROCESSLIST_ID <> CONNECTION_ID()
GROUP BY 1, 2, 3, 4, 5, 6
"""
_WHO = """
SELECT USER, LEFT(HOST, CHAR_LENGTH(HOST) - LOCATE(':', REVERSE(HOST))), COUNT(*)
FROM information_schema.PROCESSLIST
WHERE ID <> CONNECTION_ID()
GROUP BY 1, 2
"""


def connect(target: Target) -> Any:
    """Log in over TLS that is verified before the password is sent; the context remembers the served chain."""
    import pymysql

    connection = pymysql.connect(
        host=target.host,
        user=target.user,
        password=target.password.reveal(),
        ssl=target.context,
        connect_timeout=target.timeout,
        read_timeout=target.timeout,
        write_timeout=target.timeout,
        program_name=PROGRAM,
        charset="utf8mb4",
        defer_connect=True,
    )
    connection.connect(sock=target.dial())
    return connection


def census(connection: Any) -> Census:
    """Ask the server who is connected and how, after asking whether it would tell.

    Source: performance_schema.threads.CONNECTION_TYPE (MySQL manual, "The threads Table"). Two things make the
    classic query say "nobody": performance_schema OFF and a missing PROCESS privilege; both are asked for first.
    """
    on = _rows(connection, "SELECT @@GLOBAL.performance_schema")[0][0] in (1, "1", "ON")
    sees_all = _sees_all(connection)
    if not on:
        return _without_performance_schema(connection, sees_all=sees_all)
    if not _may_read_threads(connection):
        return Census(
            "none",
            Confidence.NONE,
            (),
            "GRANT SELECT ON performance_schema.* and PROCESS ON *.* to the user that rdsca logs in as",
        )
    clients = tuple(
        Client(
            user=user,
            host=host or "",
            program=program or "",
            tls=_TLS.get(kind),
            version=version or "",
            cipher=cipher or "",
            count=count,
        )
        for user, host, program, kind, version, cipher, count in _rows(connection, _EXACT)
        if user not in _BACKGROUND and program != PROGRAM
    )
    if sees_all:
        return Census("performance_schema.threads", Confidence.FULL, clients)
    return Census(
        "performance_schema.threads",
        Confidence.PARTIAL,
        clients,
        "without the PROCESS privilege only this user's own sessions show: GRANT PROCESS ON *.* to it",
    )


def _without_performance_schema(connection: Any, *, sees_all: bool) -> Census:
    """Say who is connected, and of each that nobody can tell whether over TLS."""
    clients = tuple(
        Client(user=user, host=host or "", tls=None, count=count)
        for user, host, count in _rows(connection, _WHO)
        if user not in _BACKGROUND
    )
    remedy = "performance_schema is OFF, so the server cannot tell which sessions use TLS; it is switched on in the "
    remedy += "parameter group and takes a reboot"
    if not sees_all:
        remedy += "; GRANT PROCESS ON *.* shows other users' sessions"
    return Census(
        "information_schema.PROCESSLIST", Confidence.PARTIAL if sees_all else Confidence.NONE, clients, remedy
    )


def _sees_all(connection: Any) -> bool:
    """Find PROCESS (or ALL) among the grants, those of active roles included."""
    grants = " ".join(str(row[0]).upper() for row in _rows(connection, "SHOW GRANTS"))
    return "ALL PRIVILEGES ON *.*" in grants or any(
        "PROCESS" in grant.split(" ON *.*")[0] for grant in grants.split("GRANT ") if " ON *.*" in grant
    )


def _may_read_threads(connection: Any) -> bool:
    import pymysql

    try:
        _rows(connection, "SELECT 1 FROM performance_schema.threads LIMIT 1")
    except pymysql.err.OperationalError as e:
        if e.args[0] == 1142:  # SELECT command denied
            return False
        raise
    return True


def _rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


ENGINE = Engine(name="mysql", rds_names=("mysql",), port=3306, connect=connect, census=census, starttls=None)

"""MySQL 5.7 and later. Measured on 9.7: performance_schema OFF answers every question with no rows and no error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from .. import rejections
from ..errors import Unreachable
from ..model import Client, Confidence
from . import PROGRAM, Census, Counters, Engine, Target

_NO_CLIENTS = (
    "rdsadmin",
    "rdsrepladmin",
    "event_scheduler",
    "system user",
    "mysql.session",
    "mysql.sys",
    "unauthenticated user",  # has not logged in yet, and may be a health check
)
_TLS = {"SSL/TLS": True, "TCP/IP": False, "Socket": False, "Named Pipe": False, "Shared Memory": False}
# The server has no such column (1054), table (1109, 1146) or variable (1193), does not show it to this user (1142,
# 1143, 1227), or would need too long (1969, 3024).
_NOT_TOLD = (1054, 1109, 1142, 1143, 1146, 1193, 1227, 1969, 3024)

# Grouped in the server, so that twenty thousand sessions are a few rows; status_by_thread is read once, because
# MariaDB and MySQL 5.7 have no index on it. Query texts are never read: they may hold secrets.
# Our own sessions hold a lock that bears their number. Nothing else tells them from the sessions of a person who logs
# in as the same user: the program's name is what a client says of itself, and with performance_schema OFF not there.
_THREADS = """
SELECT t.PROCESSLIST_USER, t.PROCESSLIST_HOST, t.CONNECTION_TYPE, {extras}, COUNT(*)
FROM performance_schema.threads t {joins}
WHERE t.TYPE = 'FOREGROUND' AND t.NAME NOT REGEXP '^thread/sql/(event|slave|replica)_'
  AND t.PROCESSLIST_USER IS NOT NULL AND t.PROCESSLIST_ID <> CONNECTION_ID()
  AND NOT (IS_USED_LOCK(CONCAT('rdsca-', t.PROCESSLIST_ID)) <=> t.PROCESSLIST_ID)
GROUP BY 1, 2, 3, 4, 5, 6
"""
_EXACT = _THREADS.format(
    extras="p.ATTR_VALUE, s.VERSION, s.CIPHER",
    joins="""
LEFT JOIN (
    SELECT THREAD_ID,
           MAX(CASE WHEN VARIABLE_NAME = 'Ssl_version' THEN VARIABLE_VALUE END) AS VERSION,
           MAX(CASE WHEN VARIABLE_NAME = 'Ssl_cipher' THEN VARIABLE_VALUE END) AS CIPHER
    FROM performance_schema.status_by_thread
    WHERE VARIABLE_NAME IN ('Ssl_version', 'Ssl_cipher')
    GROUP BY THREAD_ID
) s ON s.THREAD_ID = t.THREAD_ID
LEFT JOIN performance_schema.session_connect_attrs p
       ON p.PROCESSLIST_ID = t.PROCESSLIST_ID AND p.ATTR_NAME = 'program_name'""",
)
_BARE = _THREADS.format(extras="NULL, NULL, NULL", joins="")

# An event runs in a session of its definer that came over no network.
_WHO = """
SELECT USER, LEFT(HOST, CHAR_LENGTH(HOST) - LOCATE(':', REVERSE(HOST))), COUNT(*)
FROM {table}
WHERE ID <> CONNECTION_ID() AND NOT (IS_USED_LOCK(CONCAT('rdsca-', ID)) <=> ID)
  AND NOT (COMMAND = 'Connect' AND LOCATE(':', HOST) = 0) AND ID NOT IN ({told})
GROUP BY 1, 2
"""
_PROCESS_LIST = "information_schema.PROCESSLIST"
_NOBODY = "SELECT 0"
_IN_THREADS = "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE PROCESSLIST_ID IS NOT NULL"

# A login that was refused has a second row. The logins of this very user from this very host are taken for our own.
_LOGINS = """
SELECT thread_id, MIN(user_host) AS user_host,
       MIN(SUBSTRING_INDEX(CONVERT(argument USING utf8mb4), ' using ', -1)) AS kind
FROM mysql.general_log
WHERE command_type = 'Connect' AND event_time >= {since}
  AND LEFT(CONVERT(argument USING utf8mb4), CHAR_LENGTH(USER()) + 4) <> CONCAT(USER(), ' on ')
GROUP BY thread_id HAVING COUNT(*) = 1
"""
_LOGGED = f"SELECT thread_id FROM ({_LOGINS}) AS logins"  # noqa: S608  both are constants
_COUNTED_LOGINS = f"SELECT user_host, kind, COUNT(*) FROM ({_LOGINS}) AS logins GROUP BY 1, 2"  # noqa: S608
_USER_HOST = re.compile(r"[^[]*\[(?P<user>.*)\] @ (?P<host>\S*) \[(?P<ip>\S*)\]", re.DOTALL)

# PROCESS itself is asked for, whether a grant or an active role gives it. SHOW GRANTS would have to be understood,
# and on MariaDB it shows the hash of the password.
_NEEDS_PROCESS = "SELECT COUNT(*) FROM information_schema.INNODB_CMP"

PERFORMANCE_SCHEMA_OFF = "performance_schema is OFF"  # how the remedy of a census tells it to 92-performance-schema
_SWITCH_ON = (
    f"{PERFORMANCE_SCHEMA_OFF}, so the server cannot tell which sessions use TLS: set performance_schema=1 in the "
    "parameter group and reboot (a default group cannot be changed: give the instance a group of its own); "
    "Performance Insights switches it on too, but not on t4g.medium"
)
_GRANT_SELECT = (
    "performance_schema does not tell this user which sessions use TLS: GRANT SELECT ON performance_schema.* to it "
    "(MariaDB before 10.5 tells nobody)"
)
_GRANT_PROCESS = "without the PROCESS privilege other users' sessions are hidden: GRANT PROCESS ON *.* to this user"
_MAKE_ROOM = (
    "performance_schema has no room for every session: raise performance_schema_max_thread_instances and "
    "performance_schema_max_thread_classes"
)
_NEW_ONES_USE_TLS = "require_secure_transport is ON: new connections over the network use TLS, older sessions may not"


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
    # In the server too: what is cut off only here runs on there.
    _tried(connection, f"SET SESSION max_execution_time = {int(target.timeout * 800)}")
    _tried(connection, f"SET SESSION max_statement_time = {target.timeout * 0.8}")  # MariaDB's word for it
    _rows(connection, "SELECT GET_LOCK(CONCAT('rdsca-', CONNECTION_ID()), 0)")
    return connection


def census(connection: Any) -> Census:
    """Ask the server who is connected and how, after asking whether it would tell.

    Source: performance_schema.threads.CONNECTION_TYPE (MySQL manual, "The threads Table"). What makes the classic
    query say "nobody" is asked for first: performance_schema OFF or with too little room, and no PROCESS privilege.
    When it does not tell and somebody has switched the general log on to a table, the log tells of each session
    that began since, also of those that have ended. A session that only the process list knows is unknown.
    """
    settings = _named(connection, "VARIABLES", "performance_schema", "require_secure_transport")
    found = _best(connection, performance_schema=settings.get("performance_schema") == "ON")
    sees_all = _tried(connection, _NEEDS_PROCESS) is not None
    if sees_all and found.confidence is Confidence.FULL:
        return found
    secure = settings.get("require_secure_transport") == "ON"
    remedies = (found.remedy, "" if sees_all else _GRANT_PROCESS, _NEW_ONES_USE_TLS if secure else "")
    remedy = "; ".join(r for r in remedies if r)
    if not sees_all and found.source == _PROCESS_LIST:
        return Census("none", Confidence.NONE, (), remedy)
    return replace(found, confidence=Confidence.PARTIAL, remedy=remedy)


def read_general_log(connection: Any, since: datetime | None = None) -> tuple[Client, ...]:
    """Say who has logged in since *since*, and whether over TLS, where the general log is written to a table.

    *count* is the number of logins; without *since*, of all since the server started. Only the rows of logins are
    read, never a query. Logins of the asking user from the asking host are left out: they are rdsca's own. Nothing
    is switched on here: the log is costly on a busy server, so that is for its owner to do. Raises ``Unreachable``
    with the reason and the remedy when the log is not there to read. Measured on MySQL 9.7 and MariaDB 11.8.
    """
    _find_general_log(connection)
    start = _start(connection) if since is None else f"FROM_UNIXTIME({since.timestamp():f})"
    rows = _tried(connection, _COUNTED_LOGINS.format(since=start))
    if rows is None:
        raise Unreachable("mysql.general_log could not be read in time", "empty it, or ask a less busy server")
    return _clients((*_user_and_host(user_host), kind, "", "", "", count) for user_host, kind, count in rows)


def counters(connection: Any) -> Counters:
    """Read what the server has counted since it started; this needs no privilege, nor performance_schema.

    A client that does not accept the certificate is begun and not finished, and aborted (measured on MySQL 9.7 and
    MariaDB 11.8). A reload of the certificate sets the two TLS counters back to 0.
    """
    names = ("Uptime", "Connections", "Ssl_accepts", "Ssl_finished_accepts", "Aborted_connects")
    status = _named(connection, "STATUS", *names)
    return Counters(*(int(status[name]) for name in names))


def handshake_errors(connection: Any) -> dict[str, int]:
    """Say from which addresses handshakes were broken off, and how many since the server started or FLUSH HOSTS.

    Clients that do not accept the certificate are among them, port scanners and health checks too. Source:
    performance_schema.host_cache (MySQL manual, "The host_cache Table"); it leaves 127.0.0.1 out. Raises
    ``Unreachable`` with the reason when the server does not tell: MySQL 9.7 fills the table with performance_schema
    OFF too, MariaDB 11.8 then leaves it empty (measured).
    """
    settings = _named(connection, "VARIABLES", "performance_schema", "skip_name_resolve", "host_cache_size")
    if settings.get("skip_name_resolve") == "ON" or settings.get("host_cache_size") == "0":
        raise Unreachable(
            "the server keeps no host cache", "it takes skip_name_resolve=0 and a host_cache_size that is not 0"
        )
    rows = _tried(connection, "SELECT IP, COUNT_HANDSHAKE_ERRORS FROM performance_schema.host_cache")
    if rows is None:
        raise Unreachable(
            "this user may not read performance_schema.host_cache",
            "GRANT SELECT ON performance_schema.host_cache to it",
        )
    if not rows and settings.get("performance_schema") != "ON":
        raise Unreachable("performance_schema is OFF, and so the host cache may be hidden", _SWITCH_ON)
    return {ip: int(count) for ip, count in rows if count}


def _best(connection: Any, *, performance_schema: bool) -> Census:
    """Ask the best source that tells this user anything."""
    if performance_schema and (found := _by_threads(connection)):
        return found
    try:
        found = _by_general_log(connection)
    except Unreachable as e:
        found = Census(_PROCESS_LIST, Confidence.PARTIAL, _who(connection), e.remedy)
    why = _GRANT_SELECT if performance_schema else _SWITCH_ON
    return found if found.confidence is Confidence.FULL else replace(found, remedy=f"{why}; {found.remedy}")


def _by_threads(connection: Any) -> Census | None:
    """Ask performance_schema; ``None`` when it does not tell this user."""
    no_room = ("Performance_schema_thread_instances_lost", "Performance_schema_thread_classes_lost")
    lost = _named(connection, "STATUS", *no_room)
    # Before the threads are read: a session that begins in between is then among the threads.
    untold = _who(connection, told=_IN_THREADS) if any(int(count) for count in lost.values()) else ()
    rows = _tried(connection, _EXACT)
    if rows is None:
        rows = _tried(connection, _BARE)
    if rows is None:
        return None
    clients = _clients(rows)
    if untold:
        return Census("performance_schema.threads", Confidence.PARTIAL, (*clients, *untold), _MAKE_ROOM)
    return Census("performance_schema.threads", Confidence.FULL, clients)


def _by_general_log(connection: Any) -> Census:
    """Ask the general log, and the process list for the sessions that are older than it."""
    _find_general_log(connection)
    # Before the log is read: a session that begins in between is then in the log.
    untold = _who(connection, told=_LOGGED.format(since=_start(connection)))
    clients = read_general_log(connection)
    if untold:
        remedy = "sessions that are older than the general log are unknown until they connect again"
        return Census("mysql.general_log", Confidence.PARTIAL, (*clients, *untold), remedy)
    return Census("mysql.general_log", Confidence.FULL, clients)


def _find_general_log(connection: Any) -> None:
    """Raise ``Unreachable`` with the reason when the general log is not there to read."""
    settings = _named(connection, "VARIABLES", "general_log", "log_output")
    if settings["general_log"] != "ON" or "TABLE" not in settings["log_output"]:
        raise Unreachable(
            "the general log is not written to a table",
            "general_log=1 with log_output=TABLE tells of each new connection without a reboot, at a price on a "
            "busy server",
        )
    if _tried(connection, "SELECT 1 FROM mysql.general_log LIMIT 1") is None:
        raise Unreachable("this user may not read mysql.general_log", "GRANT SELECT ON mysql.general_log to it")


def _who(connection: Any, told: str = _NOBODY) -> tuple[Client, ...]:
    """Give the sessions of the process list but those that *told* selects; of none is told whether over TLS."""
    # MySQL 9 deprecates the first table, but the second one is empty when performance_schema is OFF.
    for table in (_PROCESS_LIST, "performance_schema.processlist"):
        rows = _tried(connection, _WHO.format(table=table, told=told))
        if rows is not None:
            return _clients((user, host, None, "", "", "", count) for user, host, count in rows)
    raise Unreachable("the process list could not be read in time", "ask again when the server is less busy")


def _clients(rows: Iterable[tuple[Any, ...]]) -> tuple[Client, ...]:
    """Turn rows of user, host, connection type, program, TLS version, cipher and count into clients."""
    return tuple(
        Client(
            user=user,
            host=host or "",
            program=program or "",
            tls=_TLS.get(kind),
            version=version or "",
            cipher=cipher or "",
            count=int(count),
        )
        for user, host, kind, program, version, cipher, count in rows
        if user not in _NO_CLIENTS
    )


def _user_and_host(user_host: str) -> tuple[str, str]:
    """Read ``[user] @ name [address]``, as the general log writes it; the name is empty when it is not known."""
    found = _USER_HOST.fullmatch(user_host)
    return (found["user"], found["host"] or found["ip"]) if found else (user_host, "")


def _start(connection: Any) -> str:
    """Give the SQL of the time at which the server started: numbers of sessions begin anew with it."""
    return f"NOW(6) - INTERVAL {counters(connection).uptime} SECOND"


def _named(connection: Any, what: str, *names: str) -> dict[str, str]:
    """Read global variables or status counters; a name that this version does not have is left out."""
    wanted = ", ".join(f"'{name}'" for name in names)
    return dict(_rows(connection, f"SHOW GLOBAL {what} WHERE Variable_name IN ({wanted})"))


def _tried(connection: Any, query: str) -> list[tuple[Any, ...]] | None:
    """Give the rows, or ``None`` when this version or this user does not have what *query* asks for."""
    import pymysql

    try:
        return _rows(connection, query)
    except pymysql.MySQLError as e:
        if e.args[0] in _NOT_TOLD:
            return None
        raise


def _rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


ENGINE = Engine(
    name="mysql",
    rds_names=("mysql",),
    port=3306,
    connect=connect,
    census=census,
    starttls=None,
    counters=counters,
    handshake_errors=handshake_errors,
    log="mysql-error",
    log_rejections=rejections.of_mysql_log,
)

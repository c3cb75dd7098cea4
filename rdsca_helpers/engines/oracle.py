"""Oracle: TLS (TCPS) has a port of its own and is there only with the SSL option; encryption without it is not TLS.

No real Oracle was at hand. Measured: the driver, its TLS and its login, on the stand-in of the practice world. From
documents only: the views, their banners and the listener log.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import Unreachable
from ..model import UNKNOWN, Client, Confidence
from . import EVERYBODY, PROGRAM, Census, Channel, Engine, Target

_SOURCE = "v$session_connect_info"
_OTHER_SOURCE = "the listener log tells (PROTOCOL=tcps)"

# The banner of the protocol adapter says how a session came; a session has other banners too, one row each.
# Sessions of parallel queries and of jobs run inside the database and have no connection.
_SESSIONS = """
SELECT username, machine, program, adapter, own, COUNT(*)
FROM (SELECT s.username AS username, s.machine AS machine, s.program AS program,
             MAX(CASE WHEN s.sid = SYS_CONTEXT('USERENV', 'SID') THEN 1 ELSE 0 END) AS own,
             MAX(CASE WHEN UPPER(c.network_service_banner) LIKE '%PROTOCOL ADAPT%'
                      THEN c.network_service_banner END) AS adapter
      FROM v$session s
      LEFT JOIN v$session_connect_info c ON c.sid = s.sid AND c."SERIAL#" = s."SERIAL#"
      WHERE s.type = 'USER' AND s.username NOT IN ('SYS', 'SYSRAC', 'RDSADMIN')
        AND COALESCE(s.program, '-') NOT LIKE 'oracle@%(P___)'
        AND COALESCE(s.program, '-') NOT LIKE 'oracle@%(J___)'
      GROUP BY s.sid, s."SERIAL#", s.username, s.machine, s.program)
GROUP BY username, machine, program, adapter, own
"""
_GRANT = (
    "GRANT SELECT_CATALOG_ROLE to the user that rdsca logs in as, or, as the master user, EXEC "
    "rdsadmin.rdsadmin_util.grant_sys_object('V_$SESSION', '<user>', 'SELECT') and the same for "
    "'V_$SESSION_CONNECT_INFO'"
)
_CALIBRATION = (
    "this server gives rdsca's own TLS session the same banner as sessions in clear, so banners do not tell TLS here; "
    + _OTHER_SOURCE
)
_NO_BANNER = "sessions without the banner of a protocol adapter may use TLS; " + _OTHER_SOURCE
_LONGEST_LINE = 16_384


class _Watched:
    """What oracledb takes for its TLS context.

    oracledb would check the name after the handshake, by rules of its own, and switches OpenSSL's check off; the
    context behind this one keeps it on, for the name of the endpoint, also when the way leads through a tunnel.
    """

    check_hostname = False

    def __init__(self, target: Target) -> None:
        self._target = target

    def wrap_socket(self, sock: Any, server_hostname: str | None = None) -> ssl.SSLSocket:  # noqa: ARG002  its words
        """Do the handshake on a socket that the caller's watchdog can close."""
        sock.settimeout(self._target.timeout)  # oracledb waits without end
        tls = self._target.context.wrap_socket(sock, server_hostname=self._target.host, do_handshake_on_connect=False)
        self._target.opened.append(tls)
        tls.do_handshake()
        return tls


def connect(target: Target) -> Any:
    """Log in over TCPS that is verified, name included, before anything of the password is sent.

    Raises ``Unreachable`` with the driver's reason, or when the driver is missing.
    """
    try:
        import oracledb
    except ImportError:
        raise Unreachable(
            "the driver for Oracle is not installed", 'install it with: pip install "rdsca[oracle]"'
        ) from None
    try:
        connection = oracledb.connect(
            user=target.user,
            password=target.password.reveal(),
            host=target.address[0],
            port=target.address[1],
            protocol="tcps",
            service_name=target.database or "ORCL",  # RDS's own name for a database that was given none
            ssl_context=_Watched(target),
            ssl_server_dn_match=False,
            retry_count=0,
            tcp_connect_timeout=target.timeout,
            program=PROGRAM,
        )
    except oracledb.Error as e:
        raise Unreachable(target.password.redact(_reason(e))) from None
    connection.call_timeout = int(target.timeout * 1000)
    return connection


def _reason(error: Exception) -> str:
    """Give the line of the driver's text that says why: the last one that is no link to a manual."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Help:")]
    return re.sub(r" \(CONNECTION_ID=[^)]*\)", "", lines[-1]) if lines else type(error).__name__


def census(connection: Any) -> Census:
    """Ask the session views who is connected (Database Reference, "V$SESSION_CONNECT_INFO").

    Without the privilege they do not exist (ORA-00942).
    """
    import oracledb

    with connection.cursor() as cursor:
        try:
            cursor.execute(_SESSIONS)
        except oracledb.DatabaseError as e:
            if getattr(e.args[0], "code", 0) in (942, 1031):
                return Census("none", Confidence.NONE, (), _GRANT)
            raise
        return census_of(cursor.fetchall())


def census_of(rows: Sequence[tuple[Any, ...]]) -> Census:
    """Judge rows of user, machine, program, adapter banner, own or not, and count.

    A TCP adapter means no TLS, and Oracle's native network encryption (NNE) does not make it TLS. How a TLS session
    shows differs: by an adapter of its own, or by none at all. So rdsca's own session, which is one, is the measure:
    if it shows as one in clear, nobody can be told to be in clear. A session without an adapter is unknown.
    """
    own = [adapter for _, _, _, adapter, is_own, _ in rows if is_own]
    telling = bool(own) and _is_tls(own[0]) is not False

    def tls(adapter: str | None) -> bool | None:
        seen = _is_tls(adapter)
        return seen if seen or telling else None

    clients = tuple(
        Client(user=user, host=machine or "", program=program or "", tls=tls(adapter), count=int(count))
        for user, machine, program, adapter, is_own, count in rows
        if not is_own and program != PROGRAM
    )
    if not telling:
        return Census(_SOURCE, Confidence.PARTIAL, clients, _CALIBRATION)
    if any(client.tls is None for client in clients):
        return Census(_SOURCE, Confidence.PARTIAL, clients, _NO_BANNER)
    return Census(_SOURCE, Confidence.FULL, clients)


def _is_tls(adapter: str | None) -> bool | None:
    if not adapter:
        return None
    return bool(re.search(r"\b(SSL|TLS|TCPS|Secure Sockets)\b", adapter, re.IGNORECASE))


def by_settings(settings: Mapping[str, str]) -> Census | None:
    """Say that nobody uses TLS where the option group has no SSL option; else leave it to the login.

    Without the option there is no port that speaks TLS, and NNE, which may still encrypt, uses no certificate (RDS
    guide, "Oracle Secure Sockets Layer"). One row stands for all clients, and its count means nothing.
    """
    port = settings.get("SSL")
    if port is None:
        client = Client(user=EVERYBODY, host="", tls=False)
        return Census("option group without the SSL option, which counts nobody", Confidence.FULL, (client,))
    if port == UNKNOWN:
        remedy = "RDS is changing its options, so whether it has TLS cannot be told; ask again when they are in-sync"
        return Census("none", Confidence.NONE, (), remedy)
    return None


def tls_port(settings: Mapping[str, str]) -> int:
    """Give the port of the SSL option; raises ``Unreachable`` where there is none."""
    port = settings.get("SSL", "")
    if not port.isdecimal():
        raise Unreachable("no port with TLS is known: its option group has no SSL option, or is being changed")
    return int(port)


def starttls(channel: Channel) -> Channel:
    """Give the channel as it is: on the port of the SSL option, TLS begins with the first byte."""
    return channel


def log_clients(text: str) -> tuple[Client, ...]:
    """Read off a listener log who has connected, over TLS or not: short sessions too, ended ones too.

    The user is the one of the operating system on the client's side; the listener does not know the database's. Left
    out: refused connections, RDS's own agent (127.0.0.1), rdsca itself, and lines that are not understood. Source:
    RDS guide, "Accessing Oracle listener logs"; Net Services guide, "Listener log audit trail".
    """
    counts = Counter(client for line in text.splitlines() for client in _connected(line))
    return tuple(
        Client(user=user, host=host, program=program, tls=tls, count=count)
        for (user, host, program, tls), count in counts.items()
    )


def _connected(line: str) -> Iterator[tuple[str, str, str, bool]]:
    """Give the client of a line such as `24-NOV-2026 10:00:00 * (CONNECT_DATA=…) * (ADDRESS=…) * establish * ORCL * 0`.

    What the client itself has written stands further left, so the line is taken apart from the right.
    """
    if len(line) > _LONGEST_LINE:
        return
    parts = line.rstrip().rsplit(" * ", 4)
    if len(parts) != 5 or parts[2] != "establish" or parts[4] != "0":
        return
    address = re.fullmatch(r"\(ADDRESS=\(PROTOCOL=(tcps?)\)\(HOST=([^()]+)\)\(PORT=\d+\)\)", parts[1], re.IGNORECASE)
    if not address or address[2] in ("127.0.0.1", "::1"):
        return
    program, host_and_user = _between(parts[0], "(PROGRAM=", ")(HOST=")
    if program == PROGRAM:
        return
    user, _ = _between(host_and_user, ")(USER=", ")")
    yield user, address[2], program, address[1].lower() == "tcps"


def _between(text: str, start: str, end: str) -> tuple[str, str]:
    """Give what stands between *start* and *end*, and what follows; a program's path may hold parentheses."""
    _, _, rest = text.partition(start)
    found, _, rest = rest.partition(end)
    return found, rest


ENGINE = Engine(
    name="oracle",
    rds_names=("oracle-ee", "oracle-se2", "oracle-ee-cdb", "oracle-se2-cdb"),
    port=1521,
    connect=connect,
    census=census,
    starttls=starttls,
    extra="oracle",
    settings=("SSL",),
    settings_in="option_group",
    by_settings=by_settings,
    tls_port=tls_port,
    log_clients=log_clients,
    log="listener",
)

"""Database drivers: how each verifies with a trust store, what its settings really do, and what must restart. Pure.

"Measured" below means: run against real servers with a right, an old and a wrong store, and under a wrong name.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UsageError

VERIFIES = ("none", "encrypt", "ca", "full", "unknown")

Settings = Mapping[str, Any]  # keys in lower case, with "_" between words
Judged = tuple[str, str]


@dataclass(frozen=True)
class Driver:
    """A driver: the family of its TLS library, the store *formats* it reads, and what is known of its settings.

    *lines* verify chain and name, once STORE and HOST in them are filled in; *quote* writes a path as their language
    has it. *restart* says what has to restart for a changed store to count.
    """

    name: str
    family: str
    formats: tuple[str, ...]
    lines: tuple[str, ...]
    quote: Callable[[str], str]
    judge: Callable[[Settings], Judged]
    restart: str
    traps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """What to write into a client so that it verifies chain and name with a store, and what to look out for."""

    driver: str
    family: str
    formats: tuple[str, ...]
    lines: tuple[str, ...]
    traps: tuple[str, ...]
    restart: str


def driver(name: str) -> Driver:
    """Give the driver called *name*; raises ``UsageError`` that names the known ones."""
    try:
        return DRIVERS[name]
    except KeyError:
        raise UsageError(f"there is no driver {name!r} here", f"known are {', '.join(DRIVERS)}") from None


def advice(name: str, store_path: str, host: str) -> Advice:
    """Give the lines with which the driver called *name* verifies *host* with the store at *store_path*.

    Both are quoted for the line's language; a path with control characters, or a host that is none, is refused.
    """
    found = driver(name)
    if not store_path or not store_path.isprintable():
        raise UsageError(f"the store's path {store_path!r} is empty or holds control characters", "rename the file")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host):
        raise UsageError(f"{host!r} is no host name", "give the endpoint as RDS names it")
    words = {"STORE": found.quote(store_path), "HOST": host}
    lines = tuple(re.sub(r"\b(STORE|HOST)\b", lambda word: words[word[0]], line) for line in found.lines)
    return Advice(name, found.family, found.formats, lines, found.traps, found.restart)


def judge_settings(name: str, settings: Mapping[str, Any]) -> Judged:
    """Say what a client verifies with *settings*, as its driver spells them: one of ``VERIFIES``, and why.

    "none": no TLS, or not always; "encrypt": TLS, and any certificate will do; "ca": the chain, not the name;
    "full": both. What was neither measured nor is documented is "unknown".
    """
    return driver(name).judge(_normal(settings))


def _normal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Spell keys alike, for drivers take ``ssl-ca`` and ``ssl_ca``, ``sslMode`` and ``sslmode``."""
    return {
        re.sub(r"[- ]", "_", str(key).strip().lower()): _normal(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }


def _word(settings: Settings, key: str, default: str = "") -> str:
    return str(settings.get(key, default)).strip().lower()


def _yes(settings: Settings, key: str) -> bool:
    return _word(settings, key) in ("true", "yes", "1", "on", "mandatory")


def _no(settings: Settings, key: str) -> bool:
    return _word(settings, key) in ("false", "no", "0", "off", "optional")


def _looked_up(words: Mapping[str, Judged], word: str, key: str) -> Judged:
    return words.get(word, ("unknown", f"{key}={word} was not measured and is not documented"))


# What settings do


def _libpq(settings: Settings) -> Judged:
    mode, root = _word(settings, "sslmode", "prefer"), _word(settings, "sslrootcert")
    if root == "system":
        return "full", "sslrootcert=system reads the system's CAs, not this store; RDS roots are not among them"
    if mode == "require":
        if root:
            return "ca", "sslmode=require acts as verify-ca when the root file is there; the name is not checked"
        return "unknown", "sslmode=require verifies as soon as ~/.postgresql/root.crt is there, and not without it"
    words = {
        "disable": ("none", "sslmode=disable: plain text"),
        "allow": ("none", "sslmode=allow: plain text unless the server demands TLS"),
        "prefer": ("encrypt", "sslmode=prefer: with a store that lacks the root it goes on in plain text, silently"),
        "verify-ca": ("ca", "sslmode=verify-ca: the chain is verified, the name is not"),
        "verify-full": ("full", "sslmode=verify-full: chain and name are verified"),
    }
    return _looked_up(words, mode, "sslmode")


def _pymysql(settings: Settings) -> Judged:
    tls = settings.get("ssl")
    if _yes(settings, "ssl_disabled"):
        return "none", "ssl_disabled: plain text"
    if isinstance(tls, Mapping) and tls:
        if _word(tls, "verify_mode") in ("none", "cert_none", "false", "0"):
            return "encrypt", "ssl={'verify_mode': none}: TLS, not verified"
        if not (tls.get("ca") or tls.get("capath")):
            return "encrypt", "ssl without a ca: TLS, not verified"
        if _no(tls, "check_hostname"):
            return "ca", "ssl={'ca': …, 'check_hostname': False}: the chain is verified, the name is not"
        return "full", "ssl={'ca': …}: chain and name are verified"
    if _yes(settings, "ssl_verify_identity"):
        return "full", "ssl_verify_identity: chain and name are verified"
    if _yes(settings, "ssl_verify_cert"):
        return "ca", "ssl_verify_cert: the chain is verified, the name is not"
    if settings.get("ssl_ca"):
        return "encrypt", "ssl_ca alone verifies nothing; add ssl_verify_cert and ssl_verify_identity"
    return "encrypt", "no ssl arguments: TLS, not verified"


def _connector_python(settings: Settings) -> Judged:
    if _yes(settings, "ssl_disabled"):
        return "none", "ssl_disabled: plain text"
    if _yes(settings, "ssl_verify_identity"):
        return "full", "ssl_verify_identity: chain and name are verified"
    if _yes(settings, "ssl_verify_cert"):
        return "ca", "ssl_verify_cert: the chain is verified, the name is not"
    if _no(settings, "use_pure") and settings.get("ssl_ca"):
        return "unknown", "what the C extension does with ssl_ca alone was not measured"
    return "encrypt", "without ssl_verify_cert nothing is verified, with ssl_ca or not"


_MYSQL_MODES: Mapping[str, Judged] = {
    # MySQL Reference Manual, "Command Options for Encrypted Connections"; Connector/J has the same words.
    "disabled": ("none", "DISABLED: plain text"),
    "preferred": ("encrypt", "PREFERRED: TLS if there is any, not verified"),
    "required": ("encrypt", "REQUIRED: TLS, not verified"),
    "verify_ca": ("ca", "VERIFY_CA: the chain is verified, the name is not"),
    "verify_identity": ("full", "VERIFY_IDENTITY: chain and name are verified"),
}


def _mysql_client(settings: Settings) -> Judged:
    if "ssl_mode" not in settings and settings.get("ssl_ca"):
        return "unknown", "what ssl-ca without ssl-mode verifies was not measured; set ssl-mode=VERIFY_IDENTITY"
    return _looked_up(_MYSQL_MODES, _word(settings, "ssl_mode", "preferred"), "ssl-mode")


def _mariadb_client(settings: Settings) -> Judged:
    if _yes(settings, "skip_ssl") or _no(settings, "ssl"):
        return "none", "plain text"
    if _yes(settings, "ssl_verify_server_cert"):
        return "full", "ssl-verify-server-cert: chain and name are verified"
    if settings.get("ssl_ca"):
        return "ca", "ssl-ca alone verifies the chain, without ssl-verify-server-cert not the name"
    return "unknown", "without ssl-ca it depends on the client's version: from 11.4 on it verifies"


def _node_postgres(settings: Settings) -> Judged:
    mode, tls = _word(settings, "sslmode"), settings.get("ssl")
    if mode == "disable":
        return "none", "sslmode=disable: plain text"
    if mode == "no-verify" or tls == "no-verify":
        return "encrypt", "no-verify: TLS, not verified"
    if mode and _yes(settings, "uselibpqcompat"):
        if mode == "require" and not settings.get("sslrootcert"):
            return "encrypt", "uselibpqcompat with sslmode=require and no sslrootcert: TLS, not verified"
        return _libpq(settings)
    if mode in ("prefer", "require", "verify-ca", "verify-full"):
        return "full", f"sslmode={mode} verifies chain and name in node-postgres, unlike in libpq"
    if mode:
        return "unknown", f"sslmode={mode} was not measured and is not documented"
    if isinstance(tls, Mapping) and _no(tls, "rejectunauthorized"):
        return "encrypt", "rejectUnauthorized: false: TLS, not verified"
    if isinstance(tls, Mapping) or _yes(settings, "ssl"):
        return "full", "ssl: chain and name are verified"
    return "none", "no ssl: plain text"


def _mysql2(settings: Settings) -> Judged:
    tls = settings.get("ssl")
    if isinstance(tls, str) and tls:
        return "ca", f"ssl: {tls!r} is a list of CAs inside the package, not this store; the name is not checked"
    if not isinstance(tls, Mapping):
        return "none", "no ssl: plain text"
    if _no(tls, "rejectunauthorized"):
        return "encrypt", "rejectUnauthorized: false: TLS, not verified, whatever verifyIdentity says"
    if _yes(tls, "verifyidentity"):
        return "full", "verifyIdentity: chain and name are verified"
    return "ca", "without verifyIdentity: true the chain is verified, the name is not"


def _pgjdbc(settings: Settings) -> Judged:
    mode = _word(settings, "sslmode") or ("verify-full" if _yes(settings, "ssl") else "prefer")
    factory = _word(settings, "sslfactory").rpartition(".")[2]
    if mode in ("disable", "allow"):
        return "none", f"sslmode={mode}: plain text"
    if factory == "nonvalidatingfactory":
        return "encrypt", "NonValidatingFactory: any certificate will do"
    if mode == "verify-full":
        return "full", "sslmode=verify-full, or ssl=true: chain and name are verified"
    if mode == "verify-ca":
        return "ca", "sslmode=verify-ca: the chain is verified, the name is not"
    if mode in ("prefer", "require"):
        if factory == "defaultjavasslfactory":
            return "ca", "DefaultJavaSSLFactory verifies the chain in every mode; the name only with verify-full"
        if factory:
            return "unknown", f"what {settings['sslfactory']} verifies is not known here"
        return "encrypt", f"sslmode={mode}: TLS, not verified, even with sslrootcert; that is unlike libpq"
    return "unknown", f"sslmode={mode} was not measured and is not documented"


def _connector_j(settings: Settings) -> Judged:
    # MySQL Connector/J Developer Guide, "Setting up Server Authentication".
    if "sslmode" not in settings and (_yes(settings, "usessl") and _yes(settings, "verifyservercertificate")):
        return "ca", "verifyServerCertificate: the chain is verified, the name is not"
    return _looked_up(_MYSQL_MODES, _word(settings, "sslmode", "preferred"), "sslMode")


def _mariadb_connector_j(settings: Settings) -> Judged:
    # MariaDB documentation, "Using TLS/SSL with MariaDB Connector/J", for 3.0 and later.
    words = {
        "disable": ("none", "sslMode=disable, which is the default: plain text"),
        "trust": ("encrypt", "sslMode=trust: TLS, not verified"),
        "verify-ca": ("ca", "sslMode=verify-ca: the chain is verified, the name is not"),
        "verify-full": ("full", "sslMode=verify-full: chain and name are verified"),
    }
    return _looked_up(words, _word(settings, "sslmode", "disable").replace("_", "-"), "sslMode")


def _mariadb_connector_j_2(settings: Settings) -> Judged:
    if not (_yes(settings, "usessl") or _yes(settings, "ssl")):
        return "none", "without useSsl=true, plain text; 2.x passes over sslMode without a word"
    if _yes(settings, "trustservercertificate"):
        return "encrypt", "trustServerCertificate: TLS, not verified"
    if _yes(settings, "disablesslhostnameverification"):
        return "ca", "disableSslHostnameVerification: the chain is verified, the name is not"
    return "full", "useSsl: chain and name are verified"


def _mssql_jdbc(settings: Settings) -> Judged:
    # Microsoft Learn, "Connecting with encryption" (JDBC).
    encrypt = _word(settings, "encrypt")
    if not encrypt:
        return "unknown", "encrypt is true by default from version 10.2 on, false before"
    if encrypt != "strict" and not _yes(settings, "encrypt"):
        return "unknown", f"encrypt={encrypt}: no TLS unless the server forces it"
    if encrypt != "strict" and _yes(settings, "trustservercertificate"):
        return "encrypt", "trustServerCertificate=true: TLS, not verified"
    return "full", "encrypt without trustServerCertificate: chain and name are verified"


def _odbc(settings: Settings) -> Judged:
    encrypt = _word(settings, "encrypt", "yes")
    if encrypt == "strict":
        return "full", "Encrypt=strict: chain and name are verified"
    if _no(settings, "encrypt"):
        return "none", "Encrypt=no: plain text, but where the server forces TLS it verifies all the same"
    if not (_yes(settings, "encrypt") or encrypt == "yes"):
        return "unknown", f"Encrypt={encrypt} was not measured and is not documented"
    if _yes(settings, "trustservercertificate"):
        return "encrypt", "TrustServerCertificate=yes: TLS, not verified"
    return "full", "Encrypt=yes without TrustServerCertificate: chain and name are verified"


def _pymssql(settings: Settings) -> Judged:
    hostname = _yes(settings, "check_certificate_hostname")
    if settings.get("ca_file"):
        if hostname:
            return "full", "'ca file' and 'check certificate hostname' in freetds.conf: chain and name are verified"
        return "unknown", "'ca file' without 'check certificate hostname' was not measured"
    if _word(settings, "encryption") == "require":
        return "encrypt", "encryption='require': TLS, never verified without 'ca file' in freetds.conf"
    return "none", "plain text after the login unless the server forces TLS; never verified"


def _python_tds(settings: Settings) -> Judged:
    if not settings.get("cafile"):
        return "none", "without cafile, plain text; a server that forces TLS is refused"
    if _yes(settings, "enc_login_only"):
        return "none", "enc_login_only: plain text after the login"
    if _no(settings, "validate_host"):
        return "ca", "validate_host=False: the chain is verified, the name is not"
    return "full", "cafile: chain and name are verified"


def _tcps(settings: Settings) -> bool | None:
    """Tell whether an Oracle client asks for TLS; ``None`` when its settings do not say."""
    text = _word(settings, "protocol") + " " + _word(settings, "dsn")
    if "tcps" in text:
        return True
    return False if re.search(r"\btcp\b", text) else None


def _oracledb(settings: Settings) -> Judged:
    tcps = _tcps(settings)
    if tcps is None:
        return "unknown", "neither protocol nor dsn says tcp or tcps"
    if not tcps:
        return "none", "protocol tcp: plain text"
    if _no(settings, "ssl_server_dn_match"):
        return "ca", "ssl_server_dn_match=False: the chain is verified, the name is not"
    return "full", "tcps: chain and name are verified"


def _oracle_jdbc(settings: Settings) -> Judged:
    # Amazon RDS User Guide, "Setting up an SSL connection over JDBC" and "Enforcing a DN match with an SSL connection".
    judged = _oracledb({**settings, "ssl_server_dn_match": settings.get("oracle.net.ssl_server_dn_match", "")})
    if judged[0] == "full" and not _yes(settings, "oracle.net.ssl_server_dn_match"):
        return "ca", "the name is checked only with oracle.net.ssl_server_dn_match=true"
    return judged


def _pymongo(settings: Settings) -> Judged:
    # PyMongo documentation, "Configure Transport Layer Security (TLS)".
    if not (_yes(settings, "tls") or _yes(settings, "ssl") or settings.get("tlscafile")):
        return "none", "without tls, plain text"
    if _yes(settings, "tlsinsecure") or _yes(settings, "tlsallowinvalidcertificates"):
        return "encrypt", "tlsInsecure or tlsAllowInvalidCertificates: TLS, not verified"
    if _yes(settings, "tlsallowinvalidhostnames"):
        return "ca", "tlsAllowInvalidHostnames: the chain is verified, the name is not"
    return "full", "tls: chain and name are verified"


def _curl(settings: Settings) -> Judged:
    if _yes(settings, "insecure"):
        return "encrypt", "--insecure: TLS, not verified"
    return "full", "curl verifies chain and name"


# The lines that verify: STORE and HOST stand for the store's path, quoted for the language, and the endpoint's name


def _literal(value: str) -> str:
    """Quote for JavaScript and Java: both read JSON's escapes; ASCII, so that no source encoding matters."""
    return json.dumps(value)


def _conf(value: str) -> str:
    """Quote for freetds.conf, which cannot."""
    if re.search(r"[;#]|^\s|\s$", value):
        raise UsageError(f"freetds.conf cannot name {value!r}: it takes ; and # as comments", "rename the file")
    return value


_NEXT_CONNECTION = "nothing: the file is read for each new connection; pools hold old ones until they are recycled"
_PROCESS = "the process: the store is read once, when it starts"
_JVM = "the Java process: the store is read once"
_NODE_TRAPS = (
    "a certificate that cannot be read in ca is passed over without an error",
    "NODE_EXTRA_CA_CERTS is read when the process starts, and has no effect where ca is given",
    "AWS Lambda: Node 18 loaded Amazon's CAs by itself, Node 20 and later do not without "
    "NODE_EXTRA_CA_CERTS=/var/runtime/ca-cert.pem",
)
_JAVA_TRAPS = (
    "-Djavax.net.ssl.trustStore replaces Java's own CAs for the whole process: with RDS roots alone, its other TLS "
    "calls fail; use the driver's own setting",
    "a PKCS#12 made by openssl or by a plain export holds no trusted entry for Java",
    "keytool -importcert takes only the first certificate of a bundle",
)
_LIBPQ_TRAPS = (
    "sslmode=require verifies as soon as a root file is there, by default ~/.postgresql/root.crt",
    "sslmode=prefer with a store that lacks the root goes on in plain text, silently",
)
_ODBC_TRAPS = (
    "SSL_CERT_FILE replaces the system's CAs for all of the process: with RDS roots alone, its other TLS calls fail",
    "Encrypt=no verifies all the same, and fails, where the server forces TLS (rds.force_ssl)",
)
_PEM = ("pem", "kubernetes")
_KEYSTORE = ("jks", "pkcs12")

DRIVERS: Mapping[str, Driver] = {
    d.name: d
    for d in (
        Driver(
            "psycopg2",
            "openssl",
            _PEM,
            ("psycopg2.connect(host='HOST', sslmode='verify-full', sslrootcert=STORE, **login)",),
            repr,
            _libpq,
            _NEXT_CONNECTION,
            (*_LIBPQ_TRAPS, "psycopg2-binary with sslrootcert=system always fails: its OpenSSL looks elsewhere"),
        ),
        Driver(
            "psycopg",
            "openssl",
            _PEM,
            ("psycopg.connect(host='HOST', sslmode='verify-full', sslrootcert=STORE, **login)",),
            repr,
            _libpq,
            _NEXT_CONNECTION,
            _LIBPQ_TRAPS,
        ),
        Driver(
            "libpq",
            "openssl",
            _PEM,
            ("export PGHOST=HOST PGSSLMODE=verify-full PGSSLROOTCERT=STORE",),
            shlex.quote,
            _libpq,
            _NEXT_CONNECTION,
            (*_LIBPQ_TRAPS, "these variables count only where the connection string does not say otherwise"),
        ),
        Driver(
            "psql",
            "openssl",
            _PEM,
            ("PGSSLMODE=verify-full PGSSLROOTCERT=STORE psql -h HOST",),
            shlex.quote,
            _libpq,
            _NEXT_CONNECTION,
            _LIBPQ_TRAPS,
        ),
        Driver(
            "pymysql",
            "openssl",
            _PEM,
            ("pymysql.connect(host='HOST', ssl={'ca': STORE}, **login)",),
            repr,
            _pymysql,
            _NEXT_CONNECTION,
            ("ssl_ca alone verifies nothing; it takes ssl_verify_cert=True and ssl_verify_identity=True as well",),
        ),
        Driver(
            "mysql-connector-python",
            "openssl",
            _PEM,
            (
                "mysql.connector.connect(host='HOST', ssl_ca=STORE, ssl_verify_cert=True, "
                "ssl_verify_identity=True, **login)",
            ),
            repr,
            _connector_python,
            _NEXT_CONNECTION,
            ("ssl_ca alone verifies nothing", "the system's CAs are trusted beside ssl_ca"),
        ),
        Driver(
            "mysql",
            "openssl",
            _PEM,
            ("mysql --ssl-mode=VERIFY_IDENTITY --ssl-ca=STORE -h HOST",),
            shlex.quote,
            _mysql_client,
            _NEXT_CONNECTION,
            ("on Debian the program called mysql is MariaDB's, which has no --ssl-mode",),
        ),
        Driver(
            "mariadb",
            "openssl",
            _PEM,
            ("mariadb --ssl-verify-server-cert --ssl-ca=STORE -h HOST",),
            shlex.quote,
            _mariadb_client,
            _NEXT_CONNECTION,
            ("--ssl-ca alone verifies the chain already, but not the name",),
        ),
        Driver(
            "node-postgres",
            "openssl",
            _PEM,
            ('new pg.Client({ host: "HOST", ssl: { ca: fs.readFileSync(STORE) }, ...login })',),
            _literal,
            _node_postgres,
            _PROCESS,
            (
                "sslmode or sslrootcert in a connection string replace the ssl object whole",
                "sslmode=require verifies chain and name here; it warns that a later version will do as libpq does",
                *_NODE_TRAPS,
            ),
        ),
        Driver(
            "mysql2",
            "openssl",
            _PEM,
            (
                'mysql.createConnection({ host: "HOST", '
                "ssl: { ca: fs.readFileSync(STORE), verifyIdentity: true }, ...login })",
            ),
            _literal,
            _mysql2,
            _PROCESS,
            (
                "without verifyIdentity: true the name is not checked",
                "ssl: 'Amazon RDS' is a copy inside the package, which ages with it",
                *_NODE_TRAPS,
            ),
        ),
        Driver(
            "pgjdbc",
            "java",
            ("pem",),
            (
                'login.setProperty("sslmode", "verify-full");',
                'login.setProperty("sslrootcert", STORE);',
                'DriverManager.getConnection("jdbc:postgresql://HOST/app", login);',
            ),
            _literal,
            _pgjdbc,
            _NEXT_CONNECTION,
            (
                "sslrootcert is a PEM file; a keystore is refused",
                "sslmode=require does not verify, even with sslrootcert; that is unlike libpq",
                "without sslrootcert it reads ~/.postgresql/root.crt; javax.net.ssl.trustStore counts only with "
                "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory",
            ),
        ),
        Driver(
            "mysql-connector-j",
            "java",
            _KEYSTORE,
            (
                'login.setProperty("sslMode", "VERIFY_IDENTITY");',
                'login.setProperty("trustCertificateKeyStoreUrl", Path.of(STORE).toUri().toString());',
                'login.setProperty("trustCertificateKeyStorePassword", System.getenv("STORE_PASSWORD"));',
                'DriverManager.getConnection("jdbc:mysql://HOST/app", login);',
            ),
            _literal,
            _connector_j,
            _JVM,
            ("PREFERRED and REQUIRED verify nothing, even with a store", *_JAVA_TRAPS),
        ),
        Driver(
            "mariadb-connector-j",
            "java",
            ("pem", *_KEYSTORE),
            (
                'login.setProperty("sslMode", "verify-full");',
                'login.setProperty("serverSslCert", STORE);',
                'DriverManager.getConnection("jdbc:mariadb://HOST/app", login);',
            ),
            _literal,
            _mariadb_connector_j,
            _JVM,
            ("version 2.x passes over sslMode without a word and goes on in plain text", *_JAVA_TRAPS),
        ),
        Driver(
            "mariadb-connector-j-2",
            "java",
            ("pem", *_KEYSTORE),
            (
                'login.setProperty("useSsl", "true");',
                'login.setProperty("serverSslCert", STORE);',
                'DriverManager.getConnection("jdbc:mariadb://HOST/app", login);',
            ),
            _literal,
            _mariadb_connector_j_2,
            _JVM,
            (
                "sslMode is passed over without a word, and the session goes on in plain text",
                "serverSslCert is a PEM file; a keystore goes with trustStore and trustStorePassword",
                *_JAVA_TRAPS,
            ),
        ),
        Driver(
            "mssql-jdbc",
            "java",
            _KEYSTORE,
            (
                'login.setProperty("encrypt", "true");',
                'login.setProperty("trustServerCertificate", "false");',
                'login.setProperty("trustStore", STORE);',
                'login.setProperty("trustStorePassword", System.getenv("STORE_PASSWORD"));',
                'DriverManager.getConnection("jdbc:sqlserver://HOST", login);',
            ),
            _literal,
            _mssql_jdbc,
            _JVM,
            ("trustServerCertificate=true verifies nothing", *_JAVA_TRAPS),
        ),
        Driver(
            "pymssql",
            "openssl",
            _PEM,
            ("[HOST]", "host = HOST", "encryption = require", "ca file = STORE", "check certificate hostname = yes"),
            _conf,
            _pymssql,
            _NEXT_CONNECTION,
            (
                "the lines go into freetds.conf; pymssql has no setting for a store, and without them never verifies",
                "a certificate that is refused shows as a bare error 20002",
            ),
        ),
        Driver(
            "python-tds",
            "openssl",
            _PEM,
            ("pytds.connect('HOST', cafile=STORE, validate_host=True, **login)",),
            repr,
            _python_tds,
            _NEXT_CONNECTION,
            ("without cafile there is no TLS at all", "pyOpenSSL must be installed"),
        ),
        Driver(
            "mssql-odbc",
            "openssl",
            _PEM,
            (
                "export SSL_CERT_FILE=STORE",
                "isql -k 'Driver={ODBC Driver 18 for SQL Server};Server=tcp:HOST;"
                "Encrypt=yes;TrustServerCertificate=no;'",
            ),
            shlex.quote,
            _odbc,
            _PROCESS,
            _ODBC_TRAPS,
        ),
        Driver(
            "mssql-python",
            "openssl",
            _PEM,
            (
                "os.environ['SSL_CERT_FILE'] = STORE  # before the first connection",
                "mssql_python.connect('Server=tcp:HOST;Encrypt=yes;TrustServerCertificate=no;', **login)",
            ),
            repr,
            _odbc,
            _PROCESS,
            _ODBC_TRAPS,
        ),
        Driver(
            "oracledb",
            "openssl",
            _PEM,
            (
                "oracledb.connect(host='HOST', protocol='tcps', wallet_location=os.path.dirname(STORE), "
                "ssl_server_dn_match=True, **login)",
            ),
            repr,
            _oracledb,
            _NEXT_CONNECTION,
            ("the file must be called ewallet.pem", "TLS has a port of its own on RDS, by default 2484"),
        ),
        Driver(
            "oracle-jdbc",
            "java",
            _KEYSTORE,
            (
                'login.setProperty("javax.net.ssl.trustStore", STORE);',
                'login.setProperty("javax.net.ssl.trustStorePassword", System.getenv("STORE_PASSWORD"));',
                'login.setProperty("oracle.net.ssl_server_dn_match", "true");',
                'DriverManager.getConnection("jdbc:oracle:thin:@tcps://HOST:2484/ORCL", login);',
            ),
            _literal,
            _oracle_jdbc,
            _JVM,
            ("the name is checked only with oracle.net.ssl_server_dn_match=true", *_JAVA_TRAPS),
        ),
        Driver(
            "pymongo",
            "openssl",
            _PEM,
            ("pymongo.MongoClient('HOST', tls=True, tlsCAFile=STORE, retryWrites=False, **login)",),
            repr,
            _pymongo,
            "the client object, which reads the store when it is made; in most applications that is the process",
            ("tlsAllowInvalidCertificates=True verifies nothing",),
        ),
        Driver(
            "curl",
            "openssl-partial",
            _PEM,
            ("curl -sv --cacert STORE https://HOST:PORT/",),
            shlex.quote,
            _curl,
            "nothing: the file is read by each command",
            (
                "a check only, of servers that begin with TLS; PostgreSQL and MySQL do not",
                "curl takes a pinned subordinate or leaf as an anchor, which most drivers do not",
            ),
        ),
    )
}

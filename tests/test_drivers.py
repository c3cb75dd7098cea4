"""Advice by driver, and what settings really verify: judged by the drivers themselves, on real servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest
from practice import NAME, NEW, OLD, PASSWORDS, REGION, prepared
from wire import certificates, program, serving

from rdsca_helpers.drivers import DRIVERS, VERIFIES, advice, driver, judge_settings
from rdsca_helpers.errors import UsageError
from rdsca_helpers.lab.pki import Pki, Served
from rdsca_helpers.lab.servers import Server
from rdsca_helpers.trust import family

ODD = 'it\'s a "store" $(touch oops) `x` {é} \\n STORE HOST'


def issued(pki: Pki, *names: str) -> Served:
    now = datetime.now(UTC)
    return pki.issue(REGION, NEW, list(names), now - timedelta(days=5), now + timedelta(days=90))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Path:
    """A folder with a name that no quoting forgets, and in it a store with the root and one with the old root."""
    made = tmp_path_factory.mktemp("drivers") / ODD
    made.mkdir()
    (made / "new.pem").write_text(pki.root_pem(REGION, NEW))
    (made / "old.pem").write_text(pki.root_pem(REGION, OLD))
    return made


@pytest.fixture(scope="module")
def postgres(templates: Path, pki: Pki) -> Iterator[Server]:
    server = prepared("postgres", templates)
    server.start(issued(pki, NAME, "localhost"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mariadb(templates: Path, pki: Pki) -> Iterator[Server]:
    server = prepared("mariadb", templates)
    server.start(issued(pki, NAME, "localhost"))
    yield server
    server.stop()


def seen(log_in: Callable[[Path], str], server: Server, folder: Path, pki: Pki) -> str:
    """Find out what a client verifies: *log_in* with a store says "TLS", "plain" or "refused"."""
    server.serve(issued(pki, NAME, "localhost"))
    good, lacking = log_in(folder / "new.pem"), log_in(folder / "old.pem")
    server.serve(issued(pki, "elsewhere.example.org"))
    elsewhere = log_in(folder / "new.pem")
    return {
        ("plain", "plain", "plain"): "none",
        ("TLS", "TLS", "TLS"): "encrypt",
        ("TLS", "plain", "TLS"): "encrypt",
        ("TLS", "refused", "TLS"): "ca",
        ("TLS", "refused", "refused"): "full",
    }[good, lacking, elsewhere]


def psycopg(server: Server, **settings: Any) -> str:
    usual = {"host": NAME, "hostaddr": "127.0.0.1", "port": server.port, "user": "app", "password": PASSWORDS["app"]}
    try:
        session = psycopg2.connect(**usual, dbname="app", connect_timeout=20, gssencmode="disable", **settings)
    except psycopg2.OperationalError as e:
        return "refused" if "certificate" in str(e) else str(e)
    with session:
        tls = bool(session.info.ssl_in_use)
    session.close()
    return "TLS" if tls else "plain"


def mysql(server: Server, **settings: Any) -> str:
    usual = {"host": "localhost", "port": server.port, "user": "app", "password": PASSWORDS["app"], "database": "app"}
    try:
        session = pymysql.connect(**usual, **settings)
    except pymysql.OperationalError as e:
        return "refused" if "CERTIFICATE_VERIFY_FAILED" in str(e) else str(e)
    with session, session.cursor() as cursor:
        cursor.execute("show session status like 'Ssl_cipher'")
        return "TLS" if cursor.fetchall()[0][1] else "plain"


# What settings really do


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full", ""])
def test_what_sslmode_is_said_to_verify_is_what_libpq_verifies(
    mode: str, postgres: Server, folder: Path, pki: Pki
) -> None:
    set_mode = {"sslmode": mode} if mode else {}
    real = seen(lambda s: psycopg(postgres, sslrootcert=str(s), **set_mode), postgres, folder, pki)
    for name in ("psycopg2", "psycopg", "libpq", "psql"):
        said, reason = judge_settings(name, {"sslrootcert": str(folder / "new.pem"), **set_mode})
        assert said == real
        assert reason


def test_require_without_a_named_root_file_depends_on_the_home_folder_and_is_unknown(
    postgres: Server, folder: Path, pki: Pki, tmp_path: Path
) -> None:
    home = tmp_path / ".postgresql/root.crt"
    words = [program("psql", "postgresql-client"), "-Xqc", "select 1"]
    where = f"host={NAME} hostaddr=127.0.0.1 port={postgres.port} user=app dbname=app sslmode=require"
    postgres.serve(issued(pki, NAME))
    codes = []
    for held in ("", (folder / "old.pem").read_text()):
        if held:
            home.parent.mkdir()
            home.write_text(held)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PGPASSWORD": PASSWORDS["app"]}
        done = subprocess.run([*words, where], env=env, capture_output=True, check=False, timeout=60)
        codes.append(done.returncode == 0)
    assert codes == [True, False]
    assert judge_settings("psql", {"sslmode": "require"})[0] == "unknown"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ssl_ca": "STORE"},
        {"ssl_ca": "STORE", "ssl_verify_cert": True},
        {"ssl_ca": "STORE", "ssl_verify_identity": True},
        {"ssl_ca": "STORE", "ssl_verify_cert": True, "ssl_verify_identity": True},
        {"ssl": {"ca": "STORE"}},
        {"ssl": {"ca": "STORE", "check_hostname": False}},
        {"ssl": {"ca": "STORE", "check_hostname": False, "verify_mode": "none"}},
        {"ssl": {"check_hostname": True}},
        {"ssl_disabled": True},
    ],
    ids=str,
)
def test_what_pymysql_is_said_to_verify_is_what_it_verifies(
    settings: dict[str, Any], mariadb: Server, folder: Path, pki: Pki
) -> None:
    def filled(value: Any, store: Path) -> Any:
        if isinstance(value, dict):
            return {k: filled(v, store) for k, v in value.items()}
        return str(store) if value == "STORE" else value

    real = seen(lambda s: mysql(mariadb, **filled(settings, s)), mariadb, folder, pki)
    assert judge_settings("pymysql", settings)[0] == real


@pytest.mark.parametrize(
    "settings", [{"ssl-ca": "STORE"}, {"ssl-ca": "STORE", "ssl-verify-server-cert": True}], ids=str
)
def test_what_the_mariadb_program_is_said_to_verify_is_what_it_verifies(
    settings: dict[str, Any], mariadb: Server, folder: Path, pki: Pki
) -> None:
    def log_in(store: Path) -> str:
        options = [f"--{k}={store}" if v == "STORE" else f"--{k}" for k, v in settings.items()]
        words = [program("mariadb", "mariadb-client-core"), "--no-defaults", "--protocol=tcp", "-hlocalhost", "-uapp"]
        return shell_answer([*words, f"-P{mariadb.port}", *options, "-e", "show session status like 'Ssl_cipher'"])

    real = seen(log_in, mariadb, folder, pki)
    assert judge_settings("mariadb", settings)[0] == real
    assert judge_settings("mariadb", {k.replace("-", "_"): v for k, v in settings.items()})[0] == real


def shell_answer(words: list[str], **env: str) -> str:
    """Run a database program that shows its cipher; say "TLS", "plain", "refused", or what else it said."""
    secrets = {"MYSQL_PWD": PASSWORDS["app"], "PGPASSWORD": PASSWORDS["app"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, env={**os.environ, **secrets, **env}, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        return "refused" if "certificate" in done.stderr.lower() else done.stderr
    return "TLS" if "TLS" in done.stdout else "plain"


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("psql", {"sslmode": "sometimes"}, "unknown"),
        ("psycopg2", {"sslrootcert": "system"}, "full"),
        ("mysql", {"ssl-mode": "VERIFY_IDENTITY", "ssl-ca": "x"}, "full"),
        ("mysql", {"ssl_mode": "verify_ca"}, "ca"),
        ("mysql", {"ssl-mode": "REQUIRED", "ssl-ca": "x"}, "encrypt"),
        ("mysql", {"ssl-mode": "DISABLED"}, "none"),
        ("mysql", {"ssl-ca": "x"}, "unknown"),
        ("mysql", {}, "encrypt"),
        ("mariadb", {}, "unknown"),
        ("mariadb", {"skip-ssl": True}, "none"),
        # Measured with Connector/Python 26.10 (pure), pg 8, mysql2 3, pgjdbc 42.5, MariaDB Connector/J 2.7.
        ("mysql-connector-python", {"ssl_ca": "x"}, "encrypt"),
        ("mysql-connector-python", {"ssl_ca": "x", "ssl_verify_cert": True}, "ca"),
        ("mysql-connector-python", {"ssl_ca": "x", "ssl_verify_identity": True}, "full"),
        ("mysql-connector-python", {"ssl_disabled": True}, "none"),
        ("mysql-connector-python", {"ssl_ca": "x", "use_pure": False}, "unknown"),
        ("node-postgres", {}, "none"),
        ("node-postgres", {"ssl": True}, "full"),
        ("node-postgres", {"ssl": {"ca": "x"}}, "full"),
        ("node-postgres", {"ssl": {"ca": "x", "rejectUnauthorized": False}}, "encrypt"),
        ("node-postgres", {"sslmode": "require"}, "full"),
        ("node-postgres", {"sslmode": "require", "ssl": {"rejectUnauthorized": False}}, "full"),
        ("node-postgres", {"sslmode": "no-verify", "ssl": {"ca": "x"}}, "encrypt"),
        ("node-postgres", {"sslmode": "disable", "ssl": {"ca": "x"}}, "none"),
        ("node-postgres", {"sslmode": "require", "uselibpqcompat": "true"}, "encrypt"),
        ("node-postgres", {"sslmode": "require", "uselibpqcompat": "true", "sslrootcert": "x"}, "ca"),
        ("node-postgres", {"sslmode": "prefer", "uselibpqcompat": "true", "sslrootcert": "x"}, "encrypt"),
        ("node-postgres", {"sslmode": "verify-full", "uselibpqcompat": "true", "sslrootcert": "x"}, "full"),
        ("mysql2", {}, "none"),
        ("mysql2", {"ssl": {"ca": "x"}}, "ca"),
        ("mysql2", {"ssl": {}}, "ca"),
        ("mysql2", {"ssl": {"ca": "x", "verifyIdentity": True}}, "full"),
        ("mysql2", {"ssl": {"rejectUnauthorized": False, "verifyIdentity": True}}, "encrypt"),
        ("mysql2", {"ssl": "Amazon RDS"}, "ca"),
        ("pgjdbc", {}, "encrypt"),
        ("pgjdbc", {"ssl": "true"}, "full"),
        ("pgjdbc", {"sslmode": "require", "sslrootcert": "x"}, "encrypt"),
        ("pgjdbc", {"sslmode": "verify-ca", "sslrootcert": "x"}, "ca"),
        ("pgjdbc", {"sslmode": "verify-full"}, "full"),
        ("pgjdbc", {"sslmode": "require", "sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}, "ca"),
        ("pgjdbc", {"sslmode": "verify-full", "sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}, "full"),
        ("pgjdbc", {"ssl": "true", "sslfactory": "org.postgresql.ssl.NonValidatingFactory"}, "encrypt"),
        ("pgjdbc", {"sslmode": "require", "sslfactory": "org.example.Ours"}, "unknown"),
        ("mysql-connector-j", {}, "encrypt"),
        ("mysql-connector-j", {"sslMode": "REQUIRED", "trustCertificateKeyStoreUrl": "x"}, "encrypt"),
        ("mysql-connector-j", {"sslMode": "VERIFY_CA"}, "ca"),
        ("mysql-connector-j", {"sslMode": "VERIFY_IDENTITY"}, "full"),
        ("mysql-connector-j", {"useSSL": True, "verifyServerCertificate": True}, "ca"),
        ("mysql-connector-j", {"sslMode": "x"}, "unknown"),
        ("mariadb-connector-j", {}, "none"),
        ("mariadb-connector-j", {"sslMode": "trust"}, "encrypt"),
        ("mariadb-connector-j", {"sslMode": "verify-full"}, "full"),
        ("mariadb-connector-j-2", {"sslMode": "verify-full"}, "none"),
        ("mariadb-connector-j-2", {"useSsl": True}, "full"),
        ("mariadb-connector-j-2", {"useSsl": True, "trustServerCertificate": True}, "encrypt"),
        ("mariadb-connector-j-2", {"useSsl": True, "disableSslHostnameVerification": True}, "ca"),
        ("mssql-jdbc", {}, "unknown"),
        ("mssql-jdbc", {"encrypt": "true"}, "full"),
        ("mssql-jdbc", {"encrypt": "true", "trustServerCertificate": "true"}, "encrypt"),
        ("mssql-jdbc", {"encrypt": "false"}, "unknown"),
        ("mssql-odbc", {}, "full"),
        ("mssql-odbc", {"Encrypt": "yes", "TrustServerCertificate": "yes"}, "encrypt"),
        ("mssql-odbc", {"Encrypt": True, "TrustServerCertificate": False}, "full"),
        ("mssql-odbc", {"Encrypt": "no"}, "none"),
        ("mssql-odbc", {"Encrypt": "strict"}, "full"),
        ("mssql-odbc", {"Encrypt": "later"}, "unknown"),
        ("mssql-python", {"Encrypt": "no", "TrustServerCertificate": "no"}, "none"),
        ("pymssql", {}, "none"),
        ("pymssql", {"encryption": "require"}, "encrypt"),
        ("pymssql", {"encryption": "require", "ca file": "x", "check certificate hostname": "yes"}, "full"),
        ("pymssql", {"ca file": "x"}, "unknown"),
        ("python-tds", {}, "none"),
        ("python-tds", {"cafile": "x"}, "full"),
        ("python-tds", {"cafile": "x", "validate_host": False}, "ca"),
        ("oracledb", {}, "unknown"),
        ("oracledb", {"protocol": "tcp"}, "none"),
        ("oracledb", {"protocol": "tcps"}, "full"),
        ("oracledb", {"dsn": "tcps://h:2484/orcl", "ssl_server_dn_match": False}, "ca"),
        ("oracle-jdbc", {"protocol": "tcps"}, "ca"),
        ("oracle-jdbc", {"protocol": "tcps", "oracle.net.ssl_server_dn_match": "true"}, "full"),
        ("oracle-jdbc", {}, "unknown"),
        ("pymongo", {}, "none"),
        ("pymongo", {"tls": True, "tlsCAFile": "x"}, "full"),
        ("pymongo", {"tls": True, "tlsAllowInvalidCertificates": True}, "encrypt"),
        ("pymongo", {"tls": True, "tlsAllowInvalidHostnames": True}, "ca"),
        ("curl", {}, "full"),
        ("curl", {"insecure": True}, "encrypt"),
    ],
)
def test_settings_verify_what_was_measured_or_documented(name: str, settings: Mapping[str, Any], expected: str) -> None:
    said, reason = judge_settings(name, settings)
    assert said in VERIFIES
    assert said == expected
    assert reason


# Advice


@pytest.mark.parametrize("name", DRIVERS)
def test_advice_names_store_and_host_and_its_own_settings_are_judged_to_verify_all(name: str) -> None:
    given = advice(name, "/etc/ssl/rds.pem", NAME)
    text = "\n".join(given.lines)
    assert "/etc/ssl" in text
    assert NAME in text
    assert "STORE\n" not in text
    assert family(given.family)
    assert set(given.formats) <= {"pem", "kubernetes", "jks", "pkcs12"}
    assert given.restart
    assert given.traps


@pytest.mark.parametrize(
    ("path", "host"), [("/a\nb", NAME), ("", NAME), ("/a", "h; rm -rf /"), ("/a", ""), ("/a", "-h")]
)
def test_a_path_or_host_that_no_line_could_hold_is_refused(path: str, host: str) -> None:
    with pytest.raises(UsageError):
        advice("psql", path, host)


def test_an_unknown_driver_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"psycopg2, psycopg, .*curl"):
        driver("odbc")


@pytest.mark.parametrize("name", ["psycopg2", "psql", "libpq"])
def test_the_advised_line_for_postgresql_verifies_chain_and_name(
    name: str, postgres: Server, folder: Path, pki: Pki, tmp_path: Path
) -> None:
    def log_in(store: Path) -> str:
        line = advice(name, str(store), NAME).lines[0]
        if name == "psycopg2":
            login = {"hostaddr": "127.0.0.1", "port": postgres.port, "user": "app", "password": PASSWORDS["app"]}
            try:
                session = eval(line, {"psycopg2": psycopg2, "login": {**login, "dbname": "app"}})
            except psycopg2.OperationalError as e:
                return "refused" if "certificate" in str(e) else str(e)
            with closing(session), session.cursor() as cursor:
                cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
                return "TLS" if cursor.fetchone() == (True,) else "plain"
        program("psql", "postgresql-client")
        if name == "libpq":
            line += "; psql"
        line += " -Xqtc \"select case when ssl then 'TLS' end from pg_stat_ssl where pid = pg_backend_pid()\""
        more = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "app", "PGDATABASE": "app"}
        return shell_answer(["sh", "-c", f"cd '{tmp_path}'; {line}"], **more)

    assert seen(log_in, postgres, folder, pki) == "full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["pymysql", "mariadb"])
def test_the_advised_line_for_mysql_and_mariadb_verifies_chain_and_name(
    name: str, mariadb: Server, folder: Path, pki: Pki, tmp_path: Path
) -> None:
    def log_in(store: Path) -> str:
        line = advice(name, str(store), "localhost").lines[0]
        if name == "pymysql":
            login = {"port": mariadb.port, "user": "app", "password": PASSWORDS["app"], "database": "app"}
            try:
                eval(line, {"pymysql": pymysql, "login": login}).close()
            except pymysql.OperationalError as e:
                return "refused" if "CERTIFICATE_VERIFY_FAILED" in str(e) else str(e)
            return "TLS"
        program("mariadb", "mariadb-client-core")
        line = line.replace("mariadb ", "mariadb --no-defaults ", 1) + f" --protocol=tcp -uapp -P{mariadb.port}"
        return shell_answer(["sh", "-c", f"cd '{tmp_path}'; {line} -e \"show session status like 'Ssl_cipher'\""])

    assert seen(log_in, mariadb, folder, pki) == "full"
    assert list(tmp_path.iterdir()) == []


def test_the_advised_line_for_curl_verifies_chain_and_name(folder: Path, pki: Pki, tmp_path: Path) -> None:
    program("curl", "curl")
    answers = []
    for names, store in (((NAME,), "new"), ((NAME,), "old"), (("elsewhere.example.org",), "new")):
        served = issued(pki, *names)
        with serving(served.key_pem, certificates(served.chain_pem), tmp_path) as port:
            line = advice("curl", str(folder / f"{store}.pem"), NAME).lines[0].replace("PORT", str(port))
            resolve = f"--noproxy '*' --resolve {NAME}:{port}:127.0.0.1"
            done = subprocess.run(["sh", "-c", f"{line} {resolve}"], capture_output=True, check=False, timeout=60)
            answers.append(done.returncode)
    assert answers == [0, 60, 60]


@pytest.mark.parametrize("name", ["node-postgres", "mysql2"])
def test_the_ssl_object_advised_for_node_holds_the_store(name: str, folder: Path) -> None:
    line = advice(name, str(folder / "new.pem"), NAME).lines[0]
    script = f"""
      const fs = require('fs'), login = {{}};
      class Client {{ constructor(o) {{ this.o = o; }} }}
      const pg = {{ Client }}, mysql = {{ createConnection: (o) => ({{ o }}) }};
      const made = {line};
      console.log(made.o.host, made.o.ssl.rejectUnauthorized !== false, made.o.ssl.verifyIdentity === true);
      process.stdout.write(made.o.ssl.ca);
    """
    words = [program("node", "nodejs"), "-e", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    first, _, rest = done.stdout.partition("\n")
    assert first == f"{NAME} true {'true' if name == 'mysql2' else 'false'}"
    assert rest == (folder / "new.pem").read_text()


def test_the_lines_advised_for_java_name_the_store_as_java_reads_it(folder: Path, tmp_path: Path) -> None:
    lines = [line for name in DRIVERS for line in advice(name, str(folder / "new.pem"), NAME).lines if "login." in line]
    body = "\n".join(line for line in lines if "getConnection" not in line)
    source = tmp_path / "Lines.java"
    source.write_text(
        "import java.nio.file.Path; import java.util.Properties;\n"
        "public class Lines { public static void main(String[] a) {\n"
        "Properties login = new Properties() { public Object setProperty(String key, String value) {\n"
        'if (value != null && value.contains("new.pem")) { System.out.println(value.startsWith("file:")\n'
        "? Path.of(java.net.URI.create(value)).toString() : value); } return null; } };\n"
        f"{body}\n}} }}\n",
        "ascii",
    )
    words = [program("java", "default-jdk-headless"), "-Dstdout.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8"]
    env = {**os.environ, "STORE_PASSWORD": "x", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*words, "-Dfile.encoding=UTF-8", str(source)], env=env, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.decode().splitlines()) == {str(folder / "new.pem")}


def test_freetds_lines_refuse_a_path_that_its_file_cannot_hold() -> None:
    assert "ca file = /etc/ssl/rds ca.pem" in advice("pymssql", "/etc/ssl/rds ca.pem", NAME).lines
    with pytest.raises(UsageError, match="comments"):
        advice("pymssql", "/etc/ssl/#1;rds.pem", NAME)

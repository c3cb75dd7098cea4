"""Real PostgreSQL, MariaDB and MySQL servers on loopback, whose certificate can be changed while they run."""

from __future__ import annotations

import hashlib
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import psycopg2
import pymysql

from rdsca_helpers.errors import RdscaError
from rdsca_helpers.lab.pki import Served

KINDS = ("postgres", "mariadb", "mysql")
START_SECONDS = 90.0  # a first MySQL start on a loaded machine; a usual one takes one second
STOP_SECONDS = 15.0

_PROGRAMS = {"postgres": "postgres", "mariadb": "mariadbd", "mysql": "mysqld"}
_TITLES = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}


@dataclass(frozen=True)
class Installation:
    """A server program on this machine, and the *tree* of files that it needs around it."""

    kind: str
    program: Path
    tree: Path
    packing: Literal["system", "wheel", "debs"]
    version: str = ""

    @property
    def base(self) -> Path:
        """The folder that holds bin (or sbin), lib and share."""
        return self.program.parent.parent

    def command(self, name: str) -> list[str]:
        """Give the command that runs *name*, a program that stands beside the server."""
        program = str(self.program.parent / name)
        if self.packing != "debs":
            return [program]
        # tools/getdb.sh brought a C library along, which only its own loader can use.
        libraries = [*self.tree.glob("lib/*-linux-gnu"), *self.tree.glob("usr/lib/*-linux-gnu")]
        loader = next(file for folder in libraries for file in folder.glob("ld-linux*.so.*"))
        return [str(loader), "--library-path", ":".join(map(str, libraries)), program]

    def environment(self) -> dict[str, str]:
        """Give the variables that its programs need; none of ours could change what they do."""
        variables = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        if self.packing == "wheel":  # its libraries do not find each other
            variables["LD_LIBRARY_PATH"] = str(self.base / "lib")
        return variables


@cache
def find(kind: str) -> Installation | None:
    """Find the server of *kind*: the project's own folder first, then the usual places of this machine."""
    for found in _candidates(kind):
        command = [*found.command(found.program.name), "--version"]
        asked = subprocess.run(command, env=found.environment(), capture_output=True, text=True, check=False)
        version = re.search(r"\d+(\.\d+)+", asked.stdout)
        is_mariadb = "mariadb" in asked.stdout.lower()  # it often installs itself as mysqld as well
        if asked.returncode == 0 and version and (kind != "mysql" or not is_mariadb):
            return replace(found, version=version.group())
    return None


def why_missing(kind: str) -> str:
    """Say in one line what is missing, what is skipped for it, and the remedy; empty when all is there."""
    if find(kind):
        return ""
    return (
        f"no {_TITLES[kind]} server ({_PROGRAMS[kind]}) found: its practice endpoints and their tests are "
        f"skipped; run tools/setup.sh, or install {_TITLES[kind]}"
    )


def make(
    installation: Installation,
    cache_folder: Path,
    *,
    readonly_password: str,
    app_password: str,
    performance_schema: bool = True,
    options: Sequence[str] = ("--skip-name-resolve",),
) -> Server:
    """Prepare a server, not yet started; its first data folder is made once and kept in *cache_folder*.

    *options* are more words of the command line of MySQL and MariaDB. Without the one that stands there, a client
    from a port passes for rdsadmin@localhost, and the server keeps its host cache.
    """
    classes: dict[str, type[Server]] = {"postgres": Postgres, "mariadb": MariaDB, "mysql": MySQL}
    passwords = {"rdsca_ro": readonly_password, "app": app_password}
    return classes[installation.kind](installation, cache_folder, passwords, performance_schema, options)


class Server(ABC):
    """One server with a data folder and a port of its own, three accounts and a real certificate.

    The lab comes in over the server's own socket as `rdsadmin`, without a password. `rdsca_ro` may read
    everybody's sessions; `app` owns the database `app` with the table `orders`. These two need their
    password, and may come with TLS or without.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        installation: Installation,
        cache_folder: Path,
        passwords: dict[str, str],
        performance_schema: bool,
        options: Sequence[str],
    ) -> None:
        self.kind = installation.kind
        self.version = installation.version
        self.performance_schema = performance_schema
        self.options = options
        self.port = 0
        self.pid = 0
        self.folder = Path()
        self._found = installation
        self._installation = installation  # the same, or the server's own copy of it
        self._cache = cache_folder
        self._passwords = passwords
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, served: Served) -> None:
        """Start with the certificate *served*; back when a login works."""
        with self._lock:
            template = self._template()
            self._make_folder()
            try:
                with template.open("rb") as packed:
                    self._run_tool(["tar", "--no-same-owner", "-xf", "-"], packed)
                self._put(served)
                self._launch_on_a_free_port()
                for account, password in self._passwords.items():
                    self.sql(self._password_statement(account), password)
            except BaseException:
                self._remove()
                raise

    def serve(self, served: Served) -> None:
        """Show the certificate *served* from now on, also an expired one; open sessions live on."""
        with self._lock:
            self._put(served)
            self._reload()

    def restart(self) -> None:
        """Stop and start on the same data and port; every session is cut."""
        with self._lock:
            self._end()
            self._launch()

    def stop(self) -> None:
        """End the server and remove its folder."""
        with self._lock:
            self._remove()

    def sql(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Run *statement* over the server's own socket as its administrator; give its rows."""
        with closing(self._admin_session()) as session, session.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    @abstractmethod
    def logs(self) -> dict[str, Path]:
        """Give the log files, by the names that RDS gives them."""

    @abstractmethod
    def _initialize(self) -> None:
        """Make the data folder with the accounts and the table, nothing running."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Give the command line that serves."""

    @abstractmethod
    def _admin_session(self) -> Any:
        """Log in over the socket, with every statement on its own."""

    @abstractmethod
    def _password_statement(self, account: str) -> str:
        """Give the statement that sets the password of *account*."""

    @abstractmethod
    def _reload(self) -> None:
        """Make the server read its certificate again; back when new sessions see it."""

    def _user(self) -> str | None:
        """Name the user to run as, when that is not ourselves."""
        return None

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _tls(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def _template(self) -> Path:
        """Give the packed data folder that every server of this version starts from, made when missing."""
        recipe = Path(__file__).read_bytes() + repr(self._found).encode()
        name = f"{self.kind}-{self.version}-{hashlib.sha256(recipe).hexdigest()[:12]}.tar"
        packed = self._cache / name
        with _template_locks.setdefault(name, threading.Lock()):
            if not packed.exists():
                self._pack(packed)
        return packed

    def _pack(self, packed: Path) -> None:
        self._make_folder()
        try:
            self._initialize()
            (self._data / "auto.cnf").unlink(missing_ok=True)  # MySQL's server id; each server makes its own
            packed.parent.mkdir(parents=True, exist_ok=True)
            part = packed.with_suffix(f".{os.getpid()}")
            subprocess.run(["tar", "-cf", str(part), "-C", str(self.folder), "data"], check=True)
            part.replace(packed)
        finally:
            self._remove()

    def _make_folder(self) -> None:
        """Make a private folder below the system's temporary one, where another user can reach it too.

        Its name is short, because the path of a socket may have only about a hundred characters.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="rdsca-"))
        self._data.mkdir(mode=0o700)
        self._own(self.folder, self._data)
        tree = self._found.tree
        is_open = all(folder.stat().st_mode & 0o001 for folder in (tree, *tree.parents))
        if self._user() and not is_open and self._found.packing != "system":
            # Root's own checkout is closed to the user that the server runs as.
            copy = self.folder / tree.name
            shutil.copytree(tree, copy, symlinks=True)
            program = copy / self._found.program.relative_to(tree)
            self._installation = replace(self._found, tree=copy, program=program)

    def _program(self, name: str) -> list[str]:
        return self._installation.command(name)

    def _own(self, *paths: Path) -> None:
        if user := self._user():
            account = pwd.getpwnam(user)
            for path in paths:
                os.chown(path, account.pw_uid, account.pw_gid)

    def _put(self, served: Served) -> None:
        leaf, mark, issuers = served.chain_pem.partition("-----END CERTIFICATE-----\n")
        for name, text in (("chain", leaf + mark + issuers), ("ca", issuers), ("key", served.key_pem)):
            part = self._tls(f"{name}.part")
            part.touch(mode=0o600)
            part.write_text(text)
            self._own(part)
            part.replace(self._tls(name))

    def _popen(self) -> dict[str, Any]:
        """Say how this server's programs run: in a session of their own, so that Ctrl-C ends the lab only."""
        how: dict[str, Any] = {
            "cwd": self.folder,
            "env": self._installation.environment() | {"HOME": str(self.folder)},
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
        }
        if user := self._user():
            how |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        return how

    def _run_tool(self, command: Sequence[str], stdin: IO[bytes] | None = None) -> None:
        done = subprocess.run(
            command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, **self._popen()
        )
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()
            raise RdscaError(f"{self.kind} {self.version} could not be prepared: {said[-_LOG_CHARACTERS:]}")

    def _launch_on_a_free_port(self) -> None:
        for _ in range(2):
            self.port = _free_port()
            with suppress(RdscaError):  # another program may have taken the port in between
                return self._launch()
        self.port = _free_port()
        return self._launch()

    def _launch(self) -> None:
        log = self.folder / "server.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=out, **self._popen())
        self.pid = self._process.pid
        for _ in _until(START_SECONDS):
            if self._process.poll() is not None:
                break
            # Over its own socket: a port opens too early, and another server may answer on it.
            with suppress(psycopg2.OperationalError, pymysql.OperationalError):
                self.sql("select 1")
                return
        self._end()
        said = "\n".join(p.read_text(errors="replace").strip() for p in [log, *self.logs().values()])
        raise RdscaError(f"{self.kind} {self.version} did not start: {said[-_LOG_CHARACTERS:]}")

    def _end(self) -> None:
        process, self._process, self.pid = self._process, None, 0
        if process is None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _remove(self) -> None:
        self._end()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """PostgreSQL."""

    stop_signal = signal.SIGINT  # "fast"; SIGTERM would wait for the clients to leave

    def _user(self) -> str | None:
        return "nobody" if os.geteuid() == 0 else None  # it refuses to run as root

    def _initialize(self) -> None:
        options = ["-U", "rdsadmin", "-A", "trust", "-N", "--no-locale", "-E", "UTF8", "--wal-segsize=1"]
        self._run_tool([*self._initdb(), "-D", str(self._data), *options])
        hba = self._data / "pg_hba.conf"
        hba.write_text("local all rdsadmin trust\nhost all all 127.0.0.0/8 scram-sha-256\n")
        self._single_user(
            "postgres",
            "create role rdsca_ro login in role pg_monitor",
            "create role app login",
            "create database app owner app",
        )
        self._single_user("app", *_ORDERS, "alter table orders owner to app")

    def _initdb(self) -> list[str]:
        installation = self._installation
        if installation.packing != "debs":
            return installation.command("initdb")
        # It starts the postgres that it finds beside itself, and not through the loader; so it gets one that is.
        beside = self.folder / "beside"
        beside.mkdir()
        *loader, initdb = installation.command("initdb")
        shutil.copy(initdb, beside)
        wrapper = beside / "postgres"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(installation.command("postgres"))} "$@"\n')
        wrapper.chmod(0o755)
        share = installation.tree / "usr/share/postgresql" / installation.base.name
        return [*loader, str(beside / "initdb"), "-L", str(share)]

    def _single_user(self, database: str, *statements: str) -> None:
        command = [*self._program("postgres"), "--single", "-D", str(self._data), database]
        with _stdin("\n".join(statements) + "\n") as stdin:
            self._run_tool(command, stdin)

    def _command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "ssl": "on",
            "ssl_cert_file": self._tls("chain"),
            "ssl_key_file": self._tls("key"),
            "max_connections": 50,
            "shared_buffers": "16MB",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "jit": "off",
            # As RDS logs; log_connections is off there unless somebody switches it on.
            "logging_collector": "on",
            "log_directory": "log",
            "log_filename": "postgresql.log.%Y-%m-%d-%H",
            "log_line_prefix": "%t:%r:%u@%d:[%p]:",
            "log_timezone": "UTC",
            "log_connections": "on",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._program("postgres"), "-D", str(self._data), *options]

    def logs(self) -> dict[str, Path]:
        return {f"error/{file.name}": file for file in sorted(self._data.glob("log/postgresql.log.*"))}

    def _admin_session(self) -> Any:
        session = psycopg2.connect(
            host=str(self.folder), port=self.port, user="rdsadmin", dbname="postgres", connect_timeout=5
        )
        session.autocommit = True
        return session

    def _password_statement(self, account: str) -> str:
        return f"alter role {account} password %s"

    def _reload(self) -> None:
        # The main process reads its files some time after the call; a new session tells when it has.
        before = self.sql("select pg_conf_load_time()")
        self.sql("select pg_reload_conf()")
        for _ in _until(STOP_SECONDS):
            if self.sql("select pg_conf_load_time()") != before:
                return
        raise RdscaError(f"{self.kind} {self.version} did not read its certificate again")


class MySQL(Server):
    """MySQL, and what MariaDB shares with it."""

    small: ClassVar[tuple[str, ...]] = ("--innodb-redo-log-capacity=8M",)
    readonly_grants: ClassVar[tuple[str, ...]] = (
        "grant process, replication client on *.* to rdsca_ro@'%'",
        "grant select on performance_schema.* to rdsca_ro@'%'",
        "grant select, execute on sys.* to rdsca_ro@'%'",
    )

    def _initialize(self) -> None:
        setup = self.folder / "setup.sql"
        setup.write_text(";\n".join(self._setup()) + ";\n")
        options = ["--initialize-insecure", f"--init-file={setup}", *self.small]
        self._run_tool([*self._server(), *options])

    def _setup(self) -> list[str]:
        return [
            "rename user root@localhost to rdsadmin@localhost",
            "create user rdsca_ro@'%'",
            *self.readonly_grants,
            "create user app@'%'",
            "create database app",
            "grant all on app.* to app@'%'",
            "use app",
            *_ORDERS,
        ]

    def _server(self) -> list[str]:
        """Give the part of the command line that making the data folder and serving have in common."""
        base = self._installation.base
        options = ["--no-defaults", f"--basedir={base}", f"--datadir={self._data}"]
        options += [f"--lc-messages-dir={messages}" for messages in _existing(base, "share/mysql", "share/mariadb")]
        options += [f"--plugin-dir={plugins}" for plugins in _existing(base, "lib/mysql/plugin")]
        if os.geteuid() == 0:
            options.append("--user=root")
        return [*self._program(self._installation.program.name), *options]

    def _command(self) -> list[str]:
        return [
            *self._server(),
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self._socket}",
            f"--pid-file={self.folder / 'pid'}",
            f"--ssl-ca={self._tls('ca')}",
            f"--ssl-cert={self._tls('chain')}",
            f"--ssl-key={self._tls('key')}",
            f"--performance-schema={'ON' if self.performance_schema else 'OFF'}",
            "--max-connections=50",
            "--table-open-cache=64",
            "--innodb-buffer-pool-size=8M",
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-innodb-doublewrite",
            "--innodb-fast-shutdown=2",
            *self.small,
            *self._own_options(),
            *self.options,
        ]

    def _own_options(self) -> list[str]:
        return [
            "--mysqlx=OFF",
            "--skip-log-bin",
            "--secure-file-priv=NULL",
            "--table-definition-cache=200",
            "--performance-schema-digests-size=100",
            "--performance-schema-error-size=1",
        ]

    def logs(self) -> dict[str, Path]:
        return {"error/mysql-error.log": self.folder / "server.log"}

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    def _admin_session(self) -> Any:
        return pymysql.connect(
            unix_socket=str(self._socket),
            user="rdsadmin",
            autocommit=True,
            ssl_disabled=True,
            connect_timeout=5,
            read_timeout=30,
        )

    def _password_statement(self, account: str) -> str:
        return f"alter user {account}@'%%' identified by %s"

    def _reload(self) -> None:
        # Without the last words MySQL refuses an expired certificate; an endpoint in practice has one.
        self.sql("alter instance reload tls no rollback on error")


class MariaDB(MySQL):
    """MariaDB."""

    small = ("--innodb-log-file-size=4M",)

    def _initialize(self) -> None:
        # mariadb-install-db starts the server by itself, without the loader; this is what it feeds it.
        (share,) = _existing(self._installation.base, "share/mariadb", "share/mysql")[:1]
        scripts = [
            next(share.glob(pattern)).read_text()
            for pattern in (
                "m*_system_tables.sql",
                "m*_performance_tables.sql",
                "m*_system_tables_data.sql",
                "maria_add_gis_sp_bootstrap.sql",
                "m*_sys_schema.sql",
            )
        ]
        setup = ["flush privileges", *self._setup()]
        text = "create database mysql;\nuse mysql;\nset @auth_root_socket=null;\n"
        text += "\n".join(scripts) + "\n" + ";\n".join(setup) + ";\n"
        with _stdin(text) as stdin:
            self._run_tool([*self._server(), "--bootstrap", *self.small], stdin)

    def _own_options(self) -> list[str]:
        return []

    def _reload(self) -> None:
        self.sql("flush ssl")


_LOG_CHARACTERS = 600
_ORDERS = (
    "create table orders (id int primary key, customer varchar(40) not null, total numeric(8,2) not null)",
    "insert into orders values (1, 'Ada', 12.50), (2, 'Grace', 99.00), (3, 'Edsger', 7.25)",
)
_template_locks: dict[str, threading.Lock] = {}


def _candidates(kind: str) -> Iterator[Installation]:
    """Give the places where the program of *kind* stands, the best first."""
    own = _servers_folder() / kind
    unpacked = own / "root"
    folders = [own / "bin", unpacked / "usr/sbin", *unpacked.glob("usr/lib/postgresql/*/bin")]
    folders += [Path(p) for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p]
    by_version = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda p: float(p.parent.name))
    folders += [*reversed(by_version), Path("/usr/sbin"), Path("/usr/local/sbin"), Path(sys.prefix, "bin")]
    folders += [Path(os.environ["CONDA_PREFIX"], "bin")] if "CONDA_PREFIX" in os.environ else []
    folders += [f for brew in ("/opt/homebrew/opt", "/usr/local/opt") for f in Path(brew).glob("*/bin")]
    for folder in folders:
        program = (folder / _PROGRAMS[kind]).resolve()
        if not os.access(program, os.X_OK):
            continue
        if program.is_relative_to(unpacked):
            yield Installation(kind, program, unpacked, "debs")
        else:
            wheel = program.is_relative_to(own)
            yield Installation(kind, program, program.parent.parent, "wheel" if wheel else "system")


def _servers_folder() -> Path:
    if "RDSCA_SERVERS" in os.environ:
        return Path(os.environ["RDSCA_SERVERS"]).resolve()
    here = Path(".servers").resolve()
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / ".servers"


def _existing(base: Path, *names: str) -> list[Path]:
    return [base / name for name in names if (base / name).is_dir()]


@contextmanager
def _stdin(text: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def _free_port() -> int:
    """Give a free port below those that outgoing connections get, so that none of them takes it."""
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - not a secret
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _until(seconds: float) -> Iterator[None]:
    """Yield every 20 ms until *seconds* have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)

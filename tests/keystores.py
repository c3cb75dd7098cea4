"""Keystores for tests: made by keytool and openssl, judged by Java itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wire import JAVA, program

from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
PASSWORD = "changeit"
JDK = "default-jdk-headless"
PUBLIC = read_pem((DATA / "amazon-trust-services-roots.pem").read_text())[0]


def root(certificate: Certificate) -> Root:
    """Name a root of RDS as its own name does: ``Amazon RDS eu-west-1 Root CA RSA2048 G1``."""
    words = certificate.subject.split()
    place = " ".join(words[2 : words.index("Root")]).lower().replace(" ", "-")
    return Root(certificate, f"rds-ca-{words[-2].lower()}-g1", place)


ROOTS = [root(c) for c in read_pem((DATA / "global-bundle-2026-09-25.pem").read_text())[0]]
SHA256S = {r.certificate.sha256 for r in ROOTS}


@dataclass
class Seen:
    """What Java sees in a store: aliases with SHA-256, keys and whether they can be used, anchors; or the error."""

    trusted: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    anchors: set[str] = field(default_factory=set)
    error: str = ""


class Java:
    """One running Java that answers questions about keystores."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder

    def sees(self, store: bytes, password: str | None = PASSWORD, key_password: str = PASSWORD) -> Seen:
        """Say what Java sees in *store*; with no password at all it does not check anything."""
        file = self.folder / "asked"
        file.write_bytes(store)
        seen = Seen()
        for kind, *words in self._ask("list", str(file), "-" if password is None else password, key_password):
            if kind == "anchor":
                seen.anchors.add(words[0])
            elif kind == "error":
                seen.error = words[0]
            else:
                {"trusted": seen.trusted, "key": seen.keys}[kind][words[0]] = words[1]
        return seen

    def make(
        self, kind: str, password: str | None, certificates: list[Certificate], how: str = "", mac: str = ""
    ) -> bytes:
        """Let Java write a store of trusted *certificates*."""
        file, pem = self.folder / "made", self.folder / "pem"
        pem.write_text("".join(c.pem for c in certificates))
        assert not list(self._ask("make", str(file), kind, "-" if password is None else password, str(pem), how, mac))
        return file.read_bytes()

    def _ask(self, *words: str) -> Iterator[list[str]]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline().rstrip("\n")) != ".":
            assert line, "Java has stopped"
            yield line.split("\t")


@contextmanager
def running_java(folder: Path) -> Iterator[Java]:
    """Start Java, and end it."""
    program("javac", JDK)
    words = [program("java", JDK), "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(JAVA / "KeyStores.java")]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        try:
            yield Java(process, folder)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=60)


def keytool(file: Path, *words: str, type_: str = "", password: str = PASSWORD) -> str:
    """Run keytool on the store *file*; give what it printed."""
    asked = [program("keytool", JDK), *words, "-keystore", str(file), "-storepass", password]
    asked += ["-storetype", type_] if type_ else []
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def keytool_makes(folder: Path, type_: str, steps: dict[str, list[list[str]]]) -> dict[str, bytes]:
    """Let keytool make stores side by side, each by its steps; a step's name is the name of the store after it."""

    def made(chain: str) -> dict[str, bytes]:
        file, stores = folder / f"{chain}.{type_}", {}
        for step in steps[chain]:
            keytool(file, *step[1:], type_=type_)
            stores[step[0]] = file.read_bytes()
        return stores

    program("keytool", JDK)
    with ThreadPoolExecutor(2) as pool:
        return {name: data for stores in pool.map(made, steps) for name, data in stores.items()}


def importing(name: str, alias: str, file: Path) -> list[str]:
    """Give the step that imports a certificate."""
    return [name, "-importcert", "-noprompt", "-alias", alias, "-file", str(file)]


def generating(name: str, alias: str, *more: str) -> list[str]:
    """Give the step that makes a key with its certificate."""
    return [name, "-genkeypair", "-keyalg", "EC", "-alias", alias, "-dname", f"CN={alias}", *more]

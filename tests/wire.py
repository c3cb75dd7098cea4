"""A TLS server for tests that shows any chain, and real clients that say whether they accept it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509 import load_der_x509_certificate

from rdsca_helpers.certs import Certificate, read_pem

JAVA = Path(__file__).parent / "java"
PASSWORD = "changeit"


def program(name: str, package: str) -> str:
    """Find a program on PATH; without it the test is skipped, and says how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH; on Debian: apt-get install {package}")
    return found


@contextmanager
def serving(key_pem: str, chain: Sequence[Certificate], folder: Path) -> Iterator[int]:
    """Serve *chain* on a free port of 127.0.0.1 as an HTTP server would, and give the port."""
    file = folder / f"served-{threading.get_ident()}-{len(list(folder.iterdir()))}.pem"
    file.write_text(key_pem + "".join(c.pem for c in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=1")
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, context), daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):  # the listening socket was shut down: the test is over
        while True:
            session, _ = listening.accept()
            threading.Thread(target=_answer, args=(session, context), daemon=True).start()


def _answer(session: socket.socket, context: ssl.SSLContext) -> None:
    session.settimeout(30)
    with suppress(OSError), session, context.wrap_socket(session, server_side=True) as tls:
        tls.recv(4096)
        tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")


def python(store: Path, port: int, name: str, *, partial: bool = False) -> bool:
    """Ask Python's ssl; *partial* sets the flags of Python 3.13's default context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):  # an empty or broken store
        context.load_verify_locations(store)
    context.verify_flags &= ~(ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT)
    if partial:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=name),
        ):
            return True
    except ssl.SSLError:
        return False


def curl(store: Path, port: int, name: str) -> bool:
    """Ask curl; it knows the server under its real name."""
    words = [program("curl", "curl"), "-s", "--cacert", store, "--resolve", f"{name}:{port}:127.0.0.1"]
    done = subprocess.run(
        [*words, "--noproxy", "*", f"https://{name}:{port}/"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode in (0, 35, 51, 60, 77), done.stderr
    return done.returncode == 0


def gnutls(store: Path, port: int, name: str) -> bool:
    """Ask gnutls-cli."""
    words = [program("gnutls-cli", "gnutls-bin"), "--x509cafile", store, "--verify-hostname", name]
    done = subprocess.run(
        [*words, "--sni-hostname", name, "-p", str(port), "127.0.0.1"],
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "trusted" in done.stdout + done.stderr or "Error" in done.stderr, done.stderr
    return "The certificate is trusted" in done.stdout + done.stderr


_NODE = """
const fs = require('fs'), tls = require('tls');
const questions = JSON.parse(fs.readFileSync(0));
(async () => {
  for (const [store, port, name] of questions) {
    await new Promise((done) => {
      const say = (word) => { console.log(word); done(); };
      const s = tls.connect({host: '127.0.0.1', port, servername: name, ca: fs.readFileSync(store)});
      s.on('secureConnect', () => { s.destroy(); say('ok'); });
      s.on('error', (e) => say(e.code || e.message));
    });
  }
})();
"""


def node(questions: Sequence[tuple[Path, int, str]]) -> list[bool]:
    """Ask Node about each store, port and name, in one start of it."""
    asked = json.dumps([(str(s), p, n) for s, p, n in questions])
    words = [program("node", "nodejs"), "-e", _NODE]
    done = subprocess.run(words, input=asked, capture_output=True, text=True, check=True, timeout=120)
    answers = done.stdout.splitlines()
    assert len(answers) == len(questions), done.stderr
    return [answer == "ok" for answer in answers]


def java(
    questions: Sequence[tuple[Path, int, str]], folder: Path, *options: str, home: Path | None = None
) -> list[str]:
    """Ask Java about each keystore, port and name, in one start of it: ``ok``, or its reason."""
    classes = folder / "classes"
    if not classes.exists():
        javac = program("javac", "default-jdk-headless")
        source = ["--release", "17", "-d", str(classes), str(JAVA / "TlsClient.java")]
        subprocess.run([javac, *source], check=True, timeout=120)
    asked = folder / "questions"
    asked.write_text("".join(f"{store}\t{PASSWORD}\t{port}\t{name}\n" for store, port, name in questions))
    run = str(home / "bin/java") if home else program("java", "default-jre-headless")
    words = [run, "-Xshare:auto", "-XX:TieredStopAtLevel=1", *options, "-cp", str(classes), "TlsClient", str(asked)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert len(done.stdout.splitlines()) == len(questions), done.stderr
    return done.stdout.splitlines()


def keystore(file: Path, certificates: Sequence[Certificate]) -> Path:
    """Write a PKCS#12 that Java takes as a trust store; few rounds, for Java opens it many times."""
    quick = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(10).build(PASSWORD.encode())
    entries = [pkcs12.PKCS12Certificate(load_der_x509_certificate(c.der), c.sha256.encode()) for c in certificates]
    file.write_bytes(pkcs12.serialize_java_truststore(entries, quick))
    return file


def openssl(
    chain: Sequence[Certificate], store: Path, *words: str, at: datetime | None = None, name: str = ""
) -> tuple[bool, str]:
    """Ask ``openssl verify``; give its yes or no, and what it printed."""
    leaf, rest = store.with_suffix(".leaf"), store.with_suffix(".rest")
    leaf.write_text(chain[0].pem)
    rest.write_text("".join(c.pem for c in chain[1:]))
    asked = [program("openssl", "openssl"), "verify", "-CAfile", str(store), "-no-CApath", "-no-CAstore"]
    asked += ["-purpose", "sslserver", *words]
    asked += ["-attime", str(int(at.timestamp()))] if at else []
    asked += ["-verify_hostname", name] if name else []
    asked += ["-untrusted", str(rest)] if chain[1:] else []
    done = subprocess.run([*asked, str(leaf)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, done.stdout + done.stderr


def certificates(pem: str) -> list[Certificate]:
    """Read a PEM that must be whole."""
    found, complaints = read_pem(pem)
    assert complaints == []
    return found


def homes() -> list[Path]:
    """Give the JDKs of this machine."""
    roots = Path(os.environ.get("RDSCA_JDKS", "/usr/lib/jvm"))
    return sorted({p.resolve().parents[1] for p in roots.glob("*/bin/javac")}) if roots.is_dir() else []

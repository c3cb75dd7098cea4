"""Certificate authorities of nobody, for tests: a root or a subordinate of any name, and TLS servers with them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rdsca_helpers.certs import Certificate, read_der


@dataclass(frozen=True)
class Authority:
    """A certificate with its key; it may sign others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def read(self) -> Certificate:
        return read_der(self.certificate.public_bytes(serialization.Encoding.DER))


def authority(
    name: str,
    *,
    by: Authority | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    ca: bool = True,
    begins: float = -30,
    ends: float = 3650,
    hosts: str = "",
) -> Authority:
    """Make a root called *name*, or with *by* what that authority signs; dates in days from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if hosts:
        names = [x509.DNSName(h) for h in hosts.split(",")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Authority(builder.sign(by.key if by else key, hashes.SHA256()), key)


@contextmanager
def truststores(pages: Mapping[str, bytes], folder: Path) -> Iterator[dict[str, str]]:
    """Serve *pages* (``https://host/path`` to body) over TLS; give the variables that lead a client there.

    A proxy on loopback takes the client's CONNECT to any host and joins it with one server, which has a certificate
    for all of the hosts from a CA that only these variables make known. Addresses without a page answer 404.
    """
    root = authority("Test Web Root")
    hosts = ",".join(sorted({url.split("/")[2] for url in pages} | {"nobody.example"}))
    leaf = authority("a server", by=root, ca=False, hosts=hosts)
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(leaf.pem + key)
    (folder / "web-root.pem").write_bytes(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(f"https://{self.headers['Host']}{self.path}")
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    class Tls(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: socket.socket, client_address: object) -> None:
            with context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)

        def handle_error(self, *_: object) -> None:
            pass

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            with socket.create_connection(web.server_address) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
                back.start()
                _pump(self.connection, there)
                back.join()

        def log_message(self, *_: object) -> None:
            pass

    class ThreadedProxy(ThreadingHTTPServer):
        daemon_threads = True

    web, proxy = Tls(("127.0.0.1", 0), Page), ThreadedProxy(("127.0.0.1", 0), Proxy)
    for server in (web, proxy):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield {
        "https_proxy": f"http://127.0.0.1:{proxy.server_address[1]}",
        "SSL_CERT_FILE": str(folder / "web-root.pem"),
    }
    for server in (web, proxy):
        server.shutdown()
        server.server_close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass

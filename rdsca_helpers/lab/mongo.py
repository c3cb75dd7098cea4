"""A stand-in for DocumentDB on loopback: it shows its certificate from the first byte on, and knows no more."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from .pki import Served

_PATIENCE = 30  # seconds that a client may stay


class StandIn:
    """A TLS listener whose certificate can be changed; what a client says after the handshake is not answered."""

    kind = "docdb"
    version = "5.0 (a stand-in)"

    def __init__(self, _passwords: dict[str, str]) -> None:
        self.port = 0
        self.pid = 0
        self.folder = Path()
        self._context: ssl.SSLContext | None = None
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def start(self, served: Served) -> None:
        """Listen on a free port of loopback, or on the one it had."""
        self.serve(served)
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self.pid = os.getpid()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def serve(self, served: Served) -> None:
        """Show the certificate *served* to those who come from now on."""
        self._context = served.context()

    def restart(self) -> None:
        """Cut every session, as a restart of the database does."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close the port and cut the sessions."""
        listener, self._listener, self.pid = self._listener, None, 0
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.restart()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # stop() closed it
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        with suppress(OSError), sock:
            sock.settimeout(_PATIENCE)
            if self._context:
                with self._context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(1)
        self._open.discard(sock)

"""The way to an endpoint: straight, or through the host:port that a reach file names (tunnels, bastions)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..errors import Unreachable, UsageError


@dataclass(frozen=True)
class Reach:
    """Which address stands for which endpoint; with *only*, endpoints that are not listed are out of reach."""

    ways: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    only: bool = False
    source: str = ""

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Give the host and port to connect to for the endpoint *host*:*port*."""
        way = self.ways.get((host.lower(), port))
        if way is None and self.only:
            raise Unreachable(
                f"no way to {host}:{port}", f"add it to {self.source} once a tunnel or bastion leads there"
            )
        return way or (host, port)


def read(path: str) -> Reach:
    """Read a reach file: ``endpoints: {"host:port": "host:port"}`` and, where wanted, ``others: none``.

    An empty *path* means that every endpoint is reached straight.
    """
    if not path:
        return Reach()
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        ways = {_pair(k): _pair(v) for k, v in data["endpoints"].items()}
        if data.get("others", "none") != "none":
            raise ValueError("others")  # a misspelt "none" must not let endpoints be tried straight
    except OSError as e:
        raise UsageError(f"the reach file {path} cannot be read ({e.strerror})") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, UnicodeDecodeError) as e:
        raise UsageError(
            f"the reach file {path} is malformed ({type(e).__name__})",
            'it holds endpoints: {"name.region.rds.amazonaws.com:5432": "127.0.0.1:15432"}',
        ) from None
    return Reach({(host.lower(), port): way for (host, port), way in ways.items()}, data.get("others") == "none", path)


def _pair(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not 0 < int(port) < 1 << 16:
        raise ValueError(text)
    return host.strip("[]"), int(port)

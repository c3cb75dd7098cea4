"""The CA bundle: fetched from loopback servers that behave badly, and refused unless it is whole."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from makers import NEW, REGION

from rdsca_helpers.edge import bundle
from rdsca_helpers.errors import RdscaError, Refused, UnknownRoot, UsageError

DATA = Path(__file__).parent / "data"
GOOD = (DATA / "cn-global-bundle-2026-09-21.pem").read_bytes()
GLOBAL = (DATA / "global-bundle-2026-09-25.pem").read_bytes()


@contextmanager
def serving(answer: bytes, *, pause: float = 0) -> Iterator[str]:
    """Answer one request after another with the bytes *answer*, then hang up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    time.sleep(pause)
                    peer.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def get(url: str) -> bundle.Bundle:
    return bundle.get(url + "/global/global-bundle.pem", region=REGION)


def test_a_whole_bundle_is_taken_with_its_source_and_its_digest() -> None:
    with serving(http(GLOBAL, length(GLOBAL))) as url:
        found = get(url)
    assert len(found.certificates) == 108
    assert found.source.startswith(url)
    assert found.sha256 == "e5bb2084ccf45087bda1c9bffdea0eb15ee67f0b91646106e466714f9de3c7e3"
    assert found.text.encode() == GLOBAL


def test_the_mirror_of_the_practice_world_stands_for_aws() -> None:
    with serving(http(GOOD, length(GOOD))) as url:
        assert len(bundle.get("aws", region=REGION, mirror=url + "/").certificates) == 6


@pytest.mark.parametrize(
    "answer",
    [
        http(GOOD[:4000], length(GOOD)),
        http(GOOD[:4000]),
        http(b"%x\r\n" % len(GOOD) + GOOD[:4000], "Transfer-Encoding: chunked"),
        http(b"zz\r\n" + GOOD, "Transfer-Encoding: chunked"),
        http(GOOD, "Content-Length: many"),
        http(b"<html><body>Log in to the WLAN</body></html>" * 50, "Content-Type: text/html"),
        http(gzip.compress(GOOD), "Content-Encoding: gzip"),
        http(GOOD.decode().encode("utf-16")),
        http(b"\0" * 5000),
        http(b""),
        http(GOOD, status="404 Not Found"),
        http(GOOD, status="500 Internal Server Error"),
        http(GOOD + GOOD),
        http(GOOD * 400),
        http(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n" + GOOD),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"",
    ],
    ids=[
        "short body",
        "short body without length",
        "chunk broken off",
        "no chunk",
        "length no number",
        "portal",
        "gzip",
        "utf-16",
        "zeros",
        "empty",
        "404",
        "500",
        "twice",
        "too large",
        "private key",
        "not http",
        "bad status",
        "hung up",
    ],
)
def test_what_is_not_a_whole_bundle_is_refused_with_its_address(answer: bytes) -> None:
    with serving(answer) as url, pytest.raises(Refused) as refused:
        get(url)
    assert url in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


def test_a_bundle_cut_at_any_certificate_has_another_digest_and_is_told_by_a_missing_root() -> None:
    end = b"-----END CERTIFICATE-----\n"
    part = bundle.read(end.join(GOOD.split(end)[:3]) + end, "here")
    whole = bundle.read(GOOD, "here")
    lost = whole.certificates[-1]
    assert part.sha256 != whole.sha256
    assert whole.root(lost.sha1.upper()) == lost
    assert part.root(lost.sha1) is None


@pytest.mark.parametrize(
    "location", ["http://localhost:{port}/x.pem", "https://127.0.0.1:{port}/x.pem", "http://evil.example/x.pem"]
)
def test_a_redirect_to_another_host_or_scheme_is_refused_by_name(location: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        target = location.format(port=elsewhere.getsockname()[1])
        answer = http(b"", f"Location: {target}", length(b""), status="302 Found")
        with serving(answer) as url, pytest.raises(Refused, match="redirects to") as refused:
            get(url)
        assert target.partition("//")[2].partition(":")[0].partition("/")[0] in str(refused.value)
        elsewhere.settimeout(0)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_redirect_that_never_ends_is_refused() -> None:
    with serving(http(b"", "Location: /again", length(b""), status="302 Found")) as url, pytest.raises(Refused):
        get(url)


@pytest.mark.parametrize("url", ["http://truststore.pki.rds.amazonaws.com/x.pem", "http://10.0.0.1/x", "http://[::2]/"])
def test_plain_http_is_taken_from_this_machine_only(url: str) -> None:
    with pytest.raises(UsageError, match="https only"):
        bundle.get(url, region=REGION)


def test_a_server_that_is_not_there_is_named_with_another_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Refused, match="download it elsewhere"):
        get(f"http://127.0.0.1:{port}")


def test_a_certificate_that_the_system_does_not_know_is_refused(tmp_path: Path) -> None:
    with serving(b"\x15\x03\x01\x00\x02\x02\x28") as url, pytest.raises(Refused):
        bundle.get(url.replace("http:", "https:") + "/x.pem", region=REGION)


def test_a_file_is_read_and_one_that_is_not_there_is_a_wrong_parameter(tmp_path: Path) -> None:
    file = tmp_path / "mine.pem"
    file.write_bytes(GOOD)
    assert len(bundle.get(str(file), region=REGION).certificates) == 6
    for path in (tmp_path / "nothing.pem", tmp_path, Path("file:///etc/passwd")):
        with pytest.raises(UsageError, match="cannot be read"):
            bundle.get(str(path), region=REGION)


def cas(found: bundle.Bundle) -> dict[str, dict[str, str]]:
    return {NEW: {"thumbprint": found.certificates[0].sha1, "valid_till": "2061-05-21T00:00:00Z"}}


def test_the_root_that_rds_names_by_its_thumbprint_is_given() -> None:
    found = bundle.read(GOOD, "here")
    assert bundle.require_root(found, cas(found), region=REGION, target_ca=NEW) == found.certificates[0]


def test_a_root_that_rds_names_and_the_bundle_lacks_is_unknown() -> None:
    found = bundle.read(GOOD, "here")
    with pytest.raises(UnknownRoot) as refused:
        bundle.require_root(bundle.read(GLOBAL, "there"), cas(found), region=REGION, target_ca=NEW)
    assert refused.value.code == 10
    assert found.certificates[0].sha1 in str(refused.value)


@pytest.mark.parametrize("thumbprint", ["", "00" * 20])
def test_a_thumbprint_that_is_none_finds_no_root(thumbprint: str) -> None:
    offered = {NEW: {"thumbprint": thumbprint, "valid_till": ""}}
    with pytest.raises(UnknownRoot):
        bundle.require_root(bundle.read(GOOD, "here"), offered, region=REGION, target_ca=NEW)


def test_a_ca_that_rds_does_not_offer_in_the_region_is_refused_with_those_it_does() -> None:
    found = bundle.read(GOOD, "here")
    with pytest.raises(Refused, match=NEW):
        bundle.require_root(found, cas(found), region=REGION, target_ca="rds-ca-2030-g9")
    with pytest.raises(RdscaError, match="none that could be read"):
        bundle.require_root(found, {}, region=REGION, target_ca=NEW)

"""The CA bundle: fetched from loopback servers that behave badly, and refused unless it is whole."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from authority import authority, truststores
from cadata import ca_data
from conftest import AwsSide
from makers import NEW
from practice import REGION as PRACTICE

from rdsca_helpers import catalogue
from rdsca_helpers.catalogue import Catalogue
from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge import bundle, roots
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.errors import RdscaError, Refused, UnknownRoot, UsageError

DATA = Path(__file__).parent / "data"
GOOD = (DATA / "cn-global-bundle-2026-09-21.pem").read_bytes()
GLOBAL = (DATA / "global-bundle-2026-09-25.pem").read_bytes()
REGION, END = "cn-north-1", b"-----END CERTIFICATE-----\n"
AWS = {
    "us-east-1": "https://truststore.pki.rds.amazonaws.com",
    "us-gov-east-1": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com",
    "cn-northwest-1": "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: no approvals, no catalogue but the shipped one, no copies of earlier downloads."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


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
        found = bundle.get(url + "/global/global-bundle.pem", region="us-east-1")
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
        http(GOOD),
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
        "no length",
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
    part = bundle.read(END.join(GOOD.split(END)[:3]) + END, "here")
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


# What RDS names


def cas(thumbprint: str) -> dict[str, dict[str, str]]:
    return {NEW: {"thumbprint": thumbprint, "valid_till": "2061-05-21T00:00:00Z"}}


CHINAS = catalogue.shipped().find(REGION, NEW)
VIRGINIAS = catalogue.shipped().find("us-east-1", NEW)


@pytest.mark.parametrize("write", [str.lower, str.upper])
def test_the_root_that_rds_names_by_its_thumbprint_is_given(write: Callable[[str], str]) -> None:
    found = bundle.read(GOOD, "here")
    root = bundle.require_root(found, cas(write(CHINAS.sha1)), region=REGION, target_ca=NEW)
    assert root.sha256 == CHINAS.sha256


def test_a_root_that_rds_names_and_the_bundle_lacks_is_unknown() -> None:
    with pytest.raises(UnknownRoot, match=r"there has no such root.*get it anew") as refused:
        bundle.require_root(bundle.read(GLOBAL, "there"), cas(CHINAS.sha1), region=REGION, target_ca=NEW)
    assert refused.value.code == 10
    assert CHINAS.sha1 in str(refused.value)


@pytest.mark.parametrize("thumbprint", ["", "00" * 20, "Not A Thumbprint"])
def test_a_thumbprint_that_is_none_finds_no_root(thumbprint: str) -> None:
    with pytest.raises(UnknownRoot, match="no such root is known here"):
        bundle.require_root(bundle.read(GOOD, "here"), cas(thumbprint), region=REGION, target_ca=NEW)


@pytest.mark.parametrize("region", ["us-east-2", "cn-north-1", "us-gov-west-1", "me-west-1", "eusc-de-east-1"])
def test_the_root_of_another_region_is_never_taken_though_rds_names_it(region: str) -> None:
    with pytest.raises(UnknownRoot, match="known as Amazon RDS us-east-1 Root CA RSA2048 G1"):
        bundle.require_root(bundle.read(GLOBAL, "here"), cas(VIRGINIAS.sha1), region=region, target_ca=NEW)


def test_the_root_of_another_ca_is_never_taken_though_rds_names_it() -> None:
    offered = {"rds-ca-ecc384-g1": {"thumbprint": VIRGINIAS.sha1, "valid_till": ""}}
    with pytest.raises(UnknownRoot, match="known as Amazon RDS us-east-1 Root CA RSA2048 G1"):
        bundle.require_root(bundle.read(GLOBAL, "x"), offered, region="us-east-1", target_ca="rds-ca-ecc384-g1")


def test_a_certificate_that_shares_only_the_sha1_with_the_known_root_is_not_taken() -> None:
    other = Catalogue((replace(CHINAS, sha256="ab" * 32),))
    with pytest.raises(UnknownRoot, match="no such root"):
        bundle.require_root(bundle.read(GOOD, "here", other), cas(CHINAS.sha1), region=REGION, target_ca=NEW)


def test_a_root_that_rds_names_and_nobody_knows_is_described_with_the_line_that_approves_it() -> None:
    new = authority("Amazon RDS me-west-1 Root CA RSA2048 G1").read
    found = bundle.read(GOOD + new.pem.encode(), "my bundle.pem")
    with pytest.raises(UnknownRoot) as refused:
        bundle.require_root(found, cas(new.sha1), region="me-west-1", target_ca=NEW)
    said = str(refused.value)
    assert new.subject in said
    assert f"{new.not_before:%Y-%m-%d}" in said
    assert f"{new.not_after:%Y-%m-%d}" in said
    assert f"rdsca roots approve {new.sha256} --bundle 'my bundle.pem' --by WHO" in said


def test_a_ca_that_rds_does_not_offer_in_the_region_is_refused_with_those_it_does() -> None:
    found = bundle.read(GOOD, "here")
    with pytest.raises(Refused, match=NEW):
        bundle.require_root(found, cas(CHINAS.sha1), region=REGION, target_ca="rds-ca-2030-g9")
    with pytest.raises(RdscaError, match="none that could be read"):
        bundle.require_root(found, {}, region=REGION, target_ca=NEW)


# Beside the catalogue


def twin(name: str) -> bytes:
    return authority(name).pem


def refusal(data: bytes, folder: Path, *, region: str = REGION, known: Catalogue | None = None) -> str:
    """Put *data* into a file and give the message with which it is refused as an unknown root."""
    file = folder / "mine.pem"
    file.write_bytes(data)
    with pytest.raises(UnknownRoot) as refused:
        bundle.get(str(file), region=region, known=known)
    return str(refused.value)


@pytest.mark.parametrize(
    "name", ["Amazon RDS cn-north-9 Root CA RSA2048 G1", "Amazon RDS me-west-1 Root CA RSA2048 G1"]
)
def test_a_self_signed_stranger_is_named_with_dates_fingerprint_and_the_line_that_approves_it(
    name: str, tmp_path: Path
) -> None:
    stranger = authority(name)
    said = refusal(GOOD + stranger.pem, tmp_path)
    assert f"{name}, valid from {stranger.read.not_before:%Y-%m-%d} to" in said
    assert f"rdsca roots approve {stranger.read.sha256} --bundle {tmp_path}/mine.pem --by WHO" in said


def test_the_line_for_a_stranger_whose_name_says_nothing_asks_for_region_and_ca(tmp_path: Path) -> None:
    assert "--by WHO --region REGION --ca CA" in refusal(GOOD + twin("Evil Corp Root"), tmp_path)


def test_a_leaf_or_a_stray_intermediate_inside_is_refused(tmp_path: Path) -> None:
    root = authority("Evil Corp Root")
    (tmp_path / "leaf.pem").write_bytes(GOOD + authority("db.example", by=root, ca=False).pem)
    with pytest.raises(Refused, match=r"no CA: db\.example"):
        bundle.get(str(tmp_path / "leaf.pem"), region=REGION)
    said = refusal(GOOD + authority("Amazon RDS cn-north-1 RSA2048 G1", by=root).pem, tmp_path)
    assert "take the bundle from AWS" in said
    assert "approve" not in said


def test_the_global_bundle_has_to_hold_every_root_of_its_partition() -> None:
    blocks = [b + END for b in GLOBAL.split(END)[:-1]]
    for cut in (blocks[:-1], blocks[:1], blocks[50:]):
        body = b"".join(cut)
        with serving(http(body, length(body))) as url, pytest.raises(UnknownRoot, match="lacks") as refused:
            bundle.get("aws", region="us-east-1", mirror=url)
        assert f"lacks {108 - len(cut)} known root(s)" in str(refused.value)


def test_the_bundle_of_another_partition_is_not_the_global_one() -> None:
    with serving(http(GLOBAL, length(GLOBAL))) as url:
        for region in ("us-gov-west-1", "cn-north-1"):
            with pytest.raises(UnknownRoot, match="lacks 6 known root"):
                bundle.get("aws", region=region, mirror=url)
        assert bundle.get("aws", region="me-west-1", mirror=url).root(VIRGINIAS.sha1)


def test_a_file_has_to_hold_the_wanted_regions_and_no_others(tmp_path: Path) -> None:
    certificates, _ = read_pem(GLOBAL.decode())
    file = tmp_path / "eu.pem"
    file.write_text("".join(c.pem for c in certificates if "eu-west-1" in c.subject or "eu-central-1" in c.subject))
    assert len(bundle.get(str(file), region="eu-west-1").certificates) == 6
    assert len(bundle.get(str(file), region="us-east-1", regions=("eu-central-1",)).certificates) == 6
    assert len(bundle.get(str(file), region="us-east-1", regions=()).certificates) == 6
    with pytest.raises(UnknownRoot, match=r"lacks 3 known root.*us-east-1"):
        bundle.get(str(file), region="eu-west-1", regions=("eu-west-1", "us-east-1"))


def test_what_has_expired_may_be_missing_and_what_is_known_to_be_old_may_be_there(tmp_path: Path) -> None:
    old = (DATA / "global-bundle-2023-05.pem").read_bytes()
    file = tmp_path / "old.pem"
    file.write_bytes(old)
    assert len(bundle.get(str(file), region="eu-west-1").certificates) == 115
    assert "il-central-1" in refusal(old, tmp_path, region="il-central-1")


def test_for_a_region_of_no_known_partition_there_is_no_bundle_of_aws() -> None:
    for region in ("eusc-de-east-1", "us-iso-east-1", "eu-isoe-west-1", "nowhere"):
        with pytest.raises(UnknownRoot, match=f"CA bundle for {region}.*rdsca roots approve"):
            bundle.get("aws", region=region)


def test_p7b_is_read_as_pem_is_and_its_text_is_pem(tmp_path: Path) -> None:
    p7b = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-certfile", DATA / "cn-global-bundle-2026-09-21.pem"],
        capture_output=True,
        check=True,
    ).stdout
    with serving(http(p7b, length(p7b))) as url:
        found = bundle.get(url + "/global/global-bundle.p7b", region=REGION)
    assert {c.sha256 for c in found.certificates} == {c.sha256 for c in bundle.read(GOOD, "x").certificates}
    assert len(read_pem(found.text)[0]) == 6
    with (
        serving(http(p7b[:3000], length(p7b[:3000]))) as url,
        pytest.raises(Refused, match=f"{url}.*cut off or damaged"),
    ):
        bundle.get(url + "/global/global-bundle.p7b", region=REGION)


def test_the_practice_world_serves_its_bundles_under_amazons_names_and_names_its_roots(profile: AwsSide) -> None:
    known = roots.catalogue(Aws(profile="lab", account="111111111111").settings)
    for place, number in (("global", 9), (PRACTICE, 3)):
        for form in ("pem", "p7b"):
            url = f"{profile.url}/_lab/truststore/{place}/{place}-bundle.{form}"
            assert len(bundle.get(url, region=PRACTICE, known=known).certificates) == number
            with pytest.raises(UnknownRoot, match=f"Practice RDS {PRACTICE}"):
                bundle.get(url, region=PRACTICE)


# Over https


@pytest.fixture
def aws_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """AWS's own three addresses, served on loopback through a proxy, with a certificate that the system knows."""
    pages = {
        f"{AWS['us-east-1']}/global/global-bundle.pem": GLOBAL,
        f"{AWS['cn-northwest-1']}/global/global-bundle.pem": GOOD,
    }
    pages |= dict.fromkeys((f"{AWS['us-gov-east-1']}/global/global-bundle.pem",), b"")
    with truststores(pages, tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield pages


@pytest.mark.parametrize("region", AWS)
def test_aws_means_the_global_bundle_of_the_regions_own_partition(region: str, aws_stores: dict[str, bytes]) -> None:
    if region.startswith("us-gov"):
        gov = ca_data("gov-global-bundle-2026-09-21.pem").read_bytes()
        aws_stores[f"{AWS[region]}/global/global-bundle.pem"] = gov
    found = bundle.get("aws", region=region)
    assert found.source == f"{AWS[region]}/global/global-bundle.pem"
    assert len(found.certificates) == {"us-east-1": 108, "us-gov-east-1": 10, "cn-northwest-1": 6}[region]


def test_a_server_whose_ca_the_system_does_not_know_is_refused(
    aws_stores: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.pem").write_bytes(twin("Another Web Root"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(Refused, match=r"could not be fetched.*CERTIFICATE_VERIFY_FAILED"):
        bundle.get("aws", region="us-east-1")


def test_a_bad_download_leaves_the_last_good_copy_and_names_it_for_the_user_to_decide(
    aws_stores: dict[str, bytes], home: Path
) -> None:
    address = f"{AWS['us-east-1']}/global/global-bundle.pem"
    with pytest.raises(Refused) as first:
        bundle.get(address.replace("pem", "p7b"), region="us-east-1")
    assert "last good copy" not in str(first.value)
    bundle.get("aws", region="us-east-1")
    (copy,) = (home / "XDG_CACHE_HOME/rdsca/bundles").iterdir()
    os.utime(copy, (1790000000, 1790000000))  # 2026-09-21
    blocks = GLOBAL.split(END)
    for bad in (GLOBAL[:-700], b"<html>log in</html>" * 100, GLOBAL + twin("Evil"), END.join(blocks[:90]) + END, b""):
        aws_stores[address] = bad
        with pytest.raises(
            (Refused, UnknownRoot), match=f"last good copy, of 2026-09-21, is {copy}; name it as bundle"
        ):
            bundle.get("aws", region="us-east-1")
        assert copy.read_bytes() == GLOBAL
    assert len(bundle.get(str(copy), region="us-east-1").certificates) == 108


def test_when_aws_cannot_be_reached_the_last_good_copy_is_named(
    aws_stores: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.get("aws", region="us-east-1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(Refused, match=r"could not be fetched.*; the last good copy, of 20\d\d-"):
        bundle.get("aws", region="us-east-1")


def test_a_home_that_takes_no_copy_does_not_stop_the_run(
    aws_stores: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert len(bundle.get("aws", region="us-east-1").certificates) == 108


def test_neither_messages_nor_copies_show_what_an_address_carries_after_its_question_mark(home: Path) -> None:
    with serving(http(GOOD, length(GOOD))) as url:
        found = bundle.get(f"{url}/x.pem?X-Amz-Signature=c2lnbmF0dXJl", region=REGION)
    with serving(http(b"")) as url, pytest.raises(Refused) as refused:
        bundle.get(f"{url}/x.pem?X-Amz-Signature=c2lnbmF0dXJl", region=REGION)
    copies = [p.name for p in (home / "XDG_CACHE_HOME/rdsca/bundles").iterdir()]
    assert "c2lnbmF0dXJl" not in f"{found} {refused.value} {copies}"

"""What is known of roots on a machine: shipped, made anew from bundles, approved by a person, or a profile's own."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from authority import Authority, authority, truststores
from cadata import ca_data
from conftest import AwsSide

from rdsca_helpers import catalogue, roots_command
from rdsca_helpers.catalogue import Catalogue
from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge import bundle, download, roots
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.errors import Damaged, RdscaError, Refused, UnknownRoot, UsageError

DATA = Path(__file__).parent / "data"
GLOBAL = (DATA / "global-bundle-2026-09-25.pem").read_bytes()
CHINA = (DATA / "cn-global-bundle-2026-09-21.pem").read_bytes()
END = b"-----END CERTIFICATE-----\n"
G1, NEW = "rds-ca-rsa2048-g1", "Amazon RDS me-west-1 Root CA RSA2048 G1"
SHIPPED = catalogue.shipped()
URLS = {partition: f"{base}/{download.GLOBAL_BUNDLE}" for partition, base in download.TRUST_STORES.items()}


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "XDG_CONFIG_HOME/rdsca"


@pytest.fixture(scope="module")
def new() -> Authority:
    """A root of a region that the shipped catalogue does not have."""
    return authority(NEW)


@pytest.fixture
def bundle_with_new(new: Authority, tmp_path: Path) -> str:
    (tmp_path / "new bundle.pem").write_bytes(CHINA + new.pem)
    return str(tmp_path / "new bundle.pem")


# What is known


def test_without_anything_of_the_users_the_shipped_catalogue_is_known() -> None:
    assert set(roots.catalogue().roots) == set(SHIPPED.roots)


def test_a_refreshed_catalogue_counts_when_it_is_of_a_later_day_than_the_shipped_one(config: Path) -> None:
    config.mkdir(parents=True)
    for day, number in (("2020-01-01", len(SHIPPED.roots)), ("2099-01-01", 1)):
        (config / "catalogue.json").write_text(catalogue.write(Catalogue(SHIPPED.roots[:1], day)))
        assert len(roots.catalogue().roots) == number


def test_the_profiles_own_file_speaks_for_its_partitions_alone(profile: AwsSide, tmp_path: Path) -> None:
    known = roots.catalogue(Aws(profile="lab", account="111111111111").settings)
    pki = profile.world.pki
    assert known.offered("eu-west-1") == {
        ca: pki.thumbprint("eu-west-1", ca) for ca in ("rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1")
    }
    assert known.by_sha1(pki.thumbprint("eu-west-1", "rds-ca-2019")).current is False
    assert known.regions("aws") == tuple(sorted(pki.regions))
    assert known.regions("aws-cn") == SHIPPED.regions("aws-cn")
    with pytest.raises(UsageError, match=r"nothing\.json cannot be read"):
        roots.catalogue({"roots": str(tmp_path / "nothing.json")})


@pytest.mark.parametrize("name", ["catalogue.json", "approved-roots.json"])
def test_a_file_of_the_users_that_is_damaged_is_named_and_never_passed_over(name: str, config: Path) -> None:
    config.mkdir(parents=True)
    for damage in (b"{", b"\xff\xfe"):
        (config / name).write_bytes(damage)
        with pytest.raises(UsageError, match=f"{config / name} "):
            roots.catalogue()


@pytest.mark.parametrize("region", ["me-west-1", "eusc-de-east-1", "us-iso-east-1", "", "us-east-1 "])
def test_a_region_without_a_known_root_needs_an_approval(region: str) -> None:
    with pytest.raises(UnknownRoot, match=r"no root of rds-ca-rsa2048-g1 in .*rdsca roots approve SHA256") as refused:
        roots.require_known(SHIPPED, region, G1)
    assert refused.value.code == 10


def test_a_known_root_is_given_with_its_facts() -> None:
    assert roots.require_known(SHIPPED, "us-east-1", G1).subject == "Amazon RDS us-east-1 Root CA RSA2048 G1"


@pytest.mark.parametrize(
    "named",
    [
        "Amazon Root CA 1",
        "Amazon RDS us-gov-west-1 RSA2048 G1",
        "Amazon RDS Root 2019 CA",
        "Amazon RDS CN Root 2019 CA",
    ],
)
def test_what_is_no_root_of_the_ca_in_the_region_is_not_taken_for_one(named: str) -> None:
    (fact,) = [k for k in SHIPPED.roots if k.subject == named]
    with pytest.raises(UnknownRoot, match=f"known as {named}"):
        roots.require_known(SHIPPED, "us-gov-west-1", G1, thumbprint=fact.sha1)


def test_the_root_of_2019_stands_for_all_regions_of_its_partition_and_of_no_other() -> None:
    (fact,) = [k for k in SHIPPED.roots if k.subject == "Amazon RDS Root 2019 CA"]
    assert roots.require_known(SHIPPED, "eu-west-1", "rds-ca-2019", thumbprint=fact.sha1) == fact
    with pytest.raises(UnknownRoot, match="known as"):
        roots.require_known(SHIPPED, "cn-north-1", "rds-ca-2019", thumbprint=fact.sha1)


# Approval


def test_an_approved_root_is_known_from_then_on_with_who_when_and_why(
    new: Authority, bundle_with_new: str, config: Path
) -> None:
    with pytest.raises(UnknownRoot):
        bundle.get(bundle_with_new, region="cn-north-1")
    given = roots.approve(new.read.sha256.upper(), bundle_with_new, by="Ann", note="CHG-1")
    assert (given.region, given.ca, given.partition, given.current) == ("me-west-1", G1, "aws", True)
    assert roots.catalogue().find("me-west-1", G1) == given
    assert len(bundle.get(bundle_with_new, region="cn-north-1").certificates) == 7
    file = config / "approved-roots.json"
    assert file.stat().st_mode & 0o777 == 0o644
    (row,) = json.loads(file.read_text())["roots"]
    assert (row["by"], row["note"], row["source"]) == ("Ann", "CHG-1", bundle_with_new)
    assert row["at"].endswith("Z")


def test_approvals_are_kept_beside_each_other_and_the_first_word_on_a_root_stands(
    new: Authority, bundle_with_new: str, tmp_path: Path, config: Path
) -> None:
    first = roots.approve(new.read.sha256, bundle_with_new, by="Ann")
    other = authority("Other Corp RDS")
    (tmp_path / "other.pem").write_bytes(other.pem)
    place = {"region": "eusc-de-east-1", "ca": "rds-ca-rsa4096-g1"}
    second = roots.approve(other.read.sha256, str(tmp_path / "other.pem"), by="Bea", **place)
    assert second.partition == "unknown"
    before = (config / "approved-roots.json").read_bytes()
    assert roots.approve(new.read.sha256, bundle_with_new, by="Cid") == first
    assert (config / "approved-roots.json").read_bytes() == before
    assert {k.by for k in roots.catalogue().roots if k.approved} == {"Ann", "Bea"}
    assert roots.require_known(roots.catalogue(), **place) == second


def test_a_root_that_is_known_already_needs_no_approval(config: Path) -> None:
    known = SHIPPED.find("cn-north-1", G1)
    assert known
    given = roots.approve(known.sha256, str(DATA / "cn-global-bundle-2026-09-21.pem"), by="Ann")
    assert given == known
    assert not config.exists()


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"sha256": "ab" * 20}, UsageError, "no SHA-256 fingerprint"),
        ({"sha256": "ab" * 32}, Refused, "holds no certificate with the SHA-256"),
        ({"by": " "}, UsageError, "needs a name"),
        ({"bundle": "/nowhere.pem"}, UsageError, "cannot be read"),
        ({"region": "eu-west-1"}, UsageError, "root of rds-ca-rsa2048-g1 in me-west-1 by its name"),
        ({"ca": "rds-ca-2019"}, UsageError, "root of rds-ca-rsa2048-g1 in me-west-1 by its name"),
    ],
)
def test_an_approval_that_does_not_fit_is_refused_and_nothing_is_written(
    wish: dict[str, str], error: type[RdscaError], words: str, new: Authority, bundle_with_new: str
) -> None:
    usual = {"sha256": new.read.sha256, "bundle": bundle_with_new, "by": "Ann"}
    before = roots.catalogue()
    with pytest.raises(error, match=words):
        roots.approve(**(usual | wish))
    assert roots.catalogue() == before


def test_only_a_self_signed_ca_within_its_dates_is_approved(tmp_path: Path, config: Path) -> None:
    root = authority("Some Root")
    cases = {
        "is no root": authority(NEW, by=root),
        "that are no CA": authority(NEW, ca=False),
        "an expired root makes nothing work": authority(NEW, begins=-30, ends=-1),
        "only": authority(NEW, begins=1, ends=30),
        "does not say what it is the root of": root,
    }
    for words, candidate in cases.items():
        (tmp_path / "bundle.pem").write_bytes(CHINA + candidate.pem)
        with pytest.raises((Refused, UsageError), match=words):
            roots.approve(candidate.read.sha256, str(tmp_path / "bundle.pem"), by="Ann")
    assert not config.exists()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Amazon RDS eu-west-1 Root CA RSA2048 G1", {}),
        ("Other Corp RDS", {"region": "eu-west-1", "ca": G1}),
        ("Other Corp RDS", {"region": "eu-west-1", "ca": "rds-ca-2019"}),
        ("Amazon RDS Root 2019 CA", {"region": "xx-north-9", "ca": "rds-ca-2030"}),
    ],
)
def test_a_known_root_is_not_replaced_by_another_of_its_name_or_place(
    name: str, place: dict[str, str], tmp_path: Path, config: Path
) -> None:
    forged, file = authority(name), tmp_path / "forged.pem"
    file.write_bytes(forged.pem)
    with pytest.raises(Refused, match="ask AWS which of the two is right"):
        roots.approve(forged.read.sha256, str(file), by="Ann", **place)
    assert not config.exists()
    said = str(roots.unknown("a stranger", [forged.read], str(file), **place))
    assert "is not the known one" in said
    assert "roots approve" not in said


def test_a_second_approval_does_not_replace_the_first(new: Authority, bundle_with_new: str, tmp_path: Path) -> None:
    first = roots.approve(new.read.sha256, bundle_with_new, by="Ann")
    other = authority(NEW)
    (tmp_path / "other.pem").write_bytes(other.pem)
    with pytest.raises(Refused, match=first.sha256):
        roots.approve(other.read.sha256, str(tmp_path / "other.pem"), by="Bea")
    assert roots.catalogue().find("me-west-1", G1) == first


def test_a_damaged_file_of_approvals_is_not_overwritten(new: Authority, bundle_with_new: str, config: Path) -> None:
    config.mkdir(parents=True)
    (config / "approved-roots.json").write_text("{")
    with pytest.raises(UsageError, match=r"approved-roots\.json"):
        roots.approve(new.read.sha256, bundle_with_new, by="Ann")
    assert (config / "approved-roots.json").read_text() == "{"


def test_a_home_that_cannot_be_written_is_named(
    new: Authority, bundle_with_new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "a file"))
    with pytest.raises(Damaged, match="a file/rdsca cannot be made"):
        roots.approve(new.read.sha256, bundle_with_new, by="Ann")


# Refresh


def refreshed(tmp_path: Path, *bundles: bytes, into: Path | None = None) -> roots.Refreshed:
    """Refresh from files with these bytes."""
    files = []
    for number, data in enumerate(bundles):
        files.append(tmp_path / f"bundle-{number}.pem")
        files[-1].write_bytes(data)
    return roots.refresh([str(f) for f in files], into=into)


def test_the_newest_bundles_change_nothing_and_the_catalogue_stays_byte_for_byte_but_for_its_day(
    tmp_path: Path,
) -> None:
    done = refreshed(tmp_path, GLOBAL, CHINA, into=tmp_path / "made.json")
    assert (done.added, done.removed, done.unread) == ((), (), ())
    shipped = Path(catalogue.__file__).with_name("catalogue.json").read_text().splitlines()
    assert done.path.read_text().splitlines()[1:] == shipped[1:]


def test_the_whole_catalogue_of_a_partition_can_be_made_from_its_bundle_alone(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text(catalogue.write(Catalogue((), "2000-01-01")))
    gov = ca_data("gov-global-bundle-2026-09-21.pem").read_bytes()
    done = refreshed(tmp_path, GLOBAL, CHINA, gov, into=tmp_path / "made.json")
    made = catalogue.read((tmp_path / "made.json").read_text(), "x")
    assert {replace(k, source="") for k in made.roots} == {
        replace(k, source="") for k in SHIPPED.roots if k.current and k.role != "public"
    }
    assert len(done.added) == 124


def test_a_new_root_is_added_and_known_from_then_on(new: Authority, tmp_path: Path, config: Path) -> None:
    done = refreshed(tmp_path, GLOBAL + new.pem)
    assert [(k.region, k.ca, k.subject) for k in done.added] == [("me-west-1", G1, NEW)]
    assert done.path == config / "catalogue.json"
    assert not done.removed
    found = roots.catalogue()
    assert found.find("me-west-1", G1).sha256 == new.read.sha256
    assert len(found.roots) == len(SHIPPED.roots) + 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Evil Corp Root", "is not Amazon RDS's by its name"),
        ("Amazon RDS me-west-1 Subordinate CA RSA2048 G1.A.1", "is not Amazon RDS's by its name"),
        ("Amazon RDS us-east-1 Root CA RSA2048 G1", "is not the one that is known by this name"),
    ],
)
def test_what_has_no_place_in_amazons_bundle_stops_a_refresh_that_writes_nothing(
    name: str, words: str, tmp_path: Path, config: Path
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        refreshed(tmp_path, CHINA, GLOBAL + authority(name).pem)
    assert name in str(refused.value)
    assert not config.exists()


def test_two_roots_with_one_new_name_stop_a_refresh(new: Authority, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not the one that is known by this name"):
        refreshed(tmp_path, GLOBAL + new.pem + authority(NEW).pem)


def test_only_govcloud_has_intermediates_and_only_under_a_root_of_the_same_bundle(tmp_path: Path) -> None:
    root = authority("Amazon RDS us-gov-west-1 Root CA RSA2048 G9")
    below = authority("Amazon RDS us-gov-west-1 RSA2048 G9", by=root)
    for stray in (below.pem + CHINA, root.pem + authority("Amazon RDS us-east-1 RSA2048 G9", by=root).pem):
        with pytest.raises(Refused, match="is not self-signed"):
            refreshed(tmp_path, stray)
    done = refreshed(tmp_path, root.pem + below.pem)
    assert {k.subject: k.role for k in done.added} == {
        root.read.subject: "root",
        below.read.subject: "intermediate",
    }


def test_an_old_or_partial_file_takes_nothing_away_that_is_still_valid(tmp_path: Path) -> None:
    part = END.join(GLOBAL.split(END)[:10]) + END
    done = refreshed(tmp_path, part, (DATA / "global-bundle-2023-05.pem").read_bytes())
    assert (done.added, done.removed) == ((), ())
    assert not roots.catalogue().by_sha1(next(k.sha1 for k in SHIPPED.roots if not k.current)).current


def test_a_root_that_has_expired_and_left_is_retired_and_never_lost(tmp_path: Path) -> None:
    ended = authority(NEW, begins=-30, ends=-1)
    fact = catalogue.fact_of(ended.read, ca=G1, region="me-west-1", source="x")
    before = tmp_path / "made.json"
    before.write_text(catalogue.write(catalogue.merge(SHIPPED, Catalogue((fact,)))))
    done = refreshed(tmp_path, GLOBAL, into=before)
    assert [k.subject for k in done.removed] == [NEW]
    kept = catalogue.read(before.read_text(), "x").by_sha256(fact.sha256)
    assert kept == replace(fact, current=False)


def test_without_a_bundle_that_can_be_read_nothing_is_written(tmp_path: Path, config: Path) -> None:
    for data in (b"<html></html>" * 100, GLOBAL[:-400], b""):
        with pytest.raises(Refused):
            refreshed(tmp_path, data)
    with pytest.raises(UsageError, match="cannot be read"):
        roots.refresh([str(tmp_path / "nothing.pem")])
    assert not config.exists()


# Refresh from AWS and from PyPI


@pytest.fixture
def aws_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """AWS's own three addresses over https; GovCloud's has no page until a test gives it one."""
    pages = {URLS["aws"]: GLOBAL, URLS["aws-cn"]: CHINA, URLS["aws-us-gov"]: b""}
    with truststores(pages, tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield pages


def test_a_root_that_left_aws_s_own_bundle_is_retired_though_it_is_valid(aws_stores: dict[str, bytes]) -> None:
    blocks = [b + END for b in GLOBAL.split(END)[:-1]]
    aws_stores[URLS["aws"]] = b"".join(blocks[1:])
    ((lost,), _) = read_pem(blocks[0].decode())
    done = roots.refresh(["aws"])
    assert [k.sha256 for k in done.removed] == [lost.sha256]
    assert bundle.get("aws", region="us-east-1").known.by_sha256(lost.sha256).current is False


def test_a_partition_that_cannot_be_read_is_named_and_stays_as_it_was(
    aws_stores: dict[str, bytes], new: Authority
) -> None:
    aws_stores[URLS["aws"]] = GLOBAL + new.pem
    done = roots.refresh(["aws"])
    assert [p.where for p in done.unread] == ["aws-us-gov"]
    assert [k.subject for k in done.added] == [NEW]
    assert not done.removed
    assert len(roots.catalogue().offered("us-gov-west-1")) == 3


def test_the_bundle_of_one_partition_is_not_taken_for_another(aws_stores: dict[str, bytes], config: Path) -> None:
    aws_stores[URLS["aws-cn"]] = GLOBAL
    with pytest.raises(Refused, match="is of aws, not of aws-cn"):
        roots.refresh(["aws"])
    assert not config.exists()


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without AWS: the proxy that leads there does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of PyPI, for the real pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return folder


def publish(index: Path, version: str, pages: dict[str, bytes]) -> None:
    info = f"awslabs_mysql_mcp_server-{version}.dist-info"
    with zipfile.ZipFile(index / f"awslabs_mysql_mcp_server-{version}-py3-none-any.whl", "w") as wheel:
        for name, data in pages.items():
            wheel.writestr(name, data)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: awslabs-mysql-mcp-server\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_without_aws_the_newest_wheel_gives_the_commercial_roots_and_the_rest_is_named(
    no_aws: None, index: Path, new: Authority
) -> None:
    publish(index, "1.1.3", {"awslabs/mysql_mcp_server/connection/rds_global_bundle.pem": GLOBAL})
    publish(index, "1.2.0", {"awslabs/elsewhere/rds_global_bundle.pem": GLOBAL + new.pem})
    done = roots.refresh()
    code, lines = typed("refresh")
    assert code == 4
    assert lines[-1].endswith("0 root(s) added, 0 retired")
    assert [k.subject for k in done.added] == [NEW]
    assert "awslabs_mysql_mcp_server-1.2.0-py3-none-any.whl" in done.added[0].source
    assert [p.where for p in done.unread] == ["aws", "aws-us-gov", "aws-cn"]


def test_a_wheel_that_is_not_there_or_holds_no_bundle_is_a_reason_not_a_crash(
    no_aws: None, index: Path, config: Path
) -> None:
    with pytest.raises(Refused, match="pip could not get awslabs-mysql-mcp-server"):
        roots.refresh(["wheel"])
    with pytest.raises(Refused, match=r"no bundle could be read: aws: .*awslabs-mysql-mcp-server: pip"):
        roots.refresh()
    publish(index, "1.1.3", {"rds_global_bundle.pem.txt": GLOBAL})
    with pytest.raises(Refused, match=r"holds no rds_global_bundle\.pem"):
        roots.refresh(["wheel"])
    publish(index, "1.1.4", {"a/rds_global_bundle.pem": GLOBAL[:-300]})
    with pytest.raises(Refused, match="not a clean PEM bundle"):
        roots.refresh(["wheel"])
    assert not config.exists()


# The command


def typed(*words: str) -> tuple[int, list[str]]:
    """Run ``rdsca roots …`` and give its exit code and its lines; errors are raised."""
    parser, lines = argparse.ArgumentParser(prog="rdsca"), []
    commands = parser.add_subparsers(required=True)

    def command(name: str, do: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(do=do)
        return made

    roots_command.add_parser(command, lines.append)
    options = parser.parse_args(["roots", *words])
    return options.do(options), lines


def test_list_gives_a_line_for_each_root_and_the_day_of_the_catalogue() -> None:
    code, lines = typed("list")
    assert code == 0
    assert len(lines) == 121
    assert lines[-1] == "120 certificate(s), as of 2026-09-25"
    _, lines = typed("list", "--region", "us-gov-west-1", "--all")
    assert len(lines) == 7
    assert sum(", intermediate" in line for line in lines) == 3
    assert sum(", retired" in line for line in lines) == 1
    with pytest.raises(UnknownRoot, match="me-west-1"):
        typed("list", "--region", "me-west-1")


def test_list_shows_the_roots_of_a_profile_and_who_approved_a_root(
    profile: AwsSide, new: Authority, bundle_with_new: str
) -> None:
    typed("approve", new.read.sha256, "--bundle", bundle_with_new, "--by", "Ann", "--note", "CHG-1")
    _, lines = typed("list", "--profile", "lab")
    assert sum("Practice RDS" in line for line in lines) == 9
    (line,) = [line for line in lines if NEW in line]
    assert "approved by Ann" in line
    assert "CHG-1" in line


def test_refresh_says_what_was_added_and_retired_by_region_and_what_was_not_read(
    aws_stores: dict[str, bytes], new: Authority, tmp_path: Path
) -> None:
    blocks = [b + END for b in GLOBAL.split(END)[:-1]]
    aws_stores[URLS["aws"]] = b"".join(blocks[1:]) + new.pem
    ((lost,), _) = read_pem(blocks[0].decode())
    code, lines = typed("refresh", "--from", "aws", "--into", str(tmp_path / "made.json"))
    assert code == 4
    assert lines[0].startswith("+ me-west-1 ")
    assert new.read.sha256 in lines[0]
    assert lines[1].startswith(f"- {lost.subject.split()[2]} ")
    assert lines[2].startswith("not read: aws-us-gov: ")
    assert lines[3:5] == [f"read: {URLS['aws']}", f"read: {URLS['aws-cn']}"]
    assert lines[5] == f"{tmp_path / 'made.json'}: 1 root(s) added, 1 retired"
    assert typed("refresh", "--from", str(DATA / "global-bundle-2026-09-25.pem"))[0] == 0


def test_the_line_in_the_message_about_an_unknown_root_approves_it(new: Authority, bundle_with_new: str) -> None:
    with pytest.raises(UnknownRoot) as refused:
        bundle.get(bundle_with_new, region="cn-north-1")
    line = "approve" + str(refused.value).partition("rdsca roots approve")[2]
    words = subprocess.run(["sh", "-c", f'printf "%s\\n" {line}'], capture_output=True, text=True, check=True).stdout
    code, lines = typed(*words.splitlines())
    assert code == 0
    assert lines[0].endswith("Z")
    assert "approved by WHO" in lines[0]
    assert typed(*words.splitlines())[1] == lines

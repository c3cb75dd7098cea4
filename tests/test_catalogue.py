"""The catalogue of roots: its facts against the real certificates, and its answers, "unknown" among them."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore
import pytest
from authority import authority
from cadata import ca_data
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from rdsca_helpers import catalogue
from rdsca_helpers.catalogue import Catalogue
from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.errors import UsageError

SHIPPED = catalogue.shipped()
BUNDLES = {
    "aws": "global-bundle-2026-09-25.pem",
    "aws-cn": "cn-global-bundle-2026-09-21.pem",
    "aws-us-gov": "gov-global-bundle-2026-09-21.pem",
}
HISTORIC = (
    "global-bundle-2023-05.pem",
    "global-bundle-2024-08.pem",
    "global-bundle-2024-09.pem",
    "rds-combined-ca-bundle-2019-01.pem",
    "rds-combined-ca-bundle-2019-10.pem",
    "rds-combined-ca-bundle-2020-04.pem",
    "historic-other-partitions.pem",
    "amazon-trust-services-roots.pem",
)
CAS = {"rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"}
US_EAST_1 = SHIPPED.find("us-east-1", "rds-ca-rsa2048-g1")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def certificates(name: str) -> list[Certificate]:
    found, complaints = read_pem(ca_data(name).read_text())
    assert not complaints
    return found


# Its facts against the real certificates


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("name", [*BUNDLES.values(), *HISTORIC])
def test_the_facts_of_every_real_certificate_are_what_cryptography_computes_from_it(name: str) -> None:
    for real in x509.load_pem_x509_certificates(ca_data(name).read_bytes()):
        fact = SHIPPED.by_sha256(real.fingerprint(hashes.SHA256()).hex())
        assert fact, real.subject
        (common,) = real.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert fact.subject == common.value
        assert fact.sha1 == real.fingerprint(hashes.SHA1()).hex()
        assert (fact.not_before, fact.not_after) == (real.not_valid_before_utc, real.not_valid_after_utc)
        kind, size = re.fullmatch(r"(RSA|EC secp)(\d+)(?:r1)?", fact.key).groups()
        assert real.public_key().key_size == int(size)
        assert type(real.public_key()).__name__.startswith(kind[:2])
        assert (fact.role == "intermediate") == (real.issuer != real.subject)


@pytest.mark.parametrize("name", list(BUNDLES.values())[:2])
def test_openssl_reads_the_same_fingerprints_and_dates_in_the_real_bundles(name: str) -> None:
    for certificate in certificates(name):
        command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-dates"]
        said = subprocess.run(command, input=certificate.pem, capture_output=True, text=True, check=True).stdout
        seen = dict(line.split("=", 1) for line in said.splitlines())
        fact = SHIPPED.by_sha256(seen["sha256 Fingerprint"])
        assert fact
        for found, date in ((fact.not_before, seen["notBefore"]), (fact.not_after, seen["notAfter"])):
            assert found == datetime.strptime(date, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)


@pytest.mark.parametrize("partition", BUNDLES)
def test_what_is_current_in_a_partition_is_its_newest_bundle_no_more_and_no_less(partition: str) -> None:
    current = {k.sha256 for k in SHIPPED.roots if k.current and k.partition == partition}
    assert current == {c.sha256 for c in certificates(BUNDLES[partition])}


def test_it_holds_the_120_current_and_the_56_retired_ones_and_the_public_roots_of_rds_proxy() -> None:
    facts = json.loads(ca_data("roots.json").read_text())
    assert {k.sha256 for k in SHIPPED.roots if k.current and k.role == "root"} == {r["sha256"] for r in facts["roots"]}
    assert {k.sha256 for k in SHIPPED.roots if not k.current} == {r["sha256"] for r in facts["retired"]}
    public = [k for k in SHIPPED.roots if k.role == "public"]
    assert {k.sha256 for k in public} == {c.sha256 for c in certificates("amazon-trust-services-roots.pem")}
    assert {(k.partition, k.ca, k.region) for k in public} == {("public", "", "")}


def test_ca_region_and_partition_are_those_of_the_table_of_facts() -> None:
    with ca_data("certificates.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if not r["ca_id"].startswith("acm")]
    assert len(rows) == 180
    for row in rows:
        fact = SHIPPED.by_sha1(row["sha1_aws_thumbprint"])
        assert fact
        region = "-".join(filter(None, (row["stage"], row["region"])))
        assert (fact.partition, fact.region, fact.role) == (row["partition"], region, row["role"])
        assert fact.ca == row["ca_id"].removesuffix(" (GovCloud)")


def test_the_name_of_every_current_root_says_its_region_and_its_ca() -> None:
    for known in SHIPPED.roots:
        if known.current and known.role != "public":
            assert catalogue.name_of(known.subject) == (known.region, known.ca)


def test_no_current_root_is_within_two_years_of_its_end() -> None:
    ending = [k for k in SHIPPED.roots if k.current and k.role != "intermediate"]
    soon = datetime.now(UTC) + timedelta(days=730)
    assert [k.subject for k in ending if k.not_after < soon] == []


def test_every_region_of_rds_that_botocore_lists_is_known_or_answered_with_unknown() -> None:
    waiting = {"me-west-1", "sa-west-1"}  # listed by botocore 1.44.5, and in no bundle yet
    data = json.loads((Path(botocore.__file__).parent / "data/partitions.json").read_text())
    lacking = set()
    for part in data["partitions"]:
        regions = {r for r in part["regions"] if not r.endswith("-global")}
        spoken_for = part["id"] in BUNDLES
        assert {catalogue.partition(r) for r in regions} == {part["id"] if spoken_for else "unknown"}
        lacking |= {r for r in regions if not SHIPPED.offered(r)} if spoken_for else set()
        assert all(SHIPPED.find(r, ca) is None for r in regions if not spoken_for for ca in CAS)
    if lacking - waiting:
        warnings.warn(f"botocore lists {', '.join(sorted(lacking - waiting))}; run make roots", stacklevel=1)


def test_it_ships_with_one_certificate_a_line_and_sorted_so_that_a_change_is_a_change_of_lines() -> None:
    text = Path(catalogue.__file__).with_name("catalogue.json").read_text()
    assert catalogue.write(SHIPPED) == text
    assert len(text.splitlines()) == len(SHIPPED.roots) + 2
    backwards = Catalogue(tuple(reversed(SHIPPED.roots)), SHIPPED.as_of)
    assert catalogue.write(backwards) == text
    assert "BEGIN" not in text


# Its answers


def test_a_root_is_found_by_thumbprint_and_fingerprint_however_they_are_written() -> None:
    assert US_EAST_1
    for sha1 in (US_EAST_1.sha1, US_EAST_1.sha1.upper(), ":".join(re.findall("..", US_EAST_1.sha1))):
        assert SHIPPED.by_sha1(sha1) == US_EAST_1
    for sha256 in (US_EAST_1.sha256.upper(), ":".join(re.findall("..", US_EAST_1.sha256.upper()))):
        assert SHIPPED.by_sha256(sha256) == US_EAST_1


def test_what_is_not_known_is_not_guessed() -> None:
    assert SHIPPED.by_sha1("") is SHIPPED.by_sha256("") is SHIPPED.by_sha1("00" * 20) is None
    assert SHIPPED.by_sha1(US_EAST_1.sha1[:-2]) is None
    assert SHIPPED.find("me-west-1", "rds-ca-rsa2048-g1") is SHIPPED.find("us-east-1", "rds-ca-2030-g9") is None
    assert SHIPPED.find("us-east-1", "rds-ca-2019") is None
    assert SHIPPED.offered("me-west-1") == SHIPPED.offered("") == {}


def test_a_region_offers_the_three_cas_with_its_own_thumbprints() -> None:
    offered = SHIPPED.offered("us-gov-west-1")
    assert set(offered) == CAS
    assert {SHIPPED.by_sha1(t).subject.split()[2] for t in offered.values()} == {"us-gov-west-1"}
    assert {SHIPPED.by_sha1(t).role for t in offered.values()} == {"root"}


def test_regions_are_listed_by_partition_without_amazons_own_trials() -> None:
    assert len(SHIPPED.regions("aws")) == 34
    assert SHIPPED.regions("aws-us-gov") == ("us-gov-east-1", "us-gov-west-1")
    assert len(SHIPPED.regions()) == 38
    trial = SHIPPED.find("beta-us-east-1", "rds-ca-rsa2048-g1")
    assert trial
    assert trial.subject != US_EAST_1.subject


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("me-west-1", "aws"),
        ("us-gov-east-1", "aws-us-gov"),
        ("cn-northwest-1", "aws-cn"),
        ("eusc-de-east-1", "unknown"),
        ("us-iso-east-1", "unknown"),
        ("us-isob-east-1", "unknown"),
        ("eu-isoe-west-1", "unknown"),
        ("", "unknown"),
        ("us-east-1.evil", "unknown"),
        ("xx-east-1", "unknown"),
    ],
)
def test_only_three_partitions_are_known_and_aws_is_never_the_guess(region: str, partition: str) -> None:
    assert catalogue.partition(region) == partition


@pytest.mark.parametrize(
    ("subject", "place"),
    [
        ("Amazon RDS us-east-1 Root CA RSA2048 G1", ("us-east-1", "rds-ca-rsa2048-g1")),
        ("Amazon RDS me-west-1 Root CA ECC521 G2", ("me-west-1", "rds-ca-ecc521-g2")),
        ("Amazon RDS eusc-de-east-1 Root CA RSA4096 G1", ("eusc-de-east-1", "rds-ca-rsa4096-g1")),
        ("Amazon RDS us-gov-west-1 RSA4096 G1", ("us-gov-west-1", "rds-ca-rsa4096-g1")),
        ("Amazon RDS Preview us-east-2 Root CA ECC384 G1", ("preview-us-east-2", "rds-ca-ecc384-g1")),
        ("Amazon RDS ap-northeast-2 Subordinate CA RSA2048 G1.A.5", None),
        ("Amazon RDS Root 2019 CA", None),
        ("Evil RDS us-east-1 Root CA RSA2048 G1", None),
        ("Amazon RDS us-east-1 Root CA RSA2048 G1\n", None),
        ("Amazon Root CA 1", None),
    ],
)
def test_region_and_ca_are_read_from_a_name_of_amazons_form_only(subject: str, place: tuple[str, str] | None) -> None:
    assert catalogue.name_of(subject) == place


def test_a_later_catalogue_replaces_only_the_partitions_that_it_names() -> None:
    own = Catalogue((replace(US_EAST_1, sha256="ab" * 32, sha1="ab" * 20),), "2030-01-01")
    found = SHIPPED.instead(own)
    assert found.regions("aws") == ("us-east-1",)
    assert found.find("us-east-1", "rds-ca-rsa2048-g1") == own.roots[0]
    assert found.by_sha256(US_EAST_1.sha256) is None
    assert len(found.regions("aws-cn")) == 2
    assert found.as_of == "2030-01-01"


def test_merged_the_later_facts_of_a_certificate_count_and_a_second_root_for_a_place_is_found_first() -> None:
    retired = Catalogue((replace(US_EAST_1, current=False),), "2030-01-01")
    assert catalogue.merge(SHIPPED, retired).find("us-east-1", "rds-ca-rsa2048-g1") is None
    second = replace(US_EAST_1, sha256="ab" * 32, sha1="ab" * 20, by="a person")
    found = catalogue.merge(SHIPPED, Catalogue((second,)))
    assert found.find("us-east-1", "rds-ca-rsa2048-g1") == second
    assert found.by_sha1(US_EAST_1.sha1) == US_EAST_1


def entry(**changes: object) -> str:
    row = json.loads(catalogue.write(Catalogue((US_EAST_1,))))
    row["roots"][0] |= changes
    return json.dumps(row)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"kind": "trust", "schema": 1, "as_of": "", "roots": []}',
        '{"kind": "roots", "schema": 2, "as_of": "", "roots": []}',
        '{"kind": "roots", "schema": 1, "roots": []}',
        '{"kind": "roots", "schema": 1, "as_of": "", "roots": ["x"]}',
        '{"kind": "roots", "schema": 1, "as_of": "", "roots": [{}]}',
        entry(sha256="ab"),
        entry(sha1="AB" * 20),
        entry(sha256=5),
        entry(current="true"),
        entry(not_after="soon"),
        entry(not_after="2061-05-25"),
        entry(subject=None),
        catalogue.write(Catalogue((US_EAST_1, US_EAST_1))),
        catalogue.write(SHIPPED)[:-5],
    ],
)
def test_a_damaged_catalogue_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^/some/file is no catalogue of roots \("):
        catalogue.read(text, "/some/file")


def test_who_approved_a_root_when_and_why_is_kept() -> None:
    approved = replace(US_EAST_1, by="Ann", at="2026-11-24T00:00:00Z", note="CHG-1")
    (found,) = catalogue.read(catalogue.write(Catalogue((approved,))), "x").roots
    assert found == approved
    assert found.approved
    assert not US_EAST_1.approved


# A bundle beside it

CHINA = certificates(BUNDLES["aws-cn"])


def compared(held: list[Certificate], known: Catalogue = SHIPPED, **wish: object) -> tuple[list[str], list[str]]:
    usual = {"of": "aws-cn", "regions": (), "now": NOW}
    found = catalogue.compare(held, known, **(usual | wish))
    return [c.subject for c in found.strangers], [k.subject for k in found.missing]


def test_a_whole_bundle_differs_in_nothing() -> None:
    assert compared(CHINA) == ([], [])


@pytest.mark.parametrize("number", range(len(CHINA)))
def test_each_root_that_a_bundle_lacks_is_named(number: int) -> None:
    assert compared(CHINA[:number] + CHINA[number + 1 :]) == ([], [CHINA[number].subject])


def test_of_a_part_only_the_wanted_regions_have_to_be_whole() -> None:
    part = [c for c in CHINA if "cn-north-1" in c.subject]
    assert compared(part, of="", regions=("cn-north-1",)) == ([], [])
    assert len(compared(part, of="", regions=("cn-north-1", "cn-northwest-1"))[1]) == 3
    assert len(compared(part[1:], of="", regions=("cn-north-1",))[1]) == 1


def test_an_expired_or_an_approved_root_may_be_missing() -> None:
    lost, rest = CHINA[0], CHINA[1:]
    assert compared(rest, now=lost.not_after + timedelta(seconds=1)) == ([], [])
    fact = SHIPPED.by_sha256(lost.sha256)
    assert fact
    assert compared(rest, catalogue.merge(SHIPPED, Catalogue((replace(fact, by="Ann"),)))) == ([], [])


def test_a_root_that_nobody_knows_is_a_stranger_whatever_its_name() -> None:
    twin = authority(CHINA[0].subject)
    assert compared([*CHINA, twin.read]) == ([CHINA[0].subject], [])
    assert compared([twin.read, *CHINA[1:]]) == ([CHINA[0].subject], [CHINA[0].subject])


def test_a_root_made_anew_with_the_same_name_and_key_is_a_stranger() -> None:
    root = authority("Amazon RDS cn-north-1 Root CA RSA2048 G9")
    again = authority(root.read.subject, key=root.key)
    fact = catalogue.fact_of(root.read, ca="rds-ca-rsa2048-g9", region="cn-north-1", source="x")
    known = catalogue.merge(SHIPPED, Catalogue((fact,)))
    assert compared([*CHINA, root.read, again.read], known) == ([root.read.subject], [])


def test_an_unknown_intermediate_is_a_stranger_unless_a_known_root_of_the_bundle_signed_it() -> None:
    root = authority("Amazon RDS cn-north-1 Root CA RSA2048 G9")
    below = authority("a subordinate", by=root)
    fact = catalogue.fact_of(root.read, ca="rds-ca-rsa2048-g9", region="cn-north-1", source="x")
    known = catalogue.merge(SHIPPED, Catalogue((fact,)))
    assert compared([*CHINA, root.read, below.read], known) == ([], [])
    assert compared([*CHINA, below.read], known) == (["a subordinate"], [root.read.subject])
    assert compared([*CHINA, root.read, below.read]) == ([root.read.subject, "a subordinate"], [])


def test_the_intermediates_of_govcloud_pass_because_they_are_known_and_else_because_their_roots_are() -> None:
    gov = certificates(BUNDLES["aws-us-gov"])
    assert compared(gov, of="aws-us-gov") == ([], [])
    only_roots = Catalogue(tuple(k for k in SHIPPED.roots if k.role != "intermediate"))
    assert compared(gov, only_roots, of="aws-us-gov") == ([], [])
    intermediates = [c for c in gov if not c.is_root]
    assert len(compared(intermediates, only_roots, of="aws-us-gov")[0]) == 4


def test_facts_are_computed_from_the_certificate_and_a_trial_is_of_its_regions_partition() -> None:
    fact = catalogue.fact_of(CHINA[0], ca="x", region="preview-us-east-2", source="y", role="root")
    assert (fact.partition, fact.key, fact.sha1) == ("aws", CHINA[0].key, CHINA[0].sha1)
    assert fact.dates == f"valid from {CHINA[0].not_before:%Y-%m-%d} to {CHINA[0].not_after:%Y-%m-%d}"

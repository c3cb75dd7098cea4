"""What a store means for a client when the server moves to another CA, with openssl as the second opinion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cadata import ca_data
from test_replay import ago, ahead, make
from wire import certificates, openssl

from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.errors import UsageError
from rdsca_helpers.lab.pki import CURRENT, Pki
from rdsca_helpers.trust import (
    ACCEPTING,
    FAMILIES,
    JAVA_REFUSED,
    WORKS_TODAY,
    Contents,
    Entry,
    Root,
    family,
    judge,
    replay,
)

REGION, OTHER = "eu-west-1", "us-west-2"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"
RSA, RSA4096, ECC = CURRENT
OLD = "rds-ca-2019"
NOW = datetime.now(UTC)
NEWEST = "global-bundle-2026-09-25.pem"
MEASURED = [name for name in FAMILIES if name != "windows"]  # whose rules a replay follows


def store(text: str) -> Contents:
    found, complaints = read_pem(text)
    return Contents("pem", tuple(map(Entry, found)), tuple(complaints))


def root_of(pki: Pki, ca: str = RSA, region: str = REGION) -> Certificate:
    return certificates(pki.root_pem(region, ca))[0]


def chain_of(pki: Pki, ca: str = RSA, days: float = 300) -> list[Certificate]:
    return certificates(pki.issue(REGION, ca, [NAME], ago(60), ahead(days)).chain_pem)


def verdict_on(
    pki: Pki, found: str | Contents, client: str = "openssl", target: str = RSA, now: datetime = NOW
) -> tuple[str, str]:
    return judge(
        store(found) if isinstance(found, str) else found,
        root=root_of(pki, target),
        region=REGION,
        target_ca=target,
        offered={ca: pki.thumbprint(REGION, ca) for ca in (*CURRENT, OLD)},
        family=family(client),
        now=now,
    )


# What lies in a store


@pytest.mark.parametrize("client", ["openssl", "openssl-partial", "gnutls"])
def test_a_store_is_judged_by_what_lies_in_it_for_the_target(pki: Pki, client: str) -> None:
    target, sibling, old = (pki.root_pem(REGION, ca) for ca in (RSA, RSA4096, OLD))
    leaf, subordinate, _ = (c.pem for c in chain_of(pki))
    public = ca_data("amazon-trust-services-roots.pem").read_text()
    for text, expected in {
        target: "ready",
        target + public: "ready",
        target + sibling: "ready",
        target + subordinate: "ready",
        pki.bundle(): "ready",
        target + old: "both",
        target + sibling + old + public: "both",
        sibling: "old-only",
        sibling + public: "old-only",
        old: "old-only",
        old + pki.bundle(OTHER): "old-only",
        subordinate: "pin-only",
        leaf: "pin-only",
        leaf + subordinate + public: "pin-only",
        subordinate + old: "pin-only",
        pki.bundle(OTHER): "wrong-region",
        pki.bundle(OTHER) + public: "wrong-region",
        public: "public-only",
        "": "unreadable-by-client",
        "<html>": "unreadable-by-client",
    }.items():
        verdict, reason = verdict_on(pki, text, client)
        assert verdict == expected
        assert reason


@pytest.mark.parametrize("client", [*MEASURED, "openssl:seclevel=3", "java:rsa>=3072", "java:no-ec"])
@pytest.mark.parametrize("target", CURRENT)
def test_a_store_reads_ready_exactly_when_a_replay_of_the_target_is_accepted_and_no_pin_is_the_reason(
    pki: Pki, client: str, target: str
) -> None:
    chain = chain_of(pki, target)
    form = "jks" if client.startswith("java") else "pem"
    roots = {ca: root_of(pki, ca) for ca in (*CURRENT, OLD)}
    for held in (
        [roots[target]],
        [roots[OLD]],
        [roots[OLD], roots[target]],
        [r for ca, r in roots.items() if ca != target],
        list(roots.values()),
        [root_of(pki, target, OTHER)],
        chain[1:2],
        [roots[OLD], *chain[1:2]],
        [],
    ):
        found = Contents(form, tuple(map(Entry, held)))
        verdict, reason = verdict_on(pki, found, client, target)
        accepted, why = replay(chain, found, family=family(client), name=NAME, at=NOW)
        assert accepted == (verdict in ACCEPTING or WORKS_TODAY in reason), (verdict, reason, why)


def test_a_store_lacking_the_root_is_told_which_one_by_name_and_fingerprint(pki: Pki) -> None:
    root = root_of(pki)
    _, reason = verdict_on(pki, pki.root_pem(REGION, ECC))
    assert root.subject in reason
    assert root.sha256[:16] in reason
    assert ECC in reason


@pytest.mark.parametrize("client", MEASURED)
def test_a_pinned_subordinate_works_today_where_any_certificate_is_an_anchor_and_fails_elsewhere(
    pki: Pki, client: str
) -> None:
    chain = chain_of(pki)
    found = Contents("jks" if client == "java" else "pem", (Entry(chain[1]),))
    verdict, reason = verdict_on(pki, found, client)
    assert verdict == "pin-only"
    assert (WORKS_TODAY in reason) == FAMILIES[client].any_certificate
    assert ("fails today" in reason) == (client == "openssl")
    assert chain[1].subject in reason


def test_a_p7b_is_judged_for_windows_by_the_roots_in_it_and_no_other_client_reads_it(pki: Pki) -> None:
    found = Contents("p7b", (Entry(root_of(pki)),))
    assert verdict_on(pki, found, "windows")[0] == "ready"
    assert verdict_on(pki, found, "windows", RSA4096)[0] == "old-only"
    assert {verdict_on(pki, found, client)[0] for client in MEASURED} == {"unreadable-by-client"}


def test_a_pinned_leaf_that_has_ended_is_said_to_fail_but_not_for_java_which_does_not_look(pki: Pki) -> None:
    leaf = chain_of(pki, days=-1)[0]
    assert "fails today" in verdict_on(pki, Contents("pem", (Entry(leaf),)), "openssl-partial")[1]
    assert WORKS_TODAY in verdict_on(pki, Contents("jks", (Entry(leaf),)), "java")[1]


def test_a_root_of_the_same_name_with_another_key_is_not_the_root(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> None:
    impostor = Pki(tmp_path_factory.mktemp("impostor"), regions=(REGION,))
    for client in ("openssl", "openssl-partial"):
        assert verdict_on(pki, impostor.root_pem(REGION, RSA), client)[0] == "wrong-region"


def test_a_subordinate_of_an_unknown_company_is_no_pin_of_the_target(pki: Pki) -> None:
    company = make("Company Root")
    below = make("Company Issuing CA", company)
    assert verdict_on(pki, company.read.pem + below.read.pem, "openssl-partial")[0] == "public-only"
    assert verdict_on(pki, below.read.pem)[0] == "public-only"


# What the client would really load


@pytest.mark.parametrize(
    "change",
    [lambda t: t[:-60], lambda t: t + t[:700], lambda t: t.replace("\n", "\r")],
    ids=["cut off", "half a block more", "bare CR"],
)
def test_a_store_of_which_openssl_loads_nothing_never_counts_as_holding_the_root(
    pki: Pki, tmp_path: Path, change: Callable[[str], str]
) -> None:
    text = change(pki.root_pem(REGION, RSA) + pki.root_pem(OTHER, RSA))
    file = tmp_path / "store.pem"
    file.write_text(text, newline="")
    assert not openssl(chain_of(pki), file)[0]
    assert verdict_on(pki, text)[0] == "unreadable-by-client"


def test_a_root_behind_an_indented_line_is_not_held_and_the_others_are(pki: Pki) -> None:
    target, other = pki.root_pem(REGION, RSA), pki.root_pem(REGION, ECC)
    assert verdict_on(pki, " " + target + other)[0] == "old-only"
    verdict, reason = verdict_on(pki, " " + other + target)
    assert verdict == "ready"
    assert "OpenSSL passes over" in reason


def test_a_store_that_reads_ready_lets_openssl_accept_the_servers_chain(pki: Pki, tmp_path: Path) -> None:
    chain = chain_of(pki)
    for number, text in enumerate(
        (
            pki.root_pem(REGION, RSA),
            pki.bundle(),
            pki.root_pem(REGION, ECC),
            pki.bundle(OTHER),
            chain[1].pem,
            chain[0].pem + pki.root_pem(REGION, RSA),
            " " + pki.root_pem(REGION, RSA) + pki.root_pem(REGION, ECC),
        )
    ):
        file = tmp_path / f"{number}.pem"
        file.write_text(text)
        assert (verdict_on(pki, text)[0] in ACCEPTING) == openssl(chain, file)[0], text[:40]
        partial = openssl(chain, file, "-partial_chain")[0]
        verdict, reason = verdict_on(pki, text, "openssl-partial")
        assert (verdict in ACCEPTING or WORKS_TODAY in reason) == partial


@pytest.mark.parametrize(
    ("client", "form", "reads"),
    [
        ("openssl", "jks", False),
        ("openssl", "pkcs12", False),
        ("openssl", "directory", True),
        ("gnutls", "jks", False),
        ("java", "pem", False),
        ("java", "pkcs12", True),
        ("java", "jks", True),
        ("java", "p7b", False),
        ("openssl", "p7b", False),
    ],
)
def test_a_format_that_the_family_does_not_read_is_unreadable_and_named(
    pki: Pki, client: str, form: str, reads: bool
) -> None:
    found = Contents(form, (Entry(root_of(pki)),))
    verdict, reason = verdict_on(pki, found, client)
    assert verdict == ("ready" if reads else "unreadable-by-client")
    if not reads:
        assert form in reason


def test_a_driver_may_read_more_than_its_family(pki: Pki) -> None:
    verdict, _ = judge(
        store(pki.root_pem(REGION, RSA)),
        root=root_of(pki),
        region=REGION,
        target_ca=RSA,
        offered={},
        family=FAMILIES["java"],
        now=NOW,
        formats={"pem"},
    )
    assert verdict == "ready"


def test_certificates_without_the_trust_attribute_are_empty_for_java(pki: Pki) -> None:
    unmarked = Contents("pkcs12", (Entry(root_of(pki), "rds", anchor=False),))
    verdict, reason = verdict_on(pki, unmarked, "java")
    assert verdict == "empty-for-java"
    assert "not marked as trusted" in reason
    assert verdict_on(pki, Contents("jks", ()), "java")[0] == "empty-for-java"
    half = Contents("pkcs12", (Entry(root_of(pki), "rds", anchor=False), Entry(root_of(pki, ECC))))
    verdict, reason = verdict_on(pki, half, "java")
    assert verdict == "old-only"
    assert "rds lies in it, but not as a trusted entry" in reason


# Which root


def test_a_root_that_nobody_knows_or_that_rds_names_differently_is_unknown_even_when_it_lies_in_the_store(
    pki: Pki,
) -> None:
    root, found = root_of(pki), store(pki.root_pem(REGION, RSA))
    named = "ab" * 20
    facts = {"region": REGION, "target_ca": RSA, "family": FAMILIES["openssl"], "now": NOW}
    for known, offered in ((None, {}), (None, {RSA: named}), (root, {RSA: named})):
        verdict, reason = judge(found, root=known, offered=offered, **facts)  # type: ignore[arg-type]
        assert verdict == "unknown-ca"
        assert "rdsca roots approve" in reason
        assert (named in reason) == bool(offered)
    verdict, _ = judge(found, root=root, offered={RSA: root.sha1.upper()}, **facts)  # type: ignore[arg-type]
    assert verdict == "ready"


# Dates


def test_expired_old_roots_do_no_harm_and_are_named(pki: Pki) -> None:
    verdict, reason = verdict_on(pki, pki.root_pem(REGION, RSA) + pki.root_pem(REGION, OLD))
    assert verdict == "both"
    assert (
        "1 root(s) in it have expired, which does no harm: Practice RDS Root 2019 CA eu-west-1 (2024-08-22)" in reason
    )


def test_roots_that_end_within_a_year_are_named_with_the_day(pki: Pki) -> None:
    root = root_of(pki)
    for days, said in ((400, False), (300, True), (1, True)):
        _, reason = verdict_on(pki, root.pem, now=root.not_after - timedelta(days=days))
        assert (f"end within a year: {root.subject} ({root.not_after:%Y-%m-%d})" in reason) == said


@pytest.mark.parametrize("client", MEASURED)
def test_a_target_root_that_has_ended_is_accepted_by_java_alone(pki: Pki, client: str) -> None:
    found = Contents("jks" if client == "java" else "pem", (Entry(root_of(pki, OLD)),))
    verdict, reason = verdict_on(pki, found, client, OLD)
    assert verdict == ("ready" if client == "java" else "old-only")
    assert "2024-08-22" in reason


# Limits of algorithms


@pytest.mark.parametrize(
    ("client", "refused"),
    [
        ("openssl", ()),
        ("openssl:seclevel=3", (RSA,)),
        ("openssl-partial:seclevel=4", (RSA, RSA4096)),
        ("java:no-ec", (ECC,)),
        ("java:rsa>=3072", (RSA,)),
        ("java:rsa>=4096", (RSA,)),
        ("java:no-ec:rsa>=3072", (RSA, ECC)),
    ],
)
def test_a_root_that_a_limit_refuses_is_no_use_though_it_lies_in_the_store(
    pki: Pki, client: str, refused: tuple[str, ...]
) -> None:
    for ca in CURRENT:
        found = Contents("jks" if client.startswith("java") else "pem", (Entry(root_of(pki, ca)),))
        verdict, reason = verdict_on(pki, found, client, ca)
        assert verdict == ("unreadable-by-client" if ca in refused else "ready")
        assert ("refuses" in reason or "does not understand" in reason) == (ca in refused)


@pytest.mark.parametrize(
    "text", ["", "oracle", "openssl:no-ec", "java:seclevel=3", "openssl:seclevel=9", "openssl:", "java:rsa>=x"]
)
def test_an_unknown_family_or_limit_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        family(text)
    known = "java:no-ec" if text.partition(":")[0] in FAMILIES else "openssl-partial, gnutls, windows, java"
    assert known in str(refusal.value)


def test_a_family_keeps_its_name_as_it_was_written() -> None:
    assert family(" openssl:seclevel=3 ").name == "openssl:seclevel=3"
    assert family("java") == FAMILIES["java"]


# The real bundles


@pytest.fixture(scope="module")
def newest() -> dict[str, Certificate]:
    return {c.subject: c for c in certificates(ca_data(NEWEST).read_text())}


def real_verdict(newest: dict[str, Certificate], file: str, region: str, client: str = "openssl") -> tuple[str, str]:
    root = {ca: newest[f"Amazon RDS {region} Root CA {ca[7:-3].upper()} G1"] for ca in CURRENT}
    return judge(
        store(ca_data(file).read_text()),
        root=root[RSA],
        region=region,
        target_ca=RSA,
        offered={ca: one.sha1 for ca, one in root.items()},
        family=family(client),
        now=datetime(2026, 11, 24, tzinfo=UTC),
    )


@pytest.mark.parametrize("client", ["openssl", "openssl-partial", "gnutls"])
@pytest.mark.parametrize(
    ("file", "region", "expected"),
    [
        (NEWEST, "us-east-1", "ready"),
        (NEWEST, "ap-southeast-6", "ready"),
        ("cn-global-bundle-2026-09-21.pem", "us-east-1", "wrong-region"),
        ("amazon-trust-services-roots.pem", "us-east-1", "public-only"),
        ("global-bundle-2023-05.pem", "us-east-1", "both"),
        ("global-bundle-2023-05.pem", "il-central-1", "wrong-region"),
        ("global-bundle-2024-08.pem", "us-east-1", "both"),
        ("global-bundle-2024-08.pem", "il-central-1", "ready"),
        ("global-bundle-2024-09.pem", "us-east-1", "ready"),
        ("global-bundle-2024-09.pem", "ap-southeast-6", "wrong-region"),
        ("rds-combined-ca-bundle-2019-01.pem", "us-east-1", "old-only"),
        ("rds-combined-ca-bundle-2019-10.pem", "us-east-1", "old-only"),
        ("rds-combined-ca-bundle-2019-10.pem", "il-central-1", "wrong-region"),
        ("rds-combined-ca-bundle-2020-04.pem", "us-east-1", "old-only"),
        ("rds-ca-2019-root.pem", "us-east-1", "old-only"),
        ("rds-ca-2015-root.pem", "us-east-1", "old-only"),
        ("gov-global-bundle-2026-09-21.pem", "us-east-1", "wrong-region"),
        ("real-subordinate-ca-ap-northeast-2-A.5.pem", "ap-northeast-2", "pin-only"),
        ("real-subordinate-ca-ap-northeast-2-A.5.pem", "us-east-1", "wrong-region"),
        ("real-world-indented-us-east-1-bundle.pem", "us-east-1", "old-only"),
    ],
)
def test_a_real_bundle_gets_the_verdict_that_its_date_and_regions_deserve(
    newest: dict[str, Certificate], file: str, region: str, expected: str, client: str
) -> None:
    assert real_verdict(newest, file, region, client)[0] == expected


def test_the_hand_copied_bundle_is_said_to_lack_the_root_that_openssl_passes_over(
    newest: dict[str, Certificate],
) -> None:
    _, reason = real_verdict(newest, "real-world-indented-us-east-1-bundle.pem", "us-east-1")
    assert "it lacks Amazon RDS us-east-1 Root CA RSA2048 G1" in reason
    assert "1 block(s) that OpenSSL passes over" in reason


@pytest.mark.parametrize("client", [*MEASURED, "openssl:seclevel=2"])
def test_the_subordinate_that_a_real_server_sent_leads_to_the_real_root_of_its_region_only(
    newest: dict[str, Certificate], client: str, tmp_path: Path
) -> None:
    (subordinate,) = certificates(ca_data("real-subordinate-ca-ap-northeast-2-A.5.pem").read_text())
    form = "jks" if client.startswith("java") else "pem"
    answers = {}
    for region in ("ap-northeast-2", "ap-northeast-1"):
        root = newest[f"Amazon RDS {region} Root CA RSA2048 G1"]
        found = Contents(form, (Entry(root),))
        # A CA names no host, so a replay can only end with the name; what comes before that is the path.
        _, why = replay([subordinate, root], found, family=family(client), name=NAME, at=NOW)
        answers[region] = why == f"its certificate is for no name, not for {NAME}"
        file = tmp_path / "root.pem"
        file.write_text(root.pem)
        assert openssl([subordinate], file, "-purpose", "any")[0] == answers[region]
    assert answers == {"ap-northeast-2": True, "ap-northeast-1": False}


def test_every_root_of_the_newest_bundle_makes_its_own_region_ready_and_its_alias_unlike_any_other(
    newest: dict[str, Certificate],
) -> None:
    text = ca_data(NEWEST).read_text()
    found, aliases = store(text), set()
    for root in newest.values():
        region = root.subject.split()[2]
        aliases.add(Root(root, "rds-ca-" + root.subject.split()[-2].lower() + "-g1", region).alias)
        verdict, _ = judge(
            found, root=root, region=region, target_ca=RSA, offered={}, family=FAMILIES["openssl"], now=NOW
        )
        assert verdict == "ready"
        lacking = replace(found, entries=tuple(e for e in found.entries if e.certificate != root))
        verdict, _ = judge(
            lacking, root=root, region=region, target_ca=RSA, offered={}, family=FAMILIES["openssl"], now=NOW
        )
        assert verdict in ("old-only", "wrong-region")
    assert len(aliases) == len(newest) == 108


def test_what_only_one_engine_refuses_counts_against_that_engine_alone(pki: Pki) -> None:
    found = Contents("pem", (Entry(root_of(pki)),), refused_by={"gnutls": "odd blocks"})
    assert verdict_on(pki, found, "gnutls") == ("unreadable-by-client", "odd blocks")
    assert verdict_on(pki, found, "openssl")[0] == "ready"


def test_a_keystore_that_java_refuses_is_never_ready(pki: Pki) -> None:
    found = Contents("jks", (Entry(root_of(pki)),), (f"an entry cannot be read, and {JAVA_REFUSED}",))
    assert verdict_on(pki, found, "java")[0] == "unreadable-by-client"


def test_java_reads_no_manifest(pki: Pki) -> None:
    assert verdict_on(pki, Contents("kubernetes", (Entry(root_of(pki)),)), "java")[0] == "unreadable-by-client"


def test_of_windows_nothing_is_claimed_that_was_not_measured(pki: Pki) -> None:
    chain = chain_of(pki)
    accepted, why = replay(chain, Contents("p7b", (Entry(chain[-1]),)), family=family("windows"), name=NAME, at=NOW)
    assert (accepted, "not measured" in why) == (False, True)
    verdict, reason = verdict_on(pki, Contents("p7b", (Entry(chain[1]),)), "windows")
    assert (verdict, WORKS_TODAY in reason, "not measured" in reason) == ("pin-only", False, True)

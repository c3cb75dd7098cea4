"""Trust stores: how long an audit takes, and how a JKS of all roots compares with the script that AWS documents."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rdsca_helpers import catalogue, trust
from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores import jks
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent.parent / "data"
BUNDLE = DATA / "global-bundle-2026-09-25.pem"
REGION, CA = "eu-west-1", "rds-ca-rsa2048-g1"
AUDIT_BAR_MS, BUILD_BAR = 50, 500
SUBSET = 12  # certificates that the script imports; BENCH_FULL=1 takes all
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL-certificate-rotation-java.html
SCRIPT = r"""
mydir=certs; truststore=${mydir}/rds-truststore.jks; storepassword=changeit; mkdir -p "$mydir"
awk 'split_after == 1 {n++;split_after=0} /-----END CERTIFICATE-----/ {split_after=1}
     {print > "certs/rds-ca-" n+1 ".pem"}' < bundle.pem
for CERT in "$mydir"/rds-ca-*; do
  alias=$(openssl x509 -noout -text -in "$CERT" | perl -ne 'next unless /Subject:/; s/.*(CN=|CN = )//; print')
  keytool -import -file "$CERT" -alias "${alias}" -storepass "$storepassword" -keystore "$truststore" -noprompt
done
"""


def run() -> None:
    """Print the figures; nothing is asserted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _audits(folder)
        _builds(folder)


def _audits(folder: Path) -> None:
    roots = _roots()
    public = [r.certificate for r in roots] + read_pem((DATA / "amazon-trust-services-roots.pem").read_text())[0]
    many = [Root(public[n % len(public)], CA, f"entry-{n}") for n in range(150)]  # 150 aliases, as in a JDK's cacerts
    cacerts = folder / "cacerts"
    cacerts.write_bytes(jks.build(many))
    for what, path in ((f"bundle of {len(roots)} roots (PEM)", BUNDLE), ("keystore of 150 entries (JKS)", cacerts)):
        took = _best(lambda path=path: _audit(path)) * 1000  # type: ignore[misc]
        print(f"audit of a {what}: {took:.1f} ms (bar {AUDIT_BAR_MS} ms)")


def _audit(path: Path) -> None:
    """Open, and judge for one region in every family that reads the kind."""
    store, known = open_store(str(path)), catalogue.shipped()
    for name in store.kind.families:
        trust.judge(
            store.contents,
            root=known.find(REGION, CA),
            region=REGION,
            target_ca=CA,
            offered=known.offered(REGION),
            family=trust.family(name),
            now=datetime.now(UTC),
        )


def _builds(folder: Path) -> None:
    roots = _roots()
    ours = _best(lambda: (folder / "rdsca.jks").write_bytes(jks.build(_roots())))  # read, build, write
    print(f"JKS of {len(roots)} roots by rdsca: {ours * 1000:.1f} ms")
    if missing := [program for program in ("keytool", "openssl", "perl", "awk") if not shutil.which(program)]:
        print(f"AWS's documented script was not measured: {', '.join(missing)} missing (default-jdk-headless, openssl)")
        return
    some = roots if os.environ.get("BENCH_FULL") else roots[:SUBSET]
    theirs = _script(folder, some) * len(roots) / len(some)
    scaled = "" if some is roots else f", scaled from {len(some)}"
    print(f"JKS of {len(roots)} roots by AWS's documented script: {theirs:.1f} s{scaled}")
    print(f"rdsca is {theirs / ours:,.0f} times faster (bar {BUILD_BAR})")


def _script(folder: Path, roots: Sequence[Root]) -> float:
    (folder / "bundle.pem").write_text("".join(r.certificate.pem for r in roots))
    began = time.perf_counter()
    subprocess.run(["sh", "-c", SCRIPT], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def _roots() -> list[Root]:
    known = catalogue.shipped()
    found = read_pem(BUNDLE.read_text())[0]
    facts = [known.by_sha256(c.sha256) for c in found]
    return [Root(c, f.ca if f else "", f.region if f else "") for c, f in zip(found, facts, strict=True)]


def _best(work: Callable[[], object], times: int = 7) -> float:
    """Give the seconds that *work* takes at its best."""

    def timed() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(timed() for _ in range(times))

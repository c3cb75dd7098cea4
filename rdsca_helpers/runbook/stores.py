"""Trust stores of the clients: which of them accept the target CA, and the roots added where they are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .. import certs, sentences
from ..certs import Certificate
from ..edge import bundle as bundles
from ..edge.bundle import Bundle
from ..edge.run import Run
from ..edge.stores import pem
from ..errors import RdscaError, UnknownRoot
from ..model import Inventory, Problem, StoreVerdict, Trust, now
from .sessions import fetch_bundle


def check_stores(run: Run, inventory: Inventory) -> Trust:
    """Say what each trust store means for the target CA; with ``action="apply"`` add the root where it is missing.

    Only the target's roots for the regions that have instances are added, and nothing is ever taken out.
    """
    bundle = fetch_bundle(run)
    problems: list[Problem] = []
    roots = _target_roots(run, inventory, bundle, problems)
    rows: list[StoreVerdict] = []
    for path in run.stores:
        store = pem.read(path)
        added: set[str] = set()
        backup = ""
        if run.action == "apply":
            there = {c.sha256 for c in store.certificates}
            try:
                backup = str(pem.add(store, list(roots.values()), comment=f"added by rdsca for {run.account}") or "")
            except RdscaError as e:
                problems.append(Problem(path, e.what, e.remedy))
            store = pem.read(path)
            added = {c.sha256 for c in store.certificates} - there
        for region, root in roots.items():
            offered = {ca: facts["thumbprint"] for ca, facts in inventory.cas[region].items()}
            verdict, reason = certs.judge_store(store.certificates, store.complaints, root, offered, run.target_ca)
            rows.append(
                StoreVerdict(
                    store=path,
                    format=pem.FORMAT,
                    region=region,
                    ca=run.target_ca,
                    family="openssl",
                    verdict=verdict,
                    reason=reason,
                    added_sha256=(root.sha256,) if root.sha256 in added else (),
                    backup=backup if root.sha256 in added else "",
                )
            )
    report = Trust(
        account=run.account,
        regions=inventory.regions,
        made_at=now(),
        rows=tuple(rows),
        problems=tuple(problems),
        bundle_sha256=bundle.sha256,
        bundle_source=bundle.source,
    )
    return replace(report, meaning=sentences.trust(report, run.target_ca, action=run.action))


def _target_roots(run: Run, inventory: Inventory, bundle: Bundle, problems: list[Problem]) -> Mapping[str, Certificate]:
    """Give the target's root for each region that has instances; a region that does not offer it is a problem."""
    roots = {}
    for region in sorted({i.region for i in inventory.rows if not i.skip_reason}):
        try:
            roots[region] = bundles.require_root(
                bundle, inventory.cas.get(region, {}), region=region, target_ca=run.target_ca
            )
        except UnknownRoot:
            raise
        except RdscaError as e:
            problems.append(Problem(f"{run.account}/{region}", e.what, e.remedy))
    return roots

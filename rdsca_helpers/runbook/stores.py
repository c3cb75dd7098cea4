"""Trust stores of the clients: which of them accept the target CA, and the roots added where they are missing."""

from __future__ import annotations

from dataclasses import replace

from .. import sentences
from ..edge import bundle as bundles
from ..edge.bundle import Bundle
from ..edge.run import Run
from ..edge.stores.opening import password_from
from ..errors import RdscaError, UnknownRoot
from ..model import Inventory, Problem, StoreVerdict, Trust, now
from ..trust import Root
from .sessions import fetch_bundle
from .trust import Aim, chains_of, check_store, read_clients


def check_stores(run: Run, inventory: Inventory) -> Trust:
    """Say what each trust store means for the target CA; with ``action="apply"`` add the root where it is missing.

    Stores are those named, and those of the clients file. Only the target's roots for the regions that have
    instances are added, and nothing is ever taken out. Chains that 06 saw served are tried against every store.
    """
    bundle = fetch_bundle(run, inventory)
    clients = read_clients(run.clients)
    password = password_from(run.store_password)
    chains = chains_of(run.folder)
    problems: list[Problem] = []
    aims, roots = _aims(run, inventory, bundle, problems)
    rows: list[StoreVerdict] = []
    for path in dict.fromkeys((*run.stores, *(c.store for c in clients if c.store))):
        checked = check_store(
            path,
            aims,
            clients=clients,
            chains=chains,
            password=password,
            roots=roots,
            apply=run.action == "apply",
        )
        rows += checked.rows
        problems += checked.problems
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


def _aims(run: Run, inventory: Inventory, bundle: Bundle, problems: list[Problem]) -> tuple[list[Aim], list[Root]]:
    """Give what is asked of the stores for each region that has instances, and the roots that may be added.

    A region that does not offer the target is a problem; so is one whose root nobody knows, and no store accepts it.
    """
    aims, roots = [], []
    for region in sorted({i.region for i in inventory.rows if not i.skip_reason}):
        cas = inventory.cas.get(region, {})
        offered = {ca: facts["thumbprint"] for ca, facts in cas.items()}
        try:
            root = bundles.require_root(bundle, cas, region=region, target_ca=run.target_ca)
        except UnknownRoot as e:
            problems.append(Problem(f"{run.account}/{region}", e.what, e.remedy))
            aims.append(Aim(region, run.target_ca, None, offered))
        except RdscaError as e:
            problems.append(Problem(f"{run.account}/{region}", e.what, e.remedy))
        else:
            aims.append(Aim(region, run.target_ca, root, offered))
            roots.append(Root(root, run.target_ca, region))
    return aims, roots

"""The lab's folder: what a start writes for AWS tools, for the verbs and for the next start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import catalogue
from .pki import Pki
from .seed import ACCOUNTS, BILLING, CENTRAL, LEGACY, OREGON, SHOP, WEST

REGIONS = (WEST, CENTRAL, OREGON)
HOST = "127.0.0.1"
ROLE = "rdsca"

# store -> the account whose applications read it, and the regions whose root it holds at first
STORES: dict[str, tuple[str, tuple[str, ...]]] = {
    "shop-orders.pem": (SHOP, (WEST, CENTRAL)),
    "shop-catalog.pem": (SHOP, (WEST,)),
    "reports.pem": (SHOP, (WEST,)),
    "shop-warehouse.jks": (SHOP, (CENTRAL,)),
    "billing.pem": (BILLING, (WEST,)),
    "billing-ledger.p12": (BILLING, (WEST,)),
    "billing-ca": (BILLING, (WEST,)),
    "legacy.pem": (LEGACY, (WEST,)),
    "legacy-rds-ca.yaml": (LEGACY, (WEST,)),
}


def url(port: int) -> str:
    """Give the lab's URL."""
    return f"http://{HOST}:{port}"


def cache() -> Path:
    """Give the folder for what takes long to make and is the same in every lab of this machine.

    It holds the practice CAs' keys and each server's first data folder; the world itself is made anew
    at each start.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rdsca"


def write_whole(file: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write *file* whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.touch(mode)
    part.write_bytes(data.encode() if isinstance(data, str) else data)
    part.replace(file)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write lab.json, by which the next start finds what this one left."""
    write_whole(folder / "lab.json", json.dumps(state, indent=2) + "\n")


def read_state(folder: Path) -> dict[str, Any] | None:
    """Read lab.json; None when there is none, or nothing that can be read."""
    try:
        state = json.loads((folder / "lab.json").read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def write_aws_files(folder: Path, port: int) -> None:
    """Write an AWS config whose every profile leads into the lab, and empty credentials.

    Every profile needs its own `endpoint_url`: one with a role does not inherit it from its source.
    The keys `rdsca_…` are ours, as docs/parameters.md has them; botocore hands unknown keys through.
    """
    common = [
        f"endpoint_url = {url(port)}",
        "rdsca_guard = loopback",
        f"rdsca_truststore_url = {url(port)}/_lab/truststore",
        f"rdsca_reach = {folder / 'reach.yml'}",
        f"rdsca_roots = {folder / 'roots.json'}",
    ]
    key = [f"region = {WEST}", f"aws_access_key_id = {SHOP}", "aws_secret_access_key = worthless"]
    own = [*key, *common, *_of_account(folder, SHOP)]
    lines = ["# Written by the lab at each start.", "[default]", *own, "", "[profile lab]", *own]
    for account in ACCOUNTS[1:]:
        role = [f"role_arn = {role_arn(account.id)}", "source_profile = lab", f"region = {WEST}"]
        lines += ["", f"[profile lab-{account.id}]", *role, *common, *_of_account(folder, account.id)]
    write_whole(folder / "aws/config", "\n".join(lines) + "\n")
    write_whole(folder / "aws/credentials", "")


def role_arn(account: str) -> str:
    """Give the role to assume in *account*."""
    return f"arn:aws:iam::{account}:role/{ROLE}"


def write_reach(folder: Path, endpoints: Mapping[str, str]) -> None:
    """Write the file that says through which host and port an endpoint is reached."""
    write_whole(folder / "reach.yml", yaml.safe_dump({"endpoints": dict(endpoints), "others": "none"}))


def write_roots(folder: Path, pki: Pki) -> None:
    """Write the facts of the practice roots, which the profiles name: they stand in for Amazon's."""
    write_whole(folder / "roots.json", catalogue.write(pki.facts()))


def write_accounts(folder: Path) -> None:
    """Write the accounts file, in the form of c7n-org; `vars` are notebook parameters."""
    rows = []
    for account in ACCOUNTS:
        rows.append(
            {
                "account_id": account.id,
                "name": account.name,
                "role": "" if account.id == SHOP else role_arn(account.id),
                "regions": list(REGIONS),
                "tags": ["path:/practice", f"name:{account.name}"],
                "vars": {
                    "profile": "lab",
                    "stores": _stores_of(folder, account.id),
                    "clients": str(clients(folder, account.id)),
                    "reach": str(folder / "reach.yml"),
                },
            }
        )
    write_whole(folder / "accounts.yml", yaml.safe_dump({"accounts": rows}, sort_keys=False))


def _of_account(folder: Path, account: str) -> list[str]:
    """Give the profile's settings that differ from account to account."""
    return [f"rdsca_stores = {_stores_of(folder, account)}", f"rdsca_clients = {clients(folder, account)}"]


def _stores_of(folder: Path, account: str) -> str:
    """Give the trust stores of an account's applications as the parameter `stores` takes them."""
    return ",".join(str(store(folder, name)) for name, (owner, _) in STORES.items() if owner == account)


def store(folder: Path, name: str) -> Path:
    """Give the path of an application's trust store."""
    return folder / "stores" / name


def clients(folder: Path, account: str) -> Path:
    """Give the path of an account's clients file."""
    return folder / "clients" / f"{account}.yml"

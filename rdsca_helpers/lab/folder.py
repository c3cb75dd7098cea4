"""The lab's folder: what a start writes for AWS tools, for the verbs and for the next start."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .pki import Pki
from .seed import ACCOUNTS, BILLING, CENTRAL, LEGACY, OREGON, SHOP, WEST

REGIONS = (WEST, CENTRAL, OREGON)
HOST = "127.0.0.1"
ROLE = "rdsca"

# store -> the regions whose root it holds at first, and the account whose applications read it
STORES: dict[str, tuple[str, tuple[str, ...]]] = {
    "shop-orders": (SHOP, (WEST, CENTRAL)),
    "shop-catalog": (SHOP, (WEST,)),
    "reports": (SHOP, (WEST,)),
    "billing": (BILLING, (WEST,)),
    "legacy": (LEGACY, (WEST,)),
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


def write_whole(file: Path, text: str, mode: int = 0o644) -> None:
    """Write *file* whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.touch(mode)
    part.write_text(text)
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
    ]
    key = [f"region = {WEST}", f"aws_access_key_id = {SHOP}", "aws_secret_access_key = worthless"]
    own = [*key, *common, f"rdsca_stores = {_stores_of(folder, SHOP)}"]
    lines = ["# Written by the lab at each start.", "[default]", *own, "", "[profile lab]", *own]
    for account in ACCOUNTS[1:]:
        role = [f"role_arn = {role_arn(account.id)}", "source_profile = lab", f"region = {WEST}"]
        stores = f"rdsca_stores = {_stores_of(folder, account.id)}"
        lines += ["", f"[profile lab-{account.id}]", *role, *common, stores]
    write_whole(folder / "aws/config", "\n".join(lines) + "\n")
    write_whole(folder / "aws/credentials", "")


def role_arn(account: str) -> str:
    """Give the role to assume in *account*."""
    return f"arn:aws:iam::{account}:role/{ROLE}"


def write_reach(folder: Path, endpoints: Mapping[str, str]) -> None:
    """Write the file that says through which host and port an endpoint is reached."""
    write_whole(folder / "reach.yml", yaml.safe_dump({"endpoints": dict(endpoints), "others": "none"}))


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
                    "reach": str(folder / "reach.yml"),
                },
            }
        )
    write_whole(folder / "accounts.yml", yaml.safe_dump({"accounts": rows}, sort_keys=False))


def _stores_of(folder: Path, account: str) -> str:
    """Give the trust stores of an account's applications as the parameter `stores` takes them."""
    return ",".join(str(store(folder, name)) for name, (owner, _) in STORES.items() if owner == account)


def store(folder: Path, name: str) -> Path:
    """Give the path of an application's trust store."""
    return folder / "stores" / f"{name}.pem"


def write_stores(folder: Path, pki: Pki, corporate_root: str) -> None:
    """Write the applications' trust stores as they are before the runbook has touched them."""
    for name, (_, regions) in STORES.items():
        text = "".join(pki.root_pem(region, "rds-ca-rsa2048-g1") for region in regions)
        if name == "shop-catalog":
            text = f"# the company's own root, for the intranet\n{corporate_root}{text}"
        write_whole(store(folder, name), text)

"""Notebook parameters: each one's name, default, help and check, and which notebook takes which."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UsageError

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]")
_CA = re.compile(r"rds-ca-[a-z0-9-]+")
_SECRETLIKE = re.compile(r"pass(word|wd)?$|secret$|token$|api_?key$", re.I)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"takes text, not {value!r}")
    return value.strip()


def _word(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"takes {' or '.join(repr(w) for w in words)}, not {value!r}")
        return str(value)

    return check


def _account(value: Any) -> str:
    # papermill's -p turns 012345678901 into the whole number 12345678901
    text = f"{value:012d}" if isinstance(value, int) and not isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"[0-9]{12}", text):
        raise ValueError(f"takes an AWS account id of 12 digits, not {value!r}")
    return text


def _regions(value: Any) -> str:
    names = [part.strip() for part in _text(value).split(",") if part.strip()]
    if not names:
        raise ValueError("takes 'all' or regions with commas between them; it is empty")
    if names == ["all"]:
        return "all"
    for name in names:
        if not _REGION.fullmatch(name):
            raise ValueError(f"takes AWS regions such as 'eu-west-1,us-east-1'; {name!r} is none")
    return ",".join(dict.fromkeys(names))


def _target_ca(value: Any) -> str:
    if not _CA.fullmatch(_text(value)):
        raise ValueError(f"takes a CA identifier such as 'rds-ca-rsa2048-g1', not {value!r}")
    return _text(value)


def _wave(value: Any) -> str:
    text = str(value).strip()
    if text not in ("next", "all") and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"takes 'next', 'all' or the number of a wave, not {value!r}")
    return text


def _count(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"takes a whole number from 1, not {value!r}")
    return value


def _credentials(value: Any) -> str:
    text = _text(value)
    if text not in ("auto", "iam", "secret", "pgpass", "mycnf", "none") and not re.fullmatch(r"env:[A-Za-z_]\w*", text):
        raise ValueError("takes 'auto', 'iam', 'secret', 'pgpass', 'mycnf', 'env:NAME' or 'none', never a password")
    return text


def _store_password(value: Any) -> str:
    text = _text(value)
    if text != "auto" and not re.fullmatch(r"env:[A-Za-z_]\w*|file:.+", text):
        raise ValueError("takes 'auto', 'env:NAME' or 'file:PATH', never a password")
    return text


@dataclass(frozen=True)
class Parameter:
    """One parameter: what a notebook's cell shows (*default*, *help*), and the *check* that every value passes."""

    name: str
    default: str | int
    help: str
    check: Callable[[Any], str | int]


PARAMETERS = {
    p.name: p
    for p in (
        Parameter("profile", "lab", 'AWS profile; "lab" is the practice world, "" the default chain', _text),
        Parameter(
            "account", "111111111111", "AWS account id, 12 digits; refused when the credentials are another's", _account
        ),
        Parameter("role", "", 'role to assume in the account, ARN or name; "" is none', _text),
        Parameter("regions", "eu-west-1", '"eu-west-1,us-west-2", or "all" that the account has enabled', _regions),
        Parameter("run_dir", "runs/today", "folder that keeps this account's evidence", _text),
        Parameter("target_ca", "rds-ca-rsa2048-g1", "CA to move to, as RDS names it", _target_ca),
        Parameter("action", "show", '"show" changes nothing; "apply" makes the change', _word("show", "apply")),
        Parameter(
            "when", "window", '"window" waits for the maintenance window; "now" does not', _word("window", "now")
        ),
        Parameter("wave", "next", '"next", "all", or the number of a wave', _wave),
        Parameter("max_targets", 10, "at most so many instances may be changed by one run", _count),
        Parameter(
            "credentials", "auto", '"auto", "iam", "secret", "pgpass", "mycnf", "env:NAME" or "none"', _credentials
        ),
        Parameter("db_user", "", 'database user to log in as; "" takes the one of the secret', _text),
        Parameter(
            "reach", "", 'file that says through which host:port an endpoint is reached; "" asks the profile', _text
        ),
        Parameter("samples", 1, "so many looks at each database; more of them catch clients that come and go", _count),
        Parameter("sample_seconds", 30, "seconds from one look to the next", _count),
        Parameter("instances", "", 'names with commas between them; "" takes all that need the change', _text),
        Parameter("stores", "", 'trust store files of the clients, commas between them; "" asks the profile', _text),
        Parameter("clients", "", 'clients file: who reads which store, with which driver; "" asks the profile', _text),
        Parameter(
            "store_password",
            "auto",
            'of keystores: "auto" (changeit, or none), "env:NAME", "file:PATH"',
            _store_password,
        ),
        Parameter("bundle", "aws", 'RDS CA bundle: "aws", an https URL, or a file', _text),
    )
}
_AWS = ("profile", "account", "role", "regions", "run_dir")
_LOGIN = ("bundle", "credentials", "db_user", "reach")
NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "00-start": ("profile",),
    "01-discover": _AWS,
    "02-sessions": (*_AWS, *_LOGIN, "samples", "sample_seconds"),
    "03-trust-stores": (*_AWS, "target_ca", "bundle", "stores", "clients", "store_password", "action"),
    "04-plan": (*_AWS, "target_ca", "when", "max_targets"),
    "05-rotate": (*_AWS, "action", "wave", "max_targets"),
    "06-verify": (*_AWS, *_LOGIN, "samples", "sample_seconds"),
    "07-evidence": ("account", "run_dir"),
    "90-fleet": ("run_dir",),
    "92-performance-schema": (*_AWS, "instances", "action"),
}


def check(notebook: str, values: Mapping[str, Any]) -> dict[str, str | int]:
    """Check the *values* for *notebook* and give them resolved, defaults filled in.

    Raises ``UsageError`` that names the parameter, its value and what it takes.
    """
    taken = NOTEBOOKS[notebook]
    for name in values:
        if name not in PARAMETERS:
            refuse_unknown(name, taken)
    resolved = {}
    for name in taken:
        parameter = PARAMETERS[name]
        try:
            resolved[name] = parameter.check(values.get(name, parameter.default))
        except ValueError as e:
            raise UsageError(f"parameter {name} {e}") from None
    return resolved


def refuse_unknown(name: str, known: Iterable[str]) -> None:
    """Refuse a parameter that no notebook has: papermill itself would only warn, and go on without it."""
    if _SECRETLIKE.search(name):
        raise UsageError(
            f"{name} looks like a secret, and a parameter is written into the evidence",
            "name its source instead, for example credentials='env:NAME' or 'secret'",
        )
    raise UsageError(f"unknown parameter {name}", f"known are {', '.join(known)}")


def of_cell(notebook: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the parameters of a running notebook from its *namespace*, those that papermill injected included."""
    given = {name: namespace[name] for name in NOTEBOOKS[notebook] if name in namespace}
    for source in namespace.get("In", ()):
        if source.startswith("# Parameters"):
            for name in injected(source):
                if name not in NOTEBOOKS[notebook]:
                    refuse_unknown(name, NOTEBOOKS[notebook])
    return given


def injected(source: str) -> list[str]:
    """Give the names that papermill's cell of injected parameters assigns."""
    tree = ast.parse(source)
    return [t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)]

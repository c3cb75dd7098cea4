"""Database credentials by reference: from a secret, an IAM token, .pgpass, .my.cnf or a variable; never by value."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from ..errors import Unreachable, UsageError
from ..model import Instance, Secret
from .aws import Aws

_PGPASS_FIELD = re.compile(r"(?:^|:)((?:\\.|[^:\\]|\\$)*)")
_MYCNF_VALUE = re.compile(r"""(?:'[^']*(?:'|$)|"[^"]*(?:"|$)|[^#'"])*""")
_MYCNF_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\"}


def find(aws: Aws, instance: Instance, *, credentials: str, db_user: str) -> tuple[str, Secret]:
    """Give user and password for *instance* from the source that *credentials* names.

    "auto" takes the secret that RDS manages for the instance, else an IAM token for *db_user*. Raises
    ``Unreachable`` when the source has none for this instance, ``UsageError`` when the source itself is bad.
    """
    if credentials == "auto":
        credentials = "secret" if instance.secret else "iam" if instance.iam and db_user else "none"
    if credentials == "secret":
        return _secret(aws, instance, db_user)
    if credentials == "iam":
        return _iam(aws, instance, db_user)
    if credentials == "pgpass":
        return _pgpass(instance, db_user)
    if credentials == "mycnf":
        return _mycnf(db_user)
    if credentials.startswith("env:"):
        return _env(credentials.removeprefix("env:"), db_user)
    raise Unreachable(
        "no credentials are known", "set credentials to secret, iam, pgpass, mycnf or env:NAME, and db_user"
    )


def _secret(aws: Aws, instance: Instance, db_user: str) -> tuple[str, Secret]:
    if not instance.secret:
        raise Unreachable("it has no secret managed by RDS", "set credentials to iam, pgpass, mycnf or env:NAME")
    text = aws.secret(instance.region, instance.secret)
    try:
        data = json.loads(text)
        user, password = db_user or data["username"], data["password"]
        if not (isinstance(user, str) and isinstance(password, str)):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise Unreachable(f"the secret {instance.secret} does not hold username and password") from None
    return user, Secret(password)


def _iam(aws: Aws, instance: Instance, db_user: str) -> tuple[str, Secret]:
    user = _needed(db_user, "iam")
    return user, Secret(aws.login_token(instance.region, instance.endpoint, instance.port or 0, user))


def _env(name: str, db_user: str) -> tuple[str, Secret]:
    value = os.environ.get(name)
    if not value:
        raise UsageError(f"the variable {name} is not set", f"export {name} before the run, or name another source")
    return _needed(db_user, f"env:{name}"), Secret(value)


def _pgpass(instance: Instance, db_user: str) -> tuple[str, Secret]:
    path = Path(os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
    for line in _private_text(path).splitlines():
        if line.startswith("#"):
            continue
        parts = [re.sub(r"\\(.)", r"\1", p) for p in _PGPASS_FIELD.findall(line)]
        if len(parts) != 5:
            continue
        host, port, _, user, password = parts
        if (
            host in ("*", instance.endpoint)
            and port in ("*", str(instance.port))
            and db_user in ("", user)
            and user != "*"
        ):
            return user, Secret(password)
        if host in ("*", instance.endpoint) and port in ("*", str(instance.port)) and user == "*" and db_user:
            return db_user, Secret(password)
    raise Unreachable(f"{path} has no line for {instance.endpoint}:{instance.port}", "add one, or set db_user")


def _mycnf(db_user: str) -> tuple[str, Secret]:
    path = Path("~/.my.cnf").expanduser()
    section, found = "", {}
    for line in _private_text(path).splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text.strip("[]").strip()
        elif section == "client" and "=" in text and not text.startswith(("#", ";")):
            key, _, value = text.partition("=")
            found[key.strip()] = _option(value)
    if "password" not in found or not (db_user or found.get("user")):
        raise UsageError(f"{path} has no user and password under [client]")
    return db_user or found["user"], Secret(found["password"])


def _option(text: str) -> str:
    """Read a value as MySQL's option files have it: a # ends it, quotes protect it, a backslash writes controls."""
    match = _MYCNF_VALUE.match(text)
    value = match[0].strip() if match else ""
    if len(value) > 1 and value[0] in "'\"" and value[0] == value[-1]:
        value = value[1:-1]
    return re.sub(r"\\([btnrs\\])", lambda m: _MYCNF_ESCAPES[m[1]], value)


def _private_text(path: Path) -> str:
    """Read a password file of this user that nobody else may read; anything else is refused, its text unseen."""
    try:
        info = path.stat()
        if info.st_uid not in (os.getuid(), 0) or stat.S_IMODE(info.st_mode) & 0o077:
            raise UsageError(f"{path} can be read by others", f"chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read ({type(e).__name__})") from None


def _needed(db_user: str, source: str) -> str:
    if not db_user:
        raise UsageError(f"credentials={source!r} needs the parameter db_user")
    return db_user

"""The clients file: which application reads which trust store, with which driver and settings. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import yaml

from . import drivers, trust
from .drivers import Driver
from .errors import UsageError

_KEYS = ("name", "driver", "family", "settings", "url", "store", "host", "instance", "tags")
_SECRET = re.compile(r"pass(word|wd|phrase)?$|pwd$|secret|token|credential|api_?key", re.I)
_SECRET_INSIDE = re.compile(r"://[^/?#\s]*:[^/?#\s]*@|(password|passwd|pwd)\s*=\s*[^\s;&]|PRIVATE KEY-----", re.I)
_URL = re.compile(r"(?P<scheme>[a-z0-9+]+)://(?P<place>[^/?;#]*)(?P<rest>.*)", re.I | re.S)
_LEAVE_OUT = "leave it out: rdsca needs no password to judge a client"
_LIBPQ_DEFAULT = "/.postgresql/root.crt"
_MANIFEST = (".yaml", ".yml", ".json")  # whose content is mounted under a path of the container's own
_LIBPQ = ("sslrootcert",)
# The settings in which each driver names its CA file, in lower case and without - and _; "ssl.ca" is ca below ssl.
_CA_SETTINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("psycopg2", "psycopg", "libpq", "psql", "pgjdbc"), _LIBPQ),
    "pymysql": ("ssl.ca", "sslca"),
    **dict.fromkeys(("mysql-connector-python", "mysql", "mariadb"), ("sslca",)),
    "node-postgres": ("ssl.ca", *_LIBPQ),
    "mysql2": ("ssl.ca",),
    "pymssql": ("cafile",),
    "python-tds": ("cafile",),
    "pymongo": ("tlscafile",),
    "mysql-connector-j": ("trustcertificatekeystoreurl",),
    **dict.fromkeys(("mariadb-connector-j", "mariadb-connector-j-2"), ("serversslcert", "truststore")),
    "mssql-jdbc": ("truststore",),
    "oracle-jdbc": ("javax.net.ssl.truststore",),
    "curl": ("cacert",),
}
# These read another store, or the one of the process, where no setting names a file.
_MAY_NAME_NONE = (
    "curl",
    "mysql-connector-j",
    "mariadb-connector-j",
    "mariadb-connector-j-2",
    "mssql-jdbc",
    "oracle-jdbc",
)


@dataclass(frozen=True)
class ClientEntry:
    """An application as the clients file describes it; *settings* hold those of its url too, and never a secret.

    *store* is "" where the file names none. *instance* or *tags* say which databases it uses; neither: any.
    """

    name: str
    driver: str
    family: str
    store: str = ""
    host: str = ""
    instance: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of trust store that its driver reads."""
        return drivers.driver(self.driver).formats

    @property
    def verifies(self) -> tuple[str, str]:
        """What it verifies (none, encrypt, ca, full, unknown), and why."""
        settings = dict(self.settings)
        if self.store.endswith(_LIBPQ_DEFAULT):  # which libpq and pgjdbc read without being told to
            settings.setdefault("sslrootcert", self.store)
        return drivers.judge_settings(self.driver, settings)

    def settle(self, verdict: str, reason: str) -> tuple[str, str]:
        """Turn the *verdict* on its store into the one on the client: a store that nobody checks with is moot."""
        verifies, why = self.verifies
        elsewhere = self._reads_elsewhere()
        if verdict == "unknown-ca" or (verifies == "full" and not elsewhere):
            return verdict, reason
        if verifies in ("none", "encrypt"):
            return "not-verifying", f"{why}; were it to verify: {verdict}, {reason}"
        if elsewhere:
            return "unknown", f"{elsewhere}; of the store itself: {verdict}, {reason}"
        return verdict, f"{reason}; {why}"

    def _reads_elsewhere(self) -> str:
        """Say why the settings make the client read another file than its store, or none; empty where they do not."""
        settings = _spelled(self.settings)
        keys = _CA_SETTINGS.get(self.driver, ())
        if self.driver == "node-postgres" and "sslmode" in settings:
            keys = _LIBPQ  # sslmode replaces the ssl object whole
        if isinstance(packaged := settings.get("ssl"), str) and self.driver == "mysql2":
            return f"ssl: {packaged!r} is a list of CAs inside the package, not this store"
        named = {key: value for key in keys if (value := settings.get(key))}
        if settings.get("sslrootcert") == "system":
            return "sslrootcert=system reads the system's CAs, not this store"
        if not self.store or self.store.endswith(_MANIFEST):
            return ""
        for key, value in named.items():
            if not _is_file(value, self.store):
                return f"its setting {key} does not name this store"
        by_default = self.store.endswith(_LIBPQ_DEFAULT) or "sslfactory" in settings
        if keys and not named and not by_default and self.driver not in _MAY_NAME_NONE:
            return f"none of its settings names this store ({' or '.join(keys)})"
        return ""


def _spelled(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Spell keys alike: in lower case, without - and _; a key below another stands behind that and a dot too."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found[name := above + re.sub(r"[-_ ]", "", str(key).lower())] = value
        if isinstance(value, Mapping):
            found |= _spelled(value, f"{name}.")
    return found


def _is_file(named: Any, store: str) -> bool:
    """Tell whether a setting, a path or a file: URL or a list of one, names the file *store*."""
    if isinstance(named, list):
        return any(_is_file(one, store) for one in named)
    path = re.sub(r"^file:(//(?=/))?", "", str(named))
    return posixpath.normpath(path) == posixpath.normpath(store)


def read(text: str) -> tuple[ClientEntry, ...]:
    """Read a clients file (YAML): ``clients: [{name, driver, settings, url, store, host, instance|tags}]``.

    *family* beside them replaces the driver's, such as ``openssl:seclevel=3``. Raises ``UsageError`` that names the
    client and the key, and never repeats a value that may be a secret.
    """
    data = _load(text)
    if not isinstance(data, dict) or set(data) != {"clients"} or not isinstance(data["clients"], list):
        raise UsageError("the clients file takes one key, clients, with a list below it")
    found = tuple(_entry(one, f"client {number}") for number, one in enumerate(data["clients"], 1))
    names = [entry.name for entry in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"the clients file has two clients called {twice[0]}", "give each a name of its own")
    return found


def _load(text: str) -> Any:
    """Read YAML; its own errors repeat the text, so they are not passed on. Aliases could make it endless."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UsageError("the clients file has YAML aliases (*name)", "write each client out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        mark = getattr(e, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise UsageError(f"the clients file is no YAML ({where})", f"below clients: {{{', '.join(_KEYS)}}}") from None


def _entry(one: Any, where: str) -> ClientEntry:
    if not isinstance(one, dict):
        raise UsageError(f"{where} in the clients file is no mapping", f"it takes {', '.join(_KEYS)}")
    where = f"client {one['name']}" if _is_name(one.get("name")) else where
    for path, value in _walk(one):
        if _SECRET.search(path[-1]) or (isinstance(value, str) and _SECRET_INSIDE.search(value)):
            raise UsageError(f"{where}: {'.'.join(path)} holds what looks like a secret", _LEAVE_OUT)
    if unknown := sorted(str(key) for key in one if key not in _KEYS):
        raise UsageError(f"{where}: unknown key {unknown[0]}", f"known are {', '.join(_KEYS)}")
    for key in ("name", "driver"):
        if not _is_name(one.get(key)):
            raise UsageError(f"{where}: {key} is missing or no text")
    for key in ("family", "url", "store", "host", "instance"):
        if not isinstance(one.get(key, ""), str):
            raise UsageError(f"{where}: {key} takes text")
    for key in ("settings", "tags"):
        if not isinstance(one.get(key, {}), dict):
            raise UsageError(f"{where}: {key} takes a mapping")
    if one.get("instance") and one.get("tags"):
        raise UsageError(f"{where}: takes instance or tags, not both")
    host, of_url = _of_url(one.get("url", ""), where)
    try:
        driver: Driver = drivers.driver(one["driver"])
        family = trust.family(one.get("family") or driver.family).name
    except UsageError as e:
        raise UsageError(f"{where}: {e.what}", e.remedy) from None
    return ClientEntry(
        name=one["name"],
        driver=driver.name,
        family=family,
        store=one.get("store", ""),
        host=one.get("host") or host,
        instance=one.get("instance", ""),
        tags={str(key): str(value) for key, value in one.get("tags", {}).items()},
        settings={**of_url, **one.get("settings", {})},
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give every key below *value* with its path, and its value where that is a leaf."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (*path, str(key)), below
        yield from _walk(below, (*path, str(key)))


def _of_url(url: str, where: str) -> tuple[str, dict[str, Any]]:
    """Take host and settings out of a database URL, JDBC's included; a user is passed over, a password was refused."""
    if not url:
        return "", {}
    found = _URL.search(url)
    if not found:
        raise UsageError(f"{where}: its url has no scheme://host", "put a connection string's parts below settings")
    place = found["place"].rpartition("@")[2].partition(",")[0]
    settings: dict[str, Any] = {}
    for pair in re.split(r"[?&;]", found["rest"])[1:]:
        key, _, value = pair.partition("=")
        if key:
            settings[unquote(key)] = unquote(value)
    for key in settings:
        if _SECRET.search(key):
            raise UsageError(f"{where}: url holds what looks like a secret", _LEAVE_OUT)
    scheme = found["scheme"].lower()
    if scheme in ("tcp", "tcps"):
        settings.setdefault("protocol", scheme)
    if scheme == "mongodb+srv":
        settings.setdefault("tls", "true")
    return re.sub(r":\d*$|\\.*$", "", place), settings

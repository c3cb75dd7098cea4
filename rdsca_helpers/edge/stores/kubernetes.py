"""ConfigMaps and Secrets: PEM stores inside a manifest, which is edited as text so that all else stays as it is."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import yaml

from ...certs import REFUSED
from ...errors import Refused, UsageError
from ...model import Secret
from ...trust import Contents, Entry, Root
from . import pem
from .kinds import Kind
from .kinds import recognise as recognise_kind

_KIND = re.compile(rb"""["']?kind["']?[ \t]*:[ \t]*["']?(?:ConfigMap|Secret|List)\b""")
_FIELDS = {"ConfigMap": ("data", "binaryData"), "Secret": ("stringData", "data")}
_IN_BASE64 = {("ConfigMap", "binaryData"), ("Secret", "data")}
_FACTS = ("anchor", "tag", "implicit", "value", "style")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
LIMIT = 1024 * 1024  # of the data of one ConfigMap or Secret; etcd takes not much more
APPLY_LIMIT = 256 * 1024  # of annotations, in which a client-side kubectl apply keeps the whole manifest


@dataclass(frozen=True)
class _Value:
    """One value of a manifest: whose, under which key, as which node of the text, and the bytes that it stands for."""

    manifest: str
    key: str
    node: yaml.ScalarNode
    in_base64: bool
    data: bytes
    contents: Contents | None
    immutable: bool

    @property
    def alias(self) -> str:
        return f"{self.manifest}/{self.key}"

    @property
    def is_store(self) -> bool:
        """True for PEM that is not a server's own: that stands beside its key, or under the name of a TLS Secret."""
        return self.key != "tls.crt" and self.contents is not None and not self.contents.keys


def recognise(data: bytes) -> bool:
    """Tell a manifest by its apiVersion and the kind ConfigMap, Secret or List, in YAML or JSON."""
    return b"apiVersion" in data and bool(_KIND.search(data))


def read(data: bytes, _: Secret | None = None) -> Contents:
    """Read every value that holds PEM; a client is given one of them, so more than one is a complaint.

    No other value is looked into further than for what it is, and none is ever shown.
    """
    values = list(_values(_text(data)))
    stores = [v for v in values if v.is_store]
    complaints = [c for v in values for c in _complaints(v)]
    in_all = frozenset.intersection(*(_anchors(v) for v in stores)) if stores else frozenset()
    entries = [
        Entry(e.certificate, v.alias, v.is_store and e.certificate.sha256 in in_all)
        for v in values
        if v.contents
        for e in v.contents.entries
    ]
    keys = sum(v.contents.keys for v in values if v.contents)
    if len(stores) > 1:
        named = ", ".join(v.alias for v in stores)
        complaints.append(f"{named} are files of their own to a client: only what all of them hold counts")
    for manifest, size in _sizes(values).items():
        if size > LIMIT:
            complaints.append(f"{manifest} holds {size} bytes, and Kubernetes takes {LIMIT} at most")
        elif size > APPLY_LIMIT:
            complaints.append(f"{manifest} is too long for kubectl apply: use kubectl apply --server-side")
    refused_by = {
        engine: f"{v.alias}: {why}" for v in stores if v.contents for engine, why in v.contents.refused_by.items()
    }
    return Contents("kubernetes", tuple(entries), tuple(complaints), keys, refused_by=refused_by)


def add(data: bytes, roots: Sequence[Root], _: Secret | None = None) -> bytes:
    """Add *roots* to the one value that is a trust store; every other byte of the manifest stays.

    Raises ``Refused`` when that value cannot be told, is written in a style that cannot be edited safely, or would
    outgrow what Kubernetes takes.
    """
    stores = [v for v in _values(_text(data)) if v.is_store]
    if len(stores) != 1:
        named = ", ".join(v.alias for v in stores) or "none"
        raise Refused(f"the manifest has not one value that is a trust store of PEM, but {named}", _otherwise("ca.pem"))
    return _change(data, lambda value: pem.add(value, roots))


def remove(data: bytes, sha256s: frozenset[str], _: Secret | None = None) -> bytes:
    """Take the named certificates out of every value that is a trust store; the server's own chains stay."""
    return _change(data, lambda value: pem.remove(value, sha256s))


def build(roots: Sequence[Root], _: Secret | None = None) -> bytes:
    """Write a ConfigMap ``rds-ca`` with the roots under ``rds-ca.pem``."""
    return build_manifest("ConfigMap", "rds-ca", "", "rds-ca.pem", roots)


def build_manifest(kind: str, name: str, namespace: str, key: str, roots: Sequence[Root]) -> bytes:
    """Write a ConfigMap or a Secret that holds *roots* as PEM under *key*; the same input gives the same bytes.

    Raises ``UsageError`` for a name that Kubernetes would not take, ``Refused`` for more than it takes at all.
    """
    if kind not in _FIELDS:
        raise UsageError(f"{kind} is no kind of manifest that holds a trust store", "name ConfigMap or Secret")
    for what in (name, *([namespace] if namespace else [])):
        if not _NAME.fullmatch(what):
            raise UsageError(f"{what!r} is no name in Kubernetes", "use small letters, digits, - and .")
    if not _KEY.fullmatch(key) or key in {".", ".."}:
        raise UsageError(f"{key!r} is no key in Kubernetes", "use letters, digits, -, _ and .")
    data = pem.build(roots)
    if len(data) > LIMIT:
        raise Refused(f"{len(data)} bytes of PEM are more than the {LIMIT} that Kubernetes takes", "name fewer regions")
    lines = ["apiVersion: v1", f"kind: {kind}", "metadata:", f"  name: {json.dumps(name)}"]
    lines += [f"  namespace: {json.dumps(namespace)}"] if namespace else []
    if kind == "Secret":
        lines += ["type: Opaque", "data:", f"  {json.dumps(key)}: {base64.b64encode(data).decode()}"]
    else:
        lines += ["data:", f"  {json.dumps(key)}: |", *(f"    {line}" for line in data.decode().splitlines())]
    return "\n".join([*lines, ""]).encode()


def _anchors(value: _Value) -> frozenset[str]:
    return frozenset(c.sha256 for c in value.contents.certificates) if value.contents else frozenset()


def _complaints(value: _Value) -> list[str]:
    if value.contents:
        said = value.contents.complaints
        return [f"{value.alias}: {c if value.is_store else c.removesuffix(f', and {REFUSED}')}" for c in said]
    kind = recognise_kind(value.data) if value.in_base64 else None
    return [f"{value.alias} is a {kind.name} store, which is not read inside a manifest"] if kind else []


def _otherwise(key: str) -> str:
    return f"make it anew with rdsca trust build (key {key}), for kubectl apply --server-side"


def _change(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Edit the text of the trust stores, and prove by reading it again that nothing else is different."""
    old = _text(data)
    before = list(_values(old))
    new = [change(v.data) if v.is_store else v.data for v in before]
    text = old
    for value, content in reversed(list(zip(before, new, strict=True))):
        if content != value.data:
            if value.immutable:
                raise Refused(f"{value.manifest} is immutable", "make one under a new name with rdsca trust build")
            text = _edited(text, value, content)
    after = list(_values(text))
    for manifest, size in _sizes(after).items():
        if size > max(LIMIT, _sizes(before).get(manifest, 0)):
            raise Refused(f"{manifest} would hold {size} bytes, and Kubernetes takes {LIMIT}", "name fewer regions")
    same = [v.data.rstrip(b"\n") for v in after] == [content.rstrip(b"\n") for content in new]
    if not same or _rest(text, after) != _rest(old, before):
        raise Refused("the manifest would not read back as it should", _otherwise("ca.pem"))
    return text.encode("utf-8")


def _sizes(values: Sequence[_Value]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for value in values:
        sizes[value.manifest] = sizes.get(value.manifest, 0) + len(value.data)
    return sizes


def _edited(text: str, value: _Value, data: bytes) -> str:
    """Put *data* in the place of *value*, in the style in which it stands."""
    start, end = value.node.start_mark.index, value.node.end_mark.index
    there = text[start:end]
    if value.node.style == "|":
        return text[:start] + _literal(there, value, data) + text[end:]
    written = base64.b64encode(data).decode() if value.in_base64 else data.decode()
    styles: dict[str | None, Callable[[str], str]] = {
        None: str,
        "'": lambda s: f"'{s}'",
        '"': json.dumps,
    }
    write = styles.get(value.node.style)
    if write is None or write(value.node.value) != there or (value.node.style != '"' and "\n" in written):
        raise Refused(
            f"{value.alias} is written in a style that rdsca does not edit (line {value.node.start_mark.line + 1})",
            _otherwise(value.key),
        )
    return text[:start] + write(written) + text[end:]


def _literal(there: str, value: _Value, data: bytes) -> str:
    """Write a literal block (``|``) anew below the header that it has, with the indentation of its first line."""
    newline = "\r\n" if "\r\n" in there else "\n"
    header, _, body = there.partition(newline)
    old = value.node.value
    new = _wrapped(old, data) if value.in_base64 else data.decode()
    indent = body[: len(body) - len(body.lstrip(" "))]

    def block(value: str) -> str:
        return newline.join(f"{indent}{line}" if line else "" for line in value.rstrip("\n").split("\n"))

    if not body.startswith(block(old)):
        raise Refused(
            f"{value.alias} is indented in a way that rdsca does not edit (line {value.node.start_mark.line + 1})",
            _otherwise(value.key),
        )
    tail = body[len(block(old)) :]
    return f"{header}{newline}{block(new)}{tail}"


def _wrapped(old: str, data: bytes) -> str:
    """Break base64 into lines as long as the first one that was there."""
    width = len(old.partition("\n")[0])
    text = base64.b64encode(data).decode()
    return "\n".join(text[i : i + width] for i in range(0, len(text), width))


def _values(text: str) -> Iterator[_Value]:
    """Find the values of all ConfigMaps and Secrets; raises ``Refused`` for what is no YAML, without quoting it."""
    try:
        documents = [d for d in yaml.compose_all(text, yaml.SafeLoader) if d]
    except yaml.MarkedYAMLError as e:
        where = f" (line {e.problem_mark.line + 1})" if e.problem_mark else ""
        raise Refused(f"the manifest is no YAML{where}", "look at it with kubectl apply --dry-run=client -f") from None
    except (yaml.YAMLError, RecursionError):
        raise Refused("the manifest is no YAML", "look at it with kubectl apply --dry-run=client -f") from None
    for document in documents:
        for manifest in _manifests(document):
            yield from _values_of(manifest)


def _manifests(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if not isinstance(node, yaml.MappingNode):
        return
    items = _field(node, "items")
    if _word(_field(node, "kind")).endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            if isinstance(item, yaml.MappingNode):
                yield item
    else:
        yield node


def _values_of(manifest: yaml.MappingNode) -> Iterator[_Value]:
    kind, metadata = _word(_field(manifest, "kind")), _field(manifest, "metadata")
    words = (
        [_word(_field(metadata, f)) for f in ("namespace", "name")] if isinstance(metadata, yaml.MappingNode) else []
    )
    name = "/".join(word for word in words if word) or kind
    seen: set[str] = set()
    if kind in _FIELDS:
        _refuse_twice(name, manifest)
    for field in _FIELDS.get(kind, ()):
        mapping = _field(manifest, field)
        if not isinstance(mapping, yaml.MappingNode):
            continue
        _refuse_twice(name, mapping)
        overridden = seen if kind == "Secret" else frozenset()  # stringData counts over data
        for key, node in mapping.value:
            if isinstance(node, yaml.ScalarNode) and _word(key) not in overridden:
                in_base64 = (kind, field) in _IN_BASE64 or node.tag.endswith(":binary")
                data = (
                    _decoded(node.value, f"{name}/{_word(key)}")
                    if in_base64
                    else node.value.encode("utf-8", errors="replace")
                )
                contents = pem.read(data) if pem.recognise(data) else None
                immutable = _word(_field(manifest, "immutable")) == "true"
                yield _Value(name, _word(key), node, in_base64, data, contents, immutable)
        seen |= {_word(key) for key, _ in mapping.value}


def _refuse_twice(name: str, mapping: yaml.MappingNode) -> None:
    """Refuse a key that stands there twice: kubectl takes the last without a word, other readers the first."""
    keys = [_word(key) for key, _ in mapping.value]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise Refused(f"{name} has the key {twice[0]} twice, and kubectl takes the last", "leave one of them")


def _field(node: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in node.value if _word(key) == name), None)


def _word(node: yaml.Node | None) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _decoded(text: str, alias: str) -> bytes:
    """Decode base64 as Kubernetes does: line ends may stand in it, blanks may not (encoding/base64 of Go)."""
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)
    except (ValueError, binascii.Error):
        raise Refused(f"{alias} is no base64, and Kubernetes refuses it", "write it without blanks") from None


def _rest(text: str, values: Sequence[_Value]) -> list[tuple[object, ...]]:
    """Give everything but the trust stores: what must be the same before and after."""
    starts = {v.node.start_mark.index for v in values if v.is_store}
    return [
        (type(event), *([] if _at(event) in starts else [getattr(event, a, None) for a in _FACTS]))
        for event in yaml.parse(text, yaml.SafeLoader)
    ]


def _at(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark else -1


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused(f"the manifest is no UTF-8 (byte {e.start})", "save it as UTF-8") from None


KINDS = (
    Kind(
        "kubernetes",
        ("openssl", "openssl-partial", "gnutls"),
        recognise,
        read,
        add,
        remove,
        build,
        rank=40,
    ),
)

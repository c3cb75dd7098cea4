"""ConfigMaps and Secrets: every trust store in them is read, one value is changed, and no other byte moves."""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores import kubernetes, pem
from rdsca_helpers.edge.stores.kinds import recognise
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.edge.stores.writing import add, remove
from rdsca_helpers.errors import Refused, UsageError
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
PUBLIC = (DATA / "amazon-trust-services-roots.pem").read_text()
ROOTS = [
    Root(c, "rds-ca-rsa2048-g1", "cn-north-1")
    for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]
]
B64 = base64.b64encode(PUBLIC.encode()).decode()
KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END PRIVATE KEY-----\n"


def block(text: str, indent: int) -> str:
    return textwrap.indent(text, " " * indent)


LITERAL = f"""\
# who: platform team   é
apiVersion: v1
kind: ConfigMap
metadata: {{name: rds-ca, labels: {{a: "1"}}}}
data:
  other.conf: |+
    keep = me


  ca.pem: |   # the roots
{block(PUBLIC, 4)}
  last: 'x'   # end
"""
LIST = f"""\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata:
    name: db
    namespace: prod
  type: Opaque
  data:
    password: aHVudGVyMi1odW50ZXIy
    ca.crt: {B64}
- apiVersion: v1
  kind: Service
  metadata: {{name: x}}
"""
SEVERAL = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
---
kind: Secret
apiVersion: v1
metadata:
  name: db
stringData:
  password: hunter2-hunter2
  "root.crt": |-
      {block(PUBLIC, 6).strip()}
...
---
# nothing here
"""
BINARY = f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: bin
binaryData:
  ca.pem: "{B64}"
"""
WRAPPED = f"""\
apiVersion: v1
kind: Secret
metadata:
  name: wrapped
data:
  ca.pem: |
{block(chr(10).join(textwrap.wrap(B64, 76)), 4)}
"""
TLS = f"""\
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: tls
data:
  ca.crt: '{B64}'
  tls.crt: {base64.b64encode(ROOTS[5].certificate.pem.encode()).decode()}
  tls.key: {base64.b64encode(KEY.encode()).decode()}
"""
JSON = json.dumps(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "j"}, "data": {"a": "b", "ca.pem": PUBLIC}}, indent=4
)
STYLES = {
    "literal": LITERAL,
    "CRLF": LITERAL.replace("\n", "\r\n"),
    "list": LIST,
    "several": SEVERAL,
    "binary": BINARY,
    "wrapped": WRAPPED,
    "TLS": TLS,
    "JSON": JSON,
}


def stores_in(data: Any, key: str = "") -> list[str]:
    """Find PEM in any value, as the YAML library reads the text: the judge of what a cluster would be given."""
    if isinstance(data, dict):
        return [pem for name, value in data.items() for pem in stores_in(value, str(name))]
    if isinstance(data, list):
        return [pem for value in data for pem in stores_in(value)]
    if not isinstance(data, str) or key in ("tls.crt", "tls.key"):
        return []
    try:
        decoded = base64.b64decode(data, validate=False).decode()
    except ValueError:
        decoded = ""
    return [text for text in (data, decoded) if "BEGIN CERTIFICATE" in text]


def without_stores(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: without_stores(value) for key, value in data.items() if not stores_in({key: value}) or key != "ca"}
    if isinstance(data, list):
        return [without_stores(value) for value in data]
    return "" if isinstance(data, str) and stores_in(data) else data


@pytest.mark.parametrize("style", STYLES)
def test_a_root_is_added_to_the_one_store_and_every_other_line_stays(tmp_path: Path, style: str) -> None:
    old = STYLES[style].encode()
    file = tmp_path / "manifest.yaml"
    file.write_bytes(old)
    store = open_store(str(file))
    assert store.kind.name == "kubernetes"
    change = add(store, ROOTS[:2])
    assert len(change.added) == 2
    new = file.read_bytes()
    (before,), (after,) = (stores_in(list(yaml.safe_load_all(d.decode()))) for d in (old, new))
    assert after.rstrip("\n") == pem.add(before.encode(), ROOTS[:2]).decode().rstrip("\n")
    assert without_stores(list(yaml.safe_load_all(new.decode()))) == without_stores(
        list(yaml.safe_load_all(old.decode()))
    )
    lines_before, lines_after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    changed = [line for line in lines_before if line not in lines_after]
    assert len(changed) <= 1  # the one line of base64 or JSON, or of none in a block
    assert add(open_store(str(file)), ROOTS[:2]).backup is None
    remove(open_store(str(file)), change.added)
    assert sorted(c.sha256 for c in open_store(str(file)).contents.certificates) == sorted(
        c.sha256 for c in store.contents.certificates
    )
    if style in ("literal", "CRLF", "several", "list"):
        assert file.read_bytes() == old or style == "several"


def test_a_server_chain_does_not_count_and_a_key_is_never_shown() -> None:
    contents = kubernetes.read(TLS.encode())
    assert {e.alias for e in contents.entries if e.anchor} == {"tls/ca.crt"}
    assert {e.alias for e in contents.entries if not e.anchor} == {"tls/tls.crt"}
    for text in (TLS, LIST, SEVERAL):
        shown = repr(kubernetes.read(text.encode()))
        assert not [s for s in ("hunter2", "aHVudGVyMi", "c2VjcmV0") if s in shown]


def test_of_two_stores_in_one_manifest_only_what_both_hold_counts_and_neither_is_chosen() -> None:
    two = f"{LITERAL}  more.pem: |\n{block(PUBLIC + ROOTS[0].certificate.pem, 4)}"
    contents = kubernetes.read(two.encode())
    assert ROOTS[0].certificate not in contents.certificates
    assert set(contents.certificates) == set(read_pem(PUBLIC)[0])
    assert [c for c in contents.complaints if "files of their own" in c]
    with pytest.raises(Refused, match=r"ca\.pem, rds-ca/more\.pem.*rdsca trust build"):
        kubernetes.add(two.encode(), ROOTS[:1])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            LITERAL.replace(block(PUBLIC, 4), block(PUBLIC.replace("\n", "\n\n"), 4)).replace("ca.pem: |", "ca.pem: >"),
            "style",
        ),
        (BINARY.replace('"', "").replace(B64, "!!binary " + B64), "style"),
        (LITERAL + "immutable: true\n", "immutable"),
        (LITERAL.replace("ca.pem: |", "ca.pem: &x |").replace("last: 'x'", "last: *x"), "not one value"),
        (LITERAL.replace("    MII", "    M#I"), "not clean"),
        (LITERAL + "  big: " + "x" * kubernetes.LIMIT + "\n", "Kubernetes takes"),
    ],
    ids=["folded", "tagged", "immutable", "alias", "broken", "too large"],
)
def test_what_cannot_be_edited_safely_is_refused_and_untouched(tmp_path: Path, text: str, match: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    with pytest.raises(Refused, match=match) as refused:
        add(open_store(str(file)), ROOTS[:1])
    assert refused.value.remedy
    assert file.read_text() == text


def test_what_is_no_yaml_is_refused_by_its_line_and_not_quoted() -> None:
    text = LIST.replace("    ca.crt: ", "   ca.crt: [")
    with pytest.raises(Refused, match=r"no YAML \(line \d+\)") as refused:
        kubernetes.read(text.encode())
    assert "aHVudGVyMi" not in str(refused.value)


def test_a_bomb_of_aliases_costs_nothing() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for name, last in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"{name}: &{name} [{','.join(['*' + last] * 9)}]\n"
    contents = kubernetes.read((LITERAL + bomb).encode())
    assert len(contents.certificates) == 5
    assert len(read_pem(kubernetes.add((LITERAL + bomb).encode(), ROOTS[:1]).decode())[0]) == 0  # all is indented


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_a_built_manifest_is_read_by_yaml_and_the_same_each_time(kind: str) -> None:
    built = kubernetes.build_manifest(kind, "rds-ca", "prod", "no", ROOTS)
    assert built == kubernetes.build_manifest(kind, "rds-ca", "prod", "no", [*reversed(ROOTS), ROOTS[0]])
    manifest = yaml.safe_load(built)
    assert (manifest["kind"], manifest["metadata"]) == (kind, {"name": "rds-ca", "namespace": "prod"})
    value = manifest["data"]["no"]  # a key that YAML alone would take for False
    text = base64.b64decode(value).decode() if kind == "Secret" else value
    assert set(read_pem(text)[0]) == {r.certificate for r in ROOTS}
    found = recognise(built)
    assert found
    assert found.name == "kubernetes"
    assert set(kubernetes.read(built).certificates) == {r.certificate for r in ROOTS}


@pytest.mark.parametrize(
    ("kind", "name", "namespace", "key"),
    [
        ("Pod", "a", "", "k"),
        ("ConfigMap", "A b", "", "k"),
        ("ConfigMap", "a", 'x"\n', "k"),
        ("ConfigMap", "a", "", "../k"),
        ("ConfigMap", "a", "", ".."),
        ("ConfigMap", "", "", "k"),
    ],
)
def test_names_that_kubernetes_would_not_take_are_refused(kind: str, name: str, namespace: str, key: str) -> None:
    with pytest.raises(UsageError):
        kubernetes.build_manifest(kind, name, namespace, key, ROOTS)


def test_the_limits_of_kubernetes_are_named() -> None:
    for size, said in ((kubernetes.APPLY_LIMIT, "--server-side"), (kubernetes.LIMIT, "at most")):
        contents = kubernetes.read((LITERAL + "  big: " + "x" * size + "\n").encode())
        assert [c for c in contents.complaints if said in c]
    assert kubernetes.read(LITERAL.encode()).complaints == ()


def test_cut_at_any_byte_a_manifest_is_refused_or_holds_whole_certificates_from_the_beginning() -> None:
    text = kubernetes.build_manifest("ConfigMap", "a", "", "k", sorted(ROOTS, key=lambda r: len(r.certificate.der))[:2])
    whole = [e.certificate for e in kubernetes.read(text).entries]
    for end in range(len(text)):
        try:
            contents = kubernetes.read(text[:end])
        except Refused:
            continue
        got = [e.certificate for e in contents.entries]
        assert got == whole[: len(got)]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(LITERAL) - 1),
    st.sampled_from(["\n", " ", "\t", ":", "|", "&a ", "*a", "'", '"', "#", "- ", "\0"]),
)
def test_a_manifest_with_anything_in_it_is_changed_rightly_or_refused(where: int, what: str) -> None:
    text = LITERAL[:where] + what + LITERAL[where:]
    try:
        new = kubernetes.add(text.encode(), ROOTS[:1]).decode()
    except Refused:
        return
    before, after = (list(yaml.safe_load_all(t)) for t in (text, new))
    assert without_stores(after) == without_stores(before)
    assert len(kubernetes.read(new.encode()).entries) == len(kubernetes.read(text.encode()).entries) + 1


SECRET = f"""\
apiVersion: v1
kind: Secret
metadata:
  name: s
stringData:
  ca.crt: |
{block(PUBLIC, 4)}data:
  ca.crt: {base64.b64encode(ROOTS[0].certificate.pem.encode()).decode()}
"""


def test_of_a_secret_stringdata_counts_over_data_and_is_the_one_that_is_changed() -> None:
    contents = kubernetes.read(SECRET.encode())
    assert {c.sha256 for c in contents.certificates} == {c.sha256 for c in read_pem(PUBLIC)[0]}
    assert contents.complaints == ()
    after = yaml.safe_load(kubernetes.add(SECRET.encode(), ROOTS[:1]))
    assert after["data"] == yaml.safe_load(SECRET)["data"]
    assert ROOTS[0].certificate.pem in after["stringData"]["ca.crt"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LITERAL + "  ca.pem: nothing\n", r"ca\.pem twice"),
        (LITERAL + "data: {a: b}\n", "data twice"),
        (WRAPPED.replace("ca.pem: |", "ca.pem: >-"), "base64"),
        (LIST.replace(B64, f"{B64[:40]} {B64[40:]}"), "base64"),
    ],
    ids=["key twice", "field twice", "folded", "blank"],
)
def test_what_kubernetes_takes_otherwise_than_it_looks_is_refused(text: str, match: str) -> None:
    with pytest.raises(Refused, match=match):
        kubernetes.read(text.encode())


def test_what_a_client_refuses_of_pem_it_refuses_in_a_manifest_too() -> None:
    odd = LITERAL.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
    assert "ca.pem" in kubernetes.read(odd.encode()).refused_by["gnutls"]
    assert kubernetes.read(LITERAL.encode()).refused_by == {}

"""Stores that rdsca knows by sight and does not write: for each, the lines that look at it and add a root."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import PurePath

from .kinds import Kind

_PBES2 = re.escape(bytes.fromhex("06092a864886f70d01050d"))
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
# An encrypted BCFKS opens one SEQUENCE deeper than an encrypted PKCS#8 key does.
_BCFKS = re.compile(rb"(?:\x30" + _LENGTH + rb"){3}(?:\x30" + _LENGTH + rb")?" + _PBES2, re.S)
_BKS = re.compile(rb"\0\0\0[\0\1\2]\0\0\0\x14")  # version, and the length of its salt


def _begins(*magics: str) -> Callable[[bytes], bool]:
    """Recognise data that begins with one of these bytes, given in hex."""
    begins = tuple(bytes.fromhex(magic) for magic in magics)
    return lambda data: data.startswith(begins)


def _keytool(store_type: str, more: str = "") -> Callable[[str, str, str], str]:
    """Make keytool's two lines; it asks for the password itself, so that none stands in the list of processes."""

    def lines(path: str, certificate: str, alias: str) -> str:
        store = f"-storetype {store_type} -keystore {shlex.quote(path)}{more}"
        return _lines(
            f"keytool -list {store}",
            f"keytool -importcert -noprompt {store} -alias {shlex.quote(alias)} -file {shlex.quote(certificate)}",
        )

    return lines


def _orapki(path: str, certificate: str, _: str) -> str:
    folder = shlex.quote(_folder(path))
    return _lines(
        f"orapki wallet display -wallet {folder}",
        f"orapki wallet add -wallet {folder} -trusted_cert -cert {shlex.quote(certificate)}",
    )


def _nss(database: str) -> Callable[[str, str, str], str]:
    def lines(path: str, certificate: str, alias: str) -> str:
        folder = shlex.quote(f"{database}:{_folder(path)}")
        return _lines(
            f"certutil -L -d {folder}",
            f"certutil -A -d {folder} -t C,, -n {shlex.quote(alias)} -i {shlex.quote(certificate)}",
        )

    return lines


def _windows(path: str, certificate: str, _: str) -> str:
    store, file = shlex.quote(path), shlex.quote(certificate)
    return _lines(f"certutil.exe -dump {store}", f"certmgr.exe /add /c {file} {store}")


def _macos(path: str, certificate: str, _: str) -> str:
    store, file = shlex.quote(path), shlex.quote(certificate)
    return _lines(
        f"security find-certificate -a -Z {store}", f"sudo security add-trusted-cert -d -r trustRoot -k {store} {file}"
    )


def _folder(path: str) -> str:
    return str(PurePath(path).parent)


def _lines(look: str, add: str) -> str:
    return f"{look}\n{add}"


_PROVIDER = " -providerclass org.bouncycastle.jcajce.provider.BouncyCastleFipsProvider -providerpath bc-fips.jar"
_PLAIN_PROVIDER = " -providerclass org.bouncycastle.jce.provider.BouncyCastleProvider -providerpath bcprov.jar"

KINDS = (
    Kind("jceks", ("java",), _begins("cececece"), command=_keytool("JCEKS"), rank=10),
    Kind("bcfks", ("java",), lambda d: bool(_BCFKS.match(d[:64])), command=_keytool("BCFKS", _PROVIDER), rank=10),
    Kind("bks", ("java",), lambda d: bool(_BKS.match(d[:8])), command=_keytool("BKS", _PLAIN_PROVIDER), rank=20),
    Kind("oracle-wallet", (), _begins("a1f84e36", "a1f84e37", "a1f84e38"), command=_orapki, rank=10),
    Kind("nss", (), lambda d: d[:15] == b"SQLite format 3" and b"nssPublic" in d, command=_nss("sql"), rank=10),
    Kind("nss", (), _begins("00061561"), command=_nss("dbm"), rank=10),  # cert8.db, a Berkeley DB 1.85
    Kind("windows", (), _begins("0000000043455254"), command=_windows, rank=10),
    Kind("macos", (), _begins(b"kych".hex()), command=_macos, rank=10),
)

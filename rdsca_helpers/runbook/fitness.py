"""Fitness: what on this machine would hinder a run, and the remedy."""

from __future__ import annotations

import importlib.metadata
import shutil
import ssl
import sys
import tempfile
from dataclasses import dataclass

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from ..edge.aws import Aws
from ..errors import RdscaError

_PACKAGES = ("boto3", "papermill", "pandas", "PyMySQL", "psycopg2-binary", "cryptography")
_ROOM = 500 << 20  # bytes for evidence and for kernels' own files


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it is good, what was seen, and what to do if it is not."""

    what: str
    good: bool
    seen: str
    remedy: str = ""


def fitness(profile: str = "") -> list[Check]:
    """Look at Python, TLS, packages, the kernel, disk room and the AWS profile; nothing is changed."""
    checks = [
        Check(
            "Python",
            sys.version_info >= (3, 11),
            sys.version.partition(" ")[0],
            "install Python 3.11 or newer, make again",
        ),
        Check(
            "TLS library",
            ssl.OPENSSL_VERSION_INFO >= (1, 1, 1),
            ssl.OPENSSL_VERSION,
            "use a Python with OpenSSL 1.1.1 or newer",
        ),
    ]
    checks += [_package(name) for name in _PACKAGES]
    try:
        kernel = KernelSpecManager().get_kernel_spec("python3").argv[0]
        checks.append(Check("Jupyter kernel python3", good=True, seen=kernel.rpartition("/")[2]))
    except NoSuchKernel:
        checks.append(
            Check("Jupyter kernel python3", good=False, seen="missing", remedy="install ipykernel, or make again")
        )
    free = shutil.disk_usage(tempfile.gettempdir()).free
    room = f"{free >> 20} MiB free for temporary files"
    checks.append(Check("disk", free > _ROOM, room, f"make room: {_ROOM >> 20} MiB are wanted"))
    return [*checks, _profile(profile)]


def _package(name: str) -> Check:
    try:
        return Check(name, good=True, seen=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, good=False, seen="missing", remedy="install the locked packages: tools/setup.sh")


def _profile(profile: str) -> Check:
    what = f"AWS profile {profile!r}" if profile else "AWS default credentials"
    try:
        return Check(what, good=True, seen=f"answers as {Aws(profile=profile, account='').whoami()}")
    except RdscaError as e:
        return Check(what, good=False, seen=e.what, remedy=e.remedy)

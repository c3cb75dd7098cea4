"""The files that say what the project needs agree with each other."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-postgres.lock")
CONDA_ONLY = {"pip", "postgresql", "mysql-server"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def needs(words: list[str]) -> dict[str, Requirement]:
    found = (Requirement(word) for word in words)
    return {r.name.lower(): r for r in found}


def declared() -> dict[str, Requirement]:
    return needs(project()["project"]["dependencies"])


def development() -> dict[str, Requirement]:
    return needs(project()["project"]["optional-dependencies"]["dev"])


def locked(name: str = LOCKS[0]) -> dict[str, list[str]]:
    """Give the versions of each locked package; some have one for each range of Pythons."""
    versions: dict[str, list[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", (ROOT / name).read_text(), re.M):
        versions.setdefault(package, []).append(version)
    return versions


def environment() -> dict[str, Requirement]:
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return needs([*conda, *(word for word in last["pip"] if not word.startswith("-e"))])


def test_conda_gets_the_same_packages_with_the_same_floors() -> None:
    conda = environment()
    wanted = {name: (str(r.specifier), r.extras) for name, r in declared().items()}
    python = conda.pop("python")
    assert {n: (str(r.specifier), r.extras) for n, r in conda.items() if n not in CONDA_ONLY} == wanted
    assert project()["project"]["requires-python"] in str(python.specifier).split(",")


@pytest.mark.parametrize("name", sorted({**declared(), **development()}))
def test_the_lock_satisfies_every_requirement(name: str) -> None:
    need = {**declared(), **development()}[name]
    assert locked()[name]
    assert all(need.specifier.contains(version) for version in locked()[name])


def test_the_lock_brings_what_builds_the_project() -> None:
    (builder,) = project()["build-system"]["requires"]
    need = Requirement(builder)
    assert all(need.specifier.contains(version) for version in locked()[need.name])


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_hashes_and_no_place_to_come_from(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=[\w.-]+(?:\[[\w,-]+\])?==)", text, flags=re.M)[1:]
    assert len(entries) == sum(len(v) for v in locked(name).values())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}$", entry, re.M) for entry in entries)
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", text)


@pytest.mark.parametrize("script", ["tools/setup.sh", "tools/getdb.sh"])
def test_scripts_are_plain_sh_and_free_of_gnu_only_words(script: str) -> None:
    text = (ROOT / script).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n", ROOT / script], check=False).returncode == 0
    assert not re.search(r"readlink -f|realpath|sed -i|cp --|grep -P|\[\[|pipefail|\blocal ", text)


def test_the_ci_script_runs_the_test_command() -> None:
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), re.M)
    assert re.search(r"^test: setup$", (ROOT / "Makefile").read_text(), re.M)

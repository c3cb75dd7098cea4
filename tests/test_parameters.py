"""Notebook parameters: what is taken, what is refused, and what the refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from papermill.translators import PythonTranslator

from rdsca_helpers.errors import UsageError
from rdsca_helpers.parameters import NOTEBOOKS, PARAMETERS, check, injected, of_cell


def taken(name: str, value: Any) -> Any:
    notebook = next(n for n, names in NOTEBOOKS.items() if name in names)
    return check(notebook, {name: value})[name]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("account", "111111111111", "111111111111"),
        ("account", 12345678901, "012345678901"),  # papermill's -p ate the leading zero
        ("account", 0, "000000000000"),
        ("account", " 012345678901 ", "012345678901"),
        ("regions", "eu-west-1, us-gov-west-1,eu-west-1", "eu-west-1,us-gov-west-1"),
        ("regions", "all", "all"),
        ("wave", 2, "2"),
        ("wave", "next", "next"),
        ("max_targets", "12", 12),
        ("max_targets", 1, 1),
        ("samples", "20", 20),
        ("sample_seconds", 60, 60),
        ("instances", " crm-db, b ", "crm-db, b"),
        ("credentials", "env:DB_PASSWORD", "env:DB_PASSWORD"),
        ("target_ca", "rds-ca-ecc384-g1", "rds-ca-ecc384-g1"),
        ("action", "apply", "apply"),
        ("store_password", "auto", "auto"),
        ("store_password", " env:STORE ", "env:STORE"),
        ("store_password", "file:/etc/app/secret", "file:/etc/app/secret"),
    ],
)
def test_a_good_value_is_taken(name: str, value: Any, expected: Any) -> None:
    assert taken(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "11111111111"),
        ("account", "1111111111111"),
        ("account", 1111111111111),
        ("account", -1),
        ("account", True),
        ("account", 1.5),
        ("account", None),
        ("account", ""),
        ("account", "11111111111a"),
        ("account", "111111111111\n2"),
        ("account", "\u0661" * 12),
        ("regions", ""),
        ("regions", ","),
        ("regions", "eu-west"),
        ("regions", "EU-WEST-1"),
        ("regions", "eu-west-1;us-east-1"),
        ("regions", "all,eu-west-1"),
        ("regions", "eu-west-1/../x"),
        ("regions", ["eu-west-1"]),
        ("action", "false"),
        ("action", False),
        ("action", True),
        ("action", "Apply"),
        ("action", " apply"),
        ("action", ""),
        ("when", "later"),
        ("wave", 0),
        ("wave", "-1"),
        ("wave", "1.5"),
        ("wave", "²"),
        ("wave", True),
        ("max_targets", 0),
        ("max_targets", True),
        ("max_targets", "false"),
        ("max_targets", "²"),
        ("max_targets", 2.5),
        ("samples", 0),
        ("sample_seconds", 0),
        ("credentials", "hunter2"),
        ("credentials", "env:"),
        ("credentials", "env:A B"),
        ("credentials", "postgres://u:p@h"),
        ("target_ca", "rsa2048"),
        ("target_ca", "rds-ca-rsa2048-g1; rm"),
        ("profile", None),
        ("stores", False),
        ("clients", None),
        ("store_password", "hunter2"),
        ("store_password", "prompt"),
        ("store_password", "env:"),
        ("store_password", "file:"),
        ("store_password", ""),
    ],
)
def test_a_bad_value_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        taken(name, value)
    assert refused.value.code == 2
    assert name in str(refused.value)


@pytest.mark.parametrize("name", ["credentials", "store_password"])
def test_a_password_given_as_its_source_is_not_repeated(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        taken(name, "hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["password", "db_password", "Passwd", "token", "api_key", "client_secret", "pass"])
def test_a_parameter_that_looks_like_a_secret_is_told_where_secrets_come_from(name: str) -> None:
    with pytest.raises(UsageError, match="looks like a secret"):
        check("02-sessions", {name: "hunter2"})


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown parameter acount; known are profile, account") as refused:
        check("01-discover", {"acount": "1"})
    assert refused.value.code == 2


def test_no_refusal_repeats_the_value_of_an_unknown_parameter() -> None:
    for name in ("pasword", "password", "x"):
        with pytest.raises(UsageError) as refused:
            check("02-sessions", {name: "hunter2"})
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_defaults_are_good_and_change_nothing(notebook: str) -> None:
    found = check(notebook, {})
    assert tuple(found) == NOTEBOOKS[notebook]
    assert found.get("profile", "lab") == "lab"
    assert found.get("action", "show") == "show"


def test_each_parameter_has_a_default_of_a_plain_kind_and_a_help_in_one_line() -> None:
    for name, parameter in PARAMETERS.items():
        assert parameter.name == name
        assert type(parameter.default) in (str, int)
        assert parameter.help
        assert "\n" not in parameter.help
        assert any(name in names for names in NOTEBOOKS.values())


def namespace(notebook: str, **given: Any) -> dict[str, Any]:
    """What a kernel holds after papermill injected *given*: the names, and the cells that ran."""
    cell = PythonTranslator.codify(given)
    held: dict[str, Any] = {n: PARAMETERS[n].default for n in NOTEBOOKS[notebook]}
    exec(cell, held)
    return held | {"In": ["", "import rdsca_helpers as rdsca", cell]}


def test_what_papermill_injected_is_what_the_notebook_works_with() -> None:
    held = namespace("01-discover", account=12345678901, regions="eu-west-1", run_dir="a 'b' \\ \"c\"")
    assert of_cell("01-discover", held)["account"] == 12345678901
    assert check("01-discover", of_cell("01-discover", held))["run_dir"] == "a 'b' \\ \"c\""


@pytest.mark.parametrize("name", ["acount", "stores", "password"])
def test_an_injected_name_that_this_notebook_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        of_cell("01-discover", namespace("01-discover", **{name: "x"}))


def test_other_variables_of_the_kernel_are_no_parameters() -> None:
    held = namespace("01-discover") | {"x": 1, "password": "mine", "_": 3}
    assert set(of_cell("01-discover", held)) == set(NOTEBOOKS["01-discover"])


def test_the_names_of_an_injected_cell_are_found_whatever_their_values() -> None:
    cell = PythonTranslator.codify({"a": "x = 1\ny = 2", "b": 2, "c": None})
    assert injected(cell) == ["a", "b", "c"]

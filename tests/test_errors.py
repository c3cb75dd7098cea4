"""The tree of errors, and the exit codes that the contract promises."""

from __future__ import annotations

import pytest

from rdsca_helpers import errors
from rdsca_helpers.errors import RdscaError, code_of

PROMISED = {
    "RdscaError": 1,
    "UsageError": 2,
    "Refused": 3,
    "Stopped": 4,
    "AccessDenied": 4,
    "Unreachable": 4,
    "NotVerified": 5,
    "OutcomeUnknown": 6,
    "Locked": 7,
    "OutsideWindow": 8,
    "Damaged": 9,
    "UnknownRoot": 10,
}


@pytest.mark.parametrize(("name", "code"), PROMISED.items())
def test_each_error_ends_a_run_with_the_code_of_the_contract(name: str, code: int) -> None:
    assert getattr(errors, name)("it").code == code
    assert code_of(name) == code


@pytest.mark.parametrize("name", ["ValueError", "KeyboardInterrupt", "DeadKernelError", "", "refused"])
def test_an_error_that_is_not_ours_is_a_defect(name: str) -> None:
    assert code_of(name) == 1


def test_every_error_of_the_module_is_in_the_tree_and_in_its_drawing() -> None:
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, Exception)}
    assert set(classes) == set(PROMISED)
    for name, cls in classes.items():
        assert issubclass(cls, RdscaError)
        assert name in (errors.__doc__ or "")


def test_the_message_says_what_happened_and_then_what_to_do() -> None:
    error = errors.Refused("eu-west-1 was refused", "allow it")
    assert str(error) == "eu-west-1 was refused; allow it"
    assert (error.what, error.remedy) == ("eu-west-1 was refused", "allow it")
    assert str(errors.Refused("eu-west-1 was refused")) == "eu-west-1 was refused"


def test_a_notebook_shows_one_line_and_no_traceback() -> None:
    assert errors.Damaged("the journal", "ask")._render_traceback_() == ["Damaged: the journal; ask"]

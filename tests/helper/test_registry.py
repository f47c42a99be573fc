"""Registries and one-line errors."""

import pytest

from helper.errors import UserError, one_line_errors, unknown_name
from helper.registry import Registry


def test_names_come_back_in_order_and_duplicates_raise():
    registry = Registry("fruit")
    registry.register("pear", 1)

    @registry.register("apple")
    def apple():
        return 2

    assert list(registry) == ["pear", "apple"] and len(registry) == 2
    assert registry["pear"] == 1 and registry["apple"]() == 2 and "apple" in registry
    with pytest.raises(ValueError, match="'pear' is registered twice"):
        registry.register("pear", 3)


def test_unknown_name_lists_choices_and_the_nearest():
    registry = Registry("fruit")
    registry.register("Pear", 1)
    registry.register("apple", 2)
    with pytest.raises(
        UserError, match=r"unknown fruit 'pera'. Did you mean 'Pear'\? Choices: apple, Pear"
    ):
        registry["pera"]
    assert "Did you mean" not in str(unknown_name("fruit", "zzz", registry))


def test_user_error_is_one_line_with_status_2(capsys):
    with pytest.raises(SystemExit) as stopped, one_line_errors("prog.py"):
        raise UserError("first\nsecond")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "prog.py: error: first second\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="bug"), one_line_errors("prog.py"):
        raise ValueError("bug")

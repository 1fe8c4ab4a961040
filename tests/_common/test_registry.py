import pytest

from revision_plugin.errors import RevisionError
from revision_plugin.registry import Registry


def test_unknown_name_suggests_and_lists():
    registry = Registry("aligner")
    registry.register("realign")(object())
    registry.register("none")(object())
    with pytest.raises(
        RevisionError, match=r"unknown aligner 'relign' \(did you mean 'realign'\?\); available: none, realign"
    ):
        registry.get("relign")


def test_duplicate_is_a_bug():
    registry = Registry("aligner")
    registry.register("x")(1)
    with pytest.raises(ValueError, match="twice"):
        registry.register("x")(2)
    assert registry.get("x") == 1

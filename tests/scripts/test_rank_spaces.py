"""Spaces of rank_augmentations.py --search: reading them and drawing candidates."""

import pytest
from spaces import write_space

from helper.errors import UserError
from scripts.rank.schemes import canonical
from scripts.rank.searching import steps_of_rounds
from scripts.rank.space import read_space, space_of


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_space_is_drawn_and_refined():
    write_space(rounds=2)
    space = read_space("space.toml")
    first = space.candidates(seed=1)
    assert [c.scheme for c in space.candidates(seed=1)] == [c.scheme for c in first]
    sizes = sorted(c.drawn["s"] for c in first if c.drawn)
    assert len(sizes) == 3 and 2 <= sizes[0] < sizes[-1] <= 8
    assert {"cutmix", "mean"} <= {c.scheme for c in first}
    parent = next(c for c in first if c.drawn)
    for near in space.near([parent], seed=1, number=1):
        assert near.chain is parent.chain and 2 <= near.drawn["s"] <= 8
        assert near.scheme != parent.scheme


def test_rounds_leave_half_of_the_budget_to_the_race():
    assert steps_of_rounds(3, most=1000) == [16, 26, 41]
    assert sum(steps_of_rounds(3, most=80)) == 40
    assert steps_of_rounds(2, most=1) == [6, 6]


@pytest.mark.parametrize("name", ["quick", "standard", "wide"])
def test_shipped_spaces_hold_schemes(name):
    """Each candidate is one that --mix_mode takes."""
    names = [canonical(candidate.scheme) for candidate in read_space(name).candidates(seed=1)]
    assert len(set(names)) == len(names) >= 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "needs \\[\\[chains\\]\\]"),
        ({"chains": [{"chain": "cutmix"}], "round": 1}, "unknown entry round"),
        ({"chains": [{"chain": "cutmix"}], "rounds": -1}, "rounds = -1"),
        ({"chains": [{"chain": "mean:k={k}"}]}, "'k' has no values"),
        ({"chains": [{"chain": "mean", "k": [2]}]}, "'k' has no place"),
        ({"chains": [{"chain": "mean:k={k:z}", "k": [2]}]}, "a value's place is its name"),
        ({"chains": [{"chain": "mean:k={k.real}", "k.real": [2]}]}, "a value's place is its name"),
        ({"chains": [{"chain": "mean:k={", "k": [2]}]}, "a value's place is its name"),
        ({"chains": [{"chain": "mean:k={k}", "k": []}]}, "no list of numbers"),
        ({"chains": [{"chain": "mean:k={k}", "k": {"low": 3, "high": 2}}]}, "not a range"),
        ({"chains": [{"chain": "mean:k={k}", "k": {"low": 0, "high": 2, "scale": "log"}}]},
        "above 0"),
    ],
)  # fmt: skip
def test_bad_spaces(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        space_of(content, tmp_path / "space.toml")

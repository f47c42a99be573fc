"""scripts/quickstart.py: which students it trains, and what it says of the ranking."""

from collections import Counter

import pytest

from scripts import quickstart
from scripts.quickstart import SCALES, SCHEMES, TRAPS, how_well, jobs_of, ranking_words, trap_of
from scripts.rank.command_line import parse


def ranking(*rows):
    """rows: (scheme, T. stddev, verdict, group)."""
    names = ("scheme", "t_stddev", "verdict", "group")
    return {"schemes": [dict(zip(names, row)) for row in rows]}


FOUND = ranking(
    ("cutmix", 0.7, "ranked", 1),
    ("mixup", 0.8, "ranked", 2),
    ("identity", 1.0, "ranked", 2),
    ("garbage", None, "no signal", None),
    ("grey", 0.5, "no signal", None),
)


def test_the_trap_is_what_t_stddev_alone_would_choose():
    assert trap_of(FOUND) == "grey"
    assert trap_of(ranking(("cutmix", 0.4, "ranked", 1), ("grey", 0.5, "no signal", None))) is None


@pytest.mark.parametrize("scale", SCALES)
def test_jobs(monkeypatch, tmp_path, scale):
    """Students of each scheme, and one under the trap."""
    monkeypatch.chdir(tmp_path)
    scale = SCALES[scale]
    folder = tmp_path / f"save/models/{scale.teacher}_vanilla"
    folder.mkdir(parents=True)
    (folder / quickstart.teacher_file(scale)).touch()
    for trap in ("grey", None):
        jobs = jobs_of(scale, scale.data.split(), trap)
        assert {job.kind for job in jobs} == {"train"}
        counts = dict.fromkeys(SCHEMES, scale.trials) | ({trap: 1} if trap else {})
        assert Counter(job.scheme for job in jobs) == counts


@pytest.mark.parametrize("scale", SCALES)
def test_the_rankings_command_is_one(monkeypatch, tmp_path, scale):
    monkeypatch.chdir(tmp_path)
    data = [*SCALES[scale].data.split(), "--data_root", "data"]
    options = parse(ranking_words(SCALES[scale], data))
    assert options.dataset == scale and set(TRAPS) < set(options.schemes)


def test_what_it_says():
    losses = {"cutmix": 1.0, "mixup": 1.1, "identity": 1.2, "grey": 3.0, "flip": 0.5}
    spearman, pairs, first, trap = how_well(FOUND, losses)
    assert "Spearman 0.87" in spearman and "over 3 schemes" in spearman  # two share a place
    assert "apart: 2; the students have 2 of" in pairs  # mixup and identity are tied
    assert first == "the ranking's first, cutmix, is number 1 of 3 by its students"
    assert "grey" in trap and "3.000" in trap and "1.200" in trap
    _, pairs, first, _ = how_well(FOUND, losses | {"cutmix": 1.15})
    assert "apart: 2; the students have 1 of" in pairs and "number 2 of 3" in first

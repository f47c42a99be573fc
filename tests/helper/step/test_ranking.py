"""T. stddev with its error, the guard, and the ranking, against independent formulas and on made-up
teachers."""

import math

import numpy as np
import pytest
import torch
from places import ROOT

from helper.errors import UserError
from helper.step import guard as guard_module
from helper.step.guard import EVIDENCE, PAPER_SCHEMES, Guard, Verdict, is_of_paper
from helper.step.intervals import CAUTION, c4, jackknife, t_quantile
from helper.step.ranking import FIRST_LOOK, Ranking
from helper.step.teacher_stats import TeacherStddev
from helper.step.view_stats import MOST_BLOCKS, ViewStatistics, difference
from scipy import stats
from scripts.rank.coverage import SyntheticTeacher, coverage

K = 6
FLOORS = {"balance": 0.88, "information_share": 0.1}
TRUSTED = Guard(FLOORS, is_trusted=True)
"""The views here are none of the paper's schemes."""


def a_batch(generator, rows=16, strength=3.0):
    """Logits (rows, K) of images whose classes are correlated."""
    labels = torch.randint(K, (rows,), generator=generator)
    common = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    directions = torch.linspace(-1, 1, 2 * K, dtype=torch.float64).view(2, K)
    return strength * torch.eye(K, dtype=torch.float64)[labels] + common @ directions


VIEWS = {
    "identity": lambda logits, g: logits,
    "weak": lambda logits, g: logits + 0.3 * torch.randn(logits.shape, generator=g),
    "strong": lambda logits, g: 0.5 * logits + 0.3 * torch.randn(logits.shape, generator=g),
    "grey": lambda logits, g: torch.zeros_like(logits) + torch.arange(K),
    "uniform": lambda logits, g: torch.zeros_like(logits),
    "not a number": lambda logits, g: logits * math.nan,
}
"""A scheme -> what the teacher says to its views."""


def measure(ranking, steps, seed=0, rows=16):
    """Feed `steps` steps to the schemes that are still measured; the same images for all."""
    data = torch.Generator().manual_seed(seed)
    views = {name: torch.Generator().manual_seed(seed + 1) for name in ranking.statistics}
    for _ in range(steps):
        logits = a_batch(data, rows)
        for name in list(ranking.live):
            view = VIEWS[name](logits, views[name])
            ranking.update(name, logits.softmax(1), view.softmax(1))
        if ranking.is_due() and ranking.look():
            break
    return ranking


def rows_of(steps, seed=0, sizes=(16,)):
    """[(p(x), p(x')), ...] of the view "strong"."""
    generator = torch.Generator().manual_seed(seed)
    batches = [a_batch(generator, sizes[step % len(sizes)]) for step in range(steps)]
    return [(b.softmax(1), VIEWS["strong"](b, generator).softmax(1)) for b in batches]


def filled(steps):
    statistics = ViewStatistics(K)
    for clean, view in steps:
        statistics.update(clean, view)
    return statistics


def by_hand(steps):
    """T. stddev of single steps, for batches of one size."""
    means = np.stack([torch.cat(step).mean(0).numpy() for step in steps])
    n = len(means)
    factor = math.sqrt(2 / (n - 1)) * math.gamma(n / 2) / math.gamma((n - 1) / 2)
    return means.std(axis=0, ddof=1).mean() / math.sqrt(5) / factor


def test_measures_are_their_formulas():
    steps = rows_of(40)
    statistics = filled(steps)
    clean, view = (torch.cat(parts).numpy() for parts in zip(*steps))

    def entropy(p):
        return -(p * np.log(p)).sum(axis=-1)

    covariance = sum(np.cov(view[:, k], clean[:, k], bias=True)[0, 1] for k in range(K))
    expected = {
        "t_stddev": by_hand(steps),
        "t_share": by_hand(steps) / by_hand([(clean, clean) for clean, _ in steps]),
        "consistency": covariance / math.sqrt(view.var(axis=0).sum() * clean.var(axis=0).sum()),
        "balance": entropy(view.mean(0)) / entropy(clean.mean(0)),
        "information": entropy(view.mean(0)) - entropy(view).mean(),
    }
    for name, value in expected.items():
        assert statistics.measure(name).value == pytest.approx(value, rel=1e-9), name


def test_published_value_is_that_of_the_pass():
    steps, alone = rows_of(23), TeacherStddev(K)
    for step in steps:
        alone.update(*step)
    assert filled(steps).published.value() == alone.value()


def test_step_means_estimate_what_the_groups_do():
    """Over many passes the mean squares agree; the groups' own value is c4 too low, and varies
    more."""
    measured = [filled(rows_of(30, seed=seed)) for seed in range(25)]
    precise = np.array([m.measure("t_stddev").value for m in measured])
    groups = np.array([m.published.value()[0] for m in measured])
    assert precise.mean() == pytest.approx(groups.mean() / float(c4(6)), rel=0.04)
    assert precise.std() < 0.7 * groups.std()


def test_shares_of_mixed_images_count():
    """consistency compares with the mixed probabilities; the teacher's hits are by shares."""
    generator = torch.Generator().manual_seed(0)
    statistics = ViewStatistics(K)
    for _ in range(8):
        clean = a_batch(generator).softmax(1)
        mixed = 0.3 * clean + 0.7 * clean.roll(1, 0)
        statistics.update(clean, mixed, mixed, hits=torch.full((16,), 0.25))
    assert statistics.measure("consistency").value == pytest.approx(1)
    assert statistics.measure("teacher_top1").value == pytest.approx(25)


def test_short_batches_count_by_their_rows():
    equal, short = filled(rows_of(400)), filled(rows_of(400, sizes=(16, 16, 16, 4)))
    means = [s.measure("t_stddev").value * math.sqrt(r) for s, r in ((equal, 16), (short, 13))]
    assert means[1] == pytest.approx(means[0], rel=0.1)


def test_memory_is_constant_and_blocks_keep_everything():
    steps = rows_of(MOST_BLOCKS * 2 + 7)
    statistics = filled(steps)
    assert len(statistics.state_dict()["sums"]) == len(statistics.blocks()) <= MOST_BLOCKS
    assert statistics.measure("t_stddev").value == pytest.approx(by_hand(steps), rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "there", "back"),
    [("plain", np.array, float), ("log", np.log, np.exp), ("fisher", np.arctanh, np.tanh)],
)
def test_jackknife_leaves_out_one_block_at_a_time(scale, there, back):
    blocks = torch.rand(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blocks[:, 1] += 1  # below 1, as a correlation

    def ratio(sums):
        return sums[..., 0] / sums[..., 1]

    left = [there(float(ratio(torch.cat([blocks[:i], blocks[i + 1 :]]).sum(0)))) for i in range(9)]
    centre = 9 * there(float(ratio(blocks.sum(0)))) - 8 * np.mean(left)
    degrees = CAUTION * 8 * min(1, 3 / stats.kurtosis(left, fisher=False))
    half = t_quantile(0.9, degrees) * math.sqrt(8 / 9 * sum((v - np.mean(left)) ** 2 for v in left))
    found = jackknife(ratio, blocks, 0.9, scale=scale)
    assert (found.low, found.high) == pytest.approx((back(centre - half), back(centre + half)))
    assert t_quantile(0.9, 8) == pytest.approx(1.8595, abs=1e-4)
    assert math.isnan(jackknife(ratio, blocks[:3]).low)
    assert float(c4(6)) == pytest.approx(0.9515, abs=1e-4)


def test_a_scale_that_does_not_fit_gives_way():
    """A correlation of 1 has no Fisher's z, a negative value no logarithm."""
    ones = torch.ones(6, 1, dtype=torch.float64)
    for scale, blocks in (("fisher", ones), ("log", -ones)):
        found = jackknife(lambda sums: sums[..., 0].sign(), blocks, scale=scale)
        assert found.low == found.value == found.high


def test_intervals_hold_the_truth():
    """A sample of what scripts/rank/coverage.py measures in full."""
    teacher = SyntheticTeacher(num_classes=10, policies=8, images=2000)
    for steps, held in coverage(teacher, (8, 16, 40), seeds=60, truth_steps=1500).items():
        for name, share in held.items():
            assert share >= 0.88, (steps, name, share)  # one share has an error of .028
    found = filled(rows_of(40)).measure("t_stddev")
    assert found.high < 1.4 * found.low  # and they are no wider than they must be


def test_pairs_are_told_apart_sooner():
    ranking = measure(Ranking(["identity", "weak"], K, until="budget", guard=TRUSTED), 40)
    paired = difference(*(ranking.statistics[name] for name in ("weak", "identity")))
    alone = ranking.statistics["identity"].measure("t_stddev")
    assert paired.high < 0
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)
    again = difference(*(ranking.statistics[name] for name in ("identity", "weak")))
    assert again.value == pytest.approx(-paired.value)


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [(2 * MOST_BLOCKS, 31), (MOST_BLOCKS + 5, MOST_BLOCKS + 1), (3 * MOST_BLOCKS, MOST_BLOCKS + 1),
     (MOST_BLOCKS + 2, MOST_BLOCKS - 1), (9, 5)],
)  # fmt: skip
def test_pairs_of_unequal_length_are_compared_on_the_common_steps(longer, shorter):
    """As far as these fill blocks of the longer one's size."""
    steps = rows_of(longer)
    long, short = filled(steps), filled(steps[:shorter])
    for pair in ((long, short), (short, long)):
        assert tuple(difference(*pair)) == pytest.approx((0, 0, 0), abs=1e-12)
    whole = shorter // long.block_steps * long.block_steps
    other = rows_of(shorter, seed=1)
    found = difference(long, filled(other)).value
    common = difference(filled(steps[:whole]), filled(other[:whole])).value
    assert found == pytest.approx(common, abs=1e-12) and found != 0


def test_pairs_with_no_common_block_have_no_interval():
    steps = rows_of(3 * MOST_BLOCKS)
    assert math.isnan(difference(filled(steps), filled(steps[:2])).low)


@pytest.mark.parametrize("until", ["best", "order"])
def test_race(until):
    """The best is named, what says nothing never is, and what is beaten is not measured to the
    end."""
    ranking = measure(Ranking(VIEWS, K, until=until, guard=TRUSTED), 400)
    rows = {row.scheme: row for row in ranking.table()}
    assert ranking.best() == "strong"
    groups = [rows[name].group for name in ("strong", "weak", "identity")]
    assert groups == [1, 2, 3] if until == "order" else groups[0] == 1 < groups[1]
    for name in ("grey", "uniform", "not a number"):
        assert rows[name].verdict.name == "no signal" and rows[name].group is None
        assert rows[name].steps == FIRST_LOOK
    assert rows["grey"].t_stddev.value < rows["strong"].t_stddev.value
    assert ranking.steps < 400 and next(iter(rows)) == "strong"


def test_the_budget_question_drops_nothing():
    ranking = measure(Ranking(VIEWS, K, until="budget"), 30)
    assert {row.steps for row in ranking.table()} == {30}


def test_what_is_not_resolved_is_a_tie():
    """Two schemes of the same distribution: over 8 seeds hardly any is named best."""
    named = 0
    for seed in range(8):
        ranking = Ranking(["weak", "also weak"], K, guard=TRUSTED)
        data = torch.Generator().manual_seed(seed)
        for _ in range(30):
            logits = a_batch(data)
            for name in ranking.live:
                ranking.update(name, logits.softmax(1), VIEWS["weak"](logits, data).softmax(1))
            if ranking.is_due() and ranking.look():
                break
        named += ranking.best() is not None
        assert ranking.best() or {row.group for row in ranking.table()} == {1}
    assert named <= 1


def test_a_view_beyond_the_range_is_unproven():
    guard = Guard({"balance": 0.5}, is_trusted=True, t_range=(0.9, 1.0))
    ranking = measure(Ranking(["identity", "strong"], K, guard=guard), 60)
    rows = {row.scheme: row for row in ranking.table()}
    assert rows["strong"].verdict.name == "unproven" and "0.9 to 1" in rows["strong"].verdict.reason
    assert ranking.best() == "identity"


def test_a_view_of_too_few_images_is_unproven():
    statistics = measure(Ranking(["weak"], K, guard=TRUSTED), 2).statistics["weak"]
    verdict = TRUSTED.verdict("weak", statistics)
    assert verdict == Verdict("unproven", "too few images yet for the guard", is_open=True)
    assert statistics.measure("balance").value > TRUSTED.floors["balance"]


def test_what_may_be_unproven_drops_nothing():
    """A lower scheme that leaves the range later must not have taken the others with it."""
    ranking = Ranking(VIEWS, K, guard=Guard({"balance": 0.5}, is_trusted=True, t_range=(0.7, 1.0)))
    ranking.lower.add(("weak", "identity"))
    ranking.lower.add(("strong", "weak"))
    assert ranking.is_lower("strong", "identity") and not ranking.is_tied("identity", "strong")
    assert not ranking.is_lower("identity", "strong") and ranking.is_tied("strong", "grey")
    share = measure(Ranking(["identity", "strong"], K, until="budget"), 60).statistics["strong"]
    low = share.measure("t_share").low
    for border, is_open in ((low + 0.001, True), (low - 0.001, False)):
        guard = Guard({"balance": 0.5}, is_trusted=True, t_range=(border, 1.0))
        verdict = guard.verdict("strong", share)
        assert (verdict.name, verdict.is_open) == ("ranked", is_open)
    ranking = Ranking(
        ["identity", "strong"],
        K,
        guard=Guard({"balance": 0.5}, is_trusted=True, t_range=(low, 1.0)),
    )
    measure(ranking, FIRST_LOOK)  # wider intervals: strong may be below the range
    assert ranking.best() == "strong" and ranking.live == ["identity", "strong"]


def test_guard_names_its_measures():
    for floors in ({"luck": 1.0}, {}):
        with pytest.raises(UserError, match=r"Choices: .*balance"):
            Guard(floors)
    assert "balance of at least 0.88" in TRUSTED.describe()
    assert EVIDENCE.source in Guard().describe()


@pytest.mark.parametrize("has_passed", [False, True])
def test_beyond_the_paper_only_a_proven_guard_ranks(monkeypatch, has_passed):
    """A scheme with a lower T. stddev is not the winner, and takes none of the paper's with it."""
    evidence = EVIDENCE._replace(has_passed=has_passed, floors=FLOORS)
    monkeypatch.setattr(guard_module, "EVIDENCE", evidence)
    guard = Guard()
    ranking = measure(Ranking(["identity", "strong", "grey"], K, guard=guard), 60)
    rows = {row.scheme: row for row in ranking.table()}
    assert rows["strong"].to_best.high < 0 or has_passed
    assert rows["strong"].verdict.name == ("ranked" if has_passed else "unproven")
    assert (rows["strong"].group is not None) == has_passed
    assert ranking.best() == ("strong" if has_passed else "identity")
    assert rows["grey"].verdict.name == "no signal"
    assert guard.state.startswith("proven" if has_passed else "not proven")
    own = Guard({"balance": 0.5}, is_trusted=True)
    assert own.state.startswith("not proven, but trusted")


def test_the_default_guard_follows_the_evidence():
    assert Guard().is_trusted == Guard().is_proven == EVIDENCE.has_passed


def test_the_papers_schemes_are_told_from_other_strengths():
    for scheme in PAPER_SCHEMES:
        assert is_of_paper(scheme)
    for scheme in ("cutmix:draw=sample", "cutmix_pick:criterion=teacher_entropy,draw=batch"):
        assert is_of_paper(scheme)
    for scheme in (
        "cutmix:alpha=2,draw=sample",
        "cutout:size=8",
        "autoaugment+cutmix",
        "cutmix_pick",
    ):
        assert not is_of_paper(scheme)


def test_schemes_have_different_names():
    with pytest.raises(UserError, match="'weak' is named twice"):
        Ranking(["weak", "weak"], K)


def test_state_continues():
    whole = measure(Ranking(VIEWS, K, until="budget"), 20)
    steps = [a_batch(torch.Generator().manual_seed(step)) for step in range(9)]
    again = Ranking(VIEWS, K, until="budget")
    again.load_state_dict(whole.state_dict())
    for ranking in (whole, again):
        for step in steps:
            ranking.update("weak", step.softmax(1), (0.9 * step).softmax(1))
    assert repr(again.table()) == repr(whole.table())  # NaN equals NaN there
    assert (again.looks, again.lower) == (whole.looks, whole.lower)


def test_the_readmes_example():
    """It names the best of the views, and its code is what the README shows."""
    text = (ROOT / "scripts" / "rank" / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    example = {}
    exec(code, example)  # our own file
    generator = torch.Generator().manual_seed(0)
    loader = [(a_batch(generator), None) for _ in range(60)]
    views = {name: lambda x, name=name: VIEWS[name](x, generator) for name in ("strong", "grey")}
    assert example["rank"](lambda logits: logits, loader, views, K) == "strong"

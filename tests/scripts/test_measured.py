"""The evidence on T. stddev: what is to be trained can be trained, and the rules of the choice are
kept."""

import dataclasses
import json
from pathlib import Path

import pytest
from fake_images import write_folder

from helper.cli.options import parse_student
from scripts.measured import second_test, third_test, students
from scripts.measured.analyse import Guard, choose, false_alarms, missed, regret
from scripts.measured.plan import SETUPS, Run, queue, schemes
from scripts.measured.points import Point


def point(scheme, *, t, balance, losses, consistency=0.5, identity=1.0):
    values = {"T": t, "B": balance, "R": consistency}
    seeds = dict(enumerate(losses, 1))
    differences = [loss - identity for loss in losses]
    return Point("a", "family", scheme, values, seeds, differences, identity, identity_t=0.9)


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_every_command_is_understood(setup, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if setup.test == 2:
        write_folder(Path("data"))
    for scheme in schemes(setup):
        options = parse_student(Run(setup, scheme, seed=2).words)
        assert (options.seed, options.epochs) == (2, setup.epochs)


def test_a_pass_is_finished_before_its_setup_gets_another_seed():
    first = dict.fromkeys(run.folder for run in queue())
    of_a = [name for name in first if name.startswith("embedded_wrn_16_1/")]
    assert len(of_a) == 5 * len(schemes(SETUPS["embedded_wrn_16_1"]))


@pytest.mark.parametrize(
    "losses, verdict",
    [
        ([1.02], "unclear"),  # one seed: 3 % is nothing
        ([1.04], "harmful"),
        ([0.96], "good"),
        ([1.2, 1.1, 1.3], "harmful"),
        ([0.8, 1.3, 1.2], "unclear"),  # the seeds do not agree
        ([1.005, 1.0051, 1.005], "unclear"),  # for certain, but too little
        ([0.9, 0.91, 0.89], "good"),
    ],
)
def test_verdicts_need_agreement(losses, verdict):
    assert point("a", t=0.5, balance=1, losses=losses).verdict == verdict


def test_only_a_scheme_that_promises_more_than_identity_is_a_trap():
    assert point("a", t=0.5, balance=1, losses=[2.0]).is_trap
    assert not point("a", t=1.0, balance=1, losses=[2.0]).is_trap


def test_the_guard_with_fewest_errors_and_the_widest_gap():
    among = [
        point("grey", t=0.4, balance=0.1, losses=[3.0]),
        point("noise", t=0.5, balance=0.3, losses=[2.0]),
        point("pick", t=0.6, balance=0.9, losses=[0.8]),
        point("cutmix", t=0.7, balance=1.0, losses=[0.9]),
        point("unclear", t=0.3, balance=0.6, losses=[1.0]),  # no say in the border
    ]
    guard = choose(among, ["B"])
    assert guard.borders == (("B", pytest.approx(0.6)),) and guard.errors == 0
    assert not missed(guard, among) and not false_alarms(guard, among)
    strict = Guard((("B", 0.95),), 0, 0.0)
    assert [p.scheme for p in false_alarms(strict, among)] == ["pick"]
    lax = Guard((("B", 0.2),), 0, 0.0)
    assert [p.scheme for p in missed(lax, among)] == ["noise"]
    kept = [p for p in among if lax.keeps(p) and p.scheme != "unclear"]
    assert regret(kept, among) == ("noise", pytest.approx(1.2))


def test_collecting_again_replaces_and_adds(tmp_path, monkeypatch):
    monkeypatch.setattr(students, "STUDENTS", tmp_path / "students.csv")

    def finish(seed, loss):
        folder = tmp_path / "runs" / "a" / "flip" / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        row = {"setup": "a", "family": "paper", "scheme": "flip", "seed": seed, "s_test_loss": loss}
        (folder / "row.json").write_text(json.dumps(row))

    finish(1, 0.5)
    students.collect(tmp_path)
    finish(1, 0.6)
    finish(2, 0.7)
    students.collect(tmp_path)
    lines = (tmp_path / "students.csv").read_text().splitlines()
    assert lines[1:] == ["a,paper,flip,1,0.6", "a,paper,flip,2,0.7"]


def test_the_second_test_counts_complete_views_that_are_new():
    half = point("fmix", t=0.5, balance=1, losses=[0.9, 0.9])
    whole = point("ricap", t=0.5, balance=1, losses=[0.9, 0.9, 0.9])
    again = dataclasses.replace(whole, family="again")
    assert second_test.counted([half, whole, again]) == [whole]


def test_the_second_test_fails_for_each_of_its_conditions():
    def views(trap_balance=0.2, good_balance=0.95, orders=(0.7, 0.8, 0.9)):
        good = [
            point(str(t), t=t, balance=good_balance, losses=[loss, loss + 0.01, loss - 0.01])
            for t, loss in zip((0.6, 0.7, 0.8), orders)
        ]
        traps = [
            point(name, t=0.5, balance=trap_balance, losses=[2.0, 2.1, 2.2]) for name in ("a", "b")
        ]
        return [*traps, *good]

    guard = Guard((("B", 0.88),), 0, 0.0)
    assert second_test.failures(guard, views()) == []
    (reason,) = second_test.failures(guard, views()[1:])
    assert "1 traps" in reason
    assert any("misses a, b" in r for r in second_test.failures(guard, views(trap_balance=0.9)))
    assert any("3 false alarms" in r for r in second_test.failures(guard, views(good_balance=0.8)))
    (reason,) = second_test.failures(guard, views(orders=(0.9, 0.8, 0.7)))
    assert "Spearman within what it keeps is -1.00" in reason


def measured_point(scheme, loss, t, shift):
    values = {"T": t, "S": shift, "MI_share": 0.5}
    losses = {seed: loss + seed / 1000 for seed in (1, 2, 3)}
    differences = [loss - 1 + seed / 1000 for seed in losses]
    return Point("a", "family", scheme, values, losses, differences, 1.0, identity_t=1.0)


def test_the_third_test_asks_for_traps_and_good_views_and_a_choice_that_does_no_harm():
    good = [measured_point(f"good{i}", 0.8 + i / 100, 0.5 + i / 100, 0.01) for i in range(8)]
    traps = [measured_point(f"trap{i}", 1.5, 0.4, 0.2) for i in range(4)]
    assert not third_test.failures(third_test.SHIFT, [*good, *traps])
    slips = measured_point("slips", 1.5, 0.4, 0.06)
    reasons = " ".join(third_test.failures(third_test.SHIFT, [*good, *traps, slips]))
    assert "traps missed: 1 of 5, slips" in reasons and "slips, is harmful" in reasons
    reasons = " ".join(third_test.failures(third_test.SHIFT, good))
    assert reasons == "traps missed: there are 0, which says nothing"

"""scripts/rank_augmentations.py on tiny data: the pass's numbers, resuming, files, bad input."""

import csv
import json
import math
import shlex

import pytest
import torch
from command_line import metrics, new_run
from spaces import write_space

from augment import mix_modes
from augment.base import Augmentation, Augmented
from helper.cli.options import parse_student
from helper.errors import UserError, one_line_errors
from helper.run.checkpoint import describe_model, save_checkpoint
from helper.step import guard, ranking
from helper.step.ranking import Ranking
from models import build_model
from scripts import rank_augmentations
from scripts.rank import campaign, figure, measuring, planning, table, validating
from scripts.rank.command_line import PROGRAM, parse, student_words

CLASSES = 5
DRAW = figure.draw
DATA = (
    f"--dataset synthetic --num_classes {CLASSES} --img_size 16 --limit_train 40 --device cpu "
    "--seed 3"
)
BATCH = "--batch_size 8"
PICKS = [f"cutmix_pick:criterion={name}_entropy" for name in ("teacher", "student")]
KEYS = (
    "scheme t_stddev t_stddev_low t_stddev_high published_t_stddev consistency "
    "consistency_low consistency_high "
    "balance balance_low balance_high information information_low information_high "
    "teacher_top1 ms_per_image steps "
    "verdict reason group to_best to_best_low to_best_high"
).split()


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A teacher that says something: its last layer's weights are large. And a student."""
    folder, files = tmp_path_factory.mktemp("networks"), []
    for seed, name in enumerate(("resnet14", "resnet8")):
        generator = torch.Generator().manual_seed(seed)
        model = build_model(name, num_classes=CLASSES, img_size=16, generator=generator)
        with torch.no_grad():
            list(model.parameters())[-2].mul_(20)
        save_checkpoint(
            folder / f"{name}.pth",
            {"model": model.state_dict()} | describe_model(name, CLASSES, 16, "synthetic"),
        )
        files.append(folder / f"{name}.pth")
    return files


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figure, "draw", lambda report, path: None)  # it takes a second
    set_evidence(monkeypatch, has_passed=False)


def set_evidence(monkeypatch, **changes):
    """Whatever the guard of today is."""
    floors = {"balance": 0.88, "information_share": 0.1}
    evidence = guard.EVIDENCE._replace(floors=floors, t_range=(0.66, 1.38), **changes)
    monkeypatch.setattr(guard, "EVIDENCE", evidence)


def call(networks, *words):
    """The JSON of a ranking."""
    with one_line_errors(PROGRAM):
        line = f"{' '.join(words)} --path_t {networks[0]} {DATA} {BATCH} --json found.json"
        rank_augmentations.main(line.split())
    return json.loads(open("found.json").read())


def fails(networks, capsys, *words):
    """The one line of an error."""
    with pytest.raises(SystemExit) as status:
        call(networks, *words)
    error = capsys.readouterr().err
    assert status.value.code == 2 and error.count("\n") == 1 and error.startswith(PROGRAM)
    return error


def without_time(found):
    """A ranking's JSON without what the clock says."""
    schemes = [{k: v for k, v in row.items() if k != "ms_per_image"} for row in found["schemes"]]
    return found | {"schemes": schemes, "seconds": None}


@pytest.mark.slow
def test_published_values_are_those_of_the_passes(networks):
    """Each scheme's draws, its batches and its picks are those of a pass of its own."""
    schemes = ["flip", "mixup", *PICKS, "cutmix"]
    student = f"--path_s {networks[1]}"
    found = call(networks, *schemes, student, "--until budget --budget 80")
    values = {row["scheme"]: row["published_t_stddev"] for row in found["schemes"]}
    measured = "--fix_student --utils.check_ce_var --epochs 2 --lw_mix [1,0,1]"
    for scheme in ("identity", *schemes):
        run = new_run(
            "train_student.py",
            f"--path_t {networks[0]} --model_s resnet8 --finetune_student {networks[1]} "
            f"{DATA} {BATCH}",
            f"{measured} --mix_mode {scheme}",
        )
        (summary,) = metrics(run, "summary")
        assert values[scheme] == pytest.approx(summary["t_stddev"], abs=1e-9), scheme


def test_the_teacher_sees_each_batch_once_and_each_view_once(networks, monkeypatch):
    seen = []

    def counted(model, images, **kwargs):
        seen.append(len(images))
        return model(images)

    monkeypatch.setattr(measuring, "logits_of", counted)
    schemes = ["mixup", "cutmix", PICKS[0], "cutmix_pick:criterion=dissimilarity"]
    call(networks, *schemes, "--until budget --budget 8")
    assert sorted(seen) == [8, 8, 8, 16]  # x, two views, one pool for both picks; identity: nothing


def test_files(networks, capsys, monkeypatch):
    monkeypatch.setattr(figure, "draw", DRAW)
    found = call(networks, "cutmix mixup grey", "--budget 400 -o table.csv --figure picture.svg")
    assert (
        list(found)
        == "teacher dataset seed images seconds best guard border guard_state schemes".split()
    )
    assert all(list(row) == KEYS for row in found["schemes"])
    rows = {row["scheme"]: row for row in csv.DictReader(open("table.csv"))}
    assert set(rows) == {"identity", "cutmix", "mixup", "grey"}
    for row in found["schemes"]:
        assert float(rows[row["scheme"]]["t_stddev"]) == row["t_stddev"]
        assert row["t_stddev_low"] <= row["t_stddev"] <= row["t_stddev_high"]
    assert rows["grey"]["verdict"] == "no signal" and "below" in rows["grey"]["reason"]
    assert open("picture.svg").read().startswith("<?xml")
    command = capsys.readouterr().out.split("under it:\n")[1].strip()
    words = shlex.split(command)
    assert words[:2] == ["python", "train_student.py"]
    assert parse_student(words[2:]).mix_mode in ("identity", "cutmix", "mixup")


class Garbage(Augmentation):
    def sample(self, batch_size, generator):
        return None

    def apply(self, images, draw):
        return Augmented(images * math.nan)


class FirstOnly(Garbage):
    """Every view is the batch's first image."""

    def apply(self, images, draw):
        return Augmented(images[:1].expand_as(images).clone())


def test_garbage_is_never_ranked(networks, monkeypatch):
    monkeypatch.setitem(mix_modes._entries, "garbage", Garbage)
    monkeypatch.setitem(mix_modes._entries, "first", FirstOnly)
    found = call(networks, "garbage first cutmix", "--budget 400")
    rows = {row["scheme"]: row for row in found["schemes"]}
    assert rows["garbage"]["verdict"] == "no signal" and rows["garbage"]["t_stddev"] is None
    assert rows["first"]["verdict"] != "ranked" and rows["first"]["group"] is None
    assert found["best"] not in ("garbage", "first")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["cutmix mixup grey --until order", "--search space.toml"])
def test_a_killed_ranking_goes_on(networks, monkeypatch, words):
    """Killed in the middle, in the race and in the finals, it finds what an uninterrupted one
    finds."""
    write_space(rounds=1, samples=1)
    monkeypatch.setattr(ranking, "FIRST_LOOK", 4)
    words = f"{words} --budget 400"
    whole = without_time(call(networks, words, "-o whole.csv"))
    monkeypatch.setattr(campaign, "SAVE_SECONDS", 0.0)
    viewing, calls = measuring.Viewing.__call__, []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) in (7, 25):
            raise RuntimeError("killed")
        return viewing(self, *arguments)

    monkeypatch.setattr(measuring.Viewing, "__call__", killed)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            call(networks, words, "-o parts.csv")
    assert without_time(call(networks, words, "-o parts.csv")) == whole
    count = len(calls)
    assert without_time(call(networks, words, "-o parts.csv")) == whole  # all is done
    assert len(calls) == count


@pytest.mark.slow
@pytest.mark.parametrize("words", ["cutmix mixup", "cutmix --until budget", "--search space.toml"])
def test_a_larger_budget_goes_on(networks, monkeypatch, words):
    """The race takes in further batches, the finals are new; a budget that is not larger does
    nothing."""
    write_space(rounds=1, samples=1)
    monkeypatch.setattr(ranking, "FIRST_LOOK", 4)
    monkeypatch.setattr(Ranking, "look", lambda self: False)  # never answered
    command = f"{words} -o kept.csv --budget"
    first = call(networks, command, "320")
    shown = []
    monkeypatch.setattr(
        measuring.Viewing,
        "__call__",
        lambda self, *given, see=measuring.Viewing.__call__: (shown.append(1), see(self, *given)),
    )
    assert without_time(call(networks, command, "320")) == without_time(first)
    assert without_time(call(networks, command, "80")) == without_time(first) and not shown
    more = call(networks, command, "960")
    assert more["images"] == 960 and first["images"] + 8 * len(shown) == 960
    steps = [{row["scheme"]: row["steps"] for row in found["schemes"]} for found in (first, more)]
    share = 1 if "budget" in words else 2 / 3  # of what is left: the race's
    assert steps[1]["cutmix"] - steps[0]["cutmix"] == round(share * len(shown))
    assert without_time(call(networks, command, "960")) == without_time(more)


def test_what_is_answered_does_not_go_on(networks, capsys):
    """Nothing can be lower than the only scheme; a single batch has no interval."""
    command = "identity -o kept.csv --budget"
    assert call(networks, "identity -o few.csv --budget 8")["best"] is None
    assert "nothing is ranked yet: 8 images are too few" in capsys.readouterr().out
    first = call(networks, command, "400")
    assert first["best"] == "identity" and first["images"] < 400
    assert "best: identity, the only scheme that is ranked" in capsys.readouterr().out
    assert without_time(call(networks, command, "800")) == without_time(first)


def test_beyond_the_paper_is_unproven(networks, capsys):
    """Unless the user trusts the guard."""
    words = "cutmix noise:sigma=0.05 --until budget --budget 320"
    found = call(networks, words, "-o a.csv")
    rows = {row["scheme"]: row for row in found["schemes"]}
    beyond = rows["noise:sigma=0.05"]
    assert beyond["verdict"] == "unproven" and beyond["group"] is None
    assert "guard not proven" in beyond["reason"] and found["guard_state"] == "not proven"
    assert "the guard is not proven; --trust_guard ranks them" in capsys.readouterr().out
    trusted = call(networks, words, "-o b.csv --trust_guard")
    rows = {row["scheme"]: row for row in trusted["schemes"]}
    assert "guard not proven" not in rows["noise:sigma=0.05"]["reason"]
    assert "a guess that students have to confirm" in capsys.readouterr().out
    assert "trusted here" in trusted["guard_state"]


def test_beyond_the_paper_a_proven_guard_ranks(networks, monkeypatch, capsys):
    set_evidence(monkeypatch, has_passed=True)
    found = call(networks, "noise:sigma=0.05 --until budget --budget 320")
    row = next(row for row in found["schemes"] if row["scheme"] == "noise:sigma=0.05")
    assert row["verdict"] == "ranked" and found["guard_state"].startswith("proven")
    assert "proven; --trust" not in capsys.readouterr().out


@pytest.mark.slow
def test_places_of_a_search_are_unproven(networks, capsys):
    """Each candidate's, unless the user trusts the guard."""
    write_space(rounds=1, samples=1)
    words = "--search space.toml --budget 800 --guard balance=0"
    for flag, verdicts in (("", {"unproven"}), ("--trust_guard", {"ranked"})):
        found = call(networks, words, flag, f"-o found{flag}.csv")
        rows = [row for row in found["schemes"] if row["group"]]
        beyond = [row for row in rows if not guard.is_of_paper(row["scheme"])]
        assert beyond and {row["verdict"] for row in beyond} == verdicts
        assert "a guess that students have to confirm" in capsys.readouterr().out


def test_other_settings_are_not_mixed_in(networks, capsys):
    call(networks, "cutmix --budget 80 -o kept.csv")
    again = f"--budget 80 -o kept.csv --path_t {networks[0]} {DATA} {BATCH}"
    changes = {
        "seed": ("cutmix", "--seed 4"),
        "draw mode": ("cutmix", "--mix_draw sample"),
        "schemes": ("cutmix mixup", ""),
    }
    for name, change in changes.items():
        with pytest.raises(SystemExit), one_line_errors(PROGRAM):
            rank_augmentations.main(f"{change[0]} {again} {change[1]}".split())
        error = capsys.readouterr().err
        assert f"has {name} " in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cutmixx", "unknown mix mode 'cutmixx'. Did you mean 'cutmix'?"),
        ("cutmix cutmix", "'cutmix' is named twice"),
        ("cutout:side=3", "key of cutout"),
        (PICKS[1], "picks by a student: give --path_s FILE"),
        ("cutmix -o no/where.csv", "there is no folder"),
        ("cutmix --guard luck", "'luck' is not MEASURE=G"),
        ("cutmix --guard luck=1", "unknown guard 'luck'"),
        ("cutmix --guard balance=much", "'much' is not a number"),
        ("cutmix --figure a.bmp", "end in .png or .svg or .pdf"),
        ("cutmix -o a.png", "end in .csv"),
        ("cutmix -o /proc/a.csv", "cannot write to /proc"),
        ("cutmix --search quick", "leave out the SCHEMEs"),
        ("--search quik", "no such space. Choices: quick, standard, wide"),
        ("cutmix --validate kd", "expected METHOD:MODEL"),
        ("cutmix --validate_flags=--amp", "students of --validate"),
        ("cutmix --validate kd:resnet8 --validate_flags=--mix_mode=flip", "--mix_mode is given"),
        ("--search quick --until order", "leave out --until order"),
        (f"cutmix -o {'a' * 201}.csv", "longer than 200 bytes"),
        ("cutmix --confidence 1", "below 1"),
    ],
)
def test_bad_input(networks, capsys, words, message):
    assert message in fails(networks, capsys, words)


def test_what_is_wrong_is_told_before_anything_is_loaded(networks, monkeypatch, capsys):
    with pytest.raises(UserError, match="unknown mix mode 'cutmixx'"):
        parse(["cutmixx", "--path_t", "absent.pth"])
    monkeypatch.chdir("/proc")
    with pytest.raises(UserError, match=r"--output ranking_.*.csv: cannot write to /proc"):
        rank_augmentations.main(f"--path_t {networks[0]} {DATA} {BATCH}".split())
    assert "race" not in capsys.readouterr().out


def test_whether_the_promise_held():
    lines = validating.verdict(
        "a", {"a": [1.0, 1.1, 1.2], "b": [1.2, 1.31, 1.39], "c": [1.1, 1.0, 1.2]}
    )
    assert any(line.startswith("the promise held") and line.endswith(" b") for line in lines)
    assert any(line.startswith("not resolved") and line.endswith(" c") for line in lines)
    assert validating.compared([1.2, 1.31], [1.0, 1.1]).startswith("the promise did NOT hold")


def test_students_train_on_what_the_ranking_saw():
    words = "--path_t a.pth --dataset synthetic --num_classes 5 --no_DA --limit_train 40"
    given = parse([*words.split(), "--batch_size=8", "--seed=3"])
    student = student_words(given, "cutmix", "kd", "resnet8")
    options = parse_student(student)
    assert (options.num_classes, options.limit_train, options.batch_size) == (5, 40, 8)
    assert options.no_DA and options.mix_mode == "cutmix" and options.distill == "kd"
    assert not any(word.startswith("--seed") for word in student)  # each has its own


def test_what_is_known_to_be_higher_is_no_contender():
    """Though ties in between make it one group with the lowest."""
    order = Ranking(["a", "b", "c"], CLASSES, guard=guard.Guard({"t_stddev": 0.0}, True, (0, 9)))
    draw = torch.Generator().manual_seed(0)
    for _ in range(8):
        clean = torch.rand(8, CLASSES, generator=draw).softmax(dim=1)
        for name in order.live:
            order.update(name, clean, clean)
    order.lower = {("a", "c")}  # of equal ones: all else is tied
    stage = campaign.Stage(campaign.Plan("race", ("a", "b", "c"), "best", 8), order)
    found = planning.conclude([stage], dict.fromkeys("abc", "pool"))
    assert [row.group for row in found.rows] == [1, 1, 1] and found.best is None
    assert sorted(found.contenders) == ["a", "b"]


def test_a_scheme_of_a_later_place_is_no_contender():
    """Though no look has compared it with the first."""
    order = Ranking(["a", "b"], CLASSES, guard=guard.Guard({"t_stddev": 0.0}, True, (0, 99)))
    draw = torch.Generator().manual_seed(0)
    for _ in range(30):
        clean = torch.rand(8, CLASSES, generator=draw).softmax(dim=1)
        order.update("a", clean, clean.mean(dim=1, keepdim=True).expand(8, CLASSES))
        order.update("b", clean, clean)
    stage = campaign.Stage(campaign.Plan("race", ("a", "b"), "best", 30), order)
    found = planning.conclude([stage], dict.fromkeys("ab", "pool"))
    assert [row.group for row in found.rows] == [1, 2] and found.contenders == ["a"]


def test_cells():
    row = {"scheme": "a", "group": 1, "steps": 16, "verdict": "unproven", "reason": "why"}
    row |= {"t_stddev": 0.0022312, "t_stddev_low": 0.00218, "t_stddev_high": 0.0022843}
    cells = table.cells(row, [row])
    assert len(cells) == len(table.HEADER)
    assert cells[:4] == ("1", "a", "2.231 (2.180 2.284)", "") and cells[-1] == "unproven: why"
    assert table.interval(row | {"t_stddev_low": None}, "t_stddev", 1, 1000) == "2.2"
    assert table.number({"information": -1e-9}, "information", 2) == "0.00"

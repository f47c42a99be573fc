"""Tables and correlations from run folders, from logs of the original, and from logs that are
broken."""

import csv
import json
import math
import random
from pathlib import Path

import pytest
from fake_runs import (
    COMMAND,
    NAME,
    epoch,
    options_of,
    read_one,
    write_experiments,
    write_log,
    write_run,
)
from scipy import stats
from script_calls import call

from helper.errors import UserError
from scripts import collect_results, plot_correlation
from scripts.results import correlation, figures
from scripts.results import groups as results
from scripts.results import logs as run_logs
from scripts.results import tables as result_tables

# --- our run folders ---


def test_table_averages_finished_runs_and_names_the_others(runs, tmp_path):
    result = call(collect_results, runs, "--csv", tmp_path / "out.csv")
    assert result.returncode == 0, result.stderr
    assert f"not counted: {runs / 'c'} (epoch 1 of 2)" in result.stderr
    assert "published runs took 240 epochs, these 2" in result.stderr
    flip = next(line for line in result.stdout.splitlines() if line.startswith("flip"))
    assert flip.split() == [
        "flip", "0.005000", "0.005516", "1.5000", "±0.3536", "1.1754", "61.00", "±1.41", "2+1,",
        "1", "incomplete",
    ]  # fmt: skip
    header, first, second = (tmp_path / "out.csv").read_text().splitlines()
    assert header.startswith(
        "dataset,teacher,student,augmentation,t_stddev,s_test_loss,s_acc1,method,"
    )
    assert first.startswith(
        "cifar100,vgg13,vgg8,flip,0.005,1.5,61,kd,,0.353553,1.41421,2,1,1,0.005516,1.1754,"
    )
    assert second.startswith("cifar100,vgg13,vgg8,cutmix_pick_teacher_entropy,,1,70,kd,")


def test_run_without_a_loss_is_not_averaged(runs):
    write_run(runs / "g", options_of("flip"), [epoch(2, None, 1.0)], COMMAND)
    (row, _) = results.load([runs]).rows
    assert row.samples("s_test_loss") == [1.25, 1.75] and row.samples("s_acc1") == [60.0, 62.0]
    assert [run.path.name for run in row.incomplete] == ["c", "g"]


def test_a_resumed_run_is_as_far_as_its_last_epoch(tmp_path):
    """Started again from an early epoch: what had been done after it is void."""
    write_run(
        tmp_path / "a", options_of(), [epoch(1, 9, 1), epoch(2, 8, 2), epoch(1, 7, 3)], COMMAND
    )
    run = read_one(tmp_path / "a")
    assert run.problem == "epoch 1 of 2" and run.curve == {1: (3, 7)}


def test_methods_are_kept_apart_and_share_t_stddev(tmp_path):
    last = [epoch(2, 1.0, 70.0)]
    for name, changes in {
        "kd": {},
        "dkd": {"distill": "dkd"},
        "crd": {"distill": "crd", "alpha": 0.0, "beta": 0.8},
        "kd+crd": {"distill": "crd", "alpha": 1.0, "beta": 0.8},
    }.items():
        write_run(tmp_path / name, options_of("flip", **changes), last, COMMAND)
    # The pass names another student, which it does not need.
    passes = options_of("flip", fix_student=True, model_s="resnet8")
    write_run(tmp_path / "pass", passes, [{"kind": "summary", "t_stddev": 0.005}], COMMAND)
    found = results.load([tmp_path])
    assert [(row.key.method, row.mean("t_stddev")) for row in found.rows] == [
        (method, 0.005) for method in ("crd", "dkd", "kd", "kd+crd")
    ]


def test_t_stddev_of_the_students_pick_belongs_to_that_student(tmp_path):
    scheme = "cutmix_pick by student_entropy"
    write_run(tmp_path / "a", options_of(scheme), [epoch(2, 1.0, 70.0)], COMMAND)
    passes = options_of(scheme, fix_student=True, model_s="resnet8")
    write_run(tmp_path / "b", passes, [{"kind": "summary", "t_stddev": 0.005}], COMMAND)
    rows = results.load([tmp_path]).rows
    assert [(row.key.student, row.counts) for row in rows] == [("resnet8", "0+1"), ("vgg8", "1+0")]


def test_warnings_of_unlike_settings_and_equal_seeds(tmp_path):
    last = [epoch(2, 1.0, 70.0)]
    write_run(tmp_path / "a", options_of(seed=1, batch_size=64), last, COMMAND)
    write_run(tmp_path / "b", options_of(seed=1, batch_size=128), last, COMMAND)
    remarks = "\n".join(results.load([tmp_path]).remarks())
    assert "differ in batch_size (128 / 64)" in remarks and "the same seed (1)" in remarks


# --- the formats ---


def test_impossible_name_is_one_line():
    result = call(collect_results, "a" * 5000)
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "too long" in result.stderr


@pytest.fixture
def found(runs):
    """With a name that every format has to escape."""
    write_run(runs / "h", options_of("a|b_c&<d>%"), [epoch(2, 1.0, 70.0)], COMMAND)
    return results.load([runs])


def test_csv_is_read_back(found, tmp_path):
    path = write_log(tmp_path / "out.csv", result_tables.csv_text(found))
    rows = list(csv.DictReader(path.open()))
    assert [row["augmentation"] for row in rows] == [
        "flip",
        "cutmix_pick_teacher_entropy",
        "a|b_c&<d>%",
    ]
    assert float(rows[0]["s_test_loss_std"]) == pytest.approx(math.sqrt(0.125), rel=1e-5)
    groups, incomplete = correlation.read_points(path)
    assert groups == correlation.points_of(found)[0] or incomplete == 2
    ((group, (point,)),) = groups.items()
    assert group == ("cifar100", "vgg13", "vgg8", "kd") and point[:3] == ("flip", 0.005, 1.5)


def test_json_is_read_back(found):
    data = json.loads(result_tables.json_text(found))
    flip = data["rows"][0]
    assert flip["s_test_loss"] == {
        "mean": 1.5,
        "std": math.sqrt(0.125),
        "values": [1.25, 1.75],
        "published": 1.1754,
    }
    assert [Path(path).name for path in flip["runs"] + flip["passes"] + flip["incomplete"]] == [
        "a",
        "b",
        "d",
        "c",
    ]
    assert (
        data["incomplete"][0]["reason"] == "epoch 1 of 2"
        and data["rows"][2]["t_stddev"]["mean"] is None
    )


def test_markdown_has_a_cell_for_each_column(found):
    text = result_tables.markdown(found)
    lines = [line.replace("\\|", "!") for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    assert (
        "| flip | 0.005000 | 0.005516 | 1.5000 ±0.3536 | 1.1754 | 61.00 ±1.41 | 2+1, 1 incomplete |"
        in lines
    )
    assert lines[-1].startswith("| a!b\\_c&\\<d\\>% |") and "- not counted: " in text


def test_latex_has_a_cell_for_each_column(found):
    text = result_tables.latex(found)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    cells = [line.replace(r"\&", "").removesuffix(r" \\").split(" & ") for line in body]
    assert {len(line) for line in cells} == {7} and r"\begin{tabular}{lrrrrrr}" in text
    assert cells[0][3] == r"1.5000 $\pm$0.3536"
    assert body[2].startswith(r"a|b\_c\&\textless{}d\textgreater{}\% & ")


def test_format_is_what_the_files_name_says(runs, tmp_path):
    for name, start in (
        ("t.md", "**cifar100"),
        ("t.tex", "% needs"),
        ("t.csv", "dataset,"),
        ("t.json", "{"),
        ("t", "cifar"),
    ):
        result = call(collect_results, runs, "-o", tmp_path / name)
        assert (
            result.returncode == 0
            and result.stdout == ""
            and (tmp_path / name).read_text().startswith(start)
        )
    result = call(collect_results, runs, "-o", tmp_path / "t" / "t.csv")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert not list(tmp_path.glob(".*"))  # no draft left behind


# --- published values and correlations ---


def test_published_accuracies():
    rows = results.read_table("accuracy.csv")
    assert all(40 < float(row["acc1"]) < 80 for row in rows)
    keys = [tuple(row.values())[:6] for row in rows]
    assert len(keys) == len(set(keys))
    values = results.published_values()
    key = run_logs.Key("cifar100", "vgg13", "vgg8", "dkd", "none")
    assert values[key]["s_acc1"] == 74.68 and values[key._replace(method="kd")]["s_acc1"] == 72.98
    around = results.published_around(results.Group("cifar100", "vgg13", "vgg8", "kd"))
    assert (
        "teacher 74.64, student alone 70.36" in around
        and "kd + cutmix_pick at 960 epochs 75.00" in around
    )


PUBLISHED = {
    ("cifar100", "wrn_40_2", "wrn_16_2"): (0.9581, 0.9667, 0.8889),
    ("cifar100", "resnet56", "resnet20"): (0.9404, 0.9333, 0.8333),
    ("cifar100", "vgg13", "vgg8"): (0.9742, 1.0, 1.0),
    ("cifar100", "ResNet50", "vgg8"): (0.9697, 0.9833, 0.9444),
    ("tinyimagenet", "wrn_40_2", "wrn_16_2"): (0.9831, 0.9, 0.7778),
    ("tinyimagenet", "resnet56", "resnet20"): (0.8484, 0.7833, 0.6667),
    ("tinyimagenet", "vgg13", "vgg8"): (0.9870, 0.9958, 0.9860),
    ("tinyimagenet", "ResNet50", "vgg8"): (0.9879, 1.0, 1.0),
}
"""Pearson, Spearman, Kendall as printed in the paper's figures."""


def test_published_coefficients():
    result = call(plot_correlation, results.PUBLISHED / "scatter.csv")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == len(PUBLISHED)
    for (dataset, teacher, student), values in PUBLISHED.items():
        (line,) = [
            x
            for x in result.stdout.splitlines()
            if x.startswith(f"{dataset}: {teacher} -> {student}, 9 ")
        ]
        for name, value in zip(("Pearson", "Spearman", "Kendall"), values):
            assert f"{name} {value:.4f} (p " in line


def table_of(path, points):
    rows = [f"cifar100,vgg13,vgg8,scheme{i},{x},{y}" for i, (x, y) in enumerate(points)]
    return write_log(
        path, "\n".join(["dataset,teacher,student,augmentation,t_stddev,s_test_loss", *rows]) + "\n"
    )


def test_coefficients_are_scipys(tmp_path, capsys):
    draw = random.Random(0)
    points = [(draw.uniform(0.004, 0.006), draw.uniform(1, 2)) for _ in range(9)]
    plot_correlation.main([str(table_of(tmp_path / "p.csv", points)), "--json"])
    (panel,) = json.loads(capsys.readouterr().out)
    functions = {
        "pearson": stats.pearsonr,
        "spearman": stats.spearmanr,
        "kendall": stats.kendalltau,
    }
    for name, function in functions.items():
        assert (panel[name]["r"], panel[name]["p"]) == pytest.approx(
            tuple(function(*zip(*points))), rel=1e-9
        )


def test_line_is_thin_where_nothing_is_significant():
    group = results.Group("d", "t", "s", "kd")
    for losses, is_solid in (((1, 2, 3, 4, 5), True), ((2, 1, 2, 1, 2), False)):
        points = [correlation.Point(f"s{x}", x, y) for x, y in enumerate(losses)]
        figure = figures.scatter({group: points})
        (line,) = figure.axes[0].lines
        assert (line.get_linestyle() == "-") == is_solid
        assert (
            any("no significant correlation" in text.get_text() for text in figure.texts)
            != is_solid
        )
        figures.plt.close(figure)


def test_marker_grows_with_the_spread():
    points = [
        correlation.Point(f"s{x}", x, x * x, spread) for x, spread in enumerate((0, 0.01, 0.02))
    ]
    figure = figures.scatter({results.Group("d", "t", "s", "kd"): points})
    small, middle, large = (float(dots.get_sizes()[0]) for dots in figure.axes[0].collections)
    assert small < middle < large and "at most 0.02" in figure.texts[-1].get_text()
    figures.plt.close(figure)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_points_say_so(tmp_path, capsys, count):
    table = table_of(tmp_path / "points.csv", [(0.004 + i, 1 + i) for i in range(count)])
    try:
        plot_correlation.main([str(table), "-o", str(tmp_path / "plot.png")])
    except UserError as error:
        assert count == 0 and "no point to draw" in str(error)
    else:
        assert f"too few points for a correlation: {count}" in capsys.readouterr().out
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_figures_from_run_folders(tmp_path, capsys):
    write_experiments(tmp_path / "Experiments", epochs=2, trials=2)
    names = ["p.png", "p.svg", "p.pdf"]
    outputs = [word for name in names for word in ("-o", str(tmp_path / name))]
    plot_correlation.main([str(tmp_path / "Experiments"), *outputs[:2], "--each_pair"])
    plot_correlation.main([str(tmp_path / "Experiments"), *outputs[2:]])
    for name, start in zip(names, (b"\x89PNG", b"<?xml", b"%PDF")):
        assert (tmp_path / name).read_bytes().startswith(start)
    assert sorted(path.name for path in tmp_path.glob("p_*.png")) == [
        "p_cifar100_resnet56_resnet20_kd.png", "p_cifar100_vgg13_vgg8_kd.png",
    ]  # fmt: skip
    captured = capsys.readouterr()
    assert "not counted: " in captured.err and captured.out.count("9 schemes: Pearson") == 4


@pytest.mark.parametrize(
    "content",
    ["a,b\n1,2\n", b"\xff\xfe\x00",
    "dataset,teacher,student,augmentation,t_stddev,s_test_loss\nc,t,s,f,x,1\n",
     "dataset,teacher,student,augmentation,t_stddev,s_test_loss\nc,t,s,f,inf,1\n",
     b'"' + b"x" * 200_000],
)  # fmt: skip
def test_bad_csv_is_one_line(tmp_path, content):
    path = write_log(tmp_path / "bad.csv", content)
    with pytest.raises(UserError, match=r"bad\.csv") as raised:
        plot_correlation.main([str(path)])
    assert "\n" not in str(raised.value)


def test_name_that_no_formula_can_be_made_of(tmp_path):
    table = table_of(tmp_path / "p.csv", [(1, 1), (2, 2), (3, 4)])
    table.write_text(table.read_text().replace("scheme0", r"$\frac{\x01$ 漢"))
    plot_correlation.main([str(table), "-o", str(tmp_path / "p.png")])
    with pytest.raises(UserError, match=r"\.png, \.svg, \.pdf"):
        plot_correlation.main([str(table), "-o", str(tmp_path / "p.docx")])


def test_run_folders_have_the_names_of_a_run_folder(tmp_path):
    """The reading does not depend on the name, which people change."""
    write_run(tmp_path / NAME.format("kd"), options_of(), [epoch(2, 1.0, 70.0)], COMMAND)
    assert read_one(tmp_path).name == NAME.format("kd")

"""The picture and the tables of the evidence."""

import dataclasses

import pytest

from helper.step.intervals import Interval
from scripts.measured import picture, results
from scripts.measured.points import Point
from scripts.results.style import drawing, plt


def drawn(scheme, t, losses, verdict="ranked"):
    interval = Interval(t, t - 0.05, t + 0.05)
    if not losses:
        return picture.Drawn(scheme, interval, verdict, None)
    differences = [loss - 1 for loss in losses]
    point = Point("a", "", scheme, {"T": t}, dict(enumerate(losses)), differences, 1.0, 1.0)
    return picture.Drawn(scheme, interval, verdict, point)


SCHEMES = [
    drawn("grey", 0.5, [4.0, 4.1], "no signal"),
    drawn("patches", 0.6, [], "unproven"),
    drawn("cutmix", 0.8, [0.5, 0.6]),
    drawn("mixup", 0.9, [0.7, 0.8]),
    drawn("identity", 1.0, [1.0, 1.0]),
    drawn("cutout", 1.1, [1.1, 1.1]),
]


def test_table_says_what_the_guard_and_the_students_say():
    rows = [line.split(" | ") for line in results.table(SCHEMES)][2:]
    assert [row[2] for row in rows] == ["no signal", "unproven", *["ranked"] * 4]
    assert [row[-1].removesuffix(" |") for row in rows] == [
        "trap",
        "",
        "good",
        "good",
        "",
        "harmful",
    ]
    assert rows[2][3:6] == ["0.550", "-0.450 ± 0.050", "2"]


def test_correlation_is_over_schemes_with_students():
    assert picture.rank_correlation(SCHEMES) == pytest.approx(0)  # a trap undoes it
    assert picture.rank_correlation(SCHEMES[2:]) != picture.rank_correlation(SCHEMES[2:])  # too few
    lowest_first = [
        dataclasses.replace(one.point, losses={1: place})
        for place, one in enumerate(SCHEMES)
        if one.point
    ]
    among = [
        one._replace(point=point) for one, point in zip(SCHEMES[:1] + SCHEMES[2:], lowest_first)
    ]
    assert picture.rank_correlation(among) == pytest.approx(1)


def test_a_student_far_above_the_others_stands_just_above_them():
    with drawing(dark=True):
        figure = picture.draw(SCHEMES, narrow=True, dark=True)
        left, right = figure.axes
        assert [label.get_text() for label in left.get_yticklabels()] == [s.scheme for s in SCHEMES]
        heights = [
            float(dots.get_offsets()[0, 1]) for dots in right.collections if len(dots.get_offsets())
        ]
        assert 1.1 in heights and 1.1 < max(heights) < 1.2  # the loss is 4.05
        assert any("4.05" in text.get_text() for text in right.texts)
        plt.close(figure)


def test_the_guard_reads_the_rows_of_the_file():
    verdicts = {one.scheme: one.verdict for one in picture.drawn_schemes("embedded_wrn_16_1")}
    assert verdicts["grey"] == "no signal" and verdicts["identity"] == "ranked"

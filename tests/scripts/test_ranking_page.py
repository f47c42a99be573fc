"""A ranking as a section of report.html."""

import json
from types import SimpleNamespace

import pytest

from scripts.rank import page
from helper.errors import UserError
from scripts.results.groups import Results, Row
from scripts.results.logs import Key


def a_row(scheme, verdict="ranked", group=1):
    intervals = {
        f"{name}{end}": value
        for name in page.COLUMNS
        for end, value in (("", 0.9), ("_low", 0.8), ("_high", 1.0))
    }
    return {
        "scheme": scheme,
        "verdict": verdict,
        "group": group,
        "steps": 16,
        "teacher_top1": None,
        "reason": "",
    } | intervals


def found(**changes):
    rows = [a_row("<b>cutmix"), a_row("mixup"), a_row("grey", "no signal", None)]
    head = {
        "teacher": "t",
        "dataset": "d",
        "best": None,
        "guard": "balance",
        "border": 0.88,
        "guard_state": "not proven",
        "images": 640,
        "seconds": 2.5,
    }
    return head | {"schemes": rows} | changes


def test_section(tmp_path):
    file = tmp_path / "ranking.json"
    file.write_text(json.dumps(found()))
    text = page.section(page.read(file), 0)
    assert "&lt;b&gt;cutmix" in text and "<b>" not in text
    assert text.count("<td>1=</td>") == 2 and "<svg" in text
    assert "This guard is not proven" in text
    assert "<td>grey</td><td>no signal</td><td>900.000" in text  # where a phone shows it
    assert "900.000 (800.000 1000.000)" in text


@pytest.mark.parametrize(
    "content", ["{", "[]", json.dumps({"schemes": []}),
    json.dumps(found(schemes=[{"scheme": "a"}]))]
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "ranking.json"
    file.write_text(content)
    with pytest.raises(UserError, match="no ranking"):
        page.read(file)


def test_t_stddev_of_what_is_ranked_stands_in_for_passes():
    pick = Key("d", "t", "resnet8", "kd", "cutmix_pick_teacher_entropy")
    others = [pick._replace(augmentation="grey"), pick._replace(teacher="other")]
    rows = [Row(key) for key in (pick, *others)]
    schemes = [a_row("cutmix_pick:criterion=teacher_entropy"), a_row("grey", "no signal", None)]
    Results(rows, [], []).add_ranking(found(schemes=schemes))
    assert [row.mean("t_stddev") for row in rows] == [0.9, None, None]
    rows[0].measured.append(SimpleNamespace(values={"t_stddev": 0.5}))
    assert rows[0].mean("t_stddev") == 0.5

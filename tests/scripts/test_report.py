"""The report page: one file, nothing from outside, everything from logs escaped."""

import html
import re
from html.parser import HTMLParser

import pytest
from fake_runs import epoch, epoch_line, log_head, options_of, write_experiments, write_run

from scripts.results import correlation
from scripts import report
from scripts.results import groups as results
from helper.errors import UserError

NOTE = "<script>alert(1)</script> \"'&amp; $x_1$"
VOID = {"meta", "img", "br", "wbr", "link", "input"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


class Page(HTMLParser):
    """The page's tags, attributes and text; says which tags were not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def within(self, tag):
        return [text for inside, text in self.texts if inside == tag]


def make(root, *words):
    report.main([str(root), "-o", str(root.parent / "report.html"), *words])
    return (root.parent / "report.html").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "Experiments"
    write_experiments(root, epochs=3, trials=2, note=NOTE)
    previews = []
    for name in ("a.png", "b <i>.png"):
        (root.parent / name).write_bytes(PNG)
        previews += ["--preview", str(root.parent / name)]
    return make(root, *previews)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_nothing_comes_from_outside(text, page):
    assert page.open == [] and "script" not in page.tags and "link" not in page.tags
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "data", "srcset", "poster", "action"):
            assert (
                value.startswith("data:image/png;base64,")
                if tag == "img"
                else value.startswith("#")
            ), value
        assert not name.startswith("on"), name
    names = {value for _, name, value in page.attributes if name.startswith("xmlns")}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= names
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}


def test_ids_are_unique_and_refer_to_something(page):
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for _, name, value in page.attributes if name == "xlink:href"}
    assert targets <= set(ids)


def test_readable_on_a_phone_and_in_the_dark(text, page):
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes
    assert "overflow-x: auto" in text and "prefers-color-scheme: dark" in text
    assert "#000000" not in text  # black ink would vanish in the dark


def test_text_of_logs_is_text(text, page):
    assert NOTE in "".join(page.within("p")) and "<script" not in text
    assert "b <i>.png" in page.within("figcaption")


def test_every_run_and_its_command(page, tmp_path):
    """As often as there are runs, and as typed."""
    write_experiments(tmp_path / "E", epochs=3, trials=2, note=NOTE)
    runs = results.load([tmp_path / "E"]).runs
    commands = page.within("pre")
    assert len(runs) == 55 and sorted(commands) == sorted(run.commands[0] for run in runs)
    assert {run.name for run in runs} <= {name.strip() for name in page.within("summary")}


def test_tables_show_ours_beside_the_published(page):
    cells = page.within("td")
    assert page.tags.count("table") == 2 and "0.005516" in cells and "1.1754" in cells
    assert "2+1, 1 incomplete" in cells
    assert page.tags.count("svg") == 4 and page.tags.count("img") == 2


def test_summary_states_number_p_and_what_was_left_out(page):
    page_text = "".join(text for _, text in page.texts)
    assert (
        "36 distillations and 18 T. stddev passes counted; 1 incomplete run left out." in page_text
    )
    assert (
        "over 9 schemes, a lower T. stddev goes with a lower S. test loss: Pearson 0.9" in page_text
    )
    assert "published, over 9 of these schemes: 0.9742 / 1.0000 / 1.0000." in page_text
    assert "epoch 1 of 3" in page_text


@pytest.mark.parametrize(
    "losses,words",
    [
        ((1.0, 1.1, 1.2, 1.3, 1.4), "a lower T. stddev goes with a lower S. test loss:"),
        ((1.4, 1.3, 1.2, 1.1, 1.0), "goes with a higher S. test loss, against the theory:"),
        ((1.0, 1.1, 1.0, 1.1, 1.0), "no significant correlation over 5 schemes"),
        ((1.0, 1.0, 1.0, 1.0), "all points are alike"),
        ((1.0, 1.1), "too few points"),
        ((), "too few points"),
    ],
)
def test_finding_is_honest(losses, words):
    points = [correlation.Point(f"s{x}", x, loss) for x, loss in enumerate(losses)]
    assert words in report.finding([], points)


def test_finding_names_the_coefficients_that_are_significant_alone():
    points = [
        correlation.Point(f"s{x}", x, loss) for x, loss in enumerate((1, 2, 3, 4, 5, 6, 7, 90))
    ]
    assert "(significant by Spearman and Kendall alone)" in report.finding([], points)


def test_page_of_a_single_incomplete_run_of_the_original(tmp_path):
    log = tmp_path / "E" / "run" / "log" / "log.txt"
    log.parent.mkdir(parents=True)
    options = options_of("flip", model_s="<b>x</b>")
    log.write_text(log_head(options, quoted=False) + epoch_line(1, 2.0, 30.0))
    text = make(tmp_path / "E")
    assert Page(text).open == [] and "<b>x" not in text and html.escape("<b>x</b>") in text
    assert (
        "epoch 1 of 2" in text
        and "0 distillations and 0 T. stddev passes counted; 1 incomplete run" in text
    )


def test_page_without_any_epoch(tmp_path):
    write_run(
        tmp_path / "E" / "a", options_of("flip", fix_student=True), [], "python train_student.py"
    )
    assert "T. stddev pass not begun" in make(tmp_path / "E")


def test_failure_leaves_the_old_page(tmp_path):
    write_run(tmp_path / "E" / "a", options_of(), [epoch(2, 1.0, 70.0)], "python train_student.py")
    before = make(tmp_path / "E")
    (tmp_path / "no.png").write_text("no picture")
    for preview in ("no.png", "none.png"):
        with pytest.raises(UserError, match=re.escape(preview)):
            make(tmp_path / "E", "--preview", str(tmp_path / preview))
    assert (tmp_path / "report.html").read_text() == before
    assert [path.name for path in tmp_path.glob(".*")] == []
    with pytest.raises(UserError, match="cannot write"):
        report.main([str(tmp_path / "E"), "-o", str(tmp_path / "no.png" / "r.html")])

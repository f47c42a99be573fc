"""The pages: their commands are understood, their examples run, their links lead somewhere."""

import argparse
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from pages import FENCE, PAGES, commands, examples, is_run, module_of, script_and_words, text_of
from places import ROOT

from augment import MixSettings, build, mix_modes
from dataset.synthetic import synthetic_spec
from distiller_zoo import Setting, distillers
from helper.cli.options import parse_student
from helper.cli.plugins import KINDS

ROOMS = "augment dataset distiller_zoo helper models scripts tests".split()


class Understood(Exception):
    """The parser has read the words."""


def parse_and_stop(self, *args, **kwargs):
    """In place of argparse's parse_known_args."""
    _, rest = PARSE(self, *args, **kwargs)
    assert not rest, f"unknown words: {rest}"
    raise Understood


PARSE = argparse.ArgumentParser.parse_known_args


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_that_do_not_run_are_understood(page, monkeypatch):
    """The others run, in test_readme_runs.py."""
    for words in (words for words in commands(page) if not is_run(words)):
        script, rest = script_and_words(words)
        assert script is None or (ROOT / script).exists(), f"{page}: {script}"
        if (
            script is None
            or script.endswith(".sh")
            or "timm." in " ".join(rest)
            or "--list" in rest
        ):
            continue
        main = module_of(script).main
        arguments = [rest] if inspect.signature(main).parameters else []
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_and_stop)
            patch.setattr(sys, "argv", [script, *rest])
            try:
                main(*arguments)
            except Understood:
                continue
            except SystemExit as stopped:
                assert stopped.code == 0, f"{page}: {' '.join(words)}"
            else:
                pytest.fail(f"{page}: {script} parses nothing")


def test_the_papers_commands_are_the_papers(monkeypatch):
    """Beyond the flags: the rules between them hold."""
    students = [
        script_and_words(w)[1] for w in commands(Path("README.md")) if "train_student.py" in w
    ]
    whole = next(words for words in students if "--lw_mix" in words)
    options = parse_student(whole)
    assert (options.model_s, options.mix_mode, options.lw_mix) == ("vgg8", "cutmix", (1, 0, 1))


def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    prose = FENCE.sub("", text_of(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose))
    targets += re.findall(r'(?:srcset|src)="([^"]+)"', prose)
    for target in targets:
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page}: {target}"


def test_the_front_page_is_short_and_every_room_has_one():
    assert len(text_of("README.md").splitlines()) <= 200
    assert {Path(room) / "README.md" for room in ROOMS} <= set(PAGES)


def test_the_front_page_counts_rightly():
    text = text_of("README.md")
    assert f"| distillation methods | {len(list(distillers))} |" in text
    assert f"| {len(list(mix_modes))} stages, chains" in text


@pytest.fixture
def registered(monkeypatch):
    """All examples that register something, registered, and forgotten afterwards."""
    for registry, _ in KINDS.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    codes = examples()
    assert len(codes) >= 7
    for code in codes:
        exec(code, {})


def test_the_example_of_a_mix_mode(registered):
    images = torch.randn(6, 3, 16, 16)
    for draw in ("batch", "sample"):
        fog = build("fog:most=0.8", synthetic_spec(5, 16), MixSettings(draw=draw))
        view = fog(images, torch.Generator().manual_seed(0)).images
        shares = {round(float(share), 4) for share in (view / images).mean(dim=(1, 2, 3))}
        assert min(shares) >= 0.2 and max(shares) <= 1
        assert len(shares) == (1 if draw == "batch" else 6)


def test_the_examples_of_distillers(registered):
    student = torch.randn(4, 10, dtype=torch.float64)
    teacher = torch.zeros(4, 10, dtype=torch.float64)
    squares = float((student**2).mean())
    assert float(distillers["mse"](Setting())(student, teacher, None)) == pytest.approx(squares)
    huber = torch.nn.functional.huber_loss(student, teacher)
    assert float(distillers["huber"](Setting())(student, teacher, None)) == pytest.approx(
        float(huber)
    )

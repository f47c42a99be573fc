"""The pages: their commands are understood, their examples run, their links lead somewhere."""

import argparse
import importlib.util
import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT

from augment import MixSettings, build, mix_modes
from dataset.synthetic import synthetic_spec
from distiller_zoo import Setting, distillers
from helper.cli.options import parse_student
from helper.cli.plugins import KINDS

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "*/README.md", "*/*/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
    if not {".venv", "golden", "node_modules", ".pytest_cache"} & set(path.parts)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROOMS = "augment dataset distiller_zoo helper models scripts tests".split()


def text_of(page):
    return (ROOT / page).read_text()


def commands(page):
    """The command lines of a page: in fences, in indented blocks, in backticks."""
    text = text_of(page)
    prose = FENCE.sub("", text)
    blocks = [body for word, body in FENCE.findall(text) if word in ("", "sh", "bash")]
    blocks += re.findall(r"(?:^ {4,}\S.*\n)+", prose, re.MULTILINE)
    lines = re.sub(r" *\\\n *", " ", "\n".join(blocks)).splitlines()
    lines += [
        line.replace("\n", " ") for line in re.findall(r"`((?:python|sh|torchrun) [^`]+)`", prose)
    ]
    for line in lines:
        words = shlex.split(line.strip(), comments=True) if "'" not in line else line.split()
        if words and words[0] in ("python", "sh", "torchrun", "sbatch"):
            yield words


def script_and_words(words):
    """("scripts/x.py", its arguments) of a command; what a shell would take is left out."""
    place = next((n for n, word in enumerate(words) if word.endswith((".py", ".sh"))), None)
    if place is None:
        return None, []
    rest = [word for word in words[place + 1 :] if word != "..."]
    end = next(
        (n for n, word in enumerate(rest) if word in ("|", ">", "&&", "[--figure")), len(rest)
    )
    return words[place], ["resnet8" if word == "NAME" else word for word in rest[:end]]


class Understood(Exception):
    """The parser has read the words."""


def main_of(script):
    """The function `main` of a file, loaded by its path: a folder may have the same name."""
    spec = importlib.util.spec_from_file_location(f"page_{Path(script).stem}", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.main


def parse_and_stop(self, *args, **kwargs):
    """In place of argparse's parse_known_args."""
    _, rest = PARSE(self, *args, **kwargs)
    assert not rest, f"unknown words: {rest}"
    raise Understood


PARSE = argparse.ArgumentParser.parse_known_args


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_are_understood(page, monkeypatch):
    for words in commands(page):
        script, rest = script_and_words(words)
        assert script is None or (ROOT / script).exists(), f"{page}: {script}"
        if script is None or script.endswith(".sh") or "timm." in " ".join(rest):
            continue
        main = main_of(script)
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
def examples(monkeypatch):
    """All examples that register something, registered, and forgotten afterwards."""
    for registry, _ in KINDS.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    codes = [
        code for page in PAGES for word, code in FENCE.findall(text_of(page)) if word == "python"
    ]
    assert len(codes) >= 7
    for code in codes:
        exec(code, {})


def test_the_example_of_a_mix_mode(examples):
    images = torch.randn(6, 3, 16, 16)
    for draw in ("batch", "sample"):
        fog = build("fog:most=0.8", synthetic_spec(5, 16), MixSettings(draw=draw))
        view = fog(images, torch.Generator().manual_seed(0)).images
        shares = {round(float(share), 4) for share in (view / images).mean(dim=(1, 2, 3))}
        assert min(shares) >= 0.2 and max(shares) <= 1
        assert len(shares) == (1 if draw == "batch" else 6)


def test_the_examples_of_distillers(examples):
    student = torch.randn(4, 10, dtype=torch.float64)
    teacher = torch.zeros(4, 10, dtype=torch.float64)
    squares = float((student**2).mean())
    assert float(distillers["mse"](Setting())(student, teacher, None)) == pytest.approx(squares)
    huber = torch.nn.functional.huber_loss(student, teacher)
    assert float(distillers["huber"](Setting())(student, teacher, None)) == pytest.approx(
        float(huber)
    )

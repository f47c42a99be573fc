"""The style of the figures."""

import pytest

from augment import mix_modes
from scripts.results import style
from scripts.results.groups import SCHEMES


def luminance(colour):
    """The relative luminance of WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_stands_out_from_its_page(dark):
    used = {
        *style.FAMILIES.values(),
        *style.OTHER_COLOURS,
        *(p.colour for p in style.PUBLISHED.values()),
    }
    assert used <= style.DARK.keys()
    for colour in used:
        assert contrast(style.on_page(colour, dark=dark), style.PAGES[dark]) >= 3, colour


def test_the_papers_schemes_differ_in_colour_and_in_marker():
    looks = style.looks(SCHEMES)
    assert list(looks) == list(SCHEMES)
    assert len({look.colour for look in looks.values()}) == len(SCHEMES)
    assert len({look.marker for look in looks.values()}) == len(SCHEMES)


def test_a_scheme_has_one_look_whatever_its_spelling_and_company():
    names = ["cutmix_pick:teacher", "noise:sigma=1", "crop+flip+cutmix"]
    alone = {name: style.looks([name])[name] for name in names}
    together = style.looks([*names, "flip", "mixup:alpha=2"])
    assert {name: together[name] for name in names} == alone
    assert alone["cutmix_pick:teacher"] == style.looks(SCHEMES)["cutmix_pick_teacher_entropy"]
    assert alone["crop+flip+cutmix"].colour == style.PUBLISHED["cutmix"].colour


def test_every_stage_of_the_repository_has_a_look_of_its_own():
    looks = style.looks(mix_modes)
    assert len(set(looks.values())) == len(set(mix_modes))


def test_dark_mode_of_a_page_reaches_every_colour():
    text = style.with_variables('<path style="fill: #0060a0; stroke: #0060a0"/>')
    assert text.count("var(--c0060a0, #0060a0)") == 2
    assert "--c0060a0: #4a94d8;" in style.dark_variables()

"""How much of our own code a training batch passes through: who reads a step reads no more."""

import sys
from collections import Counter

from command_line import TINY, run
from places import ROOT

from helper.step.passes import ViewMaker

WORDS = f"{TINY} --limit_train 96 --epochs 1 --model_s resnet8 --mix_mode cutmix"
OWN = ("augment/", "dataset/", "distiller_zoo/", "helper/", "models/", "train_student.py")
FIRST, LAST = 2, 4
"""The steps looked at: the first does what is done but once."""


def test_a_batch_passes_through_few_files(tiny_teacher, tmp_path, monkeypatch):
    """helper/speed apart, and each step from the second view to the next one's."""
    monkeypatch.chdir(tmp_path)
    calls, step, real = Counter(), 0, ViewMaker.__call__

    def profile(frame, event, _):
        name = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
        is_own = name.startswith(OWN) and not name.startswith("helper/speed/")
        if event == "call" and is_own:
            calls[name] += 1

    def views(self, images):
        nonlocal step
        step += 1
        if step in (FIRST, LAST):
            sys.setprofile(profile if step == FIRST else None)
        return real(self, images)

    monkeypatch.setattr(ViewMaker, "__call__", views)
    words = "--lw_mix [1,0,1] --t_output_as_target_for_input_mix --path_t"
    try:
        run("train_student.py", WORDS, words, tiny_teacher)
    finally:
        sys.setprofile(None)
    assert step == 6
    assert len(calls) <= 11, sorted(calls)
    own = sum(count for name, count in calls.items() if not name.startswith("models/"))
    assert 20 < own / (LAST - FIRST) <= 60, calls

"""The real CIFAR-100 and a real trained teacher, where the environment names them.

DATA_AUG_KD_CIFAR100: a folder that holds cifar-100-python/. DATA_AUG_KD_TEACHER: a wrn_16_2
checkpoint in the public layout, in a folder called wrn_16_2_vanilla, whose accuracy was measured
elsewhere.
"""

import os
from pathlib import Path

import pytest

from dataset import DataRequest, datasets
from dataset.batches import Batches
from helper.loop.metrics import evaluate
from helper.run.checkpoint import load_weights, model_name_of, read_checkpoint
from helper.step.networks import freeze
from models import model_dict

ROOT, TEACHER = os.environ.get("DATA_AUG_KD_CIFAR100"), os.environ.get("DATA_AUG_KD_TEACHER")


@pytest.mark.skipif(not ROOT, reason="DATA_AUG_KD_CIFAR100 names no folder with cifar-100-python/")
@pytest.mark.skipif(not TEACHER, reason="DATA_AUG_KD_TEACHER names no checkpoint")
def test_public_teacher_classifies_as_it_did_elsewhere():
    data = datasets["cifar100"].load(DataRequest(root=Path(ROOT), limit_train=1, may_write=False))
    checkpoint = read_checkpoint("--path_t", TEACHER)
    name = model_name_of("--path_t", TEACHER, checkpoint)
    assert name == "wrn_16_2"
    teacher = model_dict[name](num_classes=100, img_size=32)
    load_weights(teacher, name, checkpoint, flag="--path_t", path=TEACHER)
    result = evaluate(freeze(teacher), Batches(data.test, data.spec, 100))
    assert result.acc1 == pytest.approx(62.22, abs=0.011)
    assert result.acc5 == pytest.approx(88.61, abs=0.011)
    assert result.loss == pytest.approx(1.31332, abs=2e-5)

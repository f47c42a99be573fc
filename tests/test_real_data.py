"""The real CIFAR-100 and a real trained teacher, where the environment names them.

DATA_AUG_KD_CIFAR100: a folder that holds cifar-100-python/. DATA_AUG_KD_TEACHER: a wrn_16_2
checkpoint in the public layout, in a folder called wrn_16_2_vanilla. Measured elsewhere on all
10,000 test images: 62.22 % (top 5: 88.61 %), loss 1.31332. This code gives the same; here the first
1,000 images have to do, since all take a minute.
"""

import os
from pathlib import Path

import pytest

from dataset import DataRequest, datasets
from dataset.batches import Batches
from helper.loop.metrics import evaluate
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import model_name_of
from helper.step.networks import freeze
from models import model_dict

ROOT, TEACHER = os.environ.get("DATA_AUG_KD_CIFAR100"), os.environ.get("DATA_AUG_KD_TEACHER")


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="DATA_AUG_KD_CIFAR100 names no folder with cifar-100-python/")
@pytest.mark.skipif(not TEACHER, reason="DATA_AUG_KD_TEACHER names no checkpoint")
def test_a_public_teacher_classifies_as_it_did():
    request = DataRequest(root=Path(ROOT), limit_train=1, limit_test=1000, may_write=False)
    data = datasets["cifar100"].load(request)
    checkpoint = read_checkpoint("--path_t", TEACHER)
    name = model_name_of("--path_t", TEACHER, checkpoint)
    assert name == "wrn_16_2"
    teacher = model_dict[name](num_classes=100, img_size=32)
    load_weights(teacher, name, checkpoint, flag="--path_t", path=TEACHER)
    result = evaluate(freeze(teacher), Batches(data.test, data.spec, 100))
    assert result.acc1 == pytest.approx(64.5, abs=0.11)
    assert result.acc5 == pytest.approx(89.4, abs=0.11)
    assert result.loss == pytest.approx(1.28200, abs=2e-5)

"""scripts/evaluate.py: the numbers, and files of every kind."""

import json

import pytest
import torch
from safetensors.torch import save_file

from helper.errors import UserError
from helper.loop.calibration import calibration_error
from models import build_model
from scripts import evaluate

DATA = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 10 --limit_test 60 "
    "--device cpu"
)


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return build_model("resnet8", num_classes=5, img_size=16, generator=generator).state_dict()


def run(capsys, *words):
    evaluate.main([part for word in words for part in str(word).split()])
    return capsys.readouterr().out


def test_calibration_error_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator, dtype=torch.float64)
    confidence[:3] = torch.tensor([1.0, 1 / 15, 1e-9])
    right = torch.rand(500, generator=generator) < 0.3
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            gap = right[inside].double().mean() - confidence[inside].mean()
            expected += inside.double().mean() * gap.abs()
    assert calibration_error(confidence, right) == pytest.approx(float(expected), abs=1e-12)
    assert calibration_error(torch.ones(4), torch.tensor([True] * 3 + [False])) == 0.25


def test_one_line_and_json_agree_for_every_kind_of_file(tmp_path, capsys):
    lines = set()
    torch.save(
        {"net": {f"module._orig_mod.{k}": v for k, v in weights().items()}, "acc": 0.2},
        tmp_path / "a.pth",
    )
    save_file(dict(weights()), tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        found = json.loads(run(capsys, tmp_path / name, DATA, "--json"))
        line = run(capsys, tmp_path / name, DATA).strip()
        assert "\n" not in line and f"Acc1 {found['acc1']:.4f} Acc5 {found['acc5']:.4f}" in line
        assert f"TestLoss {found['loss']:.6f} ECE {found['ece']:.4f}" in line
        assert found["model"] == "resnet8" and found["images"] == 60 and found["acc5"] == 100
        assert found["recorded_acc1"] == (20 if name == "a.pth" else None)
        lines.add(line.partition(" (")[0])
    assert len(lines) == 1


def test_the_average_is_a_choice(tmp_path, capsys):
    torch.save({"state_dict": weights(), "state_dict_ema": weights(1)}, tmp_path / "x.pth")
    torch.save(weights(1), tmp_path / "y.pth")
    assert "--ema takes that" in run(capsys, tmp_path / "x.pth", DATA)
    average = json.loads(run(capsys, tmp_path / "x.pth", DATA, "--ema --json"))
    assert average["loss"] == json.loads(run(capsys, tmp_path / "y.pth", DATA, "--json"))["loss"]


def test_what_has_no_effect_is_told(tmp_path, capsys):
    torch.save(weights(), tmp_path / "x.pth")
    out = run(capsys, tmp_path / "x.pth", DATA, "--seed 3")
    assert "warning: --seed has no effect: nothing is trained" in out
    with pytest.raises(UserError, match=r"--img_size 64: the images of cifar100"):
        evaluate.main([str(tmp_path / "x.pth"), "--dataset", "cifar100", "--img_size", "64"])


def test_what_is_amiss_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"FILE .*none.pth does not exist"):
        evaluate.main([str(tmp_path / "none.pth")])

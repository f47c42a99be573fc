"""Checkpoints of other people: where weights lie, what surrounds their names, what else a file may
be."""

import argparse
import gzip
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from command_line import identical
from safetensors.torch import save_file
from small_networks import new_model

from helper.errors import UserError
from helper.run.checkpoint import on_cpu
from helper.run.key_maps import KEY_MAPS
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import fitting_models, recognize
from helper.run.recorded import recorded_accuracy


def before_each(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def others(weights):
    """Another network's weights of the same shapes."""
    return {key: value + 1 for key, value in weights.items()}


def load(content, name="resnet8", **options):
    model = new_model(name, seed=1)
    notes = load_weights(model, name, content, flag="--path_t", path="file.pth", **options)
    return dict(model.state_dict()), " ".join(notes)


PREFIXES = [
    "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "model._orig_mod.module.",
    "net.model.", "student.", "_forward_module.model.", "module.module._orig_mod.", "anything.",
]  # fmt: skip
PLACES = [
    (), ("model",), ("state_dict",), ("model_state_dict",), ("net",), ("checkpoint", "model"),
    ("anything",), ("state_dict", "model", "module"),
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_names_are_found_behind_every_prefix(weights, prefix):
    for place in PLACES:
        content = before_each(prefix, weights)
        for key in reversed(place):
            content = {key: content, "epoch": 3, "accuracy": torch.tensor(70.0)}
        assert identical(load(content)[0], weights), place
        assert recognize("--path_t", "x/best.pth", content).name == "resnet8"


def test_wrappers_inside_names_are_taken_off(weights):
    odd = {
        key.replace("layer1.0.", "layer1._orig_mod.0._fsdp_wrapped_module."): v
        for key, v in weights.items()
    }
    assert odd.keys() != weights.keys() and identical(load({"model": odd})[0], weights)


def test_what_lies_beside_the_network_is_no_network(weights):
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3, 3)}}, "param_groups": [{"lr": 0.1}]}
    content = {
        "optimizer_state_dict": optimizer,
        "memory": {"memory_v1": torch.ones(5, 5), "memory_v2": torch.ones(5, 5)},
        "state_dict": {**before_each("model.", weights), "criterion.weight": torch.ones(5, 5)},
        "confusion": torch.ones(7, 7),
        "epoch": torch.tensor(3),
    }
    assert identical(load(content)[0], weights)


@pytest.mark.parametrize("name", ["total_ops", "total_params", "n_averaged"])
def test_bookkeeping_buffers_are_no_weights(weights, name):
    content = {
        **before_each("module.", weights),
        name: torch.zeros(1),
        f"conv1.{name}": torch.zeros(1),
    }
    assert identical(load({"state_dict": content})[0], weights)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema", "ema_state_dict", "swa"])
def test_an_average_beside_the_weights_is_a_choice_and_told(weights, key):
    average = others(weights)
    content = {key: before_each("module.", average), "state_dict": weights}
    taken, notes = load(content)
    assert identical(taken, weights) and key in notes and "--ema takes that" in notes
    taken, notes = load(content, average=True)
    assert identical(taken, average) and key in notes


def test_an_average_alone_is_taken_and_told(weights):
    for content in (
        {"ema": weights},
        {**before_each("module.", weights), "n_averaged": torch.tensor(3)},
    ):
        taken, notes = load(content)
        assert identical(taken, weights) and "running average" in notes
    with pytest.raises(UserError, match=r"--ema: --path_t file.pth holds no running average"):
        load({"state_dict": weights}, average=True)


def test_of_two_networks_the_student_is_taken_and_both_are_told(weights):
    content = {**before_each("teacher.", others(weights)), **before_each("student.", weights)}
    taken, notes = load({"state_dict": content})
    assert (
        identical(taken, weights)
        and "state_dict.student" in notes
        and "state_dict.teacher" in notes
    )


def test_what_surrounded_the_network_is_told(weights):
    normalised = {"0.mean": torch.zeros(3), "0.std": torch.ones(3), **before_each("1.", weights)}
    taken, notes = load({"state_dict": normalised})
    assert identical(taken, weights) and "2 tensors beside the network (0.mean, 0.std)" in notes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_small_types_are_read_and_counters_in_them_are_none(weights, dtype):
    small = {key: value.to(dtype) for key, value in weights.items()}
    taken, _ = load({"model": small})
    for key, value in taken.items():
        wanted = 0 if key.endswith("num_batches_tracked") else small[key].float()
        assert (value == wanted).all(), key
    with pytest.raises(UserError, match=r"fc\.bias holds values that are not finite"):
        load({"model": {**weights, "fc.bias": torch.full((7,), 1e300, dtype=torch.float64)}})


# --- Names of other repositories ------------------------------------------------------------------


def weiaicunzai(name):
    """ResNet18's or ResNet50's name as weiaicunzai/pytorch-cifar100 has it."""
    words = name.split(".")
    if words[0] in ("conv1", "bn1"):
        return f"conv1.{int(words[0] == 'bn1')}.{words[1]}"
    if words[0] == "linear":
        return f"fc.{words[1]}"
    stage = int(words[0].removeprefix("layer")) + 1
    inner = words[2:]
    if inner[0] != "shortcut":
        place = 3 * (int(inner[0][-1]) - 1) + inner[0].startswith("bn")
        inner = ["residual_function", str(place), inner[1]]
    return ".".join([f"conv{stage}_x", words[1], *inner])


def torchvision_names(name):
    return name.replace("shortcut", "downsample").replace("linear.", "fc.")


def mmpretrain(name):
    return f"head.{name}" if name.startswith("fc.") else f"backbone.{name}"


RENAMED = {
    "weiaicunzai/pytorch-cifar100": (weiaicunzai, "ResNet"),
    "torchvision, with a 3x3 stem": (torchvision_names, "ResNet"),
    "mmpretrain": (mmpretrain, "resnet"),
    "mmpretrain, with a 3x3 stem": (lambda name: mmpretrain(torchvision_names(name)), "ResNet"),
}


@pytest.mark.slow
@pytest.mark.parametrize("repository", KEY_MAPS)
@pytest.mark.parametrize("depth", [18, 50])
def test_every_map_of_names(repository, depth):
    rename, family = RENAMED[repository]
    name = f"{family}{depth}"
    model = new_model(name)
    foreign = {rename(key): value for key, value in model.state_dict().items()}
    assert foreign.keys() != model.state_dict().keys()
    assert fitting_models(foreign) == [name]
    taken, notes = load(before_each("module.", foreign), name)
    assert identical(taken, dict(model.state_dict())) and repository in notes


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("S:resnet8_T:resnet56_cifar100_kd_r:0.1_a:0.9_b:0.0_1/resnet8_best.pth", "resnet8"),
        ("cifar100_resnet20-23dac2f1.pt", "resnet20"),
        ("downloads/model.pth", "vgg8"),
    ],
)
def test_the_weights_tell_the_model(path, name):
    found = recognize("--path_t", path, {"model": new_model(name).state_dict()})
    assert found == (name, "its weights' names and shapes fit no other model", True)


def test_a_name_that_the_weights_do_not_fit_is_passed_over(weights):
    content = {"arch": "resnet18", "state_dict": new_model("ResNet18").state_dict()}
    found = recognize("--path_t", "x/best.pth", content)
    assert found.name == "ResNet18" and "though the file says resnet18" in found.why
    found = recognize("--path_t", "resnet56/S_resnet8.pth", {"model": weights})
    assert found.name == "resnet8" and "though its folder is called resnet56" in found.why
    with pytest.raises(UserError, match=r"is a resnet8, and its folder .* give --model_t resnet8"):
        recognize("--path_t", "resnet56_vanilla/best.pth", {"model": weights})


def test_the_nearest_model_is_told(weights):
    content = {"mu": torch.ones(3), **weights}
    with pytest.raises(UserError, match=r"the nearest is resnet8: 1 unknown keys \(mu\)$"):
        recognize("--path_t", "x/best.pth", content)


def test_a_network_of_no_model_is_shown():
    content = {"state_dict": {"stem.weight": torch.ones(4, 3), "head.bias": torch.ones(4)}}
    with pytest.raises(UserError, match=r"fits no model of the zoo \(2 weights: stem.weight"):
        recognize("--path_t", "x/best.pth", content)


# --- Recorded accuracies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "percent"),
    [
        ({"accuracy": 71.5}, 71.5),
        ({"acc": 0.7261}, 72.61),
        ({"best_prec1": torch.tensor(70.25)}, 70.25),
        ({"best_acc1": np.float64(66.5)}, 66.5),
        ({"acc@1": "71.9%"}, 71.9),
        ({"metrics": {"top1": 64.5}}, 64.5),
        ({"epoch": 3, "best_acc": 70.0, "acc": 69.0}, 69.0),
        ({"arch": "resnet8", "num_classes": 100, "accuracy": 1.0}, 1.0),
        ({"arch": "resnet8", "num_classes": 100, "accuracy": 0.5}, 0.5),
        ({"accuracy": float("nan")}, None),
        ({"accuracy": "good", "acc": torch.ones(3)}, None),
        ({"epoch": 240}, None),
        ({"arch": "resnet8", "acc": 0.7261}, 72.61),
        ({"test_top1_acc": 72.61}, 72.61),
        ({"max_accuracy": 72.61}, 72.61),
        ({"metrics": {"test": {"accuracy_top-1": 72.61}}}, 72.61),
        ({"best_err1": 27.39}, 72.61),
        ({"val_acc": 70.0, "test_acc": 72.61}, 72.61),
        ({"best_acc_epoch": 30, "acc5": 90.0, "precision": 32, "train_acc": 99.0}, None),
        ({"test_acc": [10.0, 72.61]}, None),
    ],
)
def test_accuracies_under_usual_names_and_scales(content, percent):
    found = recorded_accuracy(content)
    assert found == (percent if percent is None else pytest.approx(percent, abs=1e-4))


# --- Files ----------------------------------------------------------------------------------------


def test_safetensors_are_read(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    metadata = {"format": "pt", "arch": "resnet8", "acc": "72.61"}
    save_file({key: value.contiguous() for key, value in weights.items()}, path, metadata)
    read = read_checkpoint("--path_t", path)
    assert identical(load(read)[0], weights)
    assert (recognize("--path_t", path, read).name, recorded_accuracy(read)) == ("resnet8", 72.61)
    content = path.read_bytes()
    for damaged in (content[:-7], content[:60], content[:8] + b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"^--path_t .* is damaged|no weights"):
            load(read_checkpoint("--path_t", path))


def zip_with(path, name):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")
    return path.read_bytes()


FILES = {
    "is empty": lambda _: b"",
    "is incomplete: its end is missing": lambda p: zip_with(p, "x/data.pkl")[:-9],
    "is a pickle of Python": lambda _: pickle.dumps({"model": 3}),
    "is a text in UTF-16": lambda _: "Access denied".encode("utf-16"),
    "is an archive of NumPy arrays": lambda p: zip_with(p, "conv1.npy"),
    "is an HTML page, not": lambda _: b"\xef\xbb\xbf<!-- saved --><html>",
    "is an HTML page": lambda _: b"\n<!DOCTYPE html><html><head>Sign in</head></html>",
    "is a Git LFS pointer": lambda _: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n"
    ),
    "is a gzip archive": lambda _: gzip.compress(b"x" * 99),
    "is a zip archive .teachers/a.pth., not a checkpoint": lambda p: zip_with(p, "teachers/a.pth"),
    "is a TorchScript program": lambda p: zip_with(p, "model/constants.pkl"),
    "is an HDF5 file": lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99),
    "is an image": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99),
    'is a text, not a checkpoint; it begins \'{"epoch": 3': lambda _: b'{"epoch": 3, "acc": 70.1}',
    "is nothing but zeros at its beginning": lambda _: bytes(2000),
}


@pytest.mark.parametrize("message", FILES)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, message):
    path = tmp_path / "best.pth"
    path.write_bytes(FILES[message](path))
    with pytest.raises(UserError, match=message) as error:
        read_checkpoint("--path_t", path)
    assert "\n" not in str(error.value)


def test_a_list_holds_a_checkpoint_and_a_folder_names_those_in_it(tmp_path, weights):
    torch.save((3, {"model": weights}), tmp_path / "pair.pth")
    read = read_checkpoint("--path_t", tmp_path / "pair.pth")
    assert identical(load(read)[0], weights)
    with pytest.raises(UserError, match=r"is a folder, not a checkpoint; it holds \S*pair.pth$"):
        read_checkpoint("--path_t", tmp_path)


class Runs:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call", [(os.system, ("touch x",)), (subprocess.call, (["touch", "x"],)), (eval, ("1",))]
)
def test_a_file_that_runs_things_gets_no_line_that_would_run_them(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Runs(*call)}, "best.pth")
    with pytest.raises(UserError, match=rf"{call[0].__name__}\. .*do not load it$"):
        read_checkpoint("--path_t", "best.pth")
    assert not os.path.exists("x")


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_are_named_and_the_line_that_converts_works(tmp_path, weights, zipped):
    path = tmp_path / "it's best.pth"
    network = new_model()  # a whole module beside them
    network.load_state_dict(weights)
    options = argparse.Namespace(out=PosixPath("/x"))
    inner = {"net": network} if zipped else {"state_dict": weights}
    content = {"args": options, "acc": 70.5, **inner}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"other than weights: pathlib\S*PosixPath\. .*python -c"
    ) as error:
        read_checkpoint("--path_t", path)
    if not zipped:
        return  # the same program
    command = str(error.value).partition("python -c ")[2]
    subprocess.run(f"{sys.executable} -c {command}", shell=True, check=True)
    converted = read_checkpoint("--path_t", tmp_path / "it's best.weights.pth")
    assert identical(load(converted)[0], weights) and recorded_accuracy(converted) == 70.5


def test_what_is_written_lies_on_the_cpu_and_keeps_its_form(weights):
    content = {
        "model": new_model().state_dict(),
        "list": [weights["fc.bias"], (1, "x")],
        "none": None,
    }
    moved = on_cpu(content)
    assert identical(moved, content) and type(moved["model"]) is type(content["model"])
    assert moved["model"]._metadata == content["model"]._metadata
    meta = on_cpu({"a": [torch.ones(2)]})
    assert meta["a"][0].device.type == "cpu"

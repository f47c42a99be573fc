"""Checkpoint files: whole or absent, every public layout, data only."""

import argparse
import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import identical
from hostile import Calls
from small_networks import CLASSES, new_model

from helper.errors import UserError
from helper.run import checkpoint
from helper.run.checkpoint import describe_model, save_checkpoint, save_keeping_old
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import fitting_models, model_name_of
from helper.run.weights import weights_in
from helper.setup import networks

# --- Writing --------------------------------------------------------------------------------------


def test_what_is_saved_is_read_back(tmp_path, weights):
    path = tmp_path / "deep" / "er" / "ckpt.pth"
    content = {"model": weights, "epoch": 3, "accuracy": float("nan"), "arch": "resnet8"}
    save_checkpoint(path, content)
    assert identical(read_checkpoint("--path_t", path), content)
    assert [entry.name for entry in path.parent.iterdir()] == ["ckpt.pth"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def half_written(checkpoint, file):
    file.write(b"half of it")
    file.flush()
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["torch.save", "os.fsync", "os.replace"])
@pytest.mark.parametrize("old", [True, False])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch, weights, broken, old):
    path = tmp_path / "ckpt.pth"
    if old:
        save_checkpoint(path, {"model": weights, "epoch": 1})
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def fails(*arguments):
        raise KeyboardInterrupt

    module, name = broken.split(".")
    monkeypatch.setattr(
        {"os": os, "torch": torch}[module], name, half_written if broken == "torch.save" else fails
    )
    with pytest.raises((OSError, KeyboardInterrupt)):
        save_checkpoint(path, {"model": weights, "epoch": 2})
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_reader_never_sees_a_part(tmp_path, monkeypatch, weights):
    """While the new file is being written the old one is whole."""
    path = tmp_path / "ckpt.pth"
    save_checkpoint(path, {"epoch": 1})
    seen = []
    save = torch.save

    def looking(content, file):
        save(content, file)
        seen.append(read_checkpoint("--path_t", path)["epoch"])

    monkeypatch.setattr(checkpoint.torch, "save", looking)
    save_checkpoint(path, {"epoch": 2})
    assert seen == [1] and read_checkpoint("--path_t", path)["epoch"] == 2


def test_save_keeping_old_keeps_all_that_was_there(tmp_path):
    path = tmp_path / "resnet8_vanilla" / "ckpt_epoch_1.pth"
    assert save_keeping_old(path, {"epoch": 0}) is None
    kept = [save_keeping_old(path, {"epoch": number}) for number in (1, 2)]
    assert read_checkpoint("--path_t", path)["epoch"] == 2
    assert [read_checkpoint("--path_t", old)["epoch"] for old in kept] == [0, 1]
    assert sorted(path.parent.iterdir()) == sorted([path, *kept])
    assert all(old.name.startswith("ckpt_epoch_1.from-") and old.suffix == ".pth" for old in kept)


# --- Layouts --------------------------------------------------------------------------------------


LAYOUTS = {
    "own": lambda w: {
        "model": w,
        "epoch": 240,
        "accuracy": 70.0,
        **describe_model("resnet8", 7, 32, "x"),
    },
    "public": lambda w: {
        "model": w,
        "epoch": 240,
        "accuracy": torch.tensor(70.0),
        "optimizer": {"state": {}},
    },
    "DataParallel": lambda w: {
        "model": {f"module.{key}": value for key, value in w.items()},
        "epoch": 240,
    },
    "state_dict": lambda w: {"state_dict": w, "best_acc": 70.0},
    "state_dict, DataParallel": lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}},
    "bare": lambda w: w,
    "bare, DataParallel": lambda w: {f"module.{key}": value for key, value in w.items()},
    "CRD's last": lambda w: {
        "opt": argparse.Namespace(model="resnet8", lr=[0.1], trial=None),
        "model": w,
    },
    "NumPy scalars": lambda w: {
        "model": w,
        "accuracy": np.float64(70),
        "best": np.float32(7),
        "epoch": np.int64(9),
    },
    "NumPy arrays": lambda w: {
        "model": w,
        "history": np.arange(3),
        "kind": np.uint8(3),
        "name": np.str_("x"),
    },
    "net": lambda w: {"net": w, "acc": 70.0},
    "DataParallel twice": lambda w: {"model": {f"module.module.{k}": v for k, v in w.items()}},
    "before PyTorch 0.4.1": lambda w: {
        "model": {k: v for k, v in w.items() if "num_batches" not in k}
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])  # PyTorch before 1.6 wrote no zip archives
def test_every_layout_loads(tmp_path, weights, layout, zipped):
    path = tmp_path / "ckpt.pth"
    torch.save(LAYOUTS[layout](weights), path, _use_new_zipfile_serialization=zipped)
    model = new_model(seed=1)
    assert not identical(dict(model.state_dict()), dict(weights))
    load_weights(model, "resnet8", read_checkpoint("--path_t", path), flag="--path_t", path=path)
    assert identical(dict(model.state_dict()), dict(weights))


def test_numpys_old_module_name_is_read(tmp_path):
    """NumPy before 2 called itself numpy.core."""
    path = tmp_path / "ckpt.pth"
    torch.save({"accuracy": np.float64(70.25)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    assert (old in content) + (new in content) == 1
    path.write_bytes(content.replace(new, old))
    assert read_checkpoint("--path_t", path)["accuracy"] == 70.25


def test_only_the_prefix_module_is_cut():
    tensor = torch.zeros(1, 1)
    assert weights_in({"model": {"module.a.module.b": tensor, "c.module.d": tensor}}).keys() == {
        "a.module.b",
        "c.module.d",
    }
    assert weights_in({"epoch": 3}) == {}


def load_teacher(path, model_t=None):
    options = SimpleNamespace(model_t_pretrained=None, path_t=str(path), model_t=model_t, ema=False)
    spec = SimpleNamespace(num_classes=CLASSES, img_size=32, class_names=(), class_ids=())
    return networks.load_teacher(options, spec, torch.device("cpu"))


def test_our_checkpoint_is_a_teacher_wherever_it_lies(tmp_path, weights):
    """A run's weights/ckpt.pth says itself what it is."""
    path = tmp_path / "weights" / "ckpt.pth"
    save_checkpoint(path, LAYOUTS["own"](weights))
    name, model, *_ = load_teacher(path)
    assert name == "resnet8" and identical(dict(model.state_dict()), dict(weights))
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "folder, name",
    [
        ("resnet8_vanilla", "resnet8"),
        ("wrn_16_2_vanilla", "wrn_16_2"),
        ("vgg13_vanilla_trial_2", "vgg13"),
        ("vgg8", "vgg8"),
    ],
)
def test_the_folder_names_the_model(tmp_path, folder, name):
    assert model_name_of("--path_t", tmp_path / folder / "ckpt_epoch_240.pth", {}) == name


def test_the_folder_rule_holds_for_a_bare_file_name(tmp_path, monkeypatch, weights):
    (tmp_path / "resnet8_vanilla").mkdir()
    monkeypatch.chdir(tmp_path / "resnet8_vanilla")
    torch.save({"model": weights}, "x.pth")
    assert load_teacher("x.pth")[0] == "resnet8"


def test_model_t_overrides_folder_and_file(tmp_path, weights):
    for folder, layout in (("vgg13_vanilla", "public"), ("nothing", "bare"), ("weights", "own")):
        path = tmp_path / folder / "ckpt.pth"
        save_checkpoint(path, LAYOUTS[layout](weights))
        assert load_teacher(path, model_t="resnet8")[0] == "resnet8"
    with pytest.raises(UserError, match=r"--path_t .* is not a resnet14: .*it fits resnet8$"):
        load_teacher(path, model_t="resnet14")


@pytest.mark.parametrize("checkpoint", [{}, {"arch": "resnet9000"}, {"arch": 3}])
def test_a_nameless_model_is_an_error_with_the_way_out(tmp_path, checkpoint):
    path = tmp_path / "myteacher" / "ckpt.pth"
    with pytest.raises(
        UserError, match=r"--path_t .*myteacher.* MODEL_vanilla, or give --model_t. Models: .*vgg13"
    ):
        model_name_of("--path_t", path, checkpoint)


# --- What does not fit ----------------------------------------------------------------------------


def load(model, name, content):
    load_weights(model, name, content, flag="--path_t", path="file.pth")


def test_wrong_class_count_says_both(weights):
    with pytest.raises(UserError, match=r"^--path_t file.pth has 7 classes, the data set has 11: "):
        load(new_model(num_classes=11), "resnet8", {"model": weights})


@pytest.mark.parametrize("name", ["resnet14", "vgg8"])
def test_another_architecture_is_told_which(weights, name):
    with pytest.raises(UserError, match=rf"is not a {name}: .*; it fits resnet8$"):
        load(new_model(name), name, {"model": weights})


def test_unknown_missing_and_misshapen_keys_are_named(weights):
    odd = {**weights, "extra.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}
    del odd["fc.bias"]
    wanted = (
        r"1 keys missing \(fc.bias\); 1 unknown keys \(extra.weight\); 1 shapes differ "
        r"\(conv1.weight\); it fits no model"
    )
    with pytest.raises(UserError, match=wanted):
        load(new_model(), "resnet8", odd)


def test_a_failed_load_leaves_the_model_as_it_was(weights):
    model = new_model(num_classes=11)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError):
        load(model, "resnet8", {"model": weights})
    assert identical(before, dict(model.state_dict()))


def test_no_weights_at_all():
    with pytest.raises(UserError, match=r"file.pth holds no weights"):
        load(new_model(), "resnet8", {"epoch": 3, "model": {}})


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_16_1", "vgg8"])
def test_fitting_models_finds_each_and_no_other(name):
    """Whatever the number of classes: the zoo's default is another one."""
    assert fitting_models(new_model(name).state_dict()) == [name]


# --- Files that are no checkpoint -----------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_are_never_made(tmp_path, monkeypatch, weights, zipped):
    monkeypatch.chdir(tmp_path)
    content = {"model": weights, "opt": Calls(os.system, "touch canary")}
    torch.save(content, "ckpt.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="objects other than weights"):
        read_checkpoint("--path_t", "ckpt.pth")
    assert not (tmp_path / "canary").exists()
    torch.load("ckpt.pth", weights_only=False)  # the file is live
    assert (tmp_path / "canary").exists()


def test_a_flipped_bit_is_found(tmp_path, weights):
    """PyTorch loads such a file without a word."""
    path = tmp_path / "ckpt.pth"
    torch.save({"model": weights}, path)
    content = bytearray(path.read_bytes())
    place = content.find(weights["layer3.0.conv1.weight"].numpy().tobytes()[:64])
    assert place > 0
    content[place + 20] ^= 0x10
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(
        UserError, match=r"--path_t .*ckpt.pth is damaged .*checksum of .* is wrong"
    ):
        read_checkpoint("--path_t", path)


@pytest.mark.parametrize(
    "key, change, problem",
    [
        (
            "conv1.weight",
            lambda t: t * float("nan"),
            "is damaged: conv1.weight holds values that are not finite",
        ),
        (
            "bn1.running_var",
            lambda t: t / 0,
            "is damaged: bn1.running_var holds values that are not finite",
        ),
        ("conv1.weight", lambda t: t.int(), "conv1.weight is a tensor of torch.int32"),
        (
            "fc.weight",
            lambda t: t.to_sparse(),
            "fc.weight is a tensor of torch.float32, torch.sparse_coo",
        ),
        ("fc.weight", lambda t: t.to(torch.complex64), "fc.weight is a tensor of torch.complex64"),
        ("fc.bias", lambda t: t[0], "is not a resnet8: 1 shapes differ"),
    ],
)
def test_odd_tensors_are_named(weights, key, change, problem):
    with pytest.raises(UserError, match=problem):
        load(new_model(), "resnet8", {"model": {**weights, key: change(weights[key])}})


def test_half_precision_weights_are_taken(weights):
    model = new_model()
    load(
        model,
        "resnet8",
        {"model": {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}},
    )
    assert torch.equal(model.fc.weight, weights["fc.weight"].half().float())


@pytest.mark.parametrize("counter", [torch.zeros(0, dtype=torch.long), torch.tensor([3, 4])])
def test_a_counter_of_another_shape_is_passed_over(weights, counter):
    model = new_model()
    load(model, "resnet8", {"model": weights | {"bn1.num_batches_tracked": counter}})
    assert torch.equal(model.fc.weight, weights["fc.weight"])
    assert model.bn1.num_batches_tracked == 0


@pytest.mark.parametrize("zipped", [True, False])
def test_any_damage_is_one_kind_of_error(tmp_path, weights, zipped):
    path = tmp_path / "ckpt.pth"
    torch.save({"model": weights}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    damaged = [content[: len(content) * part // 20] for part in range(20)]
    damaged += [
        bytes(torch.randint(0, 256, (500,), generator=generator).tolist()) for _ in range(30)
    ]
    damaged += [b"\x80\x02" + rest for rest in damaged[20:40]]  # begins as a pickle
    damaged += [b"PK\x03\x04" + rest for rest in damaged[20:30]]  # begins as a zip
    if zipped:  # a member's name that is no text
        damaged.append(content.replace(b"ckpt/data.pkl", b"ck\xe0t/data.pkl"))
    damaged += [b".", b"\x80\x02.", b"N.", b"not found\n", b"<html>404</html>"]
    for case in damaged:
        path.write_bytes(case)
        with pytest.raises(
            UserError,
            match=r"^--path_t .*ckpt.pth (is (damaged|incomplete|empty|a (text|pickle)|an)|holds )",
        ) as error:
            read_checkpoint("--path_t", path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_tensor_or_a_list_is_no_checkpoint(tmp_path):
    path = tmp_path / "ckpt.pth"
    torch.save(torch.zeros(3), path)
    with pytest.raises(UserError, match="holds a Tensor, not a checkpoint"):
        read_checkpoint("--path_t", path)


def test_absent_files_and_folders(tmp_path):
    with pytest.raises(UserError, match=r"--path_t .*absent.pth does not exist"):
        read_checkpoint("--path_t", tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder, not a checkpoint"):
        read_checkpoint("--path_t", tmp_path)

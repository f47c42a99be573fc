"""Networks of timm and torchvision: what every model offers, and what is told of names that cannot
be had."""

import importlib.util
import urllib.error
import urllib.request

import pytest
import torch
from command_line import identical, load, log_lines, new_run, run, the_run

from helper.errors import UserError
from helper.run.load import load_weights
from helper.setup.methods import shapes_for
from models import build_model, hub, model_dict
from models.external import External
from models.model_info import count_flops, output_shapes

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed"
)
SMALL = (
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "test_vit:patch_size=8",
    "test_byobnet",
)
NAMES = [
    *(pytest.param(f"timm.{name}", marks=needs_timm) for name in SMALL),
    "torchvision.mobilenet_v3_small",
]


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def build(name, img_size=32, seed=1):
    return build_model(name, num_classes=7, img_size=img_size, generator=generator(seed))


@pytest.mark.parametrize("name", NAMES)
def test_it_offers_what_every_model_does(name):
    state = torch.get_rng_state()
    model = build(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert identical(dict(model.state_dict()), dict(build(name).state_dict()))
    assert not identical(dict(model.state_dict()), dict(build(name, seed=2).state_dict()))
    assert model.training and model.why_no_maps() == ""
    images = torch.randn(3, 3, 32, 32, generator=generator())
    features, logits = model.eval()(images, is_feat=True)
    assert torch.equal(logits, model(images)) and logits.shape == (3, 7)
    assert len(features) >= 4 and all(f.dim() == 4 and len(f) == 3 for f in features[:-1])
    sides = [f.shape[2] for f in features[:-1]]
    assert sides == sorted(sides, reverse=True)
    classifier = model.classifier_layer()
    assert torch.equal(classifier(features[-1]), logits)
    assert [v.shape[0] for v in list(model.state_dict().values())[-2:]] == [7, 7]
    assert not any(
        key.startswith("network") for key in model.state_dict()
    )  # the library's own keys


@pytest.mark.parametrize("name", NAMES[:1] + NAMES[-1:])
def test_a_pass_in_training_draws_nothing(name):
    model, images = build(name), torch.randn(3, 3, 32, 32, generator=generator())
    state = torch.get_rng_state()
    first, second = model(images), model(images)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(first, second)


def test_a_small_stem_keeps_the_size_of_the_image():
    plain, small = (build(f"torchvision.resnet18{stem}") for stem in ("", ":stem=small"))
    images = torch.zeros(1, 3, 32, 32)
    for model, size in ((plain, 1), (small, 4)):
        assert model.eval()(images, is_feat=True)[0][-2].shape == (1, 512, size, size)


@needs_timm
def test_weights_of_another_image_size_are_adapted():
    there, here = (build("timm.test_vit:patch_size=8", img_size=size) for size in (64, 32))
    adapted = here.adapted(there.state_dict())
    assert adapted["pos_embed"].shape == here.pos_embed.shape != there.pos_embed.shape


BAD = {
    "torchvision.resnet19": "no network 'resnet19'. The nearest ones: resnet1",
    "torchvision.fasterrcnn_resnet50_fpn": "no network",
    "torchvision.": "no network ''",
    "torchvision.resnet18:stem=big": "stem=big is unknown. Choices: small",
    "torchvision.resnet18:stem": "'stem' is not key=value",
    "torchvision.resnet18:num_classes=3": "num_classes cannot be given here",
    "torchvision.resnet18:width=3": "cannot be built for 7 classes, 32x32 pixels",
    "resnet20x": "Did you mean 'resnet20'.*timm.NAME, torchvision.NAME",
}
BAD_TIMM = {
    "timm.resnet5": "no network 'resnet5'. The nearest ones: resnet50",
    "timm.test_resnet.bogus": "Invalid pretrained tag",
    "timm.deit_tiny_distilled_patch16_224": "distillation token",
    "timm.test_vit:stem=small": "whose first layer is a convolution of stride 2",
    "timm.test_vit:img_size=32": "img_size cannot be given here",
}


def refused(name, expected, img_size=32):
    with pytest.raises(UserError, match=expected) as caught:
        model_dict[name](num_classes=7, img_size=img_size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_one_line(name):
    refused(name, BAD[name])


@needs_timm
@pytest.mark.parametrize("name", BAD_TIMM)
def test_a_bad_name_of_timm_is_one_line(name):
    refused(name, BAD_TIMM[name])


def test_images_that_are_too_small_are_refused():
    refused("torchvision.squeezenet1_1", "does not take images of 8x8 pixels", img_size=8)


def test_an_absent_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert "timm.resnet18" not in model_dict
    refused("timm.resnet18", "networks of timm take the package timm: pip install timm")


def test_flops_of_a_network_of_layers_are_those_of_the_zoo():
    model = build("torchvision.mobilenet_v3_small").eval()
    calls = output_shapes(model, 32, (torch.nn.Conv2d, torch.nn.Linear))
    by_layer = sum(2 * shape.numel() * layer.weight[0].numel() for layer, shape in calls)
    assert count_flops(model, 32) == by_layer and not model.training


@pytest.mark.parametrize(
    "method, student, expected",
    [
        ("attention", "torchvision.mobilenet_v3_small", ""),
        ("review", "resnet8", "teacher: it offers no maps before its ReLUs"),
        ("abound", "torchvision.mobilenet_v3_small", "student: it offers no maps before its ReLUs"),
        ("attention", "torchvision.squeezenet1_1", "student: it has no linear classifier"),
    ],
)
def test_methods_that_compare_maps(method, student, expected):
    """They have those of timm and torchvision, and are refused where a network lacks what they
    need."""
    networks = (("student", build(student)), ("teacher", build("torchvision.mobilenet_v3_small")))
    if not expected:
        for role, network in networks:
            assert len(shapes_for([method], role, network, 32)) == 6
        return
    with pytest.raises(
        UserError, match=f"--distill {method} compares maps with .*, the {expected}"
    ):
        for role, network in networks:
            shapes_for([method], role, network, 32)


SMALL_RUN = (
    "--dataset synthetic --img_size 16 --epochs 1 --limit_train 8 --limit_test 4 "
    "--batch_size 4 --device cpu "
    "--num_workers 0 --seed 1"
)
NET = "torchvision.mobilenet_v3_small"


def test_from_a_file_of_other_classes_to_teacher_and_student(tmp_path, monkeypatch, capsys):
    """Own weights of a library's network: the classifier is replaced for training, refused as it is
    for a teacher."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        file = build(NET).state_dict()  # 7 classes
    torch.save(file, "w.pth")
    words = f"{SMALL_RUN} --num_classes 5"
    run("train_teacher.py", f"{words} --model {NET} --pretrained w.pth")
    (line,) = (line for line in log_lines(the_run()) if "left out" in line)
    assert line == (
        "the classifier of --pretrained w.pth, of 7 classes, is left out: a new one of 5 is trained"
    )
    start = load(the_run() / "weights" / "ckpt.pth")["model"]
    assert start.keys() == file.keys()
    teacher = f"--path_t save/models/{NET}_vanilla/ckpt_epoch_1.pth"
    student = (
        f"{words} {teacher} --model_s {NET} --model_s_pretrained w.pth --distill dkd+attention"
    )
    trained = new_run("train_student.py", f"{student} --lw_mix [1,0,1] --mix_mode cutmix")
    assert any("--model_s_pretrained w.pth, of 7 classes" in line for line in log_lines(trained))
    for more, expected in (
        (
            "--path_t w.pth --model_t " + NET,
            "w.pth has 7 classes, the data set has 5: give a network of",
        ),
        (
            f"{teacher} --model_s resnet8 --model_s_pretrained hub",
            "resnet8 is no network of timm or",
        ),
        ("--path_t hub", "--path_t hub: --model_t says which network"),
    ):
        with pytest.raises(SystemExit):
            run("train_student.py", f"{words} --model_s resnet8 {more}")
        message = capsys.readouterr().err
        assert expected in message and message.count("\n") == 1


def no_network(*_, **__):
    raise urllib.error.URLError("no network")


@needs_timm
def test_a_hub_that_does_not_answer_is_told_at_once(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    message = "the weights of timm.test_vit cannot be had from their hub: give a file of them"
    with pytest.raises(UserError, match=message) as error:
        External.named("timm.test_vit").hub_weights(64)
    assert "\n" not in str(error.value) and not constants.HF_HUB_OFFLINE
    with hub.cache_alone_if_unreachable():
        assert constants.is_offline_mode()  # so it is not tried six times
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: None)
    with hub.cache_alone_if_unreachable():
        assert not constants.is_offline_mode()


def test_weights_of_torchvisions_hub(monkeypatch):
    api = "torchvision.models._api.load_state_dict_from_url"
    monkeypatch.setattr(api, lambda url, **_: {url.split("/")[-1]: torch.ones(1)})
    (name,) = External.named("torchvision.resnet18").hub_weights(224)
    assert name.startswith("resnet18-")


@needs_timm
def test_a_start_of_another_image_size_and_other_classes():
    there, here = (build("timm.test_vit:patch_size=8", img_size=size) for size in (64, 32))
    smaller = build_model(
        "timm.test_vit:patch_size=8", num_classes=3, img_size=32, generator=generator(2)
    )
    file = {"state_dict": there.state_dict()}
    words = {"flag": "--model_s_pretrained", "path": "w.pth"}
    with pytest.raises(UserError, match=r"1 shapes differ \(pos_embed\)"):
        load_weights(here, "timm.test_vit", file, **words)
    (note,) = load_weights(smaller, "timm.test_vit", file, **words, starts=True)
    assert "of 7 classes, is left out: a new one of 3 is trained" in note
    same, other = smaller.state_dict(), there.state_dict()
    assert all(torch.equal(same[k], other[k]) for k in same if k[:4] not in ("pos_", "head"))

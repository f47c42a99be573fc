"""Every registered model against the original's layouts and numbers (tests/golden/models.*).

The .json holds layouts, feature shapes and a few scalars of all models; the .npz logits and feature
statistics of some. Both are functions of the recipe's weights and images (tests/recipe.py). The
ImageNet ResNets are torchvision's, and are tested against it.
"""

import copy
import functools
import json
import math

import numpy as np
import pytest
import torch
import torchvision
from kinds import CLASSES, KINDS, each_kind, kind_of, without_weights
from places import GOLDEN
from recipe import load_recipe, recipe_images
from torch import Tensor, nn

from models import build_model, model_dict
from models.model_info import count_parameters

RECORDS = json.loads((GOLDEN / "models.json").read_text())["models"]
ARRAYS = np.load(GOLDEN / "models.npz")

CASES = [
    (name, size)
    for name in model_dict
    for size in (32, 64)
    if "state_dict" in RECORDS.get(f"{name}/{size}", {})  # else the original lacks it or fails
]
IN_NPZ = [(name, size) for name, size in CASES if f"{name}/{size}/logits64" in ARRAYS]
# The largest have the layers of smaller ones; drawing their weights alone takes seconds.
RUN = [
    (name, size)
    for name, size in CASES
    if name in KINDS or (size == 32 and RECORDS[f"{name}/{size}"]["n_params"] < 12e6)
]
WITH_PREACT = [
    (name, size) for name, size in RUN if RECORDS[f"{name}/{size}"]["preact"]["supported"]
]
# The scope makes pytest run the tests of one case, or name, together: they share its model.
each_layout = pytest.mark.parametrize("name, size", CASES)
each_case = pytest.mark.parametrize("name, size", RUN, scope="module")
each_case_with_preact = pytest.mark.parametrize("name, size", WITH_PREACT, scope="module")
each_imagenet_resnet = pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50"], scope="module"
)
each_case_in_npz = pytest.mark.parametrize("name, size", IN_NPZ, scope="module")
each_known_init = pytest.mark.parametrize(
    "name",
    [name for name in KINDS if f"{name}/32" in RECORDS or name in ("resnet18", "resnet50")],
    scope="module",
)


@functools.lru_cache(maxsize=1)
def new_model(name: str) -> nn.Module:
    """Its weights from seed 0. Shared by the tests of one name, not to be changed."""
    model = copy.deepcopy(without_weights(name, 32)).to_empty(device="cpu")
    model.init_weights(torch.Generator().manual_seed(0))
    return model


@functools.lru_cache(maxsize=1)
def recipe_model(name: str, size: int) -> nn.Module:
    """In eval mode. Shared by the tests of one case, not to be changed."""
    model = copy.deepcopy(without_weights(name, size)).to_empty(device="cpu")
    gain = RECORDS[f"{name}/{size}"]["gain"] if f"{name}/{size}" in RECORDS else 1
    return load_recipe(model, gain).eval()


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def recipe_forward(name: str, size: int) -> tuple[list[Tensor], Tensor]:
    """Features and logits of the recipe's images."""
    return recipe_model(name, size)(recipe_images(size), is_feat=True)


def assert_near(actual: Tensor, expected, tolerance: float) -> None:
    """Largest absolute error <= tolerance * largest absolute expected value."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    error = (actual.double() - expected).abs().max()
    assert error <= tolerance * expected.abs().max(), f"{error:.3g} of {expected.abs().max():.3g}"


def torchvisions(name: str) -> nn.Module:
    """On the meta device."""
    with torch.device("meta"):
        return getattr(torchvision.models, name)(num_classes=200)


def module_names(model: nn.Module, modules) -> list[str]:
    names = {module: name for name, module in model.named_modules()}
    return [names[module] for module in modules]


def sums_of_running_statistics(model: nn.Module) -> dict[str, float]:
    def total(leaf: str) -> float:
        state = model.state_dict().items()
        return sum(value.double().sum().item() for key, value in state if key.endswith(leaf))

    return {f"sum_{leaf}": total(leaf) for leaf in ("running_mean", "running_var")}


def test_every_kind_is_listed() -> None:
    """If this fails, a new family, or a new layer in one, has no name in kinds.py."""
    listed = [kind_of(name) for name in KINDS]
    assert len(set(listed)) == len(KINDS)
    missing = [name for name in model_dict if kind_of(name) not in listed]
    assert not missing, f"tests/kinds.py needs a name for the layers of {missing}"


# ---- layout


@each_layout
def test_state_dict_and_modules_have_the_originals_names(name: str, size: int) -> None:
    golden = RECORDS[f"{name}/{size}"]
    model = without_weights(name, size)
    layout = [
        [key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for key, tensor in model.state_dict().items()
    ]
    assert layout == golden["state_dict"]
    assert count_parameters(model) == golden["n_params"]
    for key in ("feat_modules", "bn_before_relu"):
        modules = getattr(model, f"get_{key}")()
        if isinstance(golden[key], list):  # else the exception that the original raises
            assert module_names(model, modules) == golden[key]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


@each_imagenet_resnet
def test_imagenet_resnets_have_torchvisions_keys(name: str) -> None:
    shapes, expected = (
        {key: value.shape for key, value in model.state_dict().items()}
        for model in (without_weights(name, 64), torchvisions(name))
    )
    assert list(shapes.items()) == list(expected.items())


@pytest.mark.parametrize(
    "name, expected",
    {
        "resnet18": ["layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2", "layer4.1.bn2"],
        "resnet34": ["layer1.2.bn2", "layer2.3.bn2", "layer3.5.bn2", "layer4.2.bn2"],
        "resnet50": ["layer1.2.bn3", "layer2.3.bn3", "layer3.5.bn3", "layer4.2.bn3"],
        "ShuffleV1": ["layer1.3.bn3", "layer2.7.bn3", "layer3.3.bn3"],
        "ShuffleV2": ["layer1.3.bn3", "layer2.7.bn3", "layer3.3.bn3"],
        "ShuffleV2_0_3": ["layer1.3.bn3", "layer2.7.bn3", "layer3.3.bn3"],
    }.items(),
)
def test_bn_before_relu_of_models_whose_original_has_none(name: str, expected: list[str]) -> None:
    model = without_weights(name, 32)
    assert module_names(model, model.get_bn_before_relu()) == expected


@each_imagenet_resnet
def test_feat_modules_of_imagenet_resnets(name: str) -> None:
    model = without_weights(name, 32)
    names = module_names(model, model.get_feat_modules())
    assert names == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]


# ---- forward pass


@each_case
def test_float32_forward(name: str, size: int) -> None:
    golden = RECORDS[f"{name}/{size}"]
    features, logits = recipe_forward(name, size)
    assert [list(feature.shape) for feature in features] == golden["feat_shapes"]
    assert_near(torch.stack([feature.min() for feature in features]), golden["feat_min"], 1e-4)
    assert_near(logits.abs().max(), golden["max_abs_logit"], 1e-4)
    if (name, size) in IN_NPZ:
        assert_near(logits, ARRAYS[f"{name}/{size}/logits32"], 1e-4)


@each_case_with_preact
@torch.no_grad()
def test_float32_preact(name: str, size: int) -> None:
    golden = RECORDS[f"{name}/{size}"]["preact"]
    after, logits = recipe_forward(name, size)
    before, preact_logits = recipe_model(name, size)(recipe_images(size), is_feat=True, preact=True)
    assert torch.equal(preact_logits, logits)
    assert [list(feature.shape) for feature in before] == golden["shapes"]
    pairs = list(zip(before, after, strict=True))
    assert [torch.equal(b, a) for b, a in pairs] == golden["equals_postact"]
    assert [torch.equal(b.relu(), a) for b, a in pairs] == golden["relu_of_preact_equals_postact"]
    assert_near(torch.stack([feature.min() for feature in before]), golden["feat_min"], 1e-4)


@each_case
@torch.no_grad()
def test_a_training_forward_updates_batchnorm_once(name: str, size: int) -> None:
    model = copy.deepcopy(recipe_model(name, size)).train()
    model(recipe_images(size))
    golden = RECORDS[f"{name}/{size}"]["after_train_fwd"]
    for key, value in sums_of_running_statistics(model).items():
        assert value == pytest.approx(golden[key], rel=1e-4), key
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.num_batches_tracked.item() for norm in norms} == set(golden["num_batches_tracked"])


@pytest.mark.slow
@each_case_in_npz
@torch.no_grad()
def test_float64_matches_the_original(name: str, size: int) -> None:
    tag = f"{name}/{size}"
    model = copy.deepcopy(recipe_model(name, size)).double()
    images = recipe_images(size).double()
    for prefix, preact in (("feat", False), ("preact", True)):
        if f"{tag}/{prefix}/mean" not in ARRAYS:
            continue
        features, logits = model(images, is_feat=True, preact=preact)
        assert_near(logits, ARRAYS[f"{tag}/logits64"], 1e-9)
        for statistic, values in feature_statistics(features).items():
            assert_near(values, ARRAYS[f"{tag}/{prefix}/{statistic}"], 1e-9)
    assert_near(model.train()(images), ARRAYS[f"{tag}/logits64_train"], 1e-9)
    golden = RECORDS[tag]["after_train_fwd"]
    for key, value in sums_of_running_statistics(model).items():
        assert value == pytest.approx(golden[key], rel=1e-9), key


def feature_statistics(features: list[Tensor]) -> dict[str, Tensor]:
    """The checksums of the .npz: see the golden README."""

    def dot(feature: Tensor) -> Tensor:
        weights = np.random.RandomState(7).standard_normal(feature.numel())
        return feature.flatten() @ torch.from_numpy(weights) / feature.numel() ** 0.5

    return {
        "mean": torch.stack([feature.mean() for feature in features]),
        "std": torch.stack([feature.std(correction=0) for feature in features]),
        "chan0": torch.cat([feature[0].flatten(1).mean(1) if feature.ndim == 4 else feature[0]
                            for feature in features]),
        "dot": torch.stack([dot(feature) for feature in features]),
    }  # fmt: skip


@each_imagenet_resnet
@torch.no_grad()
def test_imagenet_resnets_are_torchvisions(name: str) -> None:
    zoo_model = copy.deepcopy(recipe_model(name, 64))
    of_torchvision = torchvisions(name).to_empty(device="cpu").eval()
    of_torchvision.load_state_dict(zoo_model.state_dict())
    for size in (32, 64, 224):
        images = recipe_images(size, batch=1)
        assert torch.equal(zoo_model(images), of_torchvision(images))
    images = recipe_images(64)
    assert torch.equal(zoo_model.train()(images), of_torchvision.train()(images))


@each_imagenet_resnet
@torch.no_grad()
def test_preact_of_imagenet_resnets(name: str) -> None:
    after, logits = recipe_forward(name, 64)
    before, preact_logits = recipe_model(name, 64)(recipe_images(64), is_feat=True, preact=True)
    assert torch.equal(preact_logits, logits)
    for b, a in zip(before, after, strict=True):
        assert torch.equal(b.relu(), a)
    assert [(b < 0).any().item() for b in before] == [False, True, True, True, True, False]


@torch.no_grad()
def test_shufflev2_preact_is_its_norms_output_behind_the_kept_half() -> None:
    model = model_dict["ShuffleV2_0_3"]().eval()
    outputs: list[Tensor] = []
    for norm in model.get_bn_before_relu():
        norm.register_forward_hook(lambda module, args, output: outputs.append(output))
    features, _ = model(recipe_images(32), is_feat=True, preact=True)
    for before, output in zip(features[1:-1], outputs, strict=True):
        kept, branch = before.chunk(2, dim=1)
        assert torch.equal(branch, output) and (kept >= 0).all()


@each_kind
@torch.no_grad()
def test_every_kind_runs_at_every_data_sets_size(name: str) -> None:
    for size, classes in CLASSES.items():
        images = torch.zeros(2, 3, size, size, device="meta")
        features, logits = without_weights(name, size)(images, is_feat=True)
        assert logits.shape == (2, classes)
        assert [feature.ndim for feature in features] == [4] * (len(features) - 1) + [2]


@each_kind
@pytest.mark.parametrize("height, width", [(24, 24), (33, 47), (64, 32)])
@torch.no_grad()
def test_any_image_size(name: str, height: int, width: int) -> None:
    """At a size that the model was not built for, too; the image may be oblong."""
    images = torch.zeros(2, 3, height, width, device="meta")
    features, logits = without_weights(name, 32)(images, is_feat=True)
    assert logits.shape == (2, 100)
    stride = 2 if name in ("resnet18", "resnet50", "MobileNetV1", "MobileNetV2_0_25") else 1
    assert features[0].shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))
    assert features[-1].ndim == 2


@pytest.mark.parametrize("height, last", [(32, 4), (64, 4), (63, 7), (96, 12), (128, 16)])
def test_vgg_pools_after_block_3_only_at_a_height_of_64(height: int, last: int) -> None:
    images = torch.zeros(1, 3, height, height, device="meta")
    features, _ = without_weights("vgg8", 32)(images, is_feat=True)
    assert features[4].shape == (1, 512, last, last)


@torch.no_grad()
def test_wrn_preact_in_train_mode_leaves_no_trace() -> None:
    plain, preact = (load_recipe(model_dict["wrn_16_1"]()).train() for _ in range(2))
    plain(recipe_images(32), is_feat=True)
    before_relu, _ = preact(recipe_images(32), is_feat=True, preact=True)
    for key, value in plain.state_dict().items():
        assert torch.equal(preact.state_dict()[key], value), key
    # The batch's own statistics are used: every channel has mean `bias`.
    for norm, feature in zip(preact.get_bn_before_relu(), before_relu[1:4]):
        assert_near(feature.mean(dim=(0, 2, 3)), norm.bias, 1e-4)


@each_kind
def test_gradients_reach_every_parameter(name: str) -> None:
    model = copy.deepcopy(new_model(name)).train()
    features, logits = model(recipe_images(32, batch=2), is_feat=True, preact=True)
    (logits.sum() + sum(feature.sum() for feature in features)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# ---- initialisation


@each_kind
def test_init_weights_draws_everything_from_its_generator(name: str) -> None:
    """It restores a model whose every tensor was overwritten; another seed changes every weight."""
    expected, model = new_model(name).state_dict(), copy.deepcopy(new_model(name))
    for tensor in model.state_dict().values():
        tensor.fill_(7)
    model.init_weights(torch.Generator().manual_seed(0))
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]), key
    model.init_weights(torch.Generator().manual_seed(1))
    for key, value in model.state_dict().items():
        assert value.ndim < 2 or not torch.equal(value, expected[key]), key


@each_kind
def test_build_model_draws_from_its_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    model = build_model(name, num_classes=100, img_size=32, generator=generator)
    assert torch.equal(torch.get_rng_state(), before), "build_model moved the global generator"
    expected = new_model(name).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def original_init(name: str) -> dict:
    """The original's facts; for the ImageNet ResNets that it lacks, torchvision's."""
    if f"{name}/32" in RECORDS:
        return RECORDS[f"{name}/32"]["init_seed0"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = getattr(torchvision.models, name)(num_classes=100).state_dict()
    return {
        "mean_std_absmax_of_ndim_ge_2": [
            [key, value.mean().item(), value.std().item(), value.abs().max().item()]
            for key, value in state.items()
            if value.ndim >= 2
        ],
        "biases_not_zero_at_init": [k for k, v in state.items() if k.endswith("bias") and v.any()],
    }


@each_known_init
def test_init_is_distributed_as_the_originals(name: str) -> None:
    golden = original_init(name)
    state = new_model(name).state_dict()
    for key, _, std, largest in golden["mean_std_absmax_of_ndim_ge_2"]:
        weight = state[key].double()
        sampling_error = std / weight.numel() ** 0.5  # of a mean; of the two stds' difference
        assert weight.mean().abs() < 5 * sampling_error, key
        assert (weight.std() - std).abs() < 5 * sampling_error, key
        # A uniform draw ends at sqrt(3) std, a normal one of thousands does not.
        if weight.numel() >= 1000:
            assert (weight.abs().max() < 1.9 * std) == (largest < 1.9 * std), key
    biases = [key for key, value in state.items() if key.endswith("bias") and value.any()]
    assert biases == golden["biases_not_zero_at_init"]
    norms = [module for module in new_model(name).modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert (norm.weight == 1).all() and (norm.running_var == 1).all()
        assert not norm.running_mean.any()


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet8x5'\. Did you mean 'resnet8x4'\?"):
        build_model("resnet8x5", num_classes=10, img_size=32, generator=torch.Generator())

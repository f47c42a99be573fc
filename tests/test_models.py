"""Every registered model against the original's layouts and numbers (tests/golden/models.*).

The .json holds layouts, feature shapes and a few scalars of all models; the .npz logits and feature
statistics of some. Both are functions of the recipe's weights and images (tests/recipe.py).
"""

import copy
import functools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe import load_recipe, recipe_images
from torch import Tensor, nn

from helper.model_info import count_flops, count_parameters
from models import build_model, model_dict

GOLDEN = Path(__file__).parent / "golden"
RECORDS = json.loads((GOLDEN / "models.json").read_text())["models"]
ARRAYS = np.load(GOLDEN / "models.npz")
CLASSES = {32: 100, 64: 200}

CASES = [
    (name, size)
    for name in model_dict
    for size in CLASSES
    if "state_dict" in RECORDS[f"{name}/{size}"]  # else the original fails at this size
]
IN_NPZ = [(name, size) for name, size in CASES if f"{name}/{size}/logits64" in ARRAYS]
# wrn_28_10 at 64 px would take a fifth of this file's time and show nothing new over 32 px.
RUN = [case for case in CASES if case != ("wrn_28_10", 64)]
# The scope makes pytest run one case's tests together, so that they share `recipe_model`.
each_layout = pytest.mark.parametrize("name, size", CASES)
each_case = pytest.mark.parametrize("name, size", RUN, scope="module")
each_case_in_npz = pytest.mark.parametrize("name, size", IN_NPZ, scope="module")
each_name = pytest.mark.parametrize("name", list(model_dict))


def without_weights(name: str, size: int) -> nn.Module:
    with torch.device("meta"):
        return model_dict[name](num_classes=CLASSES[size], img_size=size)


@functools.lru_cache(maxsize=1)
def recipe_model(name: str, size: int) -> nn.Module:
    """Shared by the tests of one case: in eval mode, not to be changed."""
    model = without_weights(name, size).to_empty(device="cpu")
    return load_recipe(model, RECORDS[f"{name}/{size}"]["gain"]).eval()


def assert_near(actual: Tensor, expected, tolerance: float) -> None:
    """Largest absolute error <= tolerance * largest absolute expected value."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    error = (actual.double() - expected).abs().max()
    assert error <= tolerance * expected.abs().max(), f"{error:.3g} of {expected.abs().max():.3g}"


def module_names(model: nn.Module, modules) -> list[str]:
    names = {module: name for name, module in model.named_modules()}
    return [names[module] for module in modules]


def sums_of_running_statistics(model: nn.Module) -> dict[str, float]:
    def total(leaf: str) -> float:
        state = model.state_dict().items()
        return sum(value.double().sum().item() for key, value in state if key.endswith(leaf))

    return {f"sum_{leaf}": total(leaf) for leaf in ("running_mean", "running_var")}


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


# ---- forward pass


@each_case
@torch.no_grad()
def test_float32_forward(name: str, size: int) -> None:
    golden = RECORDS[f"{name}/{size}"]
    features, logits = recipe_model(name, size)(recipe_images(size), is_feat=True)
    assert [list(feature.shape) for feature in features] == golden["feat_shapes"]
    assert_near(torch.stack([feature.min() for feature in features]), golden["feat_min"], 1e-4)
    assert_near(logits.abs().max(), golden["max_abs_logit"], 1e-4)
    if (name, size) in IN_NPZ:
        assert_near(logits, ARRAYS[f"{name}/{size}/logits32"], 1e-4)


@each_case
@torch.no_grad()
def test_float32_preact(name: str, size: int) -> None:
    golden = RECORDS[f"{name}/{size}"]["preact"]
    if not golden["supported"]:
        pytest.skip("the original has no preact for this model")
    model, images = recipe_model(name, size), recipe_images(size)
    after, logits = model(images, is_feat=True)
    before, preact_logits = model(images, is_feat=True, preact=True)
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
    assert torch.equal(model(images), logits)
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


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4", "wrn_16_1", "vgg8"])
@pytest.mark.parametrize("height, width", [(24, 24), (48, 40), (64, 32), (96, 96)])
def test_any_image_size(name: str, height: int, width: int) -> None:
    images = torch.zeros(2, 3, height, width, device="meta")
    features, logits = without_weights(name, 32)(images, is_feat=True)
    assert logits.shape == (2, 100)
    assert features[0].shape[2:] == (height, width)
    assert features[-1].ndim == 2


@pytest.mark.parametrize("height, last", [(32, 4), (64, 4), (63, 7), (96, 12), (128, 16)])
def test_vgg_pools_after_block_3_only_at_a_height_of_64(height: int, last: int) -> None:
    images = torch.zeros(1, 3, height, height, device="meta")
    features, _ = without_weights("vgg8", 32)(images, is_feat=True)
    assert features[4].shape == (1, 512, last, last)


@torch.no_grad()
def test_wrn_preact_in_train_mode_updates_its_norms_twice() -> None:
    model = model_dict["wrn_16_1"]().train()
    model(recipe_images(32), is_feat=True, preact=True)
    assert {norm.num_batches_tracked.item() for norm in model.get_bn_before_relu()} == {2}
    assert model.block1.layer[0].bn1.num_batches_tracked == 1


@each_name
def test_gradients_reach_every_parameter(name: str) -> None:
    model = without_weights(name, 32).train()
    features, logits = model(torch.zeros(2, 3, 32, 32, device="meta"), is_feat=True, preact=True)
    (logits.sum() + sum(feature.sum() for feature in features)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# ---- initialisation


@each_name
def test_build_model_draws_from_its_generator_alone(name: str) -> None:
    def build(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return build_model(name, num_classes=10, img_size=32, generator=generator).state_dict()

    torch.manual_seed(1)
    first = build(0)
    next_draw = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), next_draw), "build_model moved the global generator"
    second, other = build(0), build(1)  # the global generator is elsewhere now
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        if value.ndim >= 2:
            assert not torch.equal(value, other[key]), key


@each_name
def test_init_is_distributed_as_the_originals(name: str) -> None:
    golden = RECORDS[f"{name}/32"]["init_seed0"]
    generator = torch.Generator().manual_seed(0)
    model = build_model(name, num_classes=100, img_size=32, generator=generator)
    state = model.state_dict()
    for key, _, std, largest in golden["mean_std_absmax_of_ndim_ge_2"]:
        weight = state[key].double()
        sampling_error = std / weight.numel() ** 0.5  # of a mean; of the two stds' difference
        assert weight.mean().abs() < 5 * sampling_error, key
        assert (weight.std() - std).abs() < 5 * sampling_error, key
        # A uniform draw ends at sqrt(3) std, a normal one of thousands does not.
        assert (weight.abs().max() < 1.9 * std) == (largest < 1.9 * std), key
    biases = [key for key, value in state.items() if key.endswith("bias") and value.any()]
    assert biases == golden["biases_not_zero_at_init"]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert (norm.weight == 1).all() and (norm.running_var == 1).all()
        assert not norm.running_mean.any()


def test_init_weights_is_complete() -> None:
    """A second draw from the same seed restores a model whose every tensor was overwritten."""
    for name in ("resnet8", "wrn_16_1", "vgg8"):
        generator = torch.Generator().manual_seed(3)
        model = build_model(name, num_classes=10, img_size=32, generator=generator)
        expected = copy.deepcopy(model.state_dict())
        for tensor in model.state_dict().values():
            tensor.fill_(7)
        model.init_weights(generator.manual_seed(3))
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet8x5'\. Did you mean 'resnet8x4'\?"):
        build_model("resnet8x5", num_classes=10, img_size=32, generator=torch.Generator())


# ---- size


@each_name
def test_the_docstrings_table_holds_the_models_size(name: str) -> None:
    model = without_weights(name, 32)
    table = sys.modules[type(model).__module__].__doc__
    row = re.search(rf"^ +{name} +([\d,]+) +([\d,]+)$", table, re.MULTILINE)
    assert row, f"no row for {name}"
    parameters, flops = (int(cell.replace(",", "")) for cell in row.groups())
    assert (parameters, flops) == (count_parameters(model), count_flops(model, 32))


def test_flops_by_hand() -> None:
    # 3x3 convolution 3 -> 8 on 16 x 16, then linear 8 -> 5
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip
    before = copy.deepcopy(model.state_dict())
    assert count_flops(model, 16) == 2 * (9 * 3 * 8 * 16 * 16 + 8 * 5)
    assert model.training and model[0].weight.device.type == "cpu"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_frozen_parameters_count_too() -> None:
    """A teacher's are all frozen, and it is no smaller for that."""
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 8

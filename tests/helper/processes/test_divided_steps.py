"""Steps, evaluation and T. stddev on two and three processes, in float64: what they compute
together is what one computes alone."""

import functools
import random

import numpy as np
import pytest
import torch
from processes import end_stores, together  # noqa: F401  (a fixture)
from scenes import scene_of

from augment import MixSettings, Pick, build, mix_modes, pick_criteria, picks
from dataset.synthetic import synthetic_spec
from helper.cli.flags import student_parser
from helper.loop.metrics import evaluate
from helper.processes import distributed
from helper.processes.sync_batchnorm import share_batchnorm
from helper.setup.methods import make_methods
from helper.step.distill import DistillStep, LabelStep
from helper.step.passes import ViewMaker, student_passes
from helper.step.networks import freeze
from helper.step.teacher_stats import TeacherStddev
from models import build_model

CLASSES, SIZE = 10, 16
SPEC = synthetic_spec(CLASSES, SIZE)
LARGER = synthetic_spec(CLASSES, 32)
"""Some stages refuse smaller images."""
IMAGES = 40
"""In the training set of the steps below."""


def network(name, seed):
    generator = torch.Generator().manual_seed(seed)
    return build_model(name, num_classes=CLASSES, img_size=SIZE, generator=generator).double()


def batches(sizes, side=SIZE):
    generator = torch.Generator().manual_seed(5)
    for count in sizes:
        images = torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)
        yield (
            images,
            torch.randint(CLASSES, (count,), generator=generator),
            torch.randperm(IMAGES, generator=generator)[:count],
        )


def train(distill, mix_mode="cutmix", criterion="", sizes=(7, 2), shares=True, student="resnet8"):
    """Two steps in float64, the last one of two images. Weights, statistics, losses."""
    torch.manual_seed(distributed.rank())  # nothing may come from here
    words = [
        "--distill",
        distill,
        "--nce_k",
        "6",
        "--lw_mix",
        "[1,0.5,1]",
        *(["-a", "0.9"] * distill.startswith("crd")),
    ]
    options = student_parser().parse(words)
    teacher, student = freeze(network("resnet14", 0)), network(student, 1)
    if shares:
        share_batchnorm(student)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    labels = torch.arange(IMAGES) % CLASSES
    methods = make_methods(
        scene_of(
            options,
            teacher=teacher,
            student=student,
            spec=SPEC,
            labels=labels,
            generator=generators[0],
        )
    )
    methods.modules.double()
    pick = Pick(pick_criteria[criterion], 8, 4.0) if criterion else None
    views = ViewMaker(
        teacher,
        mix_modes[mix_mode](SPEC, MixSettings()),
        generators[1],
        pick=pick,
        student=student,
        preacts=methods.teacher_preacts,
        features_of_view=bool(methods.preacts),
    )
    parallel = distributed.parallel(student, uses_all=methods.head is None)
    step = DistillStep(
        views, student_passes(parallel, methods.preacts), methods.logit, methods.in_main_stage,
        methods.weights, teacher_target=True, feature_views=bool(methods.preacts),
    )  # fmt: skip
    return descend(step, student, methods.modules, sizes)


def train_on_labels(mix_mode, sizes=(7, 2)):
    student = share_batchnorm(network("resnet8", 1))
    augment = mix_modes[mix_mode](SPEC, MixSettings())
    step = LabelStep(distributed.parallel(student), augment, torch.Generator().manual_seed(8))
    return descend(step, student, torch.nn.ModuleDict(), sizes)


def descend(step, student, modules, sizes):
    student.train()
    parameters = [*student.parameters(), *modules.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    distributed.average_gradients(optimizer, modules.parameters())
    history = []
    for images, labels, rows in batches(sizes):
        losses, _ = step(images, labels, rows)
        total = step.weights.total(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.detach())
    return {
        "losses": torch.stack(history),
        **student.state_dict(),
        **{f"m.{k}": v for k, v in modules.state_dict().items()},
    }


def assert_close(got, wanted, tolerance=1e-9):
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            got[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, n=name: f"{n}: {text}",
        )


CASES = [
    ("kd", {}),
    ("dkd", {"mix_mode": "identity"}),
    ("rkd+hint", {"mix_mode": "cutout", "student": "wrn_16_1"}),
    ("crd+vid", {}),
    ("simkd", {}),
    ("review", {"mix_mode": "mixup"}),
    ("kd", {"mix_mode": "mean"}),
    ("kd", {"mix_mode": "cutmix_pick", "criterion": "teacher_entropy"}),
    ("attention", {"mix_mode": "cutmix_pick", "criterion": "kld"}),
]


@pytest.fixture(scope="module")
def trained_by_three(tmp_path_factory):
    """Results of three processes, whose parts of a batch are unequal, after each of the cases."""
    folder = tmp_path_factory.mktemp("three")
    return together(lambda: [train(distill, **options) for distill, options in CASES], 3, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", range(len(CASES)), ids=lambda case: " ".join([CASES[case][0], *CASES[case][1].values()])
)
def test_three_processes_get_the_weights_of_one(trained_by_three, case):
    """The last batch has fewer images than processes: each has it whole."""
    distill, options = CASES[case]
    check_weights([results[case] for results in trained_by_three], train(distill, **options))


def test_two_processes_get_the_weights_of_one(tmp_path):
    check_weights(together(functools.partial(train, "kd"), 2, tmp_path), train("kd"))


def check_weights(results, wanted):
    """Those of one process up to rounding, and the same in all."""
    for result in results:
        assert_close(result, wanted)
    for result in results[1:]:
        parameters = [name for name in result if "running" not in name and "losses" not in name]
        assert_close(
            {name: result[name] for name in parameters},
            {name: results[0][name] for name in parameters},
            1e-14,
        )


@pytest.mark.parametrize("mode", ["cutmix", "flip"])
def test_a_teacher_gets_the_weights_of_one_process(tmp_path, mode):
    work = functools.partial(train_on_labels, mode)
    assert_close(together(work, 2, tmp_path)[1], work())


def test_without_shared_batchnorm_each_sees_its_part(tmp_path):
    """The weights are equal everywhere, but not those of one process."""
    work = functools.partial(train, "kd", shares=False)
    first, second = together(work, 2, tmp_path)
    for name in first:
        if "running" not in name:
            torch.testing.assert_close(first[name], second[name], rtol=1e-14, atol=1e-14)
    assert not torch.allclose(first["conv1.weight"], work()["conv1.weight"], rtol=1e-6)


def test_shared_batchnorm_is_batchnorm(tmp_path):
    """Values, gradients, statistics; four images on three processes."""
    images = torch.randn(
        4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    def work():
        layer = share_batchnorm(torch.nn.Sequential(torch.nn.BatchNorm2d(3)).double())[0]
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
        leaf = images.clone().requires_grad_()
        out = distributed.divided(layer, leaf, layer)
        (out * torch.arange(5.0)).cos().sum().backward()
        gradients = [leaf.grad, layer.weight.grad, layer.bias.grad]
        gradients = [distributed.summed(gradient) / distributed.size() for gradient in gradients]
        return {
            "out": out.detach(), **{f"grad{k}": g for k, g in enumerate(gradients)},
            **layer.state_dict()
        }  # fmt: skip

    for result in together(work, 3, tmp_path):
        assert_close(result, work())
    assert_close({"out": work()["out"]}, {"out": reference(images)})


def reference(images):
    layer = torch.nn.BatchNorm2d(3).double()
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    return layer(images).detach()


@pytest.mark.parametrize("size", [2, 3])
def test_evaluation_is_exact(tmp_path, size):
    def work():
        model = network("resnet8", distributed.rank() * 0 + 3).float()
        for buffer in model.buffers():  # in the second process they are off, as without --sync_bn
            buffer.add_(distributed.rank())
        result = evaluate(model, [(i.float(), y, r) for i, y, r in batches((7, 5, 1))])
        return {name: torch.tensor(value) for name, value in vars(result).items()}

    wanted = work()
    for result in together(work, size, tmp_path):
        assert_close(result, wanted, 1e-6)
        assert result["acc1"] == wanted["acc1"]


@pytest.mark.parametrize("size", [2, 3])
def test_t_stddev_is_that_of_one_process(tmp_path, size):
    """Fourteen steps: two groups, and a part of a third, over which a checkpoint is written and
    read."""

    def work():
        teacher = freeze(network("resnet8", 0))
        views = ViewMaker(
            teacher,
            mix_modes["cutmix"](SPEC, MixSettings()),
            torch.Generator().manual_seed(4),
            own_rows_only=True,
        )
        stddev = TeacherStddev(CLASSES, is_divided=True)
        for number, (images, *_) in enumerate(batches([8, 7] * 6 + [2, 1])):
            seen = views(images)
            stddev.update(seen.teacher_clean.softmax(1), seen.teacher_view.softmax(1))
            if number == 6:
                state = stddev.state_dict()
                stddev = TeacherStddev(CLASSES, is_divided=True)
                stddev.load_state_dict(state)
        value, entropy = stddev.value()
        return {"value": torch.tensor(value), "entropy": torch.tensor(entropy), **{
            name: torch.as_tensor(value) for name, value in stddev.state_dict().items()
        }}  # fmt: skip

    wanted = work()
    assert wanted["groups"] == 2 and wanted["group"][-1] == 2 * (8 + 7 + 2 + 1)
    for result in together(work, size, tmp_path):
        assert_close(result, wanted)


SCHEMES = [
    *(
        f"{name}:draw={draw}"
        for name in mix_modes
        for draw in ("batch", "sample")
        if name != "pick"
    ),
    *("tv.ElasticTransform:alpha=30,draw=sample", "tv.RandomPerspective:p=0.7", "tv.AugMix"),
    *("randaugment:draw=sample+cutmix:alpha=0.5+pick:criterion=dissimilarity", "noise+ricap:p=0.5"),
]


def views_of_schemes():
    """The views of three batches, the last one of a single image, by scheme; on any process."""
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(distributed.rank())  # nothing may come from here
    last = torch.nn.Linear(48, CLASSES, bias=False)
    torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(0))
    teacher = freeze(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), last))
    return {text: views_of(text, teacher) for text in SCHEMES}


def views_of(text, teacher):
    pick = Pick(pick_criteria["teacher_entropy"], 5, 4.0) if picks(text) else None
    generator, stddev = torch.Generator().manual_seed(4), TeacherStddev(CLASSES, is_divided=True)
    views = ViewMaker(
        teacher,
        build(text, LARGER, MixSettings()),
        generator,
        pick=pick,
        own_rows_only=pick is None,
    )
    rows = []
    for images, *_ in batches((5, 4, 1), side=32):
        seen = views(images.float().contiguous(memory_format=torch.channels_last))
        rows.append(seen.view.images)
        if pick is None:
            stddev.update(seen.teacher_clean.softmax(1), seen.teacher_view.softmax(1))
    return {"rows": rows, "group": stddev.state_dict()["group"], "state": generator.get_state()}


@pytest.mark.slow
def test_every_scheme_shows_several_processes_the_images_of_one(tmp_path):
    """Each sees its rows of the batch, or the whole of a pick; their T. stddev sums are one's."""
    first, second = together(views_of_schemes, 2, tmp_path)
    for text, wanted in views_of_schemes().items():
        one, other = first[text], second[text]
        for first_rows, second_rows, whole in zip(one["rows"], other["rows"], wanted["rows"]):
            if picks(text):  # of one image, all views score alike up to rounding
                torch.testing.assert_close(first_rows, whole, msg=text)
                assert torch.equal(first_rows, second_rows), text
            else:
                assert torch.equal(torch.cat([first_rows, second_rows]), whole), text
        for result in (one, other):
            torch.testing.assert_close(result["group"], wanted["group"], msg=text)
            assert torch.equal(result["state"], wanted["state"]), text


@pytest.mark.parametrize(("count", "size"), [(7, 3), (64, 3), (2, 3), (1, 2), (9, 9)])
def test_parts_are_all_of_it(monkeypatch, count, size):
    parts = []
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "size", lambda: size)
        parts.append(range(count)[distributed.part(count)])
    assert [row for part in parts for row in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1

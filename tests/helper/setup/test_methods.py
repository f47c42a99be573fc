"""Every distiller in the step and in runs: pairs of families, mix modes, weights, initial stages,
resuming."""

import copy

import pytest
import torch
from command_line import identical
from method_steps import batch, build, make_step, train
from watching import Watching

from distiller_zoo import FeatureDistiller, LogitDistiller, distillers
from helper.cli.options import parse_student
from helper.errors import UserError
from helper.loop.initial_stage import InitialStage
from helper.loop.state import RunState
from helper.setup.methods import WithHead
from helper.setup.optimisation import InitialSettings
from helper.step.passes import student_passes
from helper.step.distill import logit_terms

NAMES = list(distillers)
LOGIT = [name for name in NAMES if issubclass(distillers[name], LogitDistiller)]
FEATURE = [name for name in NAMES if issubclass(distillers[name], FeatureDistiller)]
INITIAL = [name for name in FEATURE if distillers[name].has_initial_stage]
MAIN = [name for name in NAMES if getattr(distillers[name], "in_main_stage", True)]
EQUAL_WIDTH_ONLY = ("fsp", "kdsvd")
PAIRS = [  # teacher, student; the tests below have resnet14/resnet8
    ("wrn_16_2", "resnet8"),
    ("vgg8", "MobileNetV2"),
    ("resnet8x4", "ShuffleV2_0_3"),
    ("ResNet18", "vgg8"),
    ("ShuffleV1", "wrn_16_1"),
]


# --- Networks -------------------------------------------------------------------------------------


WITH_MAPS = [name for name in FEATURE if name not in (*EQUAL_WIDTH_ONLY, "simkd")]


@pytest.mark.parametrize(
    ("distill", "pair"),
    [
        *((methods, pair) for pair in PAIRS for methods in ("+".join(WITH_MAPS), "simkd")),
        ("+".join(EQUAL_WIDTH_ONLY), ("resnet14", "resnet8")),
        ("+".join(LOGIT), PAIRS[-1]),  # they see nothing of the families
    ],
    ids=lambda value: value if isinstance(value, str) else "/".join(value),
)
def test_two_steps_on_pairs_of_all_families(distill, pair):
    """All methods at once, but for those that replace the head or want equal widths."""
    teacher, student, methods = build(distill, *pair)
    before = copy.deepcopy(teacher.state_dict())
    step = make_step(teacher, student, methods)
    for losses in train(step, student, methods, 2):
        assert all(torch.isfinite(torch.tensor(loss)) for loss in losses.values()), losses
        assert len(losses) == 1 + sum(name in MAIN for name in distill.split("+"))
    assert identical(dict(teacher.state_dict()), dict(before))
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("name", EQUAL_WIDTH_ONLY)
def test_other_widths_are_refused(name):
    with pytest.raises(UserError, match=rf"^--distill {name}: [^\n]*$"):
        build(name, *PAIRS[0])


@pytest.mark.parametrize("name", MAIN)
def test_a_last_batch_of_one_image(name):
    teacher, student, methods = build(name, "resnet14", "resnet8", "--lw_mix", "[1,0,1]")
    student.train()
    for mix_mode in (None, "cutmix"):
        step = make_step(teacher, student, methods, mix_mode, both=mix_mode is not None)
        losses, _ = step(*batch(1))
        total = step.weights.total(losses)
        total.backward()
        assert torch.isfinite(total), losses


@pytest.mark.parametrize("name", MAIN)
def test_ten_steps_on_one_batch_lower_the_loss(name):
    teacher, student, methods = build(name)
    step = make_step(teacher, student, methods)
    (own,) = [loss for loss in train(step, student, methods, 1)[0] if loss != "cls"]
    history = [losses[own] for losses in train(step, student, methods, 10, lr=0.005, only=[own])]
    assert sum(history[-3:]) < sum(history[:3]), history


class TwoBatches:
    """As `Batches`."""

    def __len__(self):
        return 2

    def starting_at(self, step):
        return iter([batch(), batch(seed=5)][step:])


@pytest.mark.parametrize("name", INITIAL)
def test_the_initial_stage_lowers_its_loss_and_touches_nothing_else(name, monkeypatch):
    teacher, student, methods = build(name)
    before = copy.deepcopy(
        {"t": teacher.state_dict(), "s": student.state_dict(), "m": methods.modules.state_dict()}
    )
    stage = InitialStage(
        methods.with_initial_stage,
        teacher,
        student,
        settings=InitialSettings(20, 0.002, momentum=0.9, weight_decay=5e-4),
    )
    state = RunState(generators={"data": torch.Generator()})
    history = []
    for _ in range(15):
        stage._train_epoch(state, TwoBatches(), "")
        history.append(state.meter.read()[1][name])
        state.end_pass()
    assert history[-1] < history[0], history
    assert identical(dict(teacher.state_dict()), dict(before["t"]))
    changed = {
        key
        for kind, module in (("s", student), ("m", methods.modules))
        for key, value in module.state_dict().items()
        if not torch.equal(value, before[kind][key]) and "num_batches" not in key
    }
    if name == "factor":
        assert changed and all(key.startswith("factor.paraphraser") for key in changed)
    else:
        assert changed and not any(key.startswith("fc.") for key in changed)
    assert all(
        parameter.grad is None
        for parameter in (*student.parameters(), *methods.modules.parameters())
    )


@pytest.mark.parametrize("pair", ["abound+fsp", "fsp+factor", "abound+factor", "abound+fsp+factor"])
def test_initial_stages_share_what_they_train(pair):
    teacher, student, methods = build(pair)
    stage = InitialStage(
        methods.with_initial_stage,
        teacher,
        student,
        settings=InitialSettings(1, 0.02, momentum=0.9, weight_decay=0),
    )
    trained = [parameter for group in stage.optimizer.param_groups for parameter in group["params"]]
    assert len(set(trained)) == len(trained)
    state = RunState(generators={"data": torch.Generator()})
    stage._train_epoch(state, TwoBatches(), "")
    assert set(state.meter.names) == set(pair.split("+"))
    rates = {p: group["lr"] for group in stage.optimizer.param_groups for p in group["params"]}
    assert all(rates[p] == 0.02 for p in student.get_feat_modules().parameters() if p in rates)
    if "factor" in pair:
        assert all(rates[p] == 0.01 for p in methods.modules["factor"].paraphraser.parameters())


def test_the_paraphraser_stays_as_it_is_after_the_initial_stage():
    teacher, student, methods = build("factor")
    before = copy.deepcopy(methods.modules["factor"].paraphraser.state_dict())
    train(make_step(teacher, student, methods), student, methods, 3)
    assert identical(dict(methods.modules["factor"].paraphraser.state_dict()), dict(before))


# --- Views ----------------------------------------------------------------------------------------


# To a method, a view is of one image, of two, of several, or of rows that a pick kept.
@pytest.mark.parametrize("mix_mode", ["identity", "cutmix", "mean", "cutmix_pick"])
@pytest.mark.parametrize("name", NAMES)
def test_any_method_with_any_kind_of_view(name, mix_mode):
    teacher, student, methods = build(name, "resnet8", "resnet8", "--lw_mix", "[1,0.5,1]")
    step = make_step(teacher, student, methods, mix_mode, both=True)
    losses, _ = step(*batch())
    if name in LOGIT:
        _, clean, view = logit_terms(name)
        labels_of_view = {"cls-view"} if distillers[name].labels_of_view else set()
        assert losses.keys() == {"cls", clean, view, "div-mixCE"} | labels_of_view
    elif name in MAIN:
        assert losses.keys() == {"cls", name, f"{name}-view"}
    assert torch.isfinite(step.weights.total(losses))


def test_features_are_compared_on_the_first_view_unless_both_are_asked_for():
    for both, names in ((False, {"cls", "hint"}), (True, {"cls", "hint", "hint-view"})):
        teacher, student, methods = build("hint", "resnet14", "resnet8", "--lw_mix", "[1,0,1]")
        losses, _ = make_step(teacher, student, methods, "cutmix", both=both)(*batch())
        assert losses.keys() == names


def test_a_view_that_equals_the_first_gives_equal_losses():
    """With the same images, labels and outputs, every term on the view is that on the first."""
    for name in ("dkd", "nkd", "attention", "pkt"):
        teacher, student, methods = build(name, "resnet14", "resnet8", "--lw_mix", "[1,0,1]")
        student.eval()
        losses, _ = make_step(teacher, student, methods, "identity", both=True)(*batch())
        _, clean, view = logit_terms(name) if name in LOGIT else ("", name, f"{name}-view")
        torch.testing.assert_close(losses[clean], losses[view], rtol=1e-4, atol=1e-6)


def test_mixed_views_use_both_labels():
    """DKD on a cutmix view is the mean of lam DKD(own label) + (1 - lam) DKD(the partner's)."""
    from distiller_zoo.dkd import dkd_loss

    teacher, student, methods = build("dkd", "resnet14", "resnet8", "--lw_mix", "[1,0,1]")
    student.eval()
    step = make_step(teacher, student, methods, "cutmix", draw="sample")
    step.start_epoch(20)
    seen = []
    step.observers = [Watching(lambda images, views: seen.append(views))]
    images, labels, rows = batch()
    losses, _ = step(images, labels, rows)
    (views,) = seen
    logits = student(views.view.images)
    own, other = (
        dkd_loss(logits, views.teacher_view, label, beta=8.0)
        for label in (labels, labels[views.view.partner])
    )
    lam = views.view.lam
    assert len(set(lam.tolist())) > 1
    torch.testing.assert_close(losses["div-mix-dkd"], (lam * own + (1 - lam) * other).mean())


def test_both_kinds_of_features_at_once():
    """attention reads maps after the ReLU; review those before it, the student's on ImageNet
    alone."""
    teacher, student, methods = build("attention+review")
    assert (methods.preacts, methods.teacher_preacts) == ((False,), (False, True))
    methods.feature["review"].preact = True
    assert methods.preacts == (False, True)
    step = make_step(teacher, student, methods)
    student.train()
    losses, _ = step(*batch())
    assert losses.keys() == {"cls", "attention", "review"}
    assert int(student.bn1.num_batches_tracked) == 1  # the second pass leaves no trace
    alone = build("attention")
    other, _ = make_step(*alone)(*batch())
    assert float(losses["attention"].detach()) == pytest.approx(
        float(other["attention"].detach()), rel=1e-5
    )


@pytest.mark.parametrize("name", [*(name for name in MAIN if name in FEATURE), "kd"])
def test_amp_gives_nearly_the_same_losses(name):
    """Methods on logits see the same float32 logits: one of them will do."""
    values = []
    for amp in (False, True):
        teacher, student, methods = build(name)
        step = make_step(teacher, student.eval(), methods)
        step.student = student_passes(student, methods.preacts, amp=amp)
        step.views.amp = amp
        losses, _ = step(*batch(4))
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        values.append(float(step.weights.total(losses).detach()))
    assert values[1] == pytest.approx(values[0], rel=0.15)


# --- Weights --------------------------------------------------------------------------------------


def weights_of(distill, *words, pair=("resnet14", "resnet8")):
    methods = build(distill, *pair, *words)[2]
    return methods.gamma, methods.alpha, methods.beta


@pytest.mark.parametrize(
    "distill, words, expected",
    [
        ("kd", "", (1.0, {"kd": 0.9}, {})),
        ("kd", "-r 0.1 -a 0.5 -b 0", (0.1, {"kd": 0.5}, {})),
        ("crd", "", (1.0, {}, {"crd": 0.8})),
        ("crd", "-a 0 -b 2", (1.0, {}, {"crd": 2.0})),
        ("crd", "-a 1 -b 0.8", (1.0, {"kd": 1.0}, {"crd": 0.8})),  # as CRD's commands add KD
        ("kd+crd", "-b 0.8", (1.0, {"kd": 0.9}, {"crd": 0.8})),
        ("crd+kd", "-a 1", (1.0, {"kd": 1.0}, {"crd": 0.8})),
        ("attention+crd", "-b 10,2", (1.0, {}, {"attention": 10.0, "crd": 2.0})),
        ("kd+dkd", "-a 0.5,2 -r 0.3", (0.3, {"kd": 0.5, "dkd": 2.0}, {})),
        ("ls", "", (0.1, {"ls": 9.0}, {})),
        ("simkd", "", (0.0, {}, {"simkd": 1.0})),
        ("similarity", "", (1.0, {}, {"similarity": 3000.0})),
        ("kd:weight=2+crd:weight=3", "", (1.0, {"kd": 2.0}, {"crd": 3.0})),
        ("hint+crd:weight=3+vid", "-b 5,6", (1.0, {}, {"hint": 5.0, "crd": 3.0, "vid": 6.0})),
        ("crd:weight=3", "-a 0.5", (1.0, {"kd": 0.5}, {"crd": 3.0})),
    ],
)
def test_weights(distill, words, expected):
    assert weights_of(distill, *words.split()) == expected


def test_published_settings_of_a_pair():
    for pair, weight in ((("resnet14", "resnet8"), 5.0), (("resnet56", "resnet20"), 0.6)):
        assert weights_of("review", pair=pair)[2] == {"review": weight}


@pytest.mark.parametrize(
    "words, message",
    [
        ("--distill kd -a 1,2", "--alpha has 2 weights, --distill kd takes 1: for kd"),
        ("--distill crd -b 1,2", "--beta has 2 weights, --distill crd takes 1: for crd"),
        ("--distill hint+crd -b 1", "--beta 1 is one weight for hint, crd: give 2, as W,W"),
        ("--distill kd+dkd -a 1", "--alpha 1 is one weight for kd, dkd: give 2, as W,W"),
        (
            "--distill crd:weight=3 -b 1",
            "--beta and --distill crd:weight=3 both give the weight of crd: give one",
        ),
        ("--distill crd --feature_views both", "--feature_views both needs a second view"),
    ],
)
def test_weights_that_do_not_go_with_the_methods(words, message):
    with pytest.raises(UserError) as error:
        parse_student(words.split())
    assert str(error.value).startswith(message)


# --- The replaced head ----------------------------------------------------------------------------


def test_simkd_is_evaluated_with_the_teachers_classifier():
    teacher, student, methods = build("simkd", "resnet14", "wrn_16_1")
    network = methods.deployed(student)
    assert isinstance(network, WithHead)
    images, *_ = batch()
    network.eval()
    features, _ = student(images, is_feat=True)
    vector = methods.head.project(features[-2]).mean((2, 3))  # both last maps are 8x8
    torch.testing.assert_close(network(images), teacher.fc(vector))
    _, logits = make_step(teacher, student, methods)(*batch())
    torch.testing.assert_close(logits, network(images))


def test_simkd_projects_each_view_once():
    teacher, student, methods = build("simkd", "resnet14", "resnet8", "--lw_mix", "[1,0,1]")
    student.train()
    for both in (False, True):
        before = int(methods.head.project[1].num_batches_tracked)
        make_step(teacher, student, methods, "cutmix", both=both)(*batch())
        assert int(methods.head.project[1].num_batches_tracked) == before + 2


def test_other_methods_leave_the_head():
    _, student, methods = build("kd+crd")
    assert methods.deployed(student) is student

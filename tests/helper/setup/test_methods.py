"""Every distiller in the step and in runs: pairs of families, mix modes, weights, initial stages,
resuming."""

import copy
import dataclasses
import signal

import pytest
import torch
from command_line import identical, load, log_lines, metrics, new_run, run, without_clock
from scenes import scene_of

from augment import MixSettings, Pick, mix_modes, pick_criteria
from dataset.synthetic import synthetic_spec
from distiller_zoo import FeatureDistiller, LogitDistiller, distillers
from helper.cli.flags import student_parser
from helper.cli.options import parse_student
from helper.errors import UserError
from helper.loop.initial_stage import InitialStage
from helper.loop.state import RunState
from helper.setup.methods import WithHead, make_methods
from helper.setup.optimisation import InitialSettings
from helper.step.distill import DistillStep
from helper.step.networks import freeze, student_passes
from helper.step.views import ViewMaker
from helper.step.weights import logit_terms
from models import build_model

CLASSES, SIZE, BATCH = 10, 32, 8
SPEC = synthetic_spec(CLASSES, SIZE)
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


def network(name, seed):
    generator = torch.Generator().manual_seed(seed)
    return build_model(name, num_classes=CLASSES, img_size=SIZE, generator=generator)


def options_for(distill, *words):
    """The options of a command line; --nce_k is small, since the training set is."""
    return student_parser().parse(["--distill", distill, "--nce_k", "6", *words])


def build(distill, teacher="resnet14", student="resnet8", *words):
    """(teacher, student, methods)"""
    options = options_for(distill, *words)
    teacher_network, student_network = freeze(network(teacher, 0)), network(student, 1)
    scene = scene_of(
        options,
        teacher=teacher_network,
        student=student_network,
        spec=dataclasses.replace(SPEC, name="cifar100"),  # the data set of the published pairs
        labels=torch.arange(40) % CLASSES,
        generator=torch.Generator().manual_seed(2),
        names=(teacher, student),
    )
    return teacher_network, student_network, make_methods(scene)


def batch(count=BATCH, seed=3):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    rows = torch.randperm(40, generator=generator)[:count]
    return images, rows % CLASSES, rows


def make_step(teacher, student, methods, mix_mode=None, *, both=False, draw="batch"):
    augment = mix_mode and mix_modes[mix_mode](SPEC, MixSettings(draw=draw))
    pick = Pick(pick_criteria["student_entropy"], BATCH, 4.0) if mix_mode == "cutmix_pick" else None
    views = ViewMaker(
        teacher,
        augment,
        torch.Generator().manual_seed(4),
        pick=pick,
        student=methods.deployed(student),
        preacts=methods.teacher_preacts,
        features_of_view=both,
    )
    return DistillStep(
        views,
        student_passes(student, methods.preacts),
        methods.logit,
        methods.in_main_stage,
        methods.weights,
        teacher_target=True,
        feature_views=both,
    )


def train(step, student, methods, steps, *, lr=0.01, only=None):
    """Steps on one batch.

    Returns the losses of each; `only`: the names of those that are minimised.
    """
    parameters = [*student.parameters(), *methods.modules.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    student.train()
    step.start_epoch(20)  # methods that warm up have done so
    history = []
    for _ in range(steps):
        losses, logits = step(*batch())
        assert logits.shape == (BATCH, CLASSES)
        wanted = {name: loss for name, loss in losses.items() if only is None or name in only}
        optimizer.zero_grad()
        step.weights.total(wanted).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    return history


# --- Networks -------------------------------------------------------------------------------------


# Those that compare logits alone see nothing of the families.
@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, pair) for name in NAMES for pair in (PAIRS if name in FEATURE else PAIRS[-1:])],
    ids=lambda value: value if isinstance(value, str) else "/".join(value),
)
def test_two_steps_on_pairs_of_all_families(name, pair):
    try:
        teacher, student, methods = build(name, *pair)
    except UserError as error:
        assert name in EQUAL_WIDTH_ONLY, error
        assert str(error).startswith(f"--distill {name}: ") and "\n" not in str(error)
        return
    before = copy.deepcopy(teacher.state_dict())
    step = make_step(teacher, student, methods)
    for losses in train(step, student, methods, 2):
        assert all(torch.isfinite(torch.tensor(loss)) for loss in losses.values()), losses
        assert len(losses) == 1 + (name in MAIN)
    assert identical(dict(teacher.state_dict()), dict(before))
    assert all(parameter.grad is None for parameter in teacher.parameters())


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
    step.observers = [lambda images, views: seen.append(views)]
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


def test_amp_gives_nearly_the_same_losses():
    for name in NAMES:
        if name not in MAIN:
            continue
        values = []
        for amp in (False, True):
            teacher, student, methods = build(name)
            step = make_step(teacher, student.eval(), methods)
            step.student = student_passes(student, methods.preacts, amp=amp)
            step.views.amp = amp
            losses, _ = step(*batch())
            assert all(loss.dtype == torch.float32 for loss in losses.values()), name
            values.append(float(step.weights.total(losses).detach()))
        assert values[1] == pytest.approx(values[0], rel=0.15), name


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


# --- Runs -----------------------------------------------------------------------------------------

TINY = (
    "--dataset synthetic --num_classes 5 --img_size 16 --limit_train 48 --limit_test 40 "
    "--batch_size 16 --device cpu "
    "--nce_k 7 --init_epochs 2 --seed 3 --model_s resnet8"
)
MIXED = "--lw_mix [1,0,1] --mix_mode cutmix --t_output_as_target_for_input_mix --feature_views both"


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("teacher")
    path = root / "resnet14_vanilla" / "ckpt_epoch_1.pth"
    path.parent.mkdir()
    generator = torch.Generator().manual_seed(0)
    model = build_model("resnet14", num_classes=5, img_size=16, generator=generator)
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "distill", ["crd", "factor", "abound", "simkd", "review+dkd", "kd+fsp", "vid"]
)
def test_a_resumed_run_equals_the_uninterrupted_one(distill, teacher_file):
    command = f"{TINY} {MIXED} --path_t {teacher_file} --distill {distill}"
    whole = new_run("train_student.py", command, "--epochs 2")
    part = new_run("train_student.py", command, "--epochs 1")
    run("train_student.py", command, "--epochs 2", f"--resume_student {part}/weights/ckpt.pth")
    assert identical(load(part / "weights" / "ckpt.pth"), load(whole / "weights" / "ckpt.pth"))
    of_epochs = ("initial", "train", "epoch")
    first, second = (
        [entry for entry in without_clock(metrics(path)) if entry["kind"] in of_epochs]
        for path in (part, whole)
    )
    assert first == second


def test_an_initial_stage_is_resumed(teacher_file, monkeypatch):
    command = f"{TINY} --path_t {teacher_file} --distill abound --epochs 1"
    whole = new_run("train_student.py", command)
    calls, real = [], InitialStage._train_epoch

    def stop_in_the_second(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(InitialStage, "_train_epoch", stop_in_the_second)
        run("train_student.py", command, "--project_name part")
    assert stopped.value.code == 143
    (part,) = whole.parent.glob("part*")
    assert any(
        "interrupted in epoch 2 of the initial stage after step 0 (SIGTERM); repeat" in line
        for line in log_lines(part)
    )
    run("train_student.py", command, f"--resume_ExpID {part.name}")
    assert identical(load(part / "weights" / "ckpt.pth"), load(whole / "weights" / "ckpt.pth"))


def test_another_teacher_is_another_job(teacher_file, tmp_path, capsys):
    command = f"{TINY} --distill crd --epochs 1"
    path = new_run("train_student.py", command, f"--path_t {teacher_file}")
    moved = tmp_path / "elsewhere" / "resnet14_vanilla" / "other_name.pth"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(teacher_file.read_bytes())
    resume = f"--resume_student {path}/weights/ckpt.pth"
    run("train_student.py", command, f"--path_t {moved}", resume)  # the same, elsewhere
    content = torch.load(moved, weights_only=True)
    content["model"]["fc.bias"] += 1
    torch.save(content, moved)
    with pytest.raises(SystemExit):
        run("train_student.py", command, f"--path_t {moved}", resume)
    assert "that run had teacher checksum " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, line",
    [
        ("--distill crd -b 0", "warning: --beta 0: crd is left out"),
        (
            "--distill fsp --init_epochs 0",
            "warning: --init_epochs 0: the initial stage of fsp is left out",
        ),
        (
            "--distill kd -b 3",
            "warning: --beta has no effect: kd has no feature loss in the main stage",
        ),
        (
            "--distill dkd --kd_T 8",
            "warning: --kd_T and --kd_S are kd's; dkd has its own temperature",
        ),
        (
            "--distill crd --lw_mix [1,0,1] --mix_mode cutmix",
            "warning: the second view has no effect: crd compares features of the first",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode cutmix --feature_views both",
            "warning: --feature_views both has no effect: kd compares no features",
        ),
        ("--distill kd --nce_k 8", "warning: --nce_k 8 has no effect: it is for crd"),
        (
            "--distill kd --init_epochs 3",
            "warning: --init_epochs 3 has no effect: it is for fsp, abound, factor",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode mixup --bbox square_rand_bbox",
            "warning: --bbox square_rand_bbox has no effect: it is for cutmix",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode cutmix --mix_n_run 4",
            "warning: --mix_n_run 4 has no effect: nothing is picked",
        ),
        (
            "--distill kd --lw_mix [1,0,1] --mix_mode crop:draw=batch --mix_draw sample",
            "warning: --mix_draw sample has no effect: every stage has its own draw=",
        ),
    ],
)
def test_what_is_asked_in_vain_is_said(words, line, teacher_file, capsys):
    run("train_student.py", f"{TINY} --path_t {teacher_file} --dry_run {words}")
    assert line in capsys.readouterr().out.splitlines()


def test_log_txt_states_the_methods_and_their_losses(teacher_file):
    path = new_run(
        "train_student.py", f"{TINY} --path_t {teacher_file} --distill dkd+crd -b 2 --epochs 1"
    )
    lines = log_lines(path)
    assert "loss: 1 CE(x) + 1 dkd(x) + 2 crd(x)" in lines
    assert "method dkd:weight=1,alpha=1,beta=8,T=4,warmup=20" in lines
    crd = "method crd:weight=2,mode=exact,nce_k=7,nce_t=0.07,nce_m=0.5,feat_dim=128"
    assert f"{crd}, negatives out of 48 images" in lines
    (step,) = [line for line in lines if line.startswith("Epoch: [1][0/")]
    assert "loss_div-dkd(*1.0) " in step and "loss_crd(*2.0) " in step
    (entry,) = metrics(path, "train")
    total = entry["cls"] + entry["div-dkd"] + 2 * entry["crd"]
    assert entry["loss"] == pytest.approx(total, rel=1e-5)


def test_a_simkd_student_cannot_pass_for_an_ordinary_network(teacher_file, capsys):
    command = f"{TINY} --path_t {teacher_file} --epochs 1"
    path = new_run("train_student.py", command, "--distill simkd")
    best = path / "weights" / "resnet8_best.pth"
    assert {"project.0.weight", "weight", "bias"} <= load(best)["head"].keys()
    for flag in ("--path_t", "--finetune_student"):
        with pytest.raises(SystemExit):
            run("train_student.py", command, f"{flag} {best}")
        assert (
            f"{flag} {best} is a student whose classifier a method replaced"
            in capsys.readouterr().err
        )


def test_t_stddev_does_not_depend_on_the_method(teacher_file):
    passes = (
        f"{TINY} --path_t {teacher_file} --fix_student --utils.ON --utils.check_ce_var --epochs "
        f"4 {MIXED}"
    )
    values = []
    for distill in ("kd", "crd", "simkd"):
        (summary,) = metrics(new_run("train_student.py", passes, f"--distill {distill}"), "summary")
        values.append(summary["t_stddev"])
    assert values[0] == values[1] == values[2]

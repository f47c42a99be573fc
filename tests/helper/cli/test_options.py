"""The command line: the original's flags, defaults, short forms and abbreviations, and what we
changed on purpose."""

import json

import pytest
from places import GOLDEN
from refusals import refused

from helper.cli.flags import student_parser
from helper.cli.options import parse_student, parse_teacher
from helper.cli.schedule import EpochSchedule, learning_rate
from helper.errors import UserError
from helper.setup.plan import scheme_name
from helper.setup.optimisation import loop_settings

CONFIG = json.loads((GOLDEN / "config.json").read_text())
RATES = json.loads((GOLDEN / "lr.json").read_text())

# fmt: off
NOT_BUILT = {
    # The original's abandoned side projects.
    "branch_dropout_rate", "branch_layer_S", "branch_layer_T", "branch_width_S", "branch_width_T",
    "check_cutmix_label", "crd_multiheads", "cut_size", "d_z", "embed", "entropy_log",
    "epoch_stop_head_kd_loss", "fix_T_heads", "fix_embed", "head_init", "input_mix_no_kld_epoch",
    "lr_DA", "lw_branch_ce", "lw_branch_kld", "lw_dcs", "mask_zero_ratio", "max_min_ratio",
    "modify_student_input", "n_branch_fc_S", "n_branch_fc_T", "online_augment", "only_test",
    "pretrained_embed", "ratio_CE_loss", "reinit_student", "s_branch_target", "save_crd_loss",
    "save_entropy_log_step", "stack_input", "test_loader_in_train", "train_linear_classifier",
    "two_loader", "update_data_interval", "update_data_start",
    # The mix modes beyond the paper's tables.
    "DA_pick_base", "n_patch",
}
# fmt: on
"""Flags of the original that may be missing; every other one must be there."""

OURS_DIFFER = {
    "gamma": None,  # 1 for kd; other methods have what their papers say
    "model_t": None,  # not a flag but the name found in --path_t
    "model_path": None,  # the run folder holds weights
    "tb_path": None,  # and TensorBoard events
}
"""Defaults that differ from the golden ones on purpose."""


def student(line):
    return parse_student(line.split())


def teacher(line):
    return parse_teacher(line.split())


def same(value, golden):
    return (
        list(value) == golden if isinstance(golden, list) and value is not None else value == golden
    )


# --- Against the original -------------------------------------------------------------------------


def test_every_flag_of_the_original_is_there_or_left_out_on_purpose():
    flags = {flag.removeprefix("--") for flag in student_parser().flags}
    assert CONFIG["defaults"].keys() - flags <= NOT_BUILT


def test_defaults_are_the_original_ones():
    options, wanted = vars(student("")), {**CONFIG["defaults"], **OURS_DIFFER}
    shared = options.keys() & wanted.keys()
    assert {name: options[name] for name in shared if not same(options[name], wanted[name])} == {}
    assert len(shared) > 40


def test_default_statistics_are_off():
    options = vars(student(""))
    utils = {key: value for key, value in options.items() if key.startswith("utils.")}
    assert utils == {
        "utils.ON": False,
        "utils.check_ce_var": False,
        "utils.check_ce_var_trainset_size": 1000,
        "utils.check_ce_var_v2": False,
        "utils.check_ce_var_v3": False,
    }


@pytest.mark.parametrize("name", CONFIG["effective"])
def test_command_lines_mean_what_they_meant(name):
    golden = CONFIG["effective"][name]
    argv, changed = golden["argv"], golden["differs_from_defaults"]
    options = vars(parse_student(argv))
    wanted = {**CONFIG["defaults"], **OURS_DIFFER, **changed}
    for flag, value in wanted.pop("utils", {}).items():
        assert options[f"utils.{flag}"] == value
    if "--learning_rate" in argv:  # a given rate always wins
        wanted["learning_rate"] = float(argv[argv.index("--learning_rate") + 1])
    wrong = {
        key: options[key]
        for key in wanted.keys() & options.keys()
        if not same(options[key], wanted[key])
    }
    assert not wrong
    assert changed.keys() - {"utils"} <= options.keys()


def test_pick_with_one_run_is_rejected_as_before():
    assert "cutmix_pick with mix_n_run 1" in CONFIG["rejected"]
    with pytest.raises(UserError, match="--mix_n_run 1: cutmix_pick needs a whole number from 2"):
        student("--mix_mode cutmix_pick --mix_n_run 1 --lw_mix [1,0,1]")


# --- Short forms and abbreviations ----------------------------------------------------------------


def test_short_forms():
    options = student("-r 0.1 -a 0.8 -b 0.5")
    assert (options.gamma, options.alpha, options.beta) == (0.1, 0.8, 0.5)
    assert student("-r0.25").gamma == 0.25


def test_flag_equals_value():
    options = student("--gamma=0.1 --lw_mix=[1,0,2] --mix_mode=crop+flip --proj=a=b --epochs=3")
    assert (options.gamma, options.lw_mix, options.mix_mode) == (0.1, (1, 0, 2), "crop+flip")
    assert (options.project_name, options.epochs) == ("a=b", 3)


@pytest.mark.parametrize(
    "argv, name, value",
    [
        ("--project kd__vgg13vgg8", "project_name", "kd__vgg13vgg8"),
        ("--data synthetic", "dataset", "synthetic"),  # not the new --data_root
        ("--num 3", "num_workers", 3),  # not the new --num_classes
        ("--t_output", "t_output_as_target_for_input_mix", True),
        ("--cutmix_pick_crit teacher_entropy", "cutmix_pick_criterion", "teacher_entropy"),
        ("--learn 0.3", "learning_rate", 0.3),
        ("--mix_m flip", "mix_mode", "flip"),  # not the new --mix_draw
        ("--mix_d sample", "mix_draw", "sample"),
        ("--data_r there", "data_root", "there"),
        ("--dry", "dry_run", True),
        ("--se 5", "seed", 5),
        ("--utils.O", "utils.ON", True),
        ("--no", "no_DA", True),  # not the new --note
    ],
)
def test_abbreviations(argv, name, value):
    assert getattr(student(argv), name) == value


def test_what_was_an_unambiguous_abbreviation_still_is():
    """Every prefix that meant one flag of the original means it still, however many flags are
    new."""
    original = (CONFIG["defaults"].keys() - {"model_t"}) | {
        "project_name",
        "debug",
        "screen_print",
        "resume_ExpID",
    }
    original = {f"--{name}" for name in original}
    parser = student_parser()
    checked = 0
    for flag in original & parser.flags.keys():
        for end in range(3, len(flag) + 1):
            prefix = flag[:end]
            if prefix == "--model_t":  # now a flag of its own
                continue
            if [name for name in original if name.startswith(prefix)] == [flag] or prefix == flag:
                assert parser.full_flag(prefix) == flag
                checked += 1
    assert checked > 300


@pytest.mark.parametrize(
    "argv, problem",
    [
        ("--print 5", "--print could be --print_freq or --print_interval"),
        ("--epoch=3", "--epoch could be --epoch_factor or --epochs"),
        ("--resume x", "--resume could be --resume_ExpID or --resume_student"),
        ("--li 1", "--li could be --limit_test or --limit_train or --list"),
    ],
)
def test_ambiguous_abbreviations_say_between_what(capsys, argv, problem):
    assert refused(capsys, parse_student, argv) == f"train_student.py: error: {problem}\n"


def test_an_exact_flag_is_no_abbreviation():
    assert (
        teacher("--resume x --model vgg8").resume == "x"
    )  # there are --resume_ExpID and --model_path, too
    assert student("--model_s vgg8 --model_t vgg13").model_s_pretrained is None


@pytest.mark.parametrize(
    "parse, argv, nearest",
    [
        (parse_student, "--mixmode cutmix", "--mix_mode"),
        (parse_student, "--lwmix [1,0,1]", "--lw_mix"),
        (parse_student, "--cutmixpick x", "--cutmix_pick"),
        (parse_student, "--n_picks=3", "--n_pick"),
        (parse_teacher, "--modelpath x", "--model_path"),
        (parse_teacher, "--momentun 0.9", "--momentum"),
        (parse_student, "--batch-size 3", "--batch_size"),
    ],
)
def test_unknown_flags_name_the_nearest(capsys, parse, argv, nearest):
    flag = argv.split()[0].split("=")[0]
    assert f"unknown option {flag}. The nearest one is {nearest}" in refused(capsys, parse, argv)


@pytest.mark.parametrize(
    "parse, argv, fragment",
    [
        (parse_student, "--cosine", "--lr_schedule cosine"),
        (parse_student, "--T 4", "--kd_T"),
        (parse_student, "--num-epochs 3", "--epochs"),
        (parse_student, "--cutmix", "--lw_mix [1,0,1] --mix_mode NAME"),
        (parse_teacher, "--cutmix", "it is --mix_mode NAME"),
        (parse_teacher, "--checkpoint x", "--pretrained FILE"),
        (parse_teacher, "--arch vgg8", "it is --model here"),
        (parse_teacher, "--distill kd", "it is a flag of train_student.py"),
        (parse_student, "--model vgg8", "it is --model_s here"),
        (parse_student, "--device 0", "CUDA_VISIBLE_DEVICES=0"),
        (parse_student, "--device cuda:0,1", "CUDA_VISIBLE_DEVICES=0,1"),
        (parse_student, "--device gpu", "--device cuda"),
    ],
)
def test_flags_of_other_programs_are_told_what_they_are_here(capsys, parse, argv, fragment):
    assert fragment in refused(capsys, parse, argv)


def test_a_hint_names_no_flag_that_the_program_lacks(capsys):
    assert "--kd_T" not in refused(capsys, parse_teacher, "--temperature 4")
    assert "nearest" not in refused(capsys, parse_teacher, "--T 4")


def test_the_flags_of_side_projects_are_unknown(capsys):
    for name in ("lw_dcs", "n_branch_fc_S", "lr_DA", "two_loader", "stack_input"):
        assert f"unknown option --{name}" in refused(capsys, parse_student, f"--{name} 1")


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[1,0,1]", "1,0,1", "[1.0,0.0,1e0]", "[1, 0, 1]", " [1,0,1] "])
def test_forms_of_lw_mix(text):
    options = parse_student(["--lw_mix", text, "--mix_mode", "cutmix"])
    assert options.lw_mix == (1.0, 0.0, 1.0) and all(
        type(weight) is float for weight in options.lw_mix
    )


@pytest.mark.parametrize(
    "argv, wanted", [("", 64), ("--batch_size 32", 32), ("--batch_size 32 --n_pick 10", 10)]
)
def test_n_pick_follows_the_batch_size(argv, wanted):
    assert student(argv).n_pick == wanted


def test_the_names_of_the_print_interval():
    for argv in ("--print_freq 7", "--print_interval 7"):
        options = student(argv)
        assert loop_settings(options).print_interval == 7


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UserError, match="--nesterov needs a --momentum above 0"):
        parse_student(["--nesterov", "--momentum", "0"])


def test_no_da_means_neither_crop_nor_flip():
    assert student("--no_DA").use_DA == "00"
    assert student("--use_DA 10").use_DA == "10"


def test_seed_is_fresh_unless_given():
    assert student("--seed 0").seed == 0
    assert len({student("").seed for _ in range(3)}) == 3


def test_project_name_is_made_from_the_options():
    argv = "--distill kd --model_s vgg8 --lw_mix [1,0,1] --mix_mode cutmix"
    assert student(argv).project_name == "kd__vgg8__cifar100__cutmix"
    assert student("--mix_mode cutmix").project_name == "kd__resnet8__cifar100__nomix"
    assert teacher("--model vgg13").project_name == "teacher__vgg13__cifar100"


def test_model_t_pretrained_stands_in_for_path_t():
    assert student("--model_t_pretrained a/b.pth --path_t c").path_t == "a/b.pth"


def test_scheme_names():
    pick = (
        "--mix_mode cutmix_pick --mix_n_run 2 --lw_mix [1,0,1] --cutmix_pick_criterion "
        "teacher_entropy"
    )
    assert scheme_name(student(pick)) == "cutmix_pick by teacher_entropy"
    assert scheme_name(student("--mix_mode flip --lw_mix [1,0,1]")) == "flip"
    assert scheme_name(student("--mix_mode flip")) == "none"


def test_teacher_defaults():
    options = teacher("")
    assert (options.model, options.epochs, options.batch_size, options.learning_rate) == (
        "resnet110",
        240,
        64,
        0.05,
    )
    assert (options.momentum, options.weight_decay, options.use_DA) == (0.9, 0.0005, "11")
    assert (options.model_path, options.dataset, options.mix_mode) == (
        "save/models",
        "cifar100",
        None,
    )
    assert options.lr_decay_epochs == [150, 180, 210] and options.lr_decay_rate == 0.1


# --- What changes with the epoch ------------------------------------------------------------------


def schedule_argv(name, golden):
    argv = ["--epoch_factor", str(golden["epoch_factor"])] if golden["epoch_factor"] else []
    if name.startswith("mobile_shuffle"):
        return [*argv, "--model_s", "MobileNetV2"]
    return (
        [*argv, "--learning_rate", str(golden["base_lr"])] if name == "check_ce_var_lr0" else argv
    )


@pytest.mark.parametrize("name", RATES["schedules"])
def test_learning_rate_tables(name):
    golden = RATES["schedules"][name]
    options = parse_student(schedule_argv(name, golden))
    assert (options.epochs, options.lr_decay_epochs) == (golden["epochs"], golden["decay_epochs"])
    assert (options.learning_rate, options.lr_decay_rate) == (
        golden["base_lr"],
        golden["decay_rate"],
    )
    rate = loop_settings(options).learning_rate
    assert [rate(epoch) for epoch in range(1, golden["epochs"] + 1)] == golden["lr"]


@pytest.mark.parametrize("parse, flag", [(parse_student, "--model_s"), (parse_teacher, "--model")])
def test_light_students_learn_slower_unless_told_otherwise(parse, flag):
    for name in ("MobileNetV2", "ShuffleV1", "ShuffleV2"):
        assert parse([flag, name]).learning_rate == 0.01
        assert parse([flag, name, "--dataset", "tinyimagenet"]).learning_rate == 0.01
        assert parse([flag, name, "--dataset", "synthetic"]).learning_rate == 0.05
        for given in (0.05, 0.2, 0):
            assert parse([flag, name, "--learning_rate", str(given)]).learning_rate == given
    for name in (*RATES["model_override"]["not_overridden"], "vgg8"):
        assert parse([flag, name]).learning_rate == 0.05


def test_rate_drops_after_its_epochs_not_during():
    rates = [learning_rate(epoch, 1.0, [2, 3], 0.5) for epoch in range(1, 6)]
    assert rates == [1.0, 1.0, 0.5, 0.25, 0.25]


def test_lr_decay_epochs_are_read_and_scaled():
    assert student("--lr_decay_epochs 100,150").lr_decay_epochs == [100, 150]
    scaled = student("--lr_decay_epochs 5,7 --epochs 9 --epoch_factor 0.5")
    assert (scaled.lr_decay_epochs, scaled.epochs) == ([2, 3], 4)


def test_ceiling_ratio_schedule_table():
    golden = RATES["ceiling_ratio_schedule_0:0.75,150:1,180:0.9"]
    schedule = EpochSchedule.parse("--ceiling_ratio_schedule", "0:0.75,150:1,180:0.9", 1.0)
    assert {epoch: schedule.at(int(epoch)) for epoch in golden} == golden
    shuffled = EpochSchedule.parse("--ceiling_ratio_schedule", "180:0.9,0:0.75,150:1", 1.0)
    assert {epoch: shuffled.at(int(epoch)) for epoch in golden} == golden


def test_a_schedule_starts_from_the_default():
    schedule = EpochSchedule.parse("--x", "10:0.5", 1.0)
    assert [schedule.at(epoch) for epoch in (1, 9, 10, 11)] == [1.0, 1.0, 0.5, 0.5]
    assert EpochSchedule.parse("--x", "", 0.25).at(7) == 0.25


def test_weight_decay_schedule_reaches_the_loop():
    settings = loop_settings(student("--weight_decay 0.01 --weight_decay_schedule 3:5e-4,5:0"))
    assert [settings.weight_decay(epoch) for epoch in range(1, 7)] == [0.01, 0.01, 5e-4, 5e-4, 0, 0]
    constant = loop_settings(student("")).weight_decay
    assert [constant(epoch) for epoch in (1, 240)] == [5e-4, 5e-4]

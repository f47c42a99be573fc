"""Bad command lines: exit status 2, one line on stderr that names the culprit, nothing left on
disk."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run, snapshot
from fake_cifar import make_entry, write_cifar, write_pickle
from places import ROOT
from refusals import GOOD, STUDENT, TEACHER, check
from hostile import Calls

from helper.run.checkpoint import describe_model
from models import build_model

pytestmark = pytest.mark.usefixtures("empty_folder", "no_network")
PICK = "--lw_mix [1,0,1] --mix_mode cutmix_pick --mix_n_run 2 --cutmix_pick_criterion"
PASS = "--learning_rate 0 --fix_student --utils.ON --utils.check_ce_var"


def network(name, num_classes):
    generator = torch.Generator().manual_seed(0)
    return build_model(name, num_classes=num_classes, img_size=32, generator=generator).state_dict()


def write_damaged_cifars(root):
    """cifar_<damage>/cifar-100-python: the test split is fine, the training split is not."""
    entry, _, labels = make_entry(10)
    count = len(labels)

    def with_train(name, **changes):
        write_cifar(root / f"cifar_{name}", train=2, test=2)
        path = root / f"cifar_{name}" / "cifar-100-python" / "train"
        write_pickle(path, {**entry, **{key.encode(): value for key, value in changes.items()}})
        return path

    with_train("float", data=entry[b"data"].astype("float32"))
    with_train("narrow", data=entry[b"data"][:, :3071].copy())
    with_train("cube", data=entry[b"data"].reshape(count, 3, 32, 32))
    with_train("fewer", fine_labels=labels[1:])
    with_train("big_label", fine_labels=[*labels[1:], 100])
    with_train("negative_label", fine_labels=[*labels[1:], -1])
    with_train("float_label", fine_labels=[*labels[1:], 1.5])
    with_train("no_images", data=entry[b"data"][:0], fine_labels=[])
    with_train("no_data", data=b"")
    path = with_train("truncated")
    path.write_bytes(path.read_bytes()[:-1000])
    with_train("empty").write_bytes(b"")
    with_train("no_dict").write_bytes(pickle.dumps([1, 2], 2))
    with_train("html").write_bytes(b"<html>not found</html>\n" * 20)
    with_train("absent_file").unlink()
    with_train("hostile").write_bytes(
        pickle.dumps({"data": Calls(os.system, f"touch {root}/canary")}, 2)
    )


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Good and bad files, made once; no test may change them."""
    root = tmp_path_factory.mktemp("material")
    write_cifar(root / "cifar")
    write_damaged_cifars(root)
    good = root / "resnet8_vanilla" / "good.pth"
    good.parent.mkdir()
    weights = network("resnet8", 100)
    torch.save({"model": weights, "epoch": 240}, good)
    torch.save({"model": network("resnet8", 7)}, good.with_name("seven.pth"))
    torch.save({"model": {}, "epoch": 3}, good.with_name("hollow.pth"))
    torch.save(list(weights.values()), good.with_name("list.pth"))
    torch.save(
        {"model": weights, "opt": Calls(os.system, f"touch {root}/canary")},
        good.with_name("hostile.pth"),
    )
    torch.save(
        {"model": weights, **describe_model("resnet8", 100, 32, "cifar100")},
        good.with_name("own.pth"),
    )
    good.with_name("truncated.pth").write_bytes(good.read_bytes()[:-5000])
    good.with_name("empty.pth").write_bytes(b"")
    noise = torch.randint(0, 256, (3000,), generator=torch.Generator().manual_seed(0))
    good.with_name("noise.pth").write_bytes(bytes(noise.tolist()))
    for folder in ("vgg8_vanilla", "myteacher"):
        (root / folder).mkdir()
        torch.save({"model": weights}, root / folder / "resnet8.pth")
    (root / "file").write_text("")
    run_folder = root / "run"  # a run whose ckpt.pth holds weights only
    (run_folder / "log").mkdir(parents=True)
    (run_folder / "weights").mkdir()
    (run_folder / "log" / "args.json").write_text("{}")
    (run_folder / "weights" / "ckpt.pth").write_bytes(good.read_bytes())
    for name, args in (
        ("of_teacher", '{"program": "train_teacher.py"}'),
        ("of_cutmix", '{"mix_mode": "cutmix"}'),
    ):
        shutil.copytree(run_folder, root / name)
        (root / name / "log" / "args.json").write_text(args)
    return root


STUDENT_ROWS = [
    # The teacher's file.
    ("--path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth", "--path_t save/models/vgg13_vanilla/",
     "does not exist"),
    ("--path_t {m}/resnet8_vanilla", "--path_t {m}/resnet8_vanilla is a folder"),
    ("--path_t=", "--path_t ", "is a folder"),
    ("--path_t {m}/resnet8_vanilla/truncated.pth", "--path_t", "truncated.pth is incomplete"),
    ("--path_t {m}/resnet8_vanilla/empty.pth", "--path_t", "empty.pth is empty"),
    ("--path_t {m}/resnet8_vanilla/noise.pth", "--path_t", "noise.pth is damaged"),
    ("--path_t {m}/resnet8_vanilla/hostile.pth", "hostile.pth", "objects other than weights",
     "never executed"),
    ("--path_t {m}/resnet8_vanilla/list.pth", "list.pth holds a list, not a checkpoint"),
    ("--path_t {m}/resnet8_vanilla/hollow.pth", "hollow.pth holds no weights"),
    ("--path_t {m}/resnet8_vanilla/seven.pth", "seven.pth has 7 classes, the data set has 100"),
    ("--path_t {m}/vgg8_vanilla/resnet8.pth", "is a resnet8", "give --model_t resnet8"),
    ("--model_t vgg8", "--path_t", "is not a vgg8", "it fits resnet8"),
    ("--model_t_pretrained none.pth", "--model_t_pretrained none.pth does not exist"),
    # Names.
    ("--model_s vgg9", "--model_s: unknown model 'vgg9'. Did you mean 'vgg", "Choices: ", "vgg13",
     "wrn_40_2"),
    ("--model_t resnt8", "--model_t: unknown model 'resnt8'. Did you mean 'resnet8'?"),
    ("--mix_mode cutmx", "--mix_mode: unknown mix mode 'cutmx'. Did you mean 'cutmix'?",
     "Choices: augmix, autoaugment, "),
    ("--mix_mode cutmix+mixup", "--mix_mode: cutmix mixes images, so mixup cannot follow it"),
    ("--mix_mode cutout:siz=2", "--mix_mode: unknown key of cutout 'siz'. Did you mean 'size'?"),
    ("--mix_mode flip+patches:grid=5", "--mix_mode patches:grid=5: grid=5 does not divide the"),
    ("--mix_mode tv.JPEG", "--mix_mode tv.JPEG: quality= is missing"),
    ("--mix_mode cutmix:box=rand_bbox --bbox square_rand_bbox",
     "--bbox square_rand_bbox contradicts box=rand_bbox"),
    ("--mix_mode=", "--mix_mode: unknown mix mode ''", "Choices: "),
    ("--dataset cifar-100", "--dataset: unknown data set 'cifar-100'. Did you mean 'cifar100'?",
     "synthetic"),
    ("--distill kdd", "--distill: unknown distiller 'kdd'. Did you mean 'kd'?", "Choices: "),
    (f"{PICK} teacher_entrpy",
     "unknown pick criterion 'teacher_entrpy'. Did you mean 'teacher_entropy'?", "kld"),
    ("--cutmix_pick_scheme roulette", "--cutmix_pick_scheme", "'roulette'", "sort"),
    ("--mix_draw image", "--mix_draw", "'image'", "batch, sample"),
    ("--bbox round", "--bbox", "'round'", "rand_bbox"),
    ("--device gpu", "--device", "'gpu'", "auto, cpu, cuda"),
    # The form of a value.
    ("--mix_mode cutmix --lw_mix [1,0]", "--lw_mix", "'[1,0]'", "[1,0,1]"),
    ("--mix_mode cutmix --lw_mix [1,0,1,0]", "--lw_mix", "'[1,0,1,0]'"),
    ("--mix_mode cutmix --lw_mix [a,b,c]", "--lw_mix", "'[a,b,c]'"),
    ("--mix_mode cutmix --lw_mix 1;0;1", "--lw_mix", "'1;0;1'"),
    ("--mix_mode cutmix --lw_mix [1,0,1", "--lw_mix", "'[1,0,1'"),
    ("--mix_mode cutmix --lw_mix [1,0,nan]", "--lw_mix", "nan"),
    ("--mix_mode cutmix --lw_mix [1,0,inf]", "--lw_mix", "inf"),
    ("--mix_mode cutmix --lw_mix [1,0,-1]", "--lw_mix", "-1"),
    ("--mix_mode cutmix --lw_mix [1,,1]", "--lw_mix", "'[1,,1]'"),
    ("--mix_mode cutmix --lw_mix []", "--lw_mix", "'[]'"),
    ("--mix_mode cutmix --lw_mix=", "--lw_mix", "''"),
    ("--mix_mode cutmix --lw_mix (1,0,1)", "--lw_mix", "'(1,0,1)'"),
    ("--mix_mode cutmix --lw_mix [1, 0, 1]", "--lw_mix", "'[1,'"),  # as the shell splits it
    ("--epochs 0", "--epochs", "'0'", "at least 1"),
    ("--epochs -1", "--epochs", "'-1'", "at least 1"),
    ("--epochs 1.5", "--epochs", "'1.5' is not a whole number"),
    ("--epochs ten", "--epochs", "'ten'"),
    ("--epochs", "--epochs", "expected one argument"),
    ("--batch_size 0", "--batch_size", "'0'"),
    ("--learning_rate -0.1", "--learning_rate", "'-0.1'"),
    ("--learning_rate nan", "--learning_rate", "'nan'"),
    ("--learning_rate inf", "--learning_rate", "'inf'"),
    ("--momentum nan", "--momentum", "'nan'"),
    ("--weight_decay -1", "--weight_decay", "'-1'"),
    ("-a -1", "-a/--alpha", "'-1'"),
    ("--alpha nan", "--alpha", "'nan'"),
    ("-r nan", "-r/--gamma", "'nan'"),
    ("-b x", "-b/--beta", "'x'"),
    ("--gamma=-0.5", "--gamma", "'-0.5'"),
    ("--kd_T 0", "--kd_T", "'0'", "above 0"),
    ("--kd_S -4", "--kd_S", "'-4'", "above 0"),
    ("--limit_train 0", "--limit_train", "'0'", "at least 1"),
    ("--limit_test -5", "--limit_test", "'-5'"),
    ("--n_pick 0", "--n_pick", "'0'"),
    ("--mix_n_run 0", "--mix_n_run", "'0'"),
    ("--seed -1", "--seed", "'-1'"),
    ("--seed 1e3", "--seed", "'1e3' is not a whole number"),
    ("--print_interval 0", "--print_interval", "'0'"),
    ("--epoch_factor -2", "--epoch_factor", "'-2'"),
    ("--epoch_factor nan", "--epoch_factor", "'nan'"),
    ("--epochs 10 --epoch_factor 0.05", "--epoch_factor 0.05 leaves no epoch"),
    ("--lr_decay_epochs 150;180", "--lr_decay_epochs", "'150;180'", "150,180,210"),
    ("--lr_decay_rate nan", "--lr_decay_rate", "'nan'"),
    ("--use_DA 12", "--use_DA", "'12'", "11, 10, 01 or 00"),
    ("--use_DA 111", "--use_DA", "'111'"),
    ("--weight_decay_schedule 1:x", "--weight_decay_schedule", "1:x", "EPOCH:VALUE"),
    ("--weight_decay_schedule 5e-4", "--weight_decay_schedule", "5e-4", "EPOCH:VALUE"),
    ("--weight_decay_schedule 0:nan", "--weight_decay_schedule", "nan"),
    ("--weight_decay_schedule 0:-1", "--weight_decay_schedule", "-1"),
    ("--ceiling_ratio_schedule 0:2", "--ceiling_ratio_schedule", "2 is not between 0 and 1"),
    ("--ceiling_ratio_schedule 0:nan", "--ceiling_ratio_schedule", "nan"),
    ("--floor_ratio_schedule 0:-0.5", "--floor_ratio_schedule", "-0.5"),
    ("--floor_ratio_schedule half", "--floor_ratio_schedule", "half", "EPOCH:VALUE"),
    ("--dataset synthetic --num_classes 1", "--num_classes", "'1'"),
    ("--dataset synthetic --num_classes 100000", "--num_classes", "100000"),
    ("--dataset synthetic --img_size 9", "--img_size", "9"),
    ("--project a/b", "--project_name", "a/b"),
    # Rules between flags.
    ("--lw_mix [1,0,1]", "--lw_mix", "--mix_mode is missing", "Choices: ", "cutmix"),
    ("--lw_mix [1,0,1] --mix_mode cutmix_pick --mix_n_run 1", "cutmix_pick",
     "--mix_n_run 1: cutmix_pick needs a whole number from 2 to 64"),
    (f"{PICK} kld --mix_n_run 1", "cutmix_pick",
     "--mix_n_run 1: cutmix_pick needs a whole number from 2 to 64"),
    (f"{PASS} {PICK} student_entropy", "--cutmix_pick_criterion student_entropy",
     "--finetune_student FILE"),
    (f"{PASS} {PICK} kld", "--cutmix_pick_criterion kld", "--finetune_student FILE"),
    (f"{PASS}_v3 --lw_mix [1,0,1] --mix_mode cutmix", "--utils.check_ce_var_v3",
     "--finetune_student FILE"),
    ("--utils.check_ce_var_v3", "--utils.check_ce_var_v3", "--fix_student"),
    ("--fix_student", "--fix_student", "--utils.check_ce_var"),
    ("--fix_student --utils.ON", "--fix_student", "--utils.check_ce_var"),
    ("--resume_student a --resume_ExpID b", "--resume_student and --resume_ExpID"),
    # The student's file.
    ("--finetune_student none.pth", "--finetune_student none.pth does not exist"),
    ("--finetune_student {m}/resnet8_vanilla/noise.pth", "--finetune_student", "is damaged"),
    ("--finetune_student {m}/resnet8_vanilla/hostile.pth", "--finetune_student", "never executed"),
    ("--finetune_student {m}/resnet8_vanilla/seven.pth", "--finetune_student",
     "has 7 classes, the data set has 100"),
    ("--finetune_student {m}/resnet8_vanilla/good.pth --model_s vgg8", "--finetune_student",
     "it fits resnet8"),
    ("--model_s_pretrained none.pth", "--model_s_pretrained none.pth does not exist"),
    (f"{PASS} {PICK} student_entropy --finetune none.pth",
     "--finetune_student none.pth does not exist"),
    ("--finetune_student {m}/resnet8_vanilla/good.pth {m}/resnet8_vanilla/list.pth",
     "unexpected argument", "list.pth", "did a * in a path match several files?"),
    ("--path_t *.pth", "--path_t *.pth does not exist"),
    # Resuming.
    ("--resume_student none.pth", "--resume_student none.pth does not exist"),
    ("--resume_student {m}/run/weights/ckpt.pth", "--resume_student", "holds weights alone"),
    ("--resume_student {m}/resnet8_vanilla/own.pth", "--resume_student", "is no run folder"),
    ("--resume_student {m}/of_teacher/weights/ckpt.pth", "--resume_student",
     "is a run of train_teacher.py"),
    ("--resume_student {m}/of_cutmix/weights/ckpt.pth --mix_mode mixup",
     "--mix_mode cutmix, not mixup"),
    ("--resume_student {m}/run/weights/ckpt.pth --model_s vgg8", "--resume_student",
     "it fits resnet8"),
    ("--resume_ExpID 141344", "--resume_ExpID 141344", "no run of that name"),
    ("--resume_ExpID latest --debug", "--resume_ExpID latest", "Debug_Dir"),
    # The data.
    ("--data_root there", "could not download", "Name or service not known",
     "there/cifar-100-python", "--data_root"),
    ("--data_root there --dry_run", "--data_root there: there/cifar-100-python/ is absent"),
    ("--data_root {m}/file", "{m}/file"),
    # Words.
    ("--mixmode cutmix", "unknown option --mixmode. The nearest one is --mix_mode"),
    ("--model_S vgg8", "unknown option --model_S. The nearest one is --model_s"),
    ("-x 3", "-x"),
    ("-epochs 3", "unknown option -epochs", "--epochs"),
    ("cutmix", "unexpected argument 'cutmix'"),
]  # fmt: skip

DATA_ROWS = [
    ("float", "'data' is not an (N, 3072) array of bytes"),
    ("narrow", "'data' is not an (N, 3072) array of bytes"),
    ("cube", "'data' is not an (N, 3072) array of bytes"),
    ("no_data", "'data' is not an (N, 3072) array of bytes"),
    ("fewer", "10 images and 9 labels"),
    ("no_images", "0 images and 0 labels"),
    ("big_label", "a label lies outside 0..99"),
    ("negative_label", "a label lies outside 0..99"),
    ("float_label", "'fine_labels' is not a list of whole numbers"),
    ("truncated", "is damaged"),
    ("empty", "is damaged"),
    ("no_dict", "it holds a list, not a dict"),
    ("html", "is damaged"),
    ("absent_file", "No such file"),
    ("hostile", "system, which is not a NumPy array"),
]

TEACHER_ROWS = [
    (
        "--model resnet111",
        "--model: unknown model 'resnet111'. Did you mean 'resnet116'?",
        "Choices: ",
    ),
    ("--mix_mode cutmix_pick", "--mix_mode: unknown mix mode 'cutmix_pick'", "cutmix, "),
    ("--mix_mode smear", "--mix_mode: unknown mix mode 'smear'", "Choices: "),
    ("--dataset cifar", "--dataset: unknown data set 'cifar'. Did you mean 'cifar10'?"),
    ("--learning_rate nan", "--learning_rate", "'nan'"),
    ("--epochs 0", "--epochs", "'0'"),
    ("--ceiling_ratio_schedule 0:2", "--ceiling_ratio_schedule", "2 is not between 0 and 1"),
    (
        "--mix_mode cutmix --floor_ratio_schedule 0:2",
        "--floor_ratio_schedule",
        "2 is not between 0 and 1",
    ),
    ("--weight_decay_schedule 0:-1", "--weight_decay_schedule", "-1"),
    ("--data_root there", "could not download", "Name or service not known", "--data_root"),
    ("--data_root there --dry_run", "--data_root there: there/cifar-100-python/ is absent"),
    ("--resume none.pth", "--resume none.pth does not exist"),
    ("--resume {m}/resnet8_vanilla/noise.pth", "--resume", "is no run folder"),
    ("--resume {m}/run/weights/ckpt.pth", "--resume", "holds weights alone"),
    ("--resume {m}/run/weights/ckpt.pth --model vgg8", "--resume", "it fits resnet8"),
    ("--resume_ExpID latest", "--resume_ExpID latest", "no run of that name"),
    ("--resume none.pth --resume_ExpID latest", "--resume", "--resume_ExpID"),
    ("--model_path {m}/file", "--model_path", "{m}/file"),
    ("--project a/b", "--project_name", "a/b"),
    ("--path_t x", "--path_t: it is a flag of train_student.py (--help all lists all)"),
    ("--lw_mix [1,0,1]", "unknown option --lw_mix"),
    ("--dev_split 1", "--dev_split", "'1' is not a number of at least 0 and below 1"),
    ("--dev_split -0.1", "--dev_split", "'-0.1'"),
    ("--dev_split 0.001", "--dev_split 0.001 of 40 training images holds out none"),
    ("resnet8", "unexpected argument 'resnet8'"),
]


@pytest.mark.parametrize("row", STUDENT_ROWS, ids=lambda row: row[0])
def test_train_student_refuses(row, material, capsys):
    check(STUDENT, row[0], row[1:], material, capsys)


@pytest.mark.parametrize("row", TEACHER_ROWS, ids=lambda row: row[0])
def test_train_teacher_refuses(row, material, capsys):
    check(TEACHER, row[0], row[1:], material, capsys)


@pytest.mark.parametrize("damage, problem", DATA_ROWS)
def test_damaged_data_are_refused(damage, problem, material, capsys):
    path = f"{material}/cifar_{damage}/cifar-100-python/train"
    for program in (STUDENT, TEACHER):
        check(program, f"--data_root {{m}}/cifar_{damage}", (path, problem), material, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("program", [STUDENT, TEACHER])
def test_a_gpu_asked_for_where_none_is(program, material, capsys):
    check(program, "--device cuda", ("--device cuda", "no GPU", "cpu"), material, capsys)


@pytest.mark.parametrize("program", [STUDENT, TEACHER])
def test_the_rows_start_from_a_command_that_works(program, material, capsys):
    before = snapshot(".", material)
    run(program, f"{GOOD[program]} --dry_run".format(m=material))
    out, err = capsys.readouterr()
    assert "everything checks out" in out and not err
    assert snapshot(".", material) == before


def test_a_run_folder_that_cannot_be_made(material, capsys):
    Path("Experiments").write_text("a file")
    check(STUDENT, "", ("cannot make a run folder in Experiments", "File exists"), material, capsys)


def test_a_download_that_breaks_off_leaves_nothing(monkeypatch, material, capsys):
    def breaks_off(url, destination, **options):
        Path(destination).write_bytes(b"half")
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(torch.hub, "download_url_to_file", breaks_off)
    check(STUDENT, "--data_root data", ("could not download", "Connection reset"), material, capsys)
    Path("data").mkdir()  # what was there before stays
    check(STUDENT, "--data_root data", ("could not download", "Connection reset"), material, capsys)


# --- As a real process ----------------------------------------------------------------------------


def shell(program, line):
    """(status, stdout, stderr) of `python program line`, in the present folder."""
    words = [sys.executable, str(ROOT / program), *line.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_process_bad_flag():
    status, out, err = shell(TEACHER, "--mdoel vgg8")
    assert (status, out) == (2, "")
    assert err == (
        "train_teacher.py: error: unknown option --mdoel. The nearest one is --model "
        "(--help all lists all)\n"
    )
    assert not list(Path().iterdir())

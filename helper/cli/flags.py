"""Every flag of the two scripts, with its default and its help.

The rules between flags are in options.py.

Flags, short forms and defaults are the original system's; those marked `new` are this project's.
"""

import argparse
from collections.abc import Callable, Sequence

from augment import mix_modes, pick_criteria, picks
from augment.draws import draw_box
from dataset import datasets
from distiller_zoo import distillers
from helper.cli.listing import listing
from helper.cli.parser import (
    OptionParser,
    device,
    epoch_list,
    loss_weights_of_mix,
    methods_joined_by_plus,
    mix_mode,
    number,
    one_of,
    three_numbers,
    two_switches,
    weights,
)
from helper.cli.schedule import RATE_SCHEDULES
from models import model_dict


class PrintListing(argparse.Action):
    """--list: like --help, it prints and ends, whatever else is on the command line."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help, default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(listing())
        parser.exit()


PRECISIONS = ("default", "highest", "high", "medium")


# One flag, two lines: a table to read, so the formatter stays out.
# fmt: off
def add_data(parser: OptionParser) -> None:
    data = parser.section("data")
    data("--dataset", default="cifar100", type=one_of("data set", datasets), metavar="NAME",
         help=f"one of {', '.join(datasets)} (default: cifar100)")
    data("--data_root", default="data", metavar="DIR", new=True,
         help="folder of the public files, absent ones are downloaded; of --dataset folder: your "
              "images (default: data)")
    data("--batch_size", default=64, type=number(int, 1), metavar="N",
         help="training batch (default: 64)")
    data("--use_DA", type=two_switches, metavar="CF",
         help="default DA of every training image: random crop, flip, 1 or 0 each (default: 11; "
              "svhn 10)")
    data("--no_DA", action="store_true",
         help="no default DA, like --use_DA 00")
    data("--cache_dir", default="", metavar="DIR", new=True,
         help="folder for decoded images of tinyimagenet, svhn and folder (default: cache in "
              "--data_root)")
    data("--dev_split", default=0.0, type=number(below=1), metavar="F", new=True,
         help="hold out this fraction of the training set, the same of each class, and choose "
              "the best epoch on it instead of the test set (default: 0, as published)")
    data("--limit_train", type=number(int, 1), metavar="N", new=True,
         help="only the first N training examples, for smoke runs")
    data("--limit_test", type=number(int, 1), metavar="N", new=True,
         help="only the first N test examples")
    data("--num_classes", type=number(int, 2), metavar="K", new=True,
         help="synthetic data: number of classes (default: 20)")
    data("--img_size", type=number(int, 8), metavar="S", new=True,
         help="image side in pixels: of synthetic data (default: 32), or to resize those of folder "
              "to (default: as they are)")
    data("--mean", type=three_numbers, metavar="R,G,B", new=True,
         help="folder: mean of each channel, of 0..1, that is subtracted (default: measured once)")
    data("--std", type=three_numbers, metavar="R,G,B", new=True,
         help="folder: deviation of each channel, that is divided by (default: measured once)")
    data("--images", default="auto", type=one_of("choice", ["auto", "memory", "stream"]),
         metavar="HOW", new=True,
         help="folder: decoded once and held on the device, or streamed from the files in every "
              "epoch: memory, stream, auto: memory up to 2 GiB (default: auto)")


def add_optimisation(parser: OptionParser) -> None:
    train = parser.section("optimisation")
    train("--epochs", default=240, type=number(int, 1), metavar="N",
          help="(default: 240)")
    train("--epoch_factor", default=0.0, type=number(), metavar="F",
          help="multiplies --epochs and --lr_decay_epochs; 0: not (default: 0)")
    train("--learning_rate", type=number(), metavar="LR",
          help="(default: 0.05; 0.01 for MobileNetV2, ShuffleV1 and ShuffleV2, also at width 1, "
               "1.5)")
    train("--lr_schedule", default="step", type=one_of("schedule", RATE_SCHEDULES), metavar="NAME",
          new=True,
          help="step: by --lr_decay_epochs; cosine: from the rate down to 0 over all epochs "
               "(default: step)")
    train("--warmup_epochs", default=0, type=number(int), metavar="N", new=True,
          help="epochs over which the rate grows to the full one, in equal steps (default: 0)")
    train("--lr_decay_epochs", default=[150, 180, 210], type=epoch_list, metavar="E,E",
          help="epochs after which the rate is multiplied (default: 150,180,210)")
    train("--lr_decay_rate", default=0.1, type=number(), metavar="F",
          help="by this (default: 0.1)")
    train("--momentum", default=0.9, type=number(), metavar="M",
          help="(default: 0.9)")
    train("--nesterov", action="store_true", new=True,
          help="Nesterov's momentum")
    train("--weight_decay", default=0.0005, type=number(), metavar="W",
          help="on every parameter (default: 0.0005)")
    train("--weight_decay_schedule", metavar="E:W,E:W",
          help="weight decay by epoch, such as 0:5e-4,150:1e-4")


def add_machine(parser: OptionParser) -> None:
    machine = parser.section("machine and seed")
    machine("--device", default="auto", type=device, metavar="NAME", new=True,
            help="auto, cpu or cuda; auto takes the GPU if there is one (default: auto)")
    machine("--seed", type=number(int), metavar="N", new=True,
            help="fixes every random draw of the run (default: a fresh one, told in log.txt)")
    machine("--amp", action="store_true",
            help="run the networks in bfloat16 autocast; losses stay float32")
    machine("--sync_bn", action="store_true", new=True,
            help="torchrun: BatchNorm's statistics are the whole batch's, not each process's "
                 "part's")
    machine("--compile", action="store_true", new=True,
            help="run the networks through torch.compile, on a GPU as CUDA graphs; without a "
                 "compiler they run as they are")
    machine("--precision", default="default", type=one_of("precision", PRECISIONS), metavar="NAME",
            new=True,
            help="float32 products on a GPU: default (TF32 in convolutions alone, as published), "
                 "highest (none), "
                 "high (TF32 everywhere), medium (as high, or what PyTorch has that is faster)")
    machine("--num_workers", default=8, type=number(int), metavar="N",
            help="processes that decode images, no more than there are processors (default: 8)")


def add_logging(parser: OptionParser) -> None:
    logs = parser.section("logging")
    logs("--project_name", default="", metavar="NAME",
         help="first part of the run folder's name (default: made from the options)")
    logs("--debug", action="store_true",
         help="write to Debug_Dir/ instead of Experiments/")
    logs("--note", default="", metavar="TEXT", new=True,
         help="free text, kept in log.txt")
    logs("--trial", default="1", metavar="ID",
         help="label of a repetition, kept in log.txt (default: 1)")
    logs("--print_interval", "--print_freq", dest="print_interval", default=100,
         type=number(int, 1), metavar="N",
         help="steps between progress lines (default: 100)")
    logs("--tb_freq", default=500, type=number(int, 1), metavar="N",
         help="steps between points of TensorBoard's training curves (default: 500)")
    logs("--save_freq", default=-1, type=number(int, -1), metavar="N",
         help="also keep weights/ckpt_epoch_E.pth every N epochs; -1: not (default: -1)")
    logs("--screen_print", action="store_true",
         help=argparse.SUPPRESS)


def add_look(parser: OptionParser) -> None:
    look = parser.section("look before you leap")
    look("--plugin", action="append", default=[], metavar="FILE.py", new=True,
         help="import this file first: your own mix modes, distillers, models, data sets, pick "
              "criteria; may be repeated")
    look("--from_log", default="", metavar="FILE", new=True,
         help="run the command at the head of this log.txt (or run folder) again, an original's "
              "too; flags beside it win; with --dry_run, only list what differs")
    look("--dry_run", action="store_true", new=True,
         help="check everything, print the plan with parameters and FLOPs, write nothing")
    look("--list", action=PrintListing, new=True,
         help="print the models, mix modes, distillers and data sets")


def add_common_sections(parser: OptionParser) -> None:
    """The flags that both scripts have."""
    for add in (add_data, add_optimisation, add_machine, add_logging, add_look):
        add(parser)


def add_mix_section(parser: OptionParser, modes: Sequence[str], text: str) -> Callable[..., None]:
    """The flags of the second view. Returns the section, to add more to it."""
    mix = parser.section("second view", text)
    mix("--mix_mode", type=mix_mode(modes), metavar="STAGE+STAGE",
        help="stages NAME or NAME:key=value,key=value, joined by +, as --list shows them: "
             f"{', '.join(modes)}")
    mix("--mix_draw", default="batch", type=one_of("draw", ["batch", "sample"]), metavar="HOW",
        new=True,
        help="one random draw a batch, as published, or one per image: batch, sample (default: "
             "batch)")
    mix("--bbox", type=one_of("box", draw_box), metavar="NAME",
        help=f"cutmix: how the box is drawn, one of {', '.join(draw_box)} (default: rand_bbox)")
    mix("--ceiling_ratio_schedule", default="", metavar="E:V,E:V",
        help="cutmix: upper bound of lam by epoch, such as 0:0.75,150:1")
    mix("--floor_ratio_schedule", default="", metavar="E:V,E:V",
        help="cutmix: lower bound of lam by epoch")
    return mix


def add_networks(parser: OptionParser) -> None:
    networks = parser.section("networks", "Names: --list prints them.")
    networks("--path_t", default="./save/models/vgg13_vanilla/ckpt_epoch_240.pth", metavar="FILE",
             help="teacher checkpoint, .../MODEL_vanilla/*.pth or any checkpoint of these scripts "
                  "(default: %(default)s)")
    networks("--model_t", type=one_of("model", model_dict), metavar="NAME", new=True,
             help="the teacher's model, where its folder does not say it")
    networks("--ema", action="store_true", new=True,
             help="the teacher's file holds a running average of the weights (EMA) beside them: "
                  "take that")
    networks("--model_s", default="resnet8", type=one_of("model", model_dict), metavar="NAME",
             help="student (default: resnet8)")
    networks("--model_t_pretrained", metavar="FILE",
             help="teacher checkpoint, in place of --path_t")
    networks("--model_s_pretrained", metavar="FILE",
             help="start the student from these weights, but for a classifier of other classes; "
                  "hub: those of timm or torchvision")
    networks("--finetune_student", default="", metavar="FILE",
             help="the same; the student of a T. stddev pass that needs one")
    networks("--test_teacher", action="store_true",
             help="evaluate the teacher first")


def add_distillation(parser: OptionParser) -> None:
    kd = parser.section("distillation")
    kd("--distill", default="kd", type=methods_joined_by_plus, metavar="A+B",
       help=f"one of {', '.join(distillers)}, or several joined by +, each alone or as "
            "NAME:key=value,key=value, such as "
            "dkd:beta=8,T=4+crd; --list prints the keys (default: kd)")
    kd("-r", "--gamma", type=number(), metavar="W",
       help="weight of the labels' cross-entropy (default: 1, or what the method's paper says)")
    kd("-a", "--alpha", type=weights, metavar="W,W",
       help="weight of each method that compares logits (default: 0.9 for kd, the published one "
            "for others)")
    kd("-b", "--beta", type=weights, metavar="W,W",
       help="weight of each method that compares features (default: the published one)")
    kd("--feature_views", default="first", type=one_of("choice", ["first", "both"]),
       metavar="WHICH", new=True,
       help="views on which features are compared: first, both (default: first)")
    kd("--bn_views", default="both", type=one_of("choice", ["both", "first"]), metavar="WHICH",
       new=True,
       help="views from which the student's BatchNorm takes its running statistics: both, as "
            "published, or first; training is the same, evaluation is not (default: both)")
    kd("--kd_T", default=4.0, type=number(above=True), metavar="T",
       help="kd: temperature of the teacher's logits; the pick criterion kld uses it too (default: "
            "4)")
    kd("--kd_S", default=4.0, type=number(above=True), metavar="T",
       help="kd: temperature of the student's logits (default: 4)")


def add_single_methods(parser: OptionParser) -> None:
    methods = parser.section("single methods")
    methods("--hint_layer", default=2, type=number(int), metavar="N",
            help="hint: which map, counted from 0, the stem (default: 2)")
    methods("--feat_dim", default=128, type=number(int, 1), metavar="N",
            help="crd, correlation: size of the embedding (default: 128)")
    methods("--mode", default="exact", type=one_of("mode", ["exact", "relax"]), metavar="NAME",
            help="crd: the positive is the image itself, or any of its class: exact, relax "
                 "(default: exact)")
    methods("--nce_k", default=16384, type=number(int, 1), metavar="N",
            help="crd: negatives for each image (default: 16384)")
    methods("--nce_t", default=0.07, type=number(above=True), metavar="T",
            help="crd: temperature (default: 0.07)")
    methods("--nce_m", default=0.5, type=number(below=1), metavar="M",
            help="crd: share of the old memory that stays (default: 0.5)")
    methods("--init_epochs", default=30, type=number(int), metavar="N",
            help="abound, factor, fsp: epochs of the stage that comes before (default: 30)")


def add_second_view(parser: OptionParser) -> None:
    view = "x', made on the device from each batch x: needs --lw_mix and --mix_mode."
    mix = add_mix_section(parser, list(mix_modes), view)
    mix("--lw_mix", type=loss_weights_of_mix, metavar="[W,W,W]",
        help="weights of KD on x, mixed-label CE on x', KD on x'; the paper: [1,0,1]; absent: no "
             "second view")
    mix("--t_output_as_target_for_input_mix", action="store_true",
        help="target on x' is the teacher's output on x'; else its outputs on x, mixed")
    mix("--mix_n_run", type=number(int, 1), metavar="N",
        help="picks: views of the batch in the pool, at least 2 (default: 2)")
    mix("--n_pick", type=number(int, 1), metavar="N",
        help="picks: views kept (default: the batch size)")
    mix("--cutmix_pick_criterion", type=one_of("pick criterion", pick_criteria), metavar="NAME",
        help=f"one of {', '.join(pick_criteria)} (default: kld)")
    mix("--cutmix_pick_scheme", default="sort", type=one_of("pick scheme", ["sort"]),
        metavar="NAME",
        help="sort: the highest scores are kept (default: sort)")


def add_stddev(parser: OptionParser) -> None:
    stats = parser.section(
        "T. stddev",
        "A pass with a fixed student. The paper: --learning_rate 0 --fix_student --utils.ON "
        "--utils.check_ce_var --epochs 10",
    )
    stats("--fix_student", action="store_true",
          help="train nothing, only measure")
    stats("--utils.ON", dest="utils.ON", action="store_true",
          help="switches the following on (implied by them)")
    stats("--utils.check_ce_var", dest="utils.check_ce_var", action="store_true",
          help="T. stddev")
    stats("--utils.check_ce_var_v2", dest="utils.check_ce_var_v2", action="store_true",
          help="means of the covariance and correlation matrices of the teacher's probabilities")
    stats("--utils.check_ce_var_v3", dest="utils.check_ce_var_v3", action="store_true",
          help="covariance of the teacher-student cross-entropy; needs a trained student")
    stats("--utils.check_ce_var_trainset_size", dest="utils.check_ce_var_trainset_size",
          default=1000, type=number(int, 1), metavar="N",
          help=argparse.SUPPRESS)


def add_pictures(parser: OptionParser) -> None:
    pictures = parser.section("pictures")
    pictures("--save_img_interval", default=10 ** 9, type=number(int, 1), metavar="N",
             help="steps between PNGs of the second view in gen_img/ (default: never)")


def add_resuming(parser: OptionParser) -> None:
    resume = parser.section("resuming")
    resume("--resume_student", default="", metavar="FILE",
           help="continue from a run's weights/ckpt.pth, in its folder: repeat the whole command "
                "and add this")
    resume("--resume_ExpID", default="", metavar="ID",
           help="the same by the run folder's name or a part of it; latest: the newest run; "
                "same: the run of this very command, which goes on, begins, or is found done")
    resume("--model_path",
           help=argparse.SUPPRESS)
    resume("--tb_path",
           help=argparse.SUPPRESS)


def student_parser() -> OptionParser:
    parser = OptionParser(
        has_short_help=True,
        prog="train_student.py",
        usage="python train_student.py --path_t FILE --model_s NAME --distill NAME [options]",
        description=(
            "Distil a teacher into a student with a second, stronger view of each batch, or "
            "measure\nfrom the teacher alone how good that view will be (T. stddev).\n\n  total "
            "= gamma * CE(student(x), y) + alpha * (LW1 * KD(x) + LW2 * CE(x', mixed y) + LW3 * "
            "KD(x'))\n          + beta * feature loss(x)"
        ),
        epilog=(
            "examples:\n  python train_student.py --path_t "
            "save/models/vgg13_vanilla/ckpt_epoch_240.pth --model_s vgg8 \\\n    --distill kd -r "
            "0.1 -a 0.9 -b 0 --t_output_as_target_for_input_mix --lw_mix [1,0,1] --mix_mode "
            "cutmix\n  the same with  --learning_rate 0 --fix_student --utils.ON "
            "--utils.check_ce_var --epochs 10  for T. stddev"
        ),
    )
    for add in (
        add_networks,
        add_distillation,
        add_single_methods,
        add_second_view,
        add_stddev,
        add_common_sections,
        add_pictures,
        add_resuming,
    ):
        add(parser)
    return parser


def teacher_parser() -> OptionParser:
    parser = OptionParser(
        has_short_help=True,
        prog="train_teacher.py",
        usage="python train_teacher.py --model NAME [options]",
        description="Train a network on labels, for use as a teacher.",
        epilog="example:\n  python train_teacher.py --model vgg13      writes "
               "save/models/vgg13_vanilla/ckpt_epoch_240.pth",
    )
    networks = parser.section("network")
    networks("--model", default="resnet110", type=one_of("model", model_dict), metavar="NAME",
             help="--list prints the names (default: resnet110)")
    networks("--pretrained", default="", metavar="FILE", new=True,
             help="start from these weights, but for a classifier of other classes; hub: those of "
                  "timm or torchvision")
    networks("--model_path", default="save/models", metavar="DIR",
             help="folder of MODEL_vanilla/ckpt_epoch_N.pth (default: save/models)")
    networks("--label_smoothing", default=0.0, type=number(below=1), metavar="E", new=True,
             help="share of the labels' probability that all classes get alike (default: 0)")
    modes = [mode for mode in mix_modes if not picks(mode)]
    add_mix_section(
        parser,
        modes,
        "With --mix_mode the network trains on that view of each batch, with mixed labels where "
        "images are mixed.",
    )
    add_common_sections(parser)
    resume = parser.section("resuming")
    resume("--resume", default="", metavar="FILE", new=True,
           help="continue from a run's weights/ckpt.pth, in its folder: repeat the whole command "
                "and add this")
    resume("--resume_ExpID", default="", metavar="ID",
           help="the same by the run folder's name or a part of it; latest: the newest run; "
                "same: the run of this very command, which goes on, begins, or is found done")
    return parser

#!/usr/bin/env python3
"""Pictures of what the networks see: schemes on the same images, and what a pick keeps.

    python scripts/preview_augmentations.py -o preview.png
    python scripts/preview_augmentations.py cutout:size=12 randaugment+cutmix mean:k=4 -o a.png
    python scripts/preview_augmentations.py all --mix_draw sample -o preview.png
    python scripts/preview_augmentations.py -o preview.png --pick_output pick.png \\
        --path_t save/models/vgg13_vanilla/ckpt_epoch_240.pth \\
        --path_s Experiments/<run>/weights/ckpt.pth

The images are the first batch, and the rows its second views, of a T. stddev pass with the same
--seed, --mix_draw and --batch_size (here --num_images). Schemes are given as to --mix_mode; "all"
is every stage alone, each time that it can happen. PNG, SVG or PDF, by the file's suffix.
"""

import dataclasses
import re
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.errors import UserError, one_line_errors

import numpy as np
import torch
from torch import nn

from augment import PUBLISHED, Augmented, PoolLogits, mix_modes, pick_criteria, picks
from augment import parse as parse_chain
from augment.pick import entropy, given
from dataset import DatasetSpec, datasets
from dataset.batches import normalize_for
from helper.cli.options import data_request, parse_student
from helper.cli.parser import OptionParser, Options, names_joined_by_plus, number, one_of
from helper.cli.plugins import load_plugins
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.setup import plan
from helper import speed
from helper.setup.batches import make_batches
from helper.setup.machine import make_generators, select_device
from helper.setup.networks import load_teacher
from helper.setup.views import make_views
from helper.step.passes import TwoViews, logits_of
from helper.step.networks import freeze
from models import model_dict
from scripts.results.image_rows import NO_DATE, Row, draw

PROGRAM = "preview_augmentations.py"
WITHOUT_PICK = [mode for mode in PUBLISHED if mode != "crop"]
ENTROPIES = ("student_entropy", "teacher_entropy")
LABEL_WIDTH = 20
"""Letters of a row's label that fit beside the images."""
NOBODY = nn.Flatten()
"""Where there is no teacher: ViewMaker shows it the batch, nothing reads what it says."""
DRAWS = {
    "batch": (
        "one random draw serves all images of a row, as published; partners to mix with are drawn"
        " per image."
    ),
    "sample": "every image has its own random draw.",
}
SCHEMES_CAPTION = (
    "A flip happens half of the time, autoaugment's operations with their own probability, and"
    " mixup may mix an image with itself, so a view may equal its image. lam is an image's own"
    " share."
)
ORDER_CAPTION = " Picked views stand in the order of the images that they were made from."
PICK_CAPTION = (
    "the pool of {n_run} cutmixes of the batch, the highest score first. The {kept} highest"
    " (framed) are kept, the others (dimmed) dropped. Entropies are in nats, of the network that"
    " the criterion reads."
)


class Scene(NamedTuple):
    """The inputs that all rows share. images: (B, 3, H, W), normalised."""

    options: Namespace
    spec: DatasetSpec
    images: torch.Tensor
    teacher: nn.Module | None
    student: nn.Module | None

    def pixels(self, images: torch.Tensor) -> np.ndarray:
        """(P, 3, H, W) normalised -> (P, H, W, 3) uint8."""
        return (
            normalize_for(self.spec, images.device).undo(images).permute(0, 2, 3, 1).cpu().numpy()
        )

    def missing(self, name: str) -> list[str]:
        """The flags of the networks that a pick's criterion wants and that are not given."""
        _, needs_teacher, needs_student = pick_criteria[name]
        networks = {"--path_t": self.teacher, "--path_s": self.student}
        wanted = zip(networks, (needs_teacher, needs_student))
        return [flag for flag, needed in wanted if needed and networks[flag] is None]

    def can_score(self, name: str) -> bool:
        return not self.missing(name)


class Pool(NamedTuple):
    """The n_run * B views to pick from, lowest score first: the last B are kept.

    scores, entropies: (n_run * B,).
    """

    view: Augmented
    scores: torch.Tensor
    entropies: torch.Tensor


def training_options(options: Namespace, *flags: str) -> Options:
    """The options of the T. stddev pass that sees the same."""
    names = (
        "dataset data_root cache_dir limit_train num_classes img_size num_workers device seed"
        " mix_draw path_t model_t"
    )
    given = {name: getattr(options, name) for name in names.split()} | {
        "finetune_student": options.path_s
    }
    words = [f"--{name}={value}" for name, value in given.items() if value not in (None, "")]
    step = [
        f"--batch_size={options.num_images}",
        "--fix_student",
        "--utils.check_ce_var",
        "--lw_mix=1,0,1",
    ]
    return parse_student([*words, *step, *(flags or ["--mix_mode=identity"])])


def set_scene(options: Namespace) -> Scene:
    training = training_options(options)
    device, generators = select_device(options.device), make_generators(options.seed)
    source, request = datasets[options.dataset], data_request(training)
    spec, teacher = source.spec(request), None
    if options.path_t:
        teacher = load_teacher(training, spec, device)
        for line in plan.warn_of_other_data(teacher.trained_on, spec):
            print(line)
    student = load_student(options, spec, device) if options.path_s else None
    # A preview downloads nothing: this says so where the files are absent. Decoding them is
    # allowed, it is for once.
    source.load(dataclasses.replace(request, limit_train=1, limit_test=1, may_write=False))
    batches = make_batches(source.load(request), training, device, generators["data"]).train
    if batches.count < options.num_images:
        raise UserError(
            f"--num_images {options.num_images}: there are only {batches.count} training images"
        )
    images, _, _ = next(iter(batches))
    return Scene(options, spec, images, teacher and teacher.network, student)


def load_student(options: Namespace, spec: DatasetSpec, device: torch.device) -> nn.Module:
    checkpoint = read_checkpoint("--path_s", options.path_s)
    name = options.model_s or checkpoint.get("arch")
    if name not in tuple(model_dict):
        raise UserError(
            f"--path_s {options.path_s} does not say which model it is: give --model_s NAME"
        )
    model = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    load_weights(model, name, checkpoint, flag="--path_s", path=options.path_s)
    return speed.place(freeze(model), device, spec.img_size)


def look(scene: Scene, *flags: str) -> TwoViews:
    """The second view under these flags, with the first random draws of a run."""
    options = training_options(scene.options, *flags)
    generator = make_generators(options.seed)["views"]
    views = make_views(
        options,
        scene.spec,
        teacher=scene.teacher or NOBODY,
        student=scene.student,
        generator=generator,
    )
    views.start_epoch(1)
    return views(scene.images)


def second_view(scene: Scene, *flags: str) -> Augmented:
    view = look(scene, *flags).view
    assert view is not None  # there is a --mix_mode
    return view


@torch.no_grad()
def make_pool(scene: Scene, name: str) -> Pool:
    """Pick is asked to keep all, which sorts the pool."""
    criterion, n_run = pick_criteria[name], scene.options.mix_n_run
    flags = f"--mix_mode=cutmix_pick --mix_n_run={n_run} --n_pick={n_run * len(scene.images)}"
    seen, student = look(scene, *flags.split(), f"--cutmix_pick_criterion={name}"), None
    assert seen.view is not None
    if criterion.needs_student:
        assert scene.student is not None
        student = logits_of(scene.student, seen.view.images)
    logits = PoolLogits(seen.teacher_view, student, seen.teacher_clean)
    scores = criterion.score(logits, training_options(scene.options).kd_T)
    return Pool(
        seen.view, scores, entropy(given(logits.teacher if criterion.needs_teacher else student))
    )


def scheme_rows(scene: Scene, pools: dict[str, Pool]) -> list[Row]:
    rows = [Row("the batch after\nthe default DA", scene.pixels(scene.images))]
    for mode in WITHOUT_PICK:
        view = second_view(scene, f"--mix_mode={mode}")
        rows.append(Row(mode + share(view), scene.pixels(view.images), scheme=mode))
    for name in [name for name in ENTROPIES if name in pools]:
        kept, texts = by_image(pools[name].view.take(slice(-len(scene.images), None)))
        label, scheme = f"cutmix_pick\nby {name}", f"cutmix_pick_{name}"
        rows.append(Row(label, scene.pixels(kept.images), texts, scheme=scheme))
    return rows


def by_image(view: Augmented, count: int | None = None) -> tuple[Augmented, list[str]]:
    """The first `count` picked views in the order of their images, and a text for each."""
    assert view.source is not None
    order = view.source.argsort(stable=True)[:count]
    return view.take(order), [f"of image {source + 1}" for source in view.source[order].tolist()]


def given_rows(scene: Scene, schemes: Sequence[str]) -> list[Row]:
    """A row for each scheme, spelled as --mix_mode."""
    rows = [Row("the batch after\nthe default DA", scene.pixels(scene.images))]
    for scheme in schemes:
        flag = f"--mix_mode={scheme}"
        options = training_options(scene.options, flag)
        view, texts = second_view(scene, flag), []
        if view.source is not None:  # picked: as many as fit
            view, texts = by_image(view, len(scene.images))
        label = label_of(options.mix_mode) + share(view)
        rows.append(Row(label, scene.pixels(view.images), texts, scheme=scheme))
    return rows


def label_of(scheme: str) -> str:
    """The scheme in lines that fit beside the images, a stage on each; long ones break at a key."""
    stages = re.sub("([:,])", r"\1 ", scheme).replace("+", "\n+").splitlines()
    lines = [line for stage in stages for line in textwrap.wrap(stage, LABEL_WIDTH)]
    return "\n".join(line.replace(" ", "") for line in lines)


def every_stage(scene: Scene) -> list[str]:
    """Each alone, but for picks that no network can score."""
    schemes = []
    for name in mix_modes:
        always = ":p=1" if mix_modes[name].keys()["p"].default != 1 else ""
        if not picks(name) or (name != "pick" and not missing(scene, name)):
            schemes.append(name + always)
    return schemes


def missing(scene: Scene, scheme: str) -> list[str]:
    """The flags of the networks that the scheme's pick asks and that are not given."""
    last = parse_chain(scheme)[-1]
    return scene.missing(str(last.values.get("criterion", "kld"))) if last.picks else []


def share(view: Augmented) -> str:
    """The share of the image that is its own, for a row's label."""
    if view.lam is None:
        return ""
    low, high = float(view.lam.min()), float(view.lam.max())
    return f"\nlam {low:.2f}" + (f" to {high:.2f}" if high > low else "")


def pick_rows(scene: Scene, name: str, pool: Pool) -> list[Row]:
    """The pool, highest score first, in rows of B: the first is kept."""
    texts = [f"entropy {value:.3f}" for value in pool.entropies.tolist()]
    if name not in ENTROPIES:
        texts = [f"score {score:.3f}\n{text}" for score, text in zip(pool.scores.tolist(), texts)]
    images, texts, count = scene.pixels(pool.view.images)[::-1], texts[::-1], len(scene.images)
    return [
        Row(f"{name}\n{'kept' if start == 0 else 'dropped'}", images[part], texts[part], start == 0)
        for start in range(0, len(images), count)
        for part in [slice(start, start + count)]
    ]


# One flag, two lines: a table to read, so the formatter stays out.
# fmt: off
def parse(argv: Sequence[str]) -> Namespace:
    load_plugins()
    parser = OptionParser(prog=PROGRAM, usage=f"python scripts/{PROGRAM} -o FILE [options]",
                          description=__doc__)
    pictures = parser.section("pictures")
    pictures("schemes", nargs="*", metavar="SCHEME", help='as --mix_mode; "all": every stage '
                                                          '(default: the paper\'s)')
    pictures("-o", "--output", default="preview.png", type=Path, metavar="FILE",
             help="the schemes: .png, .svg or .pdf (default: preview.png)")
    pictures("--pick_output", type=Path, metavar="FILE",
             help="what picking keeps and drops; needs --path_t or --path_s")
    pictures("--num_images", default=8, type=number(int, 2, below=65), metavar="N",
             help="images, which are also the batch that is mixed, 2 to 64 (default: 8)")
    pictures("--seed", default=0, type=number(int), metavar="N",
             help="of every random draw (default: 0)")
    pictures("--mix_draw", default="batch", type=one_of("draw", ["batch", "sample"]), metavar="HOW",
             help="one random draw a row, as published, or one per image: batch, sample (default: "
                  "batch)")
    pictures("--mix_n_run", default=2, type=number(int, 2), metavar="N",
             help="cutmixes in the pool (default: 2)")
    pictures("--criterion", type=names_joined_by_plus("pick criterion", pick_criteria),
             metavar="A+B",
             help=f"of --pick_output: {', '.join(pick_criteria)}, or several joined by + (default: "
                  "the entropies)")
    add_networks_and_data(parser)
    options = parser.parse(argv)
    options.criterion = options.criterion.split("+") if options.criterion else []
    check(options)
    return options


def add_networks_and_data(parser: OptionParser) -> None:
    networks = parser.section("networks", "Without one, what is picked by it is left out.")
    networks("--path_t", metavar="FILE", help="teacher checkpoint")
    networks("--model_t", type=one_of("model", model_dict), metavar="NAME",
             help="where its folder does not say it")
    networks("--path_s", metavar="FILE", help="student checkpoint, such as a run's "
                                              "weights/ckpt.pth")
    networks("--model_s", type=one_of("model", model_dict), metavar="NAME",
             help="where it does not say it itself")
    data = parser.section("data and machine", "As in train_student.py, but nothing is downloaded.")
    data("--dataset", default="cifar100", type=one_of("data set", datasets), metavar="NAME",
         help=f"one of {', '.join(datasets)} (default: cifar100)")
    data("--data_root", default="data", metavar="DIR", help="folder of the public files (default: "
                                                            "data)")
    data("--cache_dir", metavar="DIR", help="folder for decoded images (default: cache in "
                                            "--data_root)")
    data("--limit_train", type=number(int, 1), metavar="N", help="only the first N training images")
    data("--num_classes", type=number(int, 2), metavar="K", help="synthetic data (default: 20)")
    data("--img_size", type=number(int, 8), metavar="S", help="synthetic data (default: 32)")
    data("--num_workers", default=8, type=number(int), metavar="N",
         help="processes that decode (default: 8)")
    data("--device", default="auto", type=one_of("device", ["auto", "cpu", "cuda"]), metavar="NAME",
         help="auto, cpu or cuda (default: auto)")
# fmt: on


def check(options: Namespace) -> None:
    """Check all that can be checked before anything is loaded. Raises UserError."""
    for flag, path in (("--output", options.output), ("--pick_output", options.pick_output)):
        if path is not None and path.suffix.lower() not in NO_DATE:
            raise UserError(
                f"{flag} {path}: unknown suffix {path.suffix!r}. Choices: {', '.join(NO_DATE)}"
            )
    if options.pick_output == options.output:
        raise UserError(f"--output and --pick_output are the same file: {options.output}")
    for scheme in options.schemes:
        if scheme != "all":
            parse_chain(scheme)
    for name in options.criterion:
        for flag, needed in zip(("path_t", "path_s"), pick_criteria[name][1:]):
            if needed and not getattr(options, flag):
                raise UserError(f"--criterion {name} needs --{flag} FILE")
    if options.pick_output and not (options.path_t or options.path_s):
        raise UserError(
            "--pick_output needs a network to pick by: give --path_t FILE or --path_s FILE"
        )
    if options.criterion and not options.pick_output:
        raise UserError("--criterion is that of the second picture: give --pick_output FILE")


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    scene = set_scene(options)
    for name, flag in zip(ENTROPIES, ("--path_s", "--path_t")):
        if not options.schemes and not scene.can_score(name):
            print(f"left out: cutmix_pick by {name}, which needs {flag} FILE")
    schemes = every_stage(scene) if options.schemes == ["all"] else options.schemes
    for scheme in schemes:
        if flags := missing(scene, scheme):
            raise UserError(f"{scheme} asks a network that is not given: {', '.join(flags)}")
    possible = [name for name in ENTROPIES if scene.can_score(name)]
    pools = {name: make_pool(scene, name) for name in dict.fromkeys(possible + options.criterion)}
    source = f"{scene.spec.name}, seed {options.seed}, --mix_draw {options.mix_draw}"
    caption = (
        f"{source}: {DRAWS[options.mix_draw]} {SCHEMES_CAPTION}{ORDER_CAPTION if possible else ''}"
    )
    rows = given_rows(scene, schemes) if schemes else scheme_rows(scene, pools)
    draw(rows, caption, options.output)
    print(f"picture of the schemes: {options.output}")
    if options.pick_output:
        names = options.criterion or possible[::-1]  # the teacher first
        rows = [row for name in names for row in pick_rows(scene, name, pools[name])]
        caption = PICK_CAPTION.format(n_run=options.mix_n_run, kept=options.num_images)
        draw(rows, f"{source}: {caption}", options.pick_output)
        print(f"picture of the pick: {options.pick_output}")


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])

"""From options to objects: device, generators, data, networks, second view. The options stop here."""

import argparse
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from augment import Augmentation, MixSettings, Pick, mix_modes, pick_criteria
from dataset import Dataset, DatasetSpec
from dataset.batches import Batches, DefaultDA
from helper.checkpoint import load_weights, model_name_of, read_checkpoint
from helper.engine import ViewMaker
from helper.errors import UserError
from helper.model_info import count_flops, count_parameters
from helper.networks import freeze
from helper.options import checks_of, needs_student, schedule_bounds, student_weights
from helper.run_folder import RunFolder
from helper.schedule import EpochSchedule, learning_rate
from helper.training import LoopSettings, TrainingState
from models import build_model, model_dict

EVALUATION_BATCH = 500


def select_device(name: str) -> torch.device:
    """auto: the GPU if there is one. UserError if a GPU is asked for where none is."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here. Choices: auto, cpu")
    if name == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


def make_generators(seed: int) -> dict[str, torch.Generator]:
    """Independent CPU generators, all from one seed.

    The data have their own, so runs that differ in the second view see the same batches.
    """
    names = ("weights", "data", "views")
    states = np.random.SeedSequence(seed).generate_state(len(names), dtype=np.uint64)
    return {name: torch.Generator().manual_seed(int(state >> 1)) for name, state in zip(names, states)}


def make_batches(
    data: Dataset, options: argparse.Namespace, device: torch.device, generator: torch.Generator
) -> tuple[Batches, Batches]:
    """(training batches with the default DA, test batches)."""
    crop, flip = (digit == "1" for digit in options.use_DA)
    train = Batches(
        data.train,
        data.spec,
        options.batch_size,
        device=device,
        generator=generator,
        default_da=DefaultDA(crop, flip),
    )
    return train, Batches(data.test, data.spec, EVALUATION_BATCH, device=device)


def make_augmentation(options: argparse.Namespace, spec: DatasetSpec, n_run: int = 1) -> Augmentation | None:
    """The mix mode, or None where none is given."""
    if not options.mix_mode:
        return None
    ceiling, floor = schedule_bounds(options)
    settings = MixSettings(draw=options.mix_draw, n_run=n_run, box=options.bbox, ceiling=ceiling, floor=floor)
    return mix_modes[options.mix_mode](spec, settings)


def make_pick(options: argparse.Namespace) -> Pick | None:
    if options.mix_mode != "cutmix_pick":
        return None
    return Pick(pick_criteria[options.cutmix_pick_criterion], options.n_pick, options.kd_T)


def make_views(
    options: argparse.Namespace,
    spec: DatasetSpec,
    teacher: nn.Module,
    student: nn.Module | None,
    generator: torch.Generator,
) -> ViewMaker:
    """The second view as --mix_mode says, where --lw_mix asks for one."""
    wanted = options.lw_mix is not None
    return ViewMaker(
        teacher,
        make_augmentation(options, spec, options.mix_n_run) if wanted else None,
        generator,
        pick=make_pick(options) if wanted else None,
        student=student,
        teacher_sees_view=options.t_output_as_target_for_input_mix or bool(checks_of(options)),
        amp=options.amp,
    )


def scheme_name(options: argparse.Namespace) -> str:
    """The second view in a few words."""
    if options.lw_mix is None:
        return "no second view"
    picks = options.mix_mode == "cutmix_pick"
    return options.mix_mode + (f" by {options.cutmix_pick_criterion}" if picks else "")


def load_teacher(
    options: argparse.Namespace, spec: DatasetSpec, device: torch.device
) -> tuple[str, nn.Module]:
    """(model name, network in eval mode, frozen). UserError if the file is not that network."""
    flag = "--model_t_pretrained" if options.model_t_pretrained else "--path_t"
    checkpoint = read_checkpoint(flag, options.path_t)
    name = options.model_t or model_name_of(flag, options.path_t, checkpoint)
    model = model_dict[name](num_classes=spec.num_classes, img_size=spec.img_size)
    load_weights(model, name, checkpoint, flag=flag, path=options.path_t)
    return name, to_device(freeze(model), device)


def new_model(name: str, spec: DatasetSpec, device: torch.device, generator: torch.Generator) -> nn.Module:
    """A zoo model for this data set, its weights drawn from the generator."""
    model = build_model(name, num_classes=spec.num_classes, img_size=spec.img_size, generator=generator)
    return to_device(model, device)


def make_student(
    options: argparse.Namespace, spec: DatasetSpec, device: torch.device, generator: torch.Generator
) -> nn.Module | None:
    """The student, from its weights file if one is given; None in a T. stddev pass that needs none."""
    if options.fix_student and not needs_student(options):
        return None
    student = new_model(options.model_s, spec, device, generator)
    if given := student_weights(options):
        flag, path = given
        load_weights(student, options.model_s, read_checkpoint(flag, path), flag=flag, path=path)
    return freeze(student) if options.fix_student else student


def resume(options: argparse.Namespace, state: TrainingState, flag: str, path: str) -> Path | None:
    """Continue `state` from the run that `flag` or --resume_ExpID names. Returns that run's folder, if any."""
    if not path and not options.resume_ExpID:
        return None
    if not path:
        flag, path = "--resume_ExpID", find_checkpoint(options.resume_ExpID, run_root(options))
    checkpoint = read_checkpoint(flag, path)
    run = Path(path).resolve().parent.parent
    if not (run / "log" / "log.txt").is_file():
        raise UserError(f"{flag} {path} lies in no run folder; expected RUN/weights/ckpt.pth beside RUN/log/")
    load_weights(state.model, state.description["arch"], checkpoint, flag=flag, path=path)
    state.restore(checkpoint, flag=flag, path=path)
    return run


def open_run(options: argparse.Namespace, resumed: Path | None, **found_out: str) -> RunFolder:
    """A new run folder, or the one that is continued. `found_out` is listed with the options."""
    if resumed is not None:
        return RunFolder.reopen(resumed)
    return RunFolder.create(run_root(options), options.project_name, vars(options) | found_out)


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    return model.to(device=device, memory_format=torch.channels_last)


def make_optimizer(model: nn.Module, options: argparse.Namespace) -> torch.optim.SGD:
    """SGD with momentum; weight decay on every parameter, as published."""
    return torch.optim.SGD(
        model.parameters(),
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )


def loop_settings(options: argparse.Namespace) -> LoopSettings:
    decay = EpochSchedule.parse(
        "--weight_decay_schedule", options.weight_decay_schedule or "", options.weight_decay
    )
    return LoopSettings(
        epochs=options.epochs,
        learning_rate=lambda epoch: learning_rate(
            epoch, options.learning_rate, options.lr_decay_epochs, options.lr_decay_rate
        ),
        weight_decay=decay.at,
        print_interval=options.print_interval,
        tb_freq=options.tb_freq,
        save_freq=options.save_freq,
        amp=options.amp,
    )


def run_root(options: argparse.Namespace) -> Path:
    return Path("Debug_Dir" if options.debug else "Experiments")


def find_checkpoint(exp_id: str, root: Path) -> Path:
    """The checkpoint of the newest run whose name holds `exp_id`; "latest": of the newest of all."""
    found = [
        path
        for path in root.glob("*/weights/ckpt.pth")
        if exp_id == "latest" or exp_id in path.parent.parent.name
    ]
    if not found:
        raise UserError(f"--resume_ExpID {exp_id}: {root}/ has no run of that name with a checkpoint")
    return max(found, key=lambda path: path.stat().st_mtime)


def teacher_path(options: argparse.Namespace) -> Path:
    """Where train_teacher.py puts the weights: the public layout, which --path_t reads.

    UserError if that folder can be neither written nor made: better now than after the training.
    """
    target = Path(options.model_path) / f"{options.model}_vanilla" / f"ckpt_epoch_{options.epochs}.pth"
    there = next(folder for folder in target.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"--model_path {options.model_path}: {there} is not a folder that can be written")
    return target


def describe_machine(device: torch.device, options: argparse.Namespace) -> str:
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return (
        f"device {device} ({name}), torch {torch.__version__}, seed {options.seed}, "
        f"{'bfloat16 autocast' if options.amp else 'float32'}"
    )


def describe_data(data: Dataset, batch_size: int) -> str:
    spec = data.spec
    return (
        f"data {spec.name}: {len(data.train)} training and {len(data.test)} test images, "
        f"{spec.num_classes} classes, {spec.img_size}x{spec.img_size} pixels, "
        f"{math.ceil(len(data.train) / batch_size)} steps an epoch"
    )


def describe_network(role: str, name: str, model: nn.Module, img_size: int, path: str = "") -> str:
    """Role, name, parameters, FLOPs of one image, and where the weights are from."""
    parameters, flops = count_parameters(model), count_flops(model, img_size)
    source = f", from {path}" if path else ""
    return f"{role} {name}: {parameters / 1e6:.2f} M parameters, {flops / 1e6:.1f} MFLOPs an image{source}"


def describe_student_job(options: argparse.Namespace, scheme: str) -> list[str]:
    """What will be done, and what the options ask for in vain."""
    draw = f", one draw per {options.mix_draw}" if options.lw_mix else ""
    if options.fix_student:
        lines = [f"T. stddev pass: {options.epochs} epochs, second view: {scheme}{draw}"]
    else:
        lines = [
            f"distilling by {options.distill}: {options.epochs} epochs at learning rate {options.learning_rate:g}, "
            f"second view: {scheme}{draw}"
        ]
    if options.mix_mode and options.lw_mix is None:
        lines.append(
            f"warning: --mix_mode {options.mix_mode} has no effect without --lw_mix, such as [1,0,1]"
        )
    if checks_of(options) and not getattr(options, "utils.ON"):
        lines.append("warning: --utils.check_ce_var without --utils.ON: switched on all the same")
    if options.fix_student and student_weights(options) and not needs_student(options):
        lines.append(f"{student_weights(options)[0]} is not read: this pass needs no student")
    if options.model_path or options.tb_path:
        lines.append(
            "--model_path and --tb_path have no effect: the run folder holds weights and TensorBoard events"
        )
    return lines

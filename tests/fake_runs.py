"""Run folders and logs as training leaves them, made in no time: two pairs, nine schemes, several
trials."""

import json
import math
import random
from pathlib import Path

from scripts.results import logs as run_logs

SCHEMES = {
    "identity": (0.00552, 1.186),
    "flip": (0.00551, 1.175),
    "crop+flip": (0.00546, 1.153),
    "cutout": (0.00529, 1.129),
    "autoaugment": (0.00517, 1.127),
    "mixup": (0.00507, 1.119),
    "cutmix": (0.00466, 1.086),
    "cutmix_pick by student_entropy": (0.00430, 1.060),
    "cutmix_pick by teacher_entropy": (0.00404, 0.998),
}
"""T. stddev and S. test loss, roughly."""
COMMAND = "python train_student.py --lw_mix '[1,0,1]'"
STAMP = "[120000 4711 2024/05/06-12:34:56]"
NAME = "{}_SERVER007-20240506-120000"


def options_of(scheme: str = "flip", **changes) -> dict:
    """The options of a run that matter here, and a few more."""
    mode, _, criterion = scheme.partition(" by ")
    return {
        "alpha": 0.9, "amp": False, "batch_size": 64, "beta": 0.0,
        "cutmix_pick_criterion": criterion or "kld", "dataset": "cifar100", "distill": "kd",
        "epochs": 2, "fix_student": False, "gamma": 0.1, "lw_mix": [1.0, 0.0, 1.0],
        "mix_mode": mode, "model_s": "vgg8", "note": "",
        "path_t": "./save/models/vgg13_vanilla/ckpt_epoch_240.pth",
    } | changes  # fmt: skip


def epoch(number: int, loss: float | None, acc1: float | None) -> dict:
    return {"kind": "epoch", "epoch": number, "test_loss": loss, "acc1": acc1}


def log_head(options: dict, command: str = "python train_student.py", quoted: bool = True) -> str:
    """As this project writes it, or as the original does: without quotes."""
    show = repr if quoted else str
    listed = " ".join(
        f"({name!r}: {show(options[name])})" for name in sorted(options, key=str.casefold)
    )
    return f"hostname: h  userip: u@1.2.3.4\ncd /work\n{command}\n\n{listed}\n\n"


def epoch_line(number: int, loss: float, acc1: float, stamp: str = STAMP) -> str:
    return (
        f"{stamp} Acc1 {acc1:.4f} Acc5 90.0000 TestLoss {loss:.6f} Epoch {number} (after "
        "update) lr 0.05 "
        f"(Best_Acc1 {acc1:.4f} @ Epoch {number})\n"
    )


def check_line(group: int, number: int, step: int, total: int, value: float) -> str:
    return (
        f"{STAMP} Check T prob: NumOfSampledStd {group} Epoch {number} Step {step} "
        f"TotalStep {total} "
        f"MeanStd {value:.6f} MeanEntropy 0.412345\n"
    )


def write_run(
    folder: Path, options: dict, records: list[dict], command: str, teacher: str = "vgg13"
) -> None:
    """A run folder of this project."""
    log = folder / "log"
    log.mkdir(parents=True)
    scheme = options["mix_mode"]
    if scheme.endswith("_pick"):
        scheme += f" by {options['cutmix_pick_criterion']}"
    job = {"kind": "job", "teacher": teacher, "scheme": scheme, "epochs": options["epochs"]}
    (log / "args.json").write_text(json.dumps(options))
    (log / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in [job, *records])
    )
    (log / "log.txt").write_text(log_head(options, command))


def learning_curve(epochs: int, loss: float, draw: random.Random) -> list[dict]:
    """Rates fall at 5/8, 6/8 and 7/8: accuracy jumps, the loss falls."""
    records = []
    for number in range(1, epochs + 1):
        share = number / epochs
        steps = sum(share > eighths / 8 for eighths in (5, 6, 7))
        gap = (
            2.6 * math.exp(-9 * share)
            + 0.25 * (3 - steps)
            + draw.gauss(0, 0.03 if steps < 3 else 0.004)
        )
        records.append(
            epoch(number, loss + max(gap, -0.02), 76 - 8 * loss - 14 * gap + draw.gauss(0, 0.3))
        )
    return records


def write_experiments(root: Path, epochs: int = 40, trials: int = 2, note: str = "a note") -> None:
    """Two pairs x nine schemes:

    `trials` distillations and one T. stddev pass each; the last one is cut off.
    """
    draw = random.Random(0)
    pairs = (("vgg13", "vgg8", 0.0), ("resnet56", "resnet20", 0.02))
    for teacher, student, shift in pairs:
        for scheme, (stddev, loss) in SCHEMES.items():
            path = f"./save/models/{teacher}_vanilla/ckpt_epoch_240.pth"
            base = options_of(scheme, epochs=epochs, model_s=student, path_t=path, note=note)
            command = (
                f"python train_student.py --path_t {path} --distill kd --model_s {student} "
                "-r 0.1 -a 0.9 -b 0 "
                "--t_output_as_target_for_input_mix --lw_mix '[1,0,1]' --mix_mode "
                f"{base['mix_mode']} "
                f"--epochs {epochs} --note '{note}'"
            )
            slug = scheme.replace(" by ", "_")
            for trial in range(trials):
                records = learning_curve(epochs, loss + shift + draw.gauss(0, 0.008), draw)
                name = NAME.format(f"kd__{teacher}{student}__{slug}__{trial}")
                options = base | {"seed": trial + 1}
                write_run(root / name, options, records, f"{command} --seed {trial + 1}", teacher)
            value = stddev * (1 + shift) + draw.gauss(0, 2e-5)
            records = [{"kind": "summary", "t_stddev": value, "epochs": 10}]
            measuring = base | {"fix_student": True, "epochs": 10}
            write_run(root / NAME.format(f"std__{teacher}{student}__{slug}"), measuring, records,
                      f"{command} --fix_student", teacher)  # fmt: skip
    write_run(root / NAME.format("kd__cut_off"), base | {"seed": 9}, learning_curve(epochs, 1.0,
    draw)[: epochs // 2],
              f"{command} --seed 9", teacher)  # fmt: skip


def read_one(path):
    (path,) = run_logs.find_logs([path])
    return run_logs.read_run(path)


def write_log(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path

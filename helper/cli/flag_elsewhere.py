"""Flags of other programs, and their counterparts here. Data: to add one, add a row."""

import re
from collections.abc import Collection

FLAG = re.compile(r"--\w+")
_EVALUATE = "`python scripts/evaluate.py FILE` evaluates a checkpoint"
_GPU = "choose GPUs by CUDA_VISIBLE_DEVICES=0 in front of the command"
_START = "starts from weights here"
MEANT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("only_test", "test_only", "test", "eval", "evaluate", "eval_only"), (_EVALUATE,)
    ),
    **dict.fromkeys(("gpu", "gpus", "gpu_id", "gpu_ids", "local_rank"), (_GPU,)),
    **dict.fromkeys(
        ("dist_url", "world_size", "multiprocessing_distributed", "distributed", "ddp"),
        ("torchrun starts it on several GPUs",),
    ),
    **dict.fromkeys(("cosine", "cos", "cosine_lr"), ("it is --lr_schedule cosine here",)),
    **dict.fromkeys(("scheduler", "sched", "lr_scheduler"), ("it is --lr_schedule here",)),
    **dict.fromkeys(("warmup", "warmup_epoch"), ("it is --warmup_epochs here",)),
    **dict.fromkeys(("num_epochs", "n_epochs", "max_epochs"), ("it is --epochs here",)),
    **dict.fromkeys(("opt", "optim", "optimizer"), ("every network is trained with SGD",)),
    **dict.fromkeys(("fp16", "half", "bf16", "mixed_precision"), ("it is --amp here",)),
    **dict.fromkeys(("temperature", "temp", "t"), ("it is --kd_T and --kd_S here",)),
    **dict.fromkeys(
        ("cutmix", "mixup", "cutout", "autoaugment", "randaugment"),
        ("it is --lw_mix [1,0,1] --mix_mode NAME here", "it is --mix_mode NAME here"),
    ),
    **dict.fromkeys(("mixup_alpha", "cutmix_alpha"), ("it is --mix_mode NAME:alpha=1 here",)),
    **dict.fromkeys(
        ("ckpt", "checkpoint", "load", "pretrained", "weights"),
        (f"--model_s_pretrained FILE {_START}", f"--pretrained FILE {_START}"),
    ),
    **dict.fromkeys(
        ("data", "data_dir", "data_path", "data_folder", "root"), ("it is --data_root here",)
    ),
    **dict.fromkeys(("lr", "base_lr"), ("it is --learning_rate here",)),
    **dict.fromkeys(("wd",), ("it is --weight_decay here",)),
    **dict.fromkeys(("bs", "batch", "train_batch_size"), ("it is --batch_size here",)),
    **dict.fromkeys(("workers", "j"), ("it is --num_workers here",)),
    **dict.fromkeys(("teacher", "teacher_path", "teacher_ckpt"), ("it is --path_t here",)),
    **dict.fromkeys(("arch", "student"), ("it is --model_s here", "it is --model here")),
    "model": ("it is --model_s here, of the student; --model_t, of the teacher",),
    **dict.fromkeys(("distill", "path_t", "lw_mix"), ("it is a flag of train_student.py",)),
}
"""Flags of other programs -> hints: the first one whose flags the program has is told."""


def folded(flag: str) -> str:
    """The flag's name without dashes and capitals."""
    return flag.casefold().replace("-", "_").strip("_")


def hint(flag: str, offered: Collection[str]) -> str:
    """The text to type in place of an unknown flag; empty if nothing is known, or not offered."""
    hints = MEANT.get(folded(flag), ())
    return next((one for one in hints if set(FLAG.findall(one)) <= set(offered)), "")

"""A run's folder: log.txt, args.json, metrics.jsonl, TensorBoard events, checkpoints.

    Experiments/<project>_SERVER<3 digits>-<YYYYmmdd-HHMMSS>/
        log/log.txt  log/args.json  log/metrics.jsonl  log/provenance.jsonl  tb/  weights/  gen_img/

Losses, models and augmentations never see it.
"""

import contextlib
import datetime
import errno
import getpass
import importlib.util
import json
import math
import os
import shlex
import shutil
import socket
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from helper.errors import UserError, reason_of
from helper.run.atomic import write_atomically
from helper.run.checkpoint import save_checkpoint
from helper.run.files import AppendedText, Lock
from helper.run.log_lines import RESUMED, STAMP
from helper.run.last_two import save_latest

TIME_FORMAT = "%Y%m%d-%H%M%S"
FOUND_OUT = ("data_fingerprint", "teacher_checksum", "teacher_accuracy", "student_checksum")
"""Facts of the files that a run reads, as log.txt has them."""
MOST_TILES = 64
"""Images in one picture."""


def has_tensorboard() -> bool:
    """Without it a run does everything else."""
    try:
        return importlib.util.find_spec("tensorboard") is not None
    except ValueError:  # it is there, but broken
        return False


def no_run_folder(root: Path, error: OSError) -> UserError:
    """Run folders lie where the command is typed."""
    is_closed = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    advice = ": go to a folder where you may write, and call the script by its path"
    reason = reason_of(error) + (advice if is_closed else "")
    return UserError(f"cannot make a run folder in {root}: {reason}")


class RunFolder:
    """Everything a run writes. `create` makes a new folder, `reopen` continues in an old one."""

    def __init__(self, path: Path, lock: Lock | None = None) -> None:
        self.path = path
        self.weights = path / "weights"
        self.images = path / "gen_img"
        self.clock = path.name[-6:]
        """HHMMSS of the run's start: the last part of its name, and the prefix of each log line."""
        self._board, self._board_start = None, None
        for folder in (self.weights, self.images, path / "log"):
            folder.mkdir(exist_ok=True)
        self._lock = lock or Lock(path)
        self._texts = {
            name: AppendedText(path / "log" / name) for name in ("log.txt", "metrics.jsonl")
        }

    @classmethod
    def create(
        cls, root: Path, project_name: str, options: dict[str, Any], words: Sequence[str] = ()
    ) -> "RunFolder":
        """A new folder, whoever else starts in this second. UserError if the disk refuses.

        words: of the command, for log.txt, where it is not the one that was typed.
        """
        server = zlib.crc32(socket.gethostname().encode()) % 1000
        moment = datetime.datetime.now()
        try:
            root.mkdir(parents=True, exist_ok=True)
            while True:
                path = root / f"{project_name}_SERVER{server:03d}-{moment.strftime(TIME_FORMAT)}"
                try:
                    path.mkdir()  # fails if it is there: the one who makes it owns it
                    break
                except FileExistsError:
                    moment += datetime.timedelta(seconds=1)
        except OSError as error:
            raise no_run_folder(root, error) from None
        try:
            run = cls(path)
            run._write_head(options, words)
        except BaseException as error:
            shutil.rmtree(path, ignore_errors=True)  # nothing has happened in it yet
            if isinstance(error, OSError):
                raise UserError(f"cannot write to {path}: {reason_of(error)}") from None
            raise
        return run

    @classmethod
    def reopen(cls, path: Path, lock: Lock, logged: Mapping[str, int], step: int) -> "RunFolder":
        """An existing run's folder, held by `lock`, as it was at its checkpoint.

        `logged`: the lengths of log.txt and metrics.jsonl then. What was written after it will be
        done again; it is moved to log/undone.txt and log/undone.jsonl. `step`: of the run, from
        which TensorBoard's curves go on.
        """
        run = cls(path, lock)
        for leftover in run.weights.glob(".*"):  # of a process that was killed while it wrote
            leftover.unlink()
        lines = 0
        for name, text in run._texts.items():
            undone = text.cut(logged.get(name))
            if undone:
                AppendedText(path / "log" / f"undone{Path(name).suffix}").append(undone)
                lines += undone.count("\n") if name == "log.txt" else 0
        run._board_start = step
        run.log(f"{RESUMED}{command_line()}")
        if lines:
            run.log(
                f"{lines} lines that were logged after the checkpoint are now in log/undone.txt"
            )
        return run

    def _write_head(self, options: dict[str, Any], words: Sequence[str]) -> None:
        listed = " ".join(
            f"({name!r}: {options[name]!r})" for name in sorted(options, key=str.casefold)
        )
        head = (
            f"hostname: {socket.gethostname()}  userip: {user_and_ip()}\ncd"
            f" {os.getcwd()}\n{command_line(words)}\n"
        )
        self._texts["log.txt"].append(f"{head}\n{listed}\n\n")
        content = json.dumps(options, indent=1, sort_keys=True, default=str) + "\n"
        write_atomically(self.path / "log" / "args.json", content.encode())

    def log(self, text: str) -> None:
        """One line with a time stamp, in log.txt and on the terminal, above any progress bar."""
        stamp = datetime.datetime.now().strftime("%Y/%m/%d-%H:%M:%S")
        line = STAMP.format(clock=self.clock, process=os.getpid(), moment=stamp) + text
        self._texts["log.txt"].append(line + "\n")
        with contextlib.suppress(
            OSError, ValueError
        ):  # the terminal may be gone; log.txt is what counts
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def record(self, kind: str, **values: Any) -> None:
        """One JSON object in metrics.jsonl: {"kind": kind, ...}. NaN and infinity become null."""
        clean = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in values.items()
        }
        self._texts["metrics.jsonl"].append(json.dumps({"kind": kind, **clean}) + "\n")

    def note_start(self, facts: Mapping[str, Any]) -> str:
        """One JSON object in provenance.jsonl: what this start of the run runs on.

        Returns it as a line for log.txt.

        A resumed run has several.
        """
        AppendedText(self.path / "log" / "provenance.jsonl").append(json.dumps(facts) + "\n")
        versions = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
        found = ", ".join(
            f"{name.replace('_', ' ')} {facts[name]}" for name in FOUND_OUT if facts.get(name)
        )
        return (
            f"version {facts['version']}, code {facts['commit'] or 'without git'}, python"
            f" {facts['python']}, {versions}; {found}"
        )

    def save_weights(self, name: str, weights: dict[str, Any]) -> None:
        """weights/`name`, to be used by others."""
        save_checkpoint(self.weights / name, weights)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """weights/ckpt.pth, from which the run can go on; the one before stays beside it."""
        logged = {name: text.flush_to_disk() for name, text in self._texts.items()}
        save_latest(self.weights, checkpoint, logged)

    @property
    def board(self) -> Any:
        """The TensorBoard writer, made when first used; None where TensorBoard is not installed."""
        if self._board is None and has_tensorboard():
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(self.path / "tb", purge_step=self._board_start)
        return self._board

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Draw points at `step` of the TensorBoard curves named by the keys."""
        with self._naming("tb"):
            for name, value in values.items():
                if self.board is not None:
                    self.board.add_scalar(name, value, step)

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """An OSError within is one of this part of the folder; libraries do not say so."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / name)) from None

    def picture(self, name: str, images: torch.Tensor, step: int, *, as_png: bool = False) -> None:
        """A grid of (B, 3, H, W) uint8 images on TensorBoard and, on demand, in gen_img/."""
        from torchvision.utils import make_grid

        picture = make_grid(images[:MOST_TILES].cpu(), nrow=8, padding=0)
        with self._naming("tb"):
            if self.board is not None:
                self.board.add_image(name, picture, step)
        if as_png:
            from PIL import Image

            with self._naming("gen_img"):
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(
                    self.images / f"{name}_step{step}.png"
                )

    def close(self) -> None:
        if self._board is not None:
            with self._naming("tb"):
                self._board.close()
        for text in self._texts.values():
            text.close()
        self._lock.release()


class SilentRunFolder(RunFolder):
    """The folder for processes that do not write: it does nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, text: str) -> None:
        pass

    def record(self, kind: str, **values: Any) -> None:
        pass

    def note_start(self, facts: Mapping[str, Any]) -> str:
        return ""

    def save_weights(self, name: str, weights: dict[str, Any]) -> None:
        pass

    def save(self, checkpoint: dict[str, Any]) -> None:
        pass

    def scalars(self, step: int, values: dict[str, float]) -> None:
        pass

    def picture(self, name: str, images: torch.Tensor, step: int, *, as_png: bool = False) -> None:
        pass

    def close(self) -> None:
        pass


def command_line(words: Sequence[str] = ()) -> str:
    """The command as typed, or that with other words, quoted for the shell, with the GPUs that were
    chosen for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    prefix = "" if visible is None else f"CUDA_VISIBLE_DEVICES={shlex.quote(visible)} "
    return f"{prefix}python {shlex.join([sys.argv[0], *words] if words else sys.argv)}"


def user_and_ip() -> str:
    """user@address; asks nobody on the network."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(
                ("192.0.2.1", 9)
            )  # a datagram socket: this looks up the route and sends nothing
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    return f"{user}@{address}"

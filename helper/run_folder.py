"""A run's folder: log.txt, args.json, metrics.jsonl, TensorBoard events, checkpoints.

    Experiments/<project>_SERVER<3 digits>-<YYYYmmdd-HHMMSS>/
        log/log.txt  log/args.json  log/metrics.jsonl  tb/  weights/  gen_img/

Losses, models and augmentations never see it.
"""

import datetime
import getpass
import json
import math
import os
import shlex
import socket
import sys
import zlib
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from helper.errors import UserError

TIME_FORMAT = "%Y%m%d-%H%M%S"


class RunFolder:
    """Everything a run writes. `create` makes a new folder, `reopen` continues in an old one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights"
        self.images = path / "gen_img"
        self.clock = path.name[-6:]
        """HHMMSS of the run's start: the last part of its name, and the prefix of each log line."""
        self._board = None
        for folder in (self.weights, self.images, path / "log"):
            folder.mkdir(exist_ok=True)
        self._log = open(path / "log" / "log.txt", "a", encoding="utf-8")
        self._metrics = open(path / "log" / "metrics.jsonl", "a", encoding="utf-8")

    @classmethod
    def create(cls, root: Path, project_name: str, options: dict[str, Any]) -> "RunFolder":
        """A folder of our own, whoever else starts in this second. UserError if the disk refuses."""
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
            run = cls(path)
        except OSError as error:
            raise UserError(f"cannot make a run folder in {root}: {error.strerror}") from None
        run._write_head(options)
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """An existing run's folder; log.txt and metrics.jsonl are continued."""
        run = cls(path)
        run.log(f"resumed: {command_line()}")
        return run

    def _write_head(self, options: dict[str, Any]) -> None:
        listed = " ".join(f"({name!r}: {options[name]!r})" for name in sorted(options, key=str.casefold))
        head = (
            f"hostname: {socket.gethostname()}  userip: {user_and_ip()}\ncd {os.getcwd()}\n{command_line()}\n"
        )
        self._log.write(f"{head}\n{listed}\n\n")
        self._log.flush()
        args = self.path / "log" / "args.json"
        args.with_suffix(".tmp").write_text(json.dumps(options, indent=1, sort_keys=True, default=str) + "\n")
        os.replace(args.with_suffix(".tmp"), args)

    def log(self, text: str) -> None:
        """One line, time-stamped, in log.txt and on the terminal (above a progress bar, if there is one)."""
        stamp = datetime.datetime.now().strftime("%Y/%m/%d-%H:%M:%S")
        line = f"[{self.clock} {os.getpid()} {stamp}] {text}"
        self._log.write(line + "\n")
        self._log.flush()
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def record(self, kind: str, **values: Any) -> None:
        """One JSON object in metrics.jsonl: {"kind": kind, ...}. NaN and infinity become null."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._metrics.write(json.dumps({"kind": kind, **clean}) + "\n")
        self._metrics.flush()

    @property
    def board(self) -> Any:
        """The TensorBoard writer, made when first used."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(self.path / "tb")
        return self._board

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Draw points at `step` of the TensorBoard curves named by the keys."""
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def picture(self, name: str, images: torch.Tensor, step: int, *, as_png: bool = False) -> None:
        """A grid of (B, 3, H, W) uint8 images on TensorBoard and, on demand, in gen_img/."""
        picture = tile(images.cpu())
        self.board.add_image(name, picture, step)
        if as_png:
            from PIL import Image

            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(self.images / f"{name}_step{step}.png")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        self._log.close()
        self._metrics.close()


def tile(images: torch.Tensor, columns: int = 8) -> torch.Tensor:
    """Up to columns^2 images side by side: (B, C, H, W) -> (C, rows * H, columns * W)."""
    images = images[: columns**2]
    columns = min(columns, len(images))
    images = images[: len(images) // columns * columns]
    channels, _, width = images.shape[1:]
    grid = images.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)  # (C, rows, H, columns, W)
    return grid.reshape(channels, -1, columns * width)


def command_line() -> str:
    """The command as typed, quoted for the shell, with the GPUs that were chosen for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    prefix = "" if visible is None else f"CUDA_VISIBLE_DEVICES={shlex.quote(visible)} "
    return f"{prefix}python {shlex.join(sys.argv)}"


def user_and_ip() -> str:
    """user@address; asks nobody on the network."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket: this looks up the route and sends nothing
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    return f"{user}@{address}"

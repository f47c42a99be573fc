"""Malformed files of every format that is read, in this process: each is refused by a UserError, or
read.

    python tests/mutated_formats.py 1000 [SEED]     # so many mutants, of all formats in turn
"""

import contextlib
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from fake_cifar import write_cifar
from mutations import mutated
from PIL import Image

from dataset import DataRequest, datasets
from dataset import folder as folder_module
from helper.cli import from_log
from helper.cli.flags import student_parser
from helper.errors import UserError
from helper.registry import Registry
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import recognize
from helper.run.recorded import recorded_accuracy
from models import build_model, model_dict
from scripts.rank.space import read_space

Reader = Callable[[], object]
"""Reads a format's files as a command does."""
formats: Registry[Callable[[Path], tuple[list[Path], Reader]]] = Registry("format")
"""Name -> (an empty folder -> (the good files that were written there, their reader))."""


def read_teacher(path: Path) -> None:
    checkpoint = read_checkpoint("--path_t", path)
    name = recognize("--path_t", str(path), checkpoint).name
    network = model_dict[name](num_classes=5, img_size=16)
    load_weights(network, name, checkpoint, flag="--path_t", path=str(path))
    recorded_accuracy(checkpoint)


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return build_model("resnet8", num_classes=5, img_size=16, generator=generator).state_dict()


def checkpoint_format(name: str, wrap: Callable[[dict], object]) -> None:
    """A format of checkpoints: `wrap` puts the weights where its kind has them."""

    @formats.register(name)
    def written(folder: Path) -> tuple[list[Path], Reader]:
        path = folder / "resnet8_vanilla" / "t.pth"
        path.parent.mkdir()
        torch.save(wrap(weights()), path)
        return [path], lambda: read_teacher(path)


checkpoint_format("wrapped", lambda w: {"state_dict": {f"model.{k}": v for k, v in w.items()}})
checkpoint_format("parallel", lambda w: {"net": {f"module.{k}": v for k, v in w.items()}, "acc": 9})
checkpoint_format("ema", lambda w: {"state_dict": w, "state_dict_ema": w, "best_prec1": 61.5})
checkpoint_format("compiled", lambda w: {f"_orig_mod.{k}": v for k, v in w.items()})


@formats.register("safetensors")
def safetensors_file(folder: Path) -> tuple[list[Path], Reader]:
    from safetensors.torch import save_file

    path = folder / "resnet8.safetensors"
    save_file(weights(), path)
    return [path], lambda: read_teacher(path)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def read_folder(root: Path, *, may_write: bool = False) -> Reader:
    request = DataRequest(root=root, cache_dir=root.parent / "cache", may_write=may_write)

    def read() -> None:
        folder_module.read_folder.cache_clear()  # one process reads one folder once
        datasets["folder"].load(request).fingerprint()

    return read


@formats.register("images")
def class_folders(folder: Path) -> tuple[list[Path], Reader]:
    root = folder / "data"
    for number, name in enumerate(("train/a/1", "train/b/2", "val/a/3", "val/b/4")):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(number))
    (root / "classes.txt").write_text("b\na\n")
    return [root / "classes.txt", root / "train/a/1.png", root / "val/b/4.png"], read_folder(root)


@formats.register("csv")
def tables(folder: Path) -> tuple[list[Path], Reader]:
    root = folder / "data"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for number in range(3):
            (root / split / f"{number}.png").write_bytes(png(number))
        (root / f"{split}.csv").write_text("path,label\n0.png,a\n1.png,b\n2.png,a\n")
    return [root / "train.csv", root / "val.csv"], read_folder(root)


@formats.register("parquet")
def shards(folder: Path) -> tuple[list[Path], Reader]:
    import pyarrow
    from pyarrow import parquet

    root = folder / "data"
    root.mkdir()
    names = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    paths = []
    for split in ("train", "validation"):
        rows = [
            {"image": {"bytes": png(number), "path": None}, "label": number % 2}
            for number in range(4)
        ]
        table = pyarrow.Table.from_pylist(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
        paths.append(root / f"{split}-00000-of-00001.parquet")
        parquet.write_table(table, paths[-1])
    return paths, read_folder(root, may_write=True)


def archive_format(ending: str, pack: Callable[[Path, Path], None]) -> None:
    """A data set's archive in --data_root."""

    @formats.register(ending)
    def written(folder: Path) -> tuple[list[Path], Reader]:
        write_cifar(folder / "source")
        root = folder / "root"
        root.mkdir()
        path = root / f"cifar-100-python.{ending}"
        pack(path, folder / "source" / "cifar-100-python")

        def read() -> None:
            shutil.rmtree(root / "cifar-100-python", ignore_errors=True)
            with contextlib.redirect_stdout(None):
                datasets["cifar100"].load(DataRequest(root=root))

        return [path], read


def pack_tar(path: Path, source: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(source, source.name)


def pack_zip(path: Path, source: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in source.iterdir():
            archive.write(file, f"{source.name}/{file.name}")


archive_format("tar", pack_tar)
archive_format("zip", pack_zip)


@formats.register("space")
def space(folder: Path) -> tuple[list[Path], Reader]:
    path = folder / "space.toml"
    source = Path(__file__).resolve().parents[1] / "scripts" / "rank" / "spaces" / "quick.toml"
    path.write_bytes(source.read_bytes())

    return [path], lambda: read_space(str(path)).candidates(seed=0)


@formats.register("log")
def log(folder: Path) -> tuple[list[Path], Reader]:
    path, parser = folder / "log.txt", student_parser()
    command = (
        "python train_student.py --path_t ./save/models/wrn_16_2_vanilla/t.pth --lw_mix [1,0,1] "
        "--mix_mode cutmix"
    )
    path.write_text(
        f"hostname: h\ncd /work\n{command} --epochs 3\n\n('alpha': 0.9) ('seed': 3)\n\n"
    )
    program, argv = "train_student.py", ["--from_log", str(path), "--dry_run"]

    def read() -> None:
        words, notes = from_log.expand(argv, program, parser)
        try:
            options = parser.parse(words)
        except SystemExit as refused:  # a line on stderr
            assert refused.code == 2
            return
        found = {"data_fingerprint": "0", "teacher_checksum": "0"}
        from_log.differences(str(path), program, notes, now=vars(options), found=found)

    return [path], read


def refused_or_read(read: Reader) -> str:
    """ "refused" or "read"; any other exception is raised."""
    try:
        read()
    except UserError as error:
        assert "\n" not in str(error), str(error)  # other blanks become spaces when it is printed
        return "refused"
    return "read"


def try_mutants(name: str, count: int, folder: Path, seed: int) -> Counter:
    """Read `count` mutants of a format. Returns how often each outcome came; a failure is its
    traceback."""
    paths, read = formats[name](folder)
    whole = {path: path.read_bytes() for path in paths}
    assert refused_or_read(read) == "read"
    draw, outcomes = random.Random(f"{name} {seed}"), Counter()
    for _ in range(count):
        path = draw.choice(paths)
        path.write_bytes(mutated(whole[path], draw))
        try:
            outcomes[refused_or_read(read)] += 1
        except Exception:
            outcomes[traceback.format_exc()] += 1
        path.write_bytes(whole[path])
    return outcomes


def main(count: int, seed: int) -> int:
    failures = 0
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = try_mutants(name, -(-count // len(formats)), Path(folder), seed)
        failures += sum(outcomes.values()) - outcomes["read"] - outcomes["refused"]
        print(name, *(f"{outcome}: {times}" for outcome, times in outcomes.items()), flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))

"""Check the checkpoints in public teacher archives and put them where the commands look for them.

    python scripts/unpack_teachers.py --save save teachers_cifar100.zip

Each <model>_vanilla/<name>.pth in an archive must be intact, hold nothing but weights, and fit its
model of the zoo. It goes to save/models/<model>_vanilla/, or to save/<folder>/<model>_vanilla/
where the archive files it under a folder whose name begins with "models". What is there already,
and the same, stays.
"""

import contextlib
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helper.cli.parser import OptionParser
from helper.errors import UserError, one_line_errors, reason_of
from helper.run.load import load_weights
from helper.run.read import read_checkpoint
from helper.run.recognize import model_name_of
from helper.run.weights import weights_in
from models import model_dict

PROGRAM = "unpack_teachers.py"


def main(argv: Sequence[str]) -> None:
    title, _, details = (__doc__ or "").partition("\n")
    parser = OptionParser(prog=PROGRAM, description=title, epilog=details)
    parser.add_argument("archives", nargs="+", type=Path, metavar="FILE.zip")
    add = parser.section("output")
    add("--save", type=Path, default=Path("save"), metavar="DIR", help="where to (default: save)")
    arguments = parser.parse(argv)
    bad = [problem for archive in arguments.archives for problem in unpack(archive, arguments.save)]
    if bad:
        raise UserError("not unpacked: " + "; ".join(bad))


def unpack(archive: Path, save: Path) -> list[str]:
    """Unpack what is right, and say so. Returns what is wrong with the rest.

    UserError if nothing can be read.
    """
    problems, count = [], 0
    try:
        with zipfile.ZipFile(archive) as container:
            for member in container.infolist():
                target = target_of(member.filename)
                if target is None:
                    continue
                count += 1
                try:
                    print(f"{save / target}: {place(container, member, save / target)}", flush=True)
                except (UserError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                    problems.append(f"{member.filename} in {archive}: {error}")
                except OSError as error:
                    raise UserError(
                        f"cannot write to {save}/: {reason_of(error)} (SAVE=DIR names another)"
                    ) from None
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{archive}: {error} (a damaged archive: remove it and run this again)"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror}") from None
    if not count:
        raise UserError(f"{archive} holds no MODEL_vanilla/FILE.pth")
    return problems


def target_of(name: str) -> PurePosixPath | None:
    """The place of an archive's file below `save`, never outside; None if it is no teacher."""
    parts = PurePosixPath(name).parts
    if (
        not name.endswith(".pth")
        or len(parts) < 2
        or "_vanilla" not in parts[-2]
        or "__MACOSX" in parts
    ):
        return None
    group = parts[-3] if len(parts) > 2 and parts[-3].startswith("models") else "models"
    return PurePosixPath(group, parts[-2], parts[-1])


def place(container: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Write one file, checked before it gets its name. Returns what to say of it.

    UserError if it is no teacher.
    """
    if target.exists() and zlib.crc32(target.read_bytes()) == member.CRC:
        return "there already"
    save = target.parents[2]
    save.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=save) as scratch:
        path = Path(scratch) / target.name
        path.write_bytes(container.read(member))  # raises BadZipFile if the checksum differs
        checkpoint = read_checkpoint("file", path)
        name = model_name_of("file", target, checkpoint)
        classifier = list(weights_in(checkpoint).values())[-1:]
        num_classes = len(classifier[0]) if classifier and classifier[0].ndim else 0
        model = model_dict[name](num_classes=max(num_classes, 1))
        load_weights(model, name, checkpoint, flag="file", path=target)
        if target.exists():
            raise UserError(f"{target} is there already and is another file; move it away first")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    accuracy: Any = checkpoint.get("accuracy", checkpoint.get("best_acc"))
    # Some files have none, or a text.
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        return f"{name}, {num_classes} classes, accuracy {float(accuracy):.2f} on record"
    return f"{name}, {num_classes} classes"


if __name__ == "__main__":
    with one_line_errors(PROGRAM):
        main(sys.argv[1:])

"""Commands that are refused: exit status 2, one line on stderr, nothing left on disk."""

import pytest
from command_line import run, snapshot

STUDENT, TEACHER = "train_student.py", "train_teacher.py"
GOOD = {
    STUDENT: "--data_root {m}/cifar --device cpu --epochs 1 --path_t {m}/resnet8_vanilla/good.pth",
    TEACHER: "--data_root {m}/cifar --device cpu --epochs 1 --model resnet8",
}
"""Command lines that work; each row adds what is wrong. {m}: the folder `material`."""


def check(program, line, fragments, material, capsys, *, watched=None):
    """Run GOOD + line; see that it is refused as it should.

    watched: what must stay as it is; None: all of `material`.
    """
    watched = watched or material
    before = snapshot(".", watched)
    with pytest.raises(SystemExit) as stopped:
        run(program, f"{GOOD[program]} {line}".format(m=material))
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert err.startswith(f"{program}: error: ") and err.endswith("\n") and err.count("\n") == 1, (
        err
    )
    assert "Traceback" not in out + err
    missing = [fragment for fragment in fragments if fragment.format(m=material) not in err]
    assert not missing, err
    left = snapshot(".", watched).items() - before.items()
    assert {path for path, _ in left if path.name not in ("cache", ".tinyimagenet.lock")} == set()
    assert not (material / "canary").exists()


def refused(capsys, parse, argv):
    """The error line of a command that argparse refuses."""
    with pytest.raises(SystemExit) as stopped:
        parse(argv.split())
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith("\n")
    return err

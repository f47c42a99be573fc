"""Completion in a shell."""

import shutil
import subprocess
import sys

import pytest

from augment import mix_modes
from distiller_zoo import distillers
from helper.errors import UserError
from scripts import completion

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "completion.bash"
    file.write_text(completion.script("bash"))

    def complete(line):
        """The words that bash offers to complete the last one of a line."""
        words = line.split(" ")
        code = (
            f'. {file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _data_aug_kd python '
            '"${!#}"; echo "${COMPREPLY[*]}"'
        )
        ended = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True)
        return set(ended.stdout.split())

    return complete


def test_names_and_flags_complete(bash):
    cut = {name for name in mix_modes if name.startswith("cut")}
    assert bash("python train_student.py --mix_mode cut") == cut >= {"cutmix", "cutout"}
    assert bash("python ./train_student.py --distill dk") == {
        n for n in distillers if n[:2] == "dk"
    }
    assert bash("python train_teacher.py --model vgg1") >= {"vgg11", "vgg13"}
    assert bash("python scripts/rank_augmentations.py --pa") == {"--path_t", "--path_s"}
    assert not bash("python other.py --pa")


def test_zsh_has_every_name():
    text = completion.script("zsh")
    assert "compdef _data_aug_kd python" in text and all(name in text for name in distillers)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
@pytest.mark.parametrize("code", [". {}", 'eval "$(cat {})"'])
def test_zsh_takes_it(tmp_path, monkeypatch, code):
    """Also before the user's own compinit: -f reads no .zshrc."""
    file = tmp_path / "completion.zsh"
    file.write_text(completion.script("zsh"))
    monkeypatch.setenv("HOME", str(tmp_path))  # compinit keeps a file there
    code = code.format(file) + "; print $_comps[python] $+functions[_shtab_train_student_py]"
    ended = subprocess.run(["zsh", "-fc", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("_data_aug_kd 1\n", "")


def test_without_the_library_it_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(UserError, match="-m pip install shtab"):
        completion.script("bash")

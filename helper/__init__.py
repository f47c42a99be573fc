"""The parts of a run. README.md beside this file says what belongs in which room.

`VERSION` is the product's; CHANGELOG.md says what each brought. Every script imports this first, so
what a computer lacks is told here: in one line, in a syntax that an older Python reads too.
"""

import importlib.util
import sys

VERSION = "1.0"

_SET_UP = "type `sh scripts/set_up_env.sh`, then .venv/bin/python in place of python"


def _check_surroundings():
    if sys.version_info < (3, 10):  # noqa: UP036  (here, this is the question)
        version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
        return (
            f"Python 3.10 or newer is needed, and this is {version}: type python3.11 or the like in"
            " place of python"
        )
    if importlib.util.find_spec("fcntl") is None:
        return "this needs Linux or macOS; on Windows it runs in WSL (type `wsl --install` once)"
    missing = [
        name
        for name in ("torch", "torchvision", "numpy", "scipy")
        if not importlib.util.find_spec(name)
    ]
    if missing:
        return f"this Python ({sys.executable}) has no {', '.join(missing)}: {_SET_UP}"
    return ""


_lack = _check_surroundings()
if _lack:
    sys.stderr.write(f"error: {_lack}\n")
    raise SystemExit(2)

"""The parts of a run. README.md beside this file says what belongs in which room.

`VERSION` is the product's; CHANGELOG.md says what each brought.
"""

try:
    import fcntl  # noqa: F401
except ImportError:
    raise SystemExit(
        "error: this needs Linux or macOS; on Windows it runs in WSL (Windows Subsystem for Linux)"
    ) from None

VERSION = "0.2"

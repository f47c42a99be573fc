"""The table of a ranking: the same cells on the terminal and in report.html."""

from collections.abc import Mapping, Sequence
from typing import Any

HEADER = (
    *("", "scheme", "T. stddev x 1e-3", "less the first", "R", "B", "MI", "top-1", "ms", "steps"),
    "verdict",
)


def cells(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The cells of one of `rows`, which are as in the JSON file: None for what is no number."""
    is_tied = [other["group"] for other in rows].count(row["group"]) > 1
    return (
        "" if row["group"] is None else f"{row['group']}{'=' if is_tied else ''}",
        row["scheme"],
        interval(row, "t_stddev", 3, 1000),
        "" if row is rows[0] else interval(row, "to_best", 3, 1000, sign="+"),
        number(row, "consistency", 2),
        interval(row, "balance", 2),
        number(row, "information", 2),
        number(row, "teacher_top1", 1),
        number(row, "ms_per_image", 2),
        str(row["steps"]),
        f"{row['verdict']}: {row['reason']}" if row["reason"] else row["verdict"],
    )


def interval(
    row: Mapping[str, Any], name: str, digits: int, factor: float = 1, *, sign: str = ""
) -> str:
    """ "2.231 (2.180 2.284)"."""
    value, low, high = (
        number(row, f"{name}{end}", digits, factor, sign=sign) for end in ("", "_low", "_high")
    )
    return f"{value} ({low} {high})" if low and high else value


def number(
    row: Mapping[str, Any], name: str, digits: int, factor: float = 1, *, sign: str = ""
) -> str:
    """Empty where there is none. sign: "+" shows that of positive ones too."""
    value = row.get(name)
    if value is None:
        return ""
    rounded = round(factor * value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:{sign}.{digits}f}"

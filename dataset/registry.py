"""The registry of data sets: a name for `--dataset`, its facts, and how to load it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dataset.spec import Dataset, DatasetSpec
from helper.registry import Registry


@dataclass(frozen=True)
class DataRequest:
    """The options of the command line about the data."""

    root: Path = Path("data")
    """The folder that holds, or will hold, the public files."""
    cache_dir: Path | None = None
    """The folder for decoded images; None: `cache` in `root`."""
    num_workers: int = 0
    """Processes that decode images; 0: this one alone."""
    limit_train: int | None = None
    """Only the first N training examples."""
    limit_test: int | None = None
    num_classes: int = 20
    """Read by `synthetic` alone; a public set has a fixed number."""
    img_size: int | None = None
    """Read by `synthetic` (None: 32) and `folder` (None: that of its images) alone."""
    mean: tuple[float, float, float] | None = None
    """Read by `folder` alone: per RGB channel, for pixels scaled to 0..1; None: measured."""
    std: tuple[float, float, float] | None = None
    images: str = "auto"
    """Read by `folder` alone: "memory", decoded once and held on the device; "stream"; "auto": by
    the size."""
    may_write: bool = True
    """Download and decode what is absent; a dry run does neither."""


class DataSource(Protocol):
    """One data set."""

    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec: ...

    @staticmethod
    def load(request: DataRequest) -> Dataset: ...


datasets: Registry[DataSource] = Registry("data set")

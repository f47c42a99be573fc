"""torchvision's transforms by name, such as `tv.ElasticTransform:alpha=50`.

Any class of torchvision.transforms.v2 that maps images to images of the same shape. Its arguments
are keys: numbers, words, true or false, and several values joined by "..", such as
scale=0.02..0.33. A `size` is the image's unless given. Transforms see bytes, or floats in 0..1
where they refuse bytes. `sample` draws a seed; `apply` runs the transform under the global
generators, which it seeds and restores, so runs repeat and resume.

A batch costs one call (draw=batch), or one call for each image (draw=sample), up to 5 ms on a CPU
core: elastic transforms take a tenth of a step of wrn_40_2/wrn_16_2 then. Some transforms wait for
a GPU.
"""

import contextlib
import functools
import inspect
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from augment.base import Augmentation, Augmented, MixSettings
from augment.keys import Key
from dataset.batches import normalize_for
from dataset.spec import DatasetSpec
from helper.errors import UserError, unknown_name

PREFIX = "tv."
WORDS = {"true": True, "false": False}


@functools.cache
def transforms() -> dict[str, type]:
    """torchvision's classes by name. Imported when asked for: it takes a second."""
    from torchvision.transforms import v2

    return {
        PREFIX + name: item
        for name, item in inspect.getmembers(v2, inspect.isclass)
        if issubclass(item, v2.Transform) and item is not v2.Transform
    }


@functools.cache
def library_stage(name: str) -> type["Library"]:
    """The stage called `tv.Class`. UserError with the nearest class if there is none."""
    if name not in transforms():
        raise unknown_name("transform of torchvision", name, transforms())
    return type(name, (Library,), {"transform": transforms()[name]})


@dataclass(frozen=True)
class Argument(Key):
    """A transform's argument: any number, word or sequence.

    The transform itself says what it refuses.
    """

    def read(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        values = tuple(literal(part) for part in text.split(".."))
        return values[0] if len(values) == 1 else values

    def range(self) -> str:
        return f"as torchvision's {self.help}"


def literal(text: str) -> Any:
    """A whole number, a number, true or false, or the word itself."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return WORDS.get(text.lower(), text)


class Library(Augmentation):
    """A stage made of a transform."""

    transform: ClassVar[type]

    @classmethod
    def keys(cls) -> dict[str, Key]:
        """`draw`, the transform's arguments, and p where it has none of its own."""
        arguments = inspect.signature(cls.transform).parameters.values()
        own = {
            each.name: Argument(
                None if each.default is each.empty else each.default,
                -np.inf, np.inf, cls.transform.__name__, (), object, "",
            )
            for each in arguments
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.name != "inplace"
        }  # fmt: skip
        return super().keys() | own

    def __init__(self, spec: DatasetSpec, settings: MixSettings, **values: Any) -> None:
        super().__init__(spec, settings, **values)
        self.draws_its_p = "p" in inspect.signature(self.transform).parameters
        self.operation = self._made(values)
        problem = self._problem(torch.uint8)
        self.takes_bytes = not problem
        if problem and (problem := self._problem(torch.float32)):
            side = spec.img_size
            raise UserError(f"it cannot be used on images of {side}x{side} pixels: {problem}")

    def _made(self, values: dict[str, Any]) -> Any:
        from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

        parameters = inspect.signature(self.transform).parameters
        given = {name: value for name, value in values.items() if name in parameters}
        if "size" in parameters:
            given = {"size": (self.spec.img_size, self.spec.img_size)} | given
        missing = [
            each.name
            for each in parameters.values()
            if each.default is each.empty
            and each.name not in given
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        if missing:
            raise UserError(f"{missing[0]}= is missing")
        try:
            for name, kind in (("interpolation", InterpolationMode), ("policy", AutoAugmentPolicy)):
                if name in given:
                    given[name] = kind(given[name])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a class has a newer name
                return self.transform(**given)
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(f"torchvision says: {first_line(error)}") from None

    def _problem(self, dtype: torch.dtype) -> str:
        """Why it does not map images of this type to images of the same shape; empty if it does."""
        side = self.spec.img_size
        trial = torch.zeros(1, 3, side, side, dtype=dtype)
        try:
            with seeded(0, trial.device):
                result = self.operation(trial)
        except Exception as error:  # whatever a foreign transform may raise
            return first_line(error)
        is_alike = torch.is_tensor(result) and (result.shape, result.dtype) == (trial.shape, dtype)
        return "" if is_alike else "its result is no image of the same shape"

    def sample(self, batch_size: int, generator: torch.Generator) -> int:
        """The seed of the transform's own draws."""
        return int(torch.randint(2**31, (1,), generator=generator))

    def apply(self, images: torch.Tensor, draw: int) -> Augmented:
        normalize = normalize_for(self.spec, images.device)
        pixels = (
            normalize.undo(images)
            if self.takes_bytes
            else normalize.undo_to_floats(images).clamp(0, 1)
        )
        with seeded(draw, images.device):
            parts = pixels.split(1 if self.draw == "sample" else len(pixels))
            changed = torch.cat([self.operation(part) for part in parts])
        if not self.takes_bytes:
            changed = changed.clamp(0, 1) * 255
        return Augmented(normalize(changed.permute(0, 2, 3, 1).contiguous()))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators seeded inside, and as they were afterwards."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    before, numpy_before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.random.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

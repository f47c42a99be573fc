"""`synthetic`: an embedded data set, drawn on the fly, for the quickstart and the tests.

Each image shows one shape, filled with one texture, on one background; the three together are the
class. Position, size, rotation, stretch, all colours, light, the blobs that cover parts, and the
noise are drawn at random. Classes that share a shape or a texture are alike, so a teacher has
something to say beyond the label. Each shape equals its mirror image and each pose is as likely as
its mirror image, so that a flipped image keeps its label.

Shapes and textures are signed distances: negative inside, in units of half the image's side.
It does not try to look like photographs, and no number measured on it says anything about a real
data set.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from dataset.registry import DataRequest, datasets
from dataset.spec import Dataset, DatasetSpec, ImageSet
from helper.errors import UserError

SEED = 20201203
SPLITS = ("train", "test")
TRAIN_PER_CLASS, TEST_PER_CLASS = 250, 100
MAX_TRAIN, MAX_TEST = 50_000, 10_000
"""How many images `load` draws: so many for each class, up to a total."""
BLOCK_PIXELS = 2**18
"""Pixels drawn at once (256 images of 32 x 32); bounds the memory beside the images to about 50
MB."""
MIN_IMG_SIZE, MAX_IMG_SIZE = 16, 512
DEFAULT_IMG_SIZE = 32

Field = np.ndarray
"""(B, H, W) float32, or what broadcasts to it."""


@datasets.register("synthetic")
class Synthetic:
    @staticmethod
    def spec(request: DataRequest) -> DatasetSpec:
        return synthetic_spec(request.num_classes, request.img_size or DEFAULT_IMG_SIZE)

    @staticmethod
    def load(request: DataRequest) -> Dataset:
        """Both splits; what the limits cut off is not drawn. Raises UserError."""
        spec = Synthetic.spec(request)

        def images(split: str, per_class: int, most: int, limit: int | None) -> ImageSet:
            count = min(per_class * request.num_classes, most)
            count = count if limit is None else min(count, limit)
            return synthetic_images(
                split, count, num_classes=spec.num_classes, img_size=spec.img_size
            )

        return Dataset(
            spec=spec,
            train=images("train", TRAIN_PER_CLASS, MAX_TRAIN, request.limit_train),
            test=images("test", TEST_PER_CLASS, MAX_TEST, request.limit_test),
        )


def synthetic_spec(num_classes: int, img_size: int) -> DatasetSpec:
    """Facts of the data: `num_classes` classes at `img_size` pixels. Raises UserError."""
    _check(num_classes, img_size)
    return DatasetSpec(
        name="synthetic",
        num_classes=num_classes,
        img_size=img_size,
        mean=(0.50, 0.50, 0.50),
        std=(0.25, 0.25, 0.25),
        crop_padding=img_size // 8,
        cutout_size=img_size // 4,
        autoaugment_policy="cifar10",
    )


def synthetic_images(split: str, count: int, *, num_classes: int, img_size: int) -> ImageSet:
    """The first `count` images of `split`, "train" or "test".

    The same arguments give the same images (on another processor or version of NumPy a byte may
    differ by a rounding), and a smaller `count` the first ones of a larger. The classes come in
    random order, each as often as any other to within one image. Raises UserError.
    """
    _check(num_classes, img_size)
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}. Choices: {', '.join(SPLITS)}")
    if count < 0:
        raise UserError(f"the number of {split} images must be 0 or more, got {count}")
    block_size = max(1, BLOCK_PIXELS // img_size**2)
    seed = (SEED, SPLITS.index(split), num_classes, img_size)
    num_blocks = -(-count // block_size)
    labels = _labels(np.random.default_rng((*seed, 0)), num_blocks * block_size, num_classes)
    images = np.empty((count, img_size, img_size, 3), dtype=np.uint8)
    for block in range(num_blocks):
        rows = slice(block * block_size, (block + 1) * block_size)
        generator = np.random.default_rng((*seed, 1 + block))
        drawn = _draw_block(labels[rows], generator, img_size)
        images[rows] = drawn[: count - rows.start]
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels[:count].copy()))


def _check(num_classes: int, img_size: int) -> None:
    if not 2 <= num_classes <= MAX_CLASSES:
        raise UserError(f"--num_classes of synthetic must be 2..{MAX_CLASSES}, got {num_classes}")
    if not MIN_IMG_SIZE <= img_size <= MAX_IMG_SIZE:
        raise UserError(
            f"--img_size of synthetic must be {MIN_IMG_SIZE}..{MAX_IMG_SIZE}, got {img_size}"
        )


def _labels(generator: np.random.Generator, count: int, num_classes: int) -> np.ndarray:
    """(count,) int64: all classes in random order, then all in another order, and so on."""
    rounds = -(-count // num_classes)
    orders = [generator.permutation(num_classes) for _ in range(rounds)]
    return np.concatenate([np.empty(0, np.int64), *orders])[:count]


# --- Shapes: signed distance at (u, v), in units of the shape's radius ----------------------------


def _disc(u: Field, v: Field) -> Field:
    return np.hypot(u, v) - 0.9


def _ring(u: Field, v: Field) -> Field:
    return np.abs(np.hypot(u, v) - 0.7) - 0.25


def _crescent(u: Field, v: Field) -> Field:
    return np.maximum(np.hypot(u, v) - 1, 0.8 - np.hypot(u, v - 0.5))


def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _bar(u: Field, v: Field) -> Field:
    return _box(u, v, 1.1, 0.4)


def _cross(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v, 1.0, 0.33), _box(u, v, 0.33, 1.0))


def _corner(u: Field, v: Field) -> Field:
    """An L with equal arms, standing on its corner."""
    u, v = (u + v) * math.sqrt(0.5), (v - u) * math.sqrt(0.5)
    return np.minimum(_box(u, v + 0.55, 0.9, 0.35), _box(u + 0.55, v, 0.35, 0.9))


def _star(points: int, inner: float) -> Callable[[Field, Field], Field]:
    """`points` corners at radius 1.1, and as many between them at 1.1 * `inner`."""
    half = math.pi / points
    # The edge from (1, 0) to inner * (cos half, sin half), as normal . position = offset.
    normal_u, normal_v = inner * math.sin(half), 1 - inner * math.cos(half)
    length = math.hypot(normal_u, normal_v)
    normal_u, normal_v, offset = normal_u / length, normal_v / length, 1.1 * normal_u / length

    def distance(u: Field, v: Field) -> Field:
        radius, angle = np.hypot(u, v), np.arctan2(u, -v)
        angle = np.abs((angle + half) % (2 * half) - half)  # fold onto half a corner
        return radius * (normal_u * np.cos(angle) + normal_v * np.sin(angle)) - offset

    return distance


def _polygon(sides: int) -> Callable[[Field, Field], Field]:
    return _star(sides, inner=math.cos(math.pi / sides))


SHAPES = (
    _disc,
    _polygon(4),
    _star(5, 0.45),
    _ring,
    _polygon(3),
    _cross,
    _crescent,
    _bar,
    _star(4, 0.35),
    _corner,
)


# --- Textures: signed distance at (p, q), in units of half the image's side -----------------------


def _wave(p: Field, period: float) -> Field:
    """Distance to the edges of stripes across p, each half a period wide."""
    return (np.abs(p / period % 1 - 0.5) - 0.25) * period


def _plain(p: Field, q: Field) -> Field:
    return np.full_like(p, -1)


def _wide_stripes(p: Field, q: Field) -> Field:
    return _wave(p, 0.56)


def _narrow_stripes(p: Field, q: Field) -> Field:
    return _wave(p, 0.28)


def _checks(p: Field, q: Field) -> Field:
    a, b = _wave(p, 0.6), _wave(q, 0.6)
    return np.maximum(np.minimum(a, b), np.minimum(-a, -b))


def _dots(p: Field, q: Field) -> Field:
    return np.hypot(p % 0.4 - 0.2, q % 0.4 - 0.2) - 0.125


def _grid(p: Field, q: Field) -> Field:
    return np.minimum(_wave(p, 0.44), _wave(q, 0.44)) + 0.05


def _zigzag(p: Field, q: Field) -> Field:
    return 0.7 * _wave(q + 2 * _wave(p, 0.6), 0.4)


def _rings(p: Field, q: Field) -> Field:
    return _wave(np.hypot(p, q), 0.4)


def _rays(p: Field, q: Field) -> Field:
    return np.hypot(p, q) * _wave(np.arctan2(q, p), math.pi / 4)


def _halves(p: Field, q: Field) -> Field:
    return p


TEXTURES = (
    _plain,
    _wide_stripes,
    _checks,
    _dots,
    _rings,
    _narrow_stripes,
    _zigzag,
    _grid,
    _rays,
    _halves,
)
MAX_CLASSES = len(SHAPES) * len(TEXTURES) ** 2


def class_parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (B,) -> indices (B,) of the shape, its texture and the background's texture.

    Ten classes have ten shapes and ten textures. Beyond that, neither shape nor texture alone tells
    the class; backgrounds other than plain start at class 100.
    """
    shape = labels % len(SHAPES)
    shift = labels // len(SHAPES)
    texture = (labels + shift) % len(TEXTURES)
    background = shift // len(TEXTURES)
    return shape, texture, background


# --- Drawing --------------------------------------------------------------------------------------


class _Draws:
    """The random draws of one block: every method gives each of its B images a value of its own."""

    def __init__(self, batch: int, generator: np.random.Generator) -> None:
        self.batch, self.generator = batch, generator

    def uniform(self, low: float, high: float, channels: int | None = None) -> np.ndarray:
        """(B, 1, 1), or (B, 1, 1, channels)."""
        shape = (self.batch, 1, 1) if channels is None else (self.batch, 1, 1, channels)
        return low + (high - low) * self.generator.random(shape, dtype=np.float32)

    def turned(self, x: Field, y: Field, most: float | Field = math.pi) -> tuple[Field, Field]:
        """(x, y) rotated by up to `most` radians either way."""
        angle = self.uniform(-1, 1) * most
        return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    def two_colours(self, contrast: Field) -> tuple[np.ndarray, np.ndarray]:
        """Two colours (B, 1, 1, 3), either of them the lighter, by `contrast` (B, 1, 1) at most."""
        middle = self.uniform(0.15, 0.85, 3)
        change = contrast[..., None] * self.uniform(0.5, 1, 3) * np.sign(self.uniform(-1, 1, 1)) / 2
        return middle + change, middle - change


def _draw_block(labels: np.ndarray, generator: np.random.Generator, img_size: int) -> np.ndarray:
    """Labels (B,) -> images (B, H, W, 3) uint8."""
    shape, texture, background = class_parts(labels)
    draw = _Draws(len(labels), generator)
    pixel = 2 / img_size
    axis = ((np.arange(img_size) + 0.5) * pixel - 1).astype(np.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    # Scales most of the nuisance: easy images teach first, hard ones last.
    hard = draw.uniform(0, 1)

    p, q = draw.turned(x, y)
    ground = _fill(
        draw.two_colours(draw.uniform(0.2, 0.4)), _select(TEXTURES, background, p, q) / pixel
    )

    shift = 0.5 * hard
    u, v = draw.turned(x + shift * draw.uniform(-1, 1), y + shift * draw.uniform(-1, 1), 1.5 * hard)
    radius, stretch = draw.uniform(0.45, 0.75), 1 + 0.35 * hard * draw.uniform(-1, 1)
    outline = radius * _select(SHAPES, shape, u / radius * stretch, v / radius / stretch)
    p, q = draw.turned(u + draw.uniform(-0.1, 0.1), v + draw.uniform(-0.1, 0.1), 0.6 * hard)
    inside = _fill(draw.two_colours(0.8 - 0.55 * hard), _select(TEXTURES, texture, p, q) / pixel)
    images = _fill((inside, ground), outline / pixel)

    for _ in range(4):  # blobs, which cover parts of both
        u, v = draw.turned(x + draw.uniform(-1, 1), y + draw.uniform(-1, 1))
        outline = np.hypot(u, v * draw.uniform(1, 3)) - hard * draw.uniform(0.1, 0.5)
        images = _fill((draw.uniform(0, 1, 3), images), outline / pixel)

    slope, _ = draw.turned(x, y)
    images *= (1 + draw.uniform(0, 0.4) * slope)[..., None]  # light from one side
    noise = generator.standard_normal(images.shape, dtype=np.float32)
    images += (0.02 + 0.06 * hard)[..., None] * noise
    return (255 * np.clip(images, 0, 1) + 0.5).astype(np.uint8)


def _select(functions: tuple[Callable, ...], index: np.ndarray, u: Field, v: Field) -> Field:
    """Signed distance of image b by functions[index[b]]. index: (B,); u, v, result: (B, H, W)."""
    distance = np.empty_like(u)
    for i in np.unique(index):
        rows = index == i
        distance[rows] = functions[i](u[rows], v[rows])
    return distance


def _fill(colours: tuple[np.ndarray, np.ndarray], distance: Field) -> np.ndarray:
    """The first colour where the distance, in pixels, is negative, else the second.

    The edge is one pixel wide. colours: two of (B, H or 1, W or 1, 3), in 0..1; distance:
    (B, H, W); result: (B, H, W, 3).
    """
    coverage = np.clip(0.5 - distance, 0, 1)[..., None]
    inside, outside = colours
    return outside + coverage * (inside - outside)

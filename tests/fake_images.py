"""Tiny copies of the data sets that come as image files, in their public layouts."""

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {"tinyimagenet": 200, "imagenet100": 100, "imagenet": 1000}


def picture(seed, size=(64, 64), mode="RGB"):
    """An image file's content, JPEG: blocks of flat colour, which survive the compression."""
    draw = np.random.default_rng(seed)
    width, height = size
    blocks = draw.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    pixels = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def wnid(label):
    """Class names whose sorted order is that of the labels."""
    return f"n{1000 + label:08d}"


def write_tiny_imagenet(root, per_class=2, val=30):
    """`root`/tiny-imagenet-200: one grey training image, a grey validation image; the folder."""
    folder = Path(root) / "tiny-imagenet-200"
    for label in range(200):
        images = folder / "train" / wnid(label) / "images"
        images.mkdir(parents=True)
        (images.parent / f"{wnid(label)}_boxes.txt").write_text("")
        for number in range(per_class):
            mode = "L" if (label, number) == (3, 0) else "RGB"
            (images / f"{wnid(label)}_{number}.JPEG").write_bytes(
                picture(1000 * label + number, mode=mode)
            )
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for number in range(val):
        mode = "L" if number == 1 else "RGB"
        (folder / "val" / "images" / f"val_{number}.JPEG").write_bytes(
            picture(10**6 + number, mode=mode)
        )
        lines.append(f"val_{number}.JPEG\t{wnid(7 * number % 200)}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{wnid(label)}\n" for label in reversed(range(200))))
    return folder


def write_imagenet(root, name="imagenet100", train=2, val=1):
    """`root`/<name>/{train,val}/<wnid>/*.JPEG of various sizes; the folder."""
    folder = Path(root) / name
    sizes = [(64, 48), (48, 80), (96, 32)]
    for split, per_class, base in (("train", train, 0), ("val", val, 10**6)):
        for label in range(CLASSES[name]):
            images = folder / split / wnid(label)
            images.mkdir(parents=True)
            for number in range(per_class):
                seed = base + 1000 * label + number
                (images / f"image_{number}.JPEG").write_bytes(picture(seed, sizes[seed % 3]))
    return folder


def write_folder(root, classes=3, train=2, test=1):
    """`root`/{train,test}/<class>/*.jpg of 16x16 pixels, for --dataset folder; the folder."""
    for split, per_class, base in (("train", train, 0), ("test", test, 10**6)):
        for label in range(classes):
            images = Path(root) / split / f"class_{label}"
            images.mkdir(parents=True)
            for number in range(per_class):
                path = images / f"image_{number}.jpg"
                path.write_bytes(picture(base + 1000 * label + number, (16, 16)))
    return Path(root)


def copy_with_links(source, target):
    """A copy that is cheap: its files are the same until they are replaced (not written to)."""
    return Path(shutil.copytree(source, target, copy_function=lambda a, b: Path(b).hardlink_to(a)))


def replace(path, content):
    """New content under this name alone."""
    path.unlink()
    path.write_bytes(content)

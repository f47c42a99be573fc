#!/usr/bin/env python3
"""Write every tenth class of CIFAR-100 as a folder of images, for the second test.

    python scripts/measured/ten_classes.py --data_root data -o ten_classes
    python scripts/measured/students.py --work runs --only ten_classes_resnet20 \
--data_root ten_classes

5,000 training and 1,000 test images as PNG, in CIFAR-100's order, of the classes 0, 10, ... 90.
"""

import argparse
import csv
import sys
from pathlib import Path

from torchvision.io import write_png

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import DataRequest, datasets
from dataset.spec import ImageSet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="where CIFAR-100 is")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    data = datasets["cifar100"].load(DataRequest(root=options.data_root))
    for split, images in (("train", data.train), ("val", data.test)):
        assert isinstance(images, ImageSet)
        folder = options.output / split
        folder.mkdir(parents=True, exist_ok=True)
        rows = [["path", "label"]]
        for index, label in enumerate(images.labels.tolist()):
            if label % 10 == 0:
                name = f"{index:05d}.png"
                write_png(images.images[index].permute(2, 0, 1), str(folder / name))
                rows.append([name, str(label // 10)])
        with open(folder / "labels.csv", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()

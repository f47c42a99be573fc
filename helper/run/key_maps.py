"""Names that widely used repositories give to the weights of the zoo's networks.

Data alone: to add one, add a row.

A map is a list of (pattern, replacement) for the beginning of a weight's name; the first that
matches counts. It is tried on a file whose names fit no model as they are. Repositories whose
networks have the zoo's names need no row: kuangliu/pytorch-cifar (ResNet18, ResNet50, ShuffleV2 and
others, under "net", with "module." in front), chenyaofo/pytorch-cifar-models (resnet20 to resnet56)
and bearpaw/pytorch-classification (its ResNets).
"""

_RESIDUAL = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3"}
"""Places in weiaicunzai's `residual_function`; the ones between are ReLUs."""

KEY_MAPS: dict[str, tuple[tuple[str, str], ...]] = {
    "weiaicunzai/pytorch-cifar100": (
        (r"conv1\.0\.", "conv1."),
        (r"conv1\.1\.", "bn1."),
        *(
            (
                rf"conv{stage + 1}_x\.(\d+)\.residual_function\.{place}\.",
                rf"layer{stage}.\1.{name}.",
            )
            for stage in (1, 2, 3, 4)
            for place, name in _RESIDUAL.items()
        ),
        *(
            (rf"conv{stage + 1}_x\.(\d+)\.shortcut\.", rf"layer{stage}.\1.shortcut.")
            for stage in (1, 2, 3, 4)
        ),
        (r"fc\.", "linear."),
    ),
    "mmpretrain": (
        (r"backbone\.", ""),
        (r"head\.fc\.", "fc."),
    ),
    "mmpretrain, with a 3x3 stem": (
        (r"backbone\.(layer\d\.\d+)\.downsample\.", r"\1.shortcut."),
        (r"backbone\.", ""),
        (r"head\.fc\.", "linear."),
    ),
    "torchvision, with a 3x3 stem": (
        (r"(layer\d\.\d+)\.downsample\.", r"\1.shortcut."),
        (r"fc\.", "linear."),
    ),
}
"""Repository -> its map."""

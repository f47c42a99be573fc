"""Parquet shards, as the Hugging Face Hub has them, unpacked once into files in the cache.

A row holds an image's file content, plain or as the field `bytes` of a struct, and a label: a whole
number, whose name the shard's metadata may tell, or a name.
"""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset.cache import fingerprint, lock
from dataset.folder_layout import LABEL_COLUMNS, TEST_NAMES, column_of
from helper.errors import UserError, reason_of

ROWS_AT_ONCE = 256


def unpacked(root: Path, cache_dir: Path, *, may_write: bool) -> Path:
    """`root`, or the folder of files made of its shards if it holds train*.parquet."""
    shards = shards_in(root)
    if not shards.get("train") or (root / "train.csv").exists() or (root / "train").is_dir():
        return root
    mark = fingerprint(root, [str(path) for paths in shards.values() for path in paths])
    folder = cache_dir / f"folder-parquet-{mark}"
    if folder.is_dir():
        return folder
    if not may_write:
        raise UserError(
            f"{shards['train'][0]} is unpacked first, into {folder}/: start the command once"
            " without --dry_run"
        )
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with lock(cache_dir / ".folder-parquet.lock", folder):
            if not folder.is_dir():  # else another process has unpacked it meanwhile
                print(f"unpacking {root}/*.parquet into {folder}/, once", flush=True)
                unpack(shards, cache_dir, folder)
    except OSError as error:
        raise UserError(
            f"cannot write to {cache_dir}/: {reason_of(error)} (--cache_dir names another folder)"
        ) from None
    return folder


def shards_in(root: Path) -> dict[str, list[Path]]:
    """Split -> its shards in order, in `root` or `root/data`; splits without any are left out."""
    found = {}
    for split in ("train", *TEST_NAMES):
        for folder in (root, root / "data"):
            shards = sorted({*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")})
            if shards:
                found[split] = shards
                break
    return found


def unpack(shards: dict[str, list[Path]], cache_dir: Path, folder: Path) -> None:
    """Write beside the place, then rename. UserError for a shard that cannot be read."""
    scratch = Path(tempfile.mkdtemp(prefix=".building-folder-parquet-", dir=cache_dir))
    try:
        scratch.chmod(0o755)
        for split, paths in shards.items():
            write_split(scratch, split, paths)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def write_split(folder: Path, split: str, shards: list[Path]) -> None:
    """Write an image file each, `<split>.csv`, and `classes.txt` where the labels have names."""
    (folder / split).mkdir()
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("path", "label"))
    names: list[str] = []
    for number, (content, label, names) in enumerate(rows_of(shards)):
        image = f"{split}/{number:08d}"
        (folder / image).write_bytes(content)
        writer.writerow((image, names[label] if names else label))
    (folder / f"{split}.csv").write_text(table.getvalue(), encoding="utf-8")
    if names and split == "train":
        (folder / "classes.txt").write_text("\n".join(names), encoding="utf-8")


def rows_of(shards: list[Path]) -> Iterator[tuple[bytes, Any, list[str]]]:
    """(image file's content, label, names of the labels or []) of each row.

    UserError names a damaged shard.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{shards[0]}: reading parquet files takes pyarrow: pip install pyarrow"
        ) from None
    for path in shards:
        try:
            with pyarrow.parquet.ParquetFile(path) as shard:
                image, label = columns_of(path, shard.schema_arrow)
                names = names_of_labels(shard.schema_arrow.metadata or {}, label)
                for batch in shard.iter_batches(ROWS_AT_ONCE, columns=[image, label]):
                    for row in batch.to_pylist():
                        yield content_of(path, row[image]), checked(path, row[label], names), names
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(
                f"{path} is damaged or no parquet file: {str(error).splitlines()[0]}"
            ) from None


def columns_of(path: Path, schema: Any) -> tuple[str, str]:
    """The names of the columns of images and labels."""
    import pyarrow.types as types

    def holds_images(kind: Any) -> bool:
        is_image = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return is_image or types.is_binary(kind) or types.is_large_binary(kind)

    images = [field.name for field in schema if holds_images(field.type)]
    if not images:
        raise UserError(f"{path} has no column of image bytes; it has {', '.join(schema.names)}")
    return images[0], column_of(path, schema.names, LABEL_COLUMNS)


def content_of(path: Path, value: Any) -> bytes:
    """The image file's content. An empty one counts as a damaged image later."""
    content = value.get("bytes") if isinstance(value, dict) else value
    return content or b""


def checked(path: Path, label: Any, names: list[str]) -> Any:
    """The label. UserError if it is none, or has no name where the others have one."""
    if label is None or (names and not (isinstance(label, int) and 0 <= label < len(names))):
        raise UserError(f"{path} is damaged: {label!r} is no label")
    return label


def names_of_labels(metadata: dict[bytes, bytes], label: str) -> list[str]:
    """The Hub's `ClassLabel` names of a column, [] where there are none."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []

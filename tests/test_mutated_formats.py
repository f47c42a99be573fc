"""A few malformed files of each format; `python tests/mutated_formats.py 1000` tries more."""

import pytest
from mutated_formats import formats, try_mutants


@pytest.mark.parametrize("name", formats)
def test_a_malformed_file_is_refused_in_one_line(name, tmp_path):
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    outcomes = try_mutants(name, 5 if name == "safetensors" else 12, tmp_path, seed=1)
    assert set(outcomes) <= {"refused", "read"}, outcomes
    assert outcomes["refused"]

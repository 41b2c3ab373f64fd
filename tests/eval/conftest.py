"""Fixtures of the tests of eval/. None of them needs Caffe."""

import numpy as np
import pytest
from evaluation_cases import write_split


@pytest.fixture
def features(tmp_path):
    """10 queries, 40 in the database, 8 bits, with fc7."""
    rng = np.random.default_rng(0)
    write_split(tmp_path / "features/train", 40, rng, fc7=rng.random((40, 5), np.float32))
    write_split(tmp_path / "features/test", 10, rng, fc7=rng.random((10, 5), np.float32))
    return tmp_path / "features"

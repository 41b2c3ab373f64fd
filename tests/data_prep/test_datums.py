"""Our Datum bytes against protobuf's own."""
import numpy as np
import pytest

from databases.datums import messages, serialize_datum


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 16), (3, 28, 28), (3, 256, 256)])
@pytest.mark.parametrize("encoded", [False, True])
def test_bytes_equal_those_of_protobuf(shape, encoded):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = messages().Datum(channels=shape[0], height=shape[1], width=shape[2], data=pixels.tobytes(),
                                label=300, encoded=encoded).SerializeToString()
    assert serialize_datum(300, shape, pixels, encoded) == expected
    assert serialize_datum(300, shape, pixels.tobytes(), encoded) == expected

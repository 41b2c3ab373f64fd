"""Files and folders that a run meets, and what is said of those that are others."""
import errno
import os

import numpy as np
import pytest

from features.adding import read_database
from packing.finished import Finished
from process.errors import DriverError
from process.files import whole_file
from process.readers import is_there, read_bytes
from process.run_folder import RunFolder


def test_a_link_that_leads_nowhere_is_no_absence(tmp_path):
    (tmp_path / "x.npy").symlink_to("x.npy")
    with pytest.raises(DriverError, match="x.npy is a link that leads nowhere"):
        is_there(tmp_path / "x.npy")
    assert not is_there(tmp_path / "y.npy")


def test_a_name_with_a_zero_byte_is_told(tmp_path):
    with pytest.raises(DriverError, match="zero byte"):
        read_bytes(tmp_path / "a\0b.png")


@pytest.fixture
def database(tmp_path):
    """A folder of features of three images."""
    np.save(tmp_path / "latent.npy", np.zeros((3, 8), np.float32))
    np.save(tmp_path / "labels.npy", np.zeros(3, int))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    (tmp_path / "meta.json").write_text('{"count": 3}')
    return tmp_path


def test_ids_that_are_a_fifo_are_not_waited_for(database):
    assert len(read_database(database).ids) == 3
    (database / "ids.txt").unlink()
    os.mkfifo(database / "ids.txt")
    with pytest.raises(DriverError, match="ids.txt is no file but"):
        read_database(database)


@pytest.mark.parametrize("name, value", [("blobs", "[[]]"), ("net", "1e300"), ("protocol", "{}"), ("count", '"x"')])
def test_meta_json_of_other_types_is_named(database, name, value):
    (database / "meta.json").write_text(f'{{"{name}": {value}}}')
    with pytest.raises(DriverError, match="meta.json is not the JSON that belongs there"):
        read_database(database)


@pytest.mark.parametrize("content", [b"", b"[1, 2, 3]", b"\0" * 500])
def test_codes_are_not_packed_from_what_is_no_array(tmp_path, content):
    (tmp_path / "features/train").mkdir(parents=True)
    (tmp_path / "features/train/latent.npy").write_bytes(content)
    with pytest.raises(DriverError, match="latent.npy is no .npy file"):
        Finished(RunFolder(tmp_path), {}, {}, {}, None).packed_codes()


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="wanted.bin"), whole_file(tmp_path / "wanted.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_no_run(tmp_path):
    RunFolder(tmp_path / "new").refuse_other_folder()
    RunFolder(tmp_path).refuse_other_folder()  # empty
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(DriverError, match="is there and is no run"):
        RunFolder(tmp_path).refuse_other_folder()
    (tmp_path / "caffe.log").touch()
    RunFolder(tmp_path).refuse_other_folder()

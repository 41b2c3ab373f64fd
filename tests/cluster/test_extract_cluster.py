"""Extraction by the nodes of a cluster: the features of one process, and a sentence for what cannot be."""
import json
import os
from pathlib import Path

import pytest
from cluster_cases import free_port
from extraction_on_cluster import extract_on, outcome

from caffe_cases import CROP, SCALE, SIDE, run
from extraction_cases import assert_equal, extract
from process.identity import sha256


def test_it_makes_the_features_of_one_process_and_keeps_them(trained, cluster, call):
    status, said = outcome(extract_on(cluster.address))
    assert status == 0, said
    assert "2 nodes, 3 parts" in said
    assert "features/test: 50 rows joined from 3 parts" in said
    assert os.listdir("features") == ["test"]
    assert extract(call, out="features/whole")[0] == 0
    assert_equal("features/test", "features/whole")
    status, said = outcome(extract_on(cluster.address))
    assert status == 0
    assert "kept, made from the same" in said
    assert "extracting" not in said


def test_a_part_that_cannot_be_made_is_told_with_its_node(trained, cluster):
    (trained / "list.txt").write_text("".join(f"{row:02d}.png 0\n" for row in range(20)))
    status, said = outcome(extract_on(cluster.address, parts=2, source=("--data", "list.txt")))
    assert status == 1
    assert "extract_cluster: node 127.0.0.1 (" in said
    assert "No such file or directory: '0" in said
    assert not (trained / "features/test").exists()


def test_a_full_disk_of_a_node_is_told_with_the_node_and_goes_on_later(trained, cluster, small_disk, call):
    out = f"{small_disk}/features/test"
    (small_disk / "filler").write_bytes(bytes((3 << 20) - (160 << 10)))  # a part takes 120 KB
    status, said = outcome(extract_on(cluster.address, out=out))
    assert status == 1
    assert "extract_cluster: node 127.0.0.1 (" in said
    assert f"{small_disk}/features/test.parts/part-0000" in said
    # Two parts begin at once: whichever finds no room first tells it, before it writes or while it does.
    assert "No space left on device: it needs 0.1 MB. Free some space or choose another --out" in said or \
        "is full: free some space. The same command goes on from what is whole" in said
    (small_disk / "filler").unlink()
    status, said = outcome(extract_on(cluster.address, out=out))
    assert status == 0, said
    assert os.listdir(small_disk / "features") == ["test"]
    assert extract(call, out="features/whole")[0] == 0
    assert_equal(out, "features/whole")


@pytest.mark.parametrize("what, file", [("weights", "run/final.caffemodel"), ("net", "run/deploy.prototxt"),
                                        ("mean", "mean.binaryproto")])
def test_a_machine_that_has_other_files_is_named(trained, call, what, file):
    """The driver tells each part what the whole extraction is made of; here it tells of another file."""
    made_of = {"weights": "run/final.caffemodel", "net": "run/deploy.prototxt", "mean": "mean.binaryproto"}
    told = {"blobs": {"latent": "fc8_kevin_encode", "fc7": "fc7"}, "protocol": "caffe", "scale": SCALE,
            "resize": SIDE, "input": [3, CROP, CROP], **{name: {"sha256": sha256(Path(path))}
                                                         for name, path in made_of.items()}}
    assert extract(call, "--part", "1/3", "--expect", json.dumps(told))[0] == 0
    status, said = extract(call, "--part", "2/3", "--expect", json.dumps({**told, what: {"sha256": "0" * 64}}))
    assert status == 1
    assert f"{os.uname().nodename} has another {what} than the extraction that this part is of ({file} there)" in said
    assert not list((trained / "features").glob("**/part-00002-of-00003"))


@pytest.mark.parametrize("options, words", [
    (("--cluster", f"127.0.0.1:{free_port()}"), "is missing: copy the cluster's token"),
    (("--cluster", "nowhere"), "CLUSTER=nowhere: give host:port"),
    (("--parts", 8), "50 images are 7 batches of 8: give at most 7 parts"),
    (("--data", "nothing"), "DATA=nothing: there is nothing"),
    (("--part", "1/3"), "--part and --join are given to extract.py, by this program")])
def test_what_cannot_be_is_told_before_anything_starts(trained, cluster, options, words):
    status, said = outcome(extract_on(cluster.address, *options))
    assert status in (1, 2)
    assert words in said


def test_no_cluster_at_the_address_and_another_token(trained, cluster, tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o600)
    words = ("--run", "run", "--data", "test_lmdb", "--out", "f", "--parts", 2, "--token", token)
    status, said = run("extract_cluster.py", "--cluster", f"127.0.0.1:{free_port()}", *words, cwd=".")
    assert status == 1
    assert "there is no cluster at 127.0.0.1:" in said
    status, said = run("extract_cluster.py", "--cluster", cluster.address, *words, cwd=".")
    assert status == 1
    assert f"is {token} its token" in said
    token.chmod(0o644)
    status, said = run("extract_cluster.py", "--cluster", cluster.address, *words, cwd=".")
    assert f"{token} can be read by others: chmod 600" in said

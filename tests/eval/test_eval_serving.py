"""What serve.py answers from, without a server: packages, several labels, codes alone. No Caffe."""

import hashlib
import json

import numpy as np
import pytest
from evaluation_cases import write_split

import query
from basics.program import EvalError
from serving.collection import Collection, Wish
from serving.faults import Fault
from serving.place import package_place, run_place


@pytest.fixture
def package(tmp_path):
    """A package of 40 images with fc7, as python/README.md describes it, and features of 3 new images."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "handed_on"
    folder.mkdir()
    np.save(folder / "codes.npy", np.packbits(rng.random((40, 12)) < 0.5, axis=1))
    np.save(folder / "labels.npy", rng.integers(0, 3, 40))
    np.save(folder / "fc7.npy", rng.random((40, 5), np.float32))
    (folder / "ids.txt").write_text("".join(f"{i}.png\n" for i in range(40)))
    (folder / "meta.json").write_text(json.dumps({"bits": 12, "classes": ["a", "b", "c"]}))
    (folder / "results.json").write_text(json.dumps({"two_stage": {"radius": 4}}))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new/latent.npy", rng.random((3, 12)))
    np.save(tmp_path / "new/fc7.npy", rng.random((3, 5), np.float32))
    return folder


def test_a_package_gets_the_answers_of_query_py(package, tmp_path):
    out = tmp_path / "out"
    assert query.main(["--queries", str(tmp_path / "new"), "--package", str(package), "--out", str(out)]) == 0
    collection = Collection(package_place(package))
    new = [np.load(tmp_path / "new" / name) for name in ("latent.npy", "fc7.npy")]
    for row, expected in enumerate(json.loads((out / "answers.json").read_text())):
        asked = collection.query_of_features("upload/x", "x", new[0][row], new[1][row], {})
        found = collection.answer(asked, Wish(10, None, "both"))
        assert (found["T"], found["pool"], found["query"]["class"]) == (4, expected["pool"], None)
        for mine, theirs in zip(found["searches"]["hdl"]["results"], expected["results"], strict=True):
            distance = theirs.pop("euclidean")   # of three queries at once: rounded otherwise, in the same order
            assert mine["euclidean"] == (pytest.approx(distance, rel=1e-5) if distance is not None else None)
            assert {name: mine[name] for name in theirs} == theirs


def test_a_package_that_is_not_whole_is_refused(package):
    (package / "labels.npy").unlink()
    with pytest.raises(EvalError, match="labels.npy is missing"):
        package_place(package)


def test_several_labels_share_one(tmp_path):
    rng = np.random.default_rng(1)
    write_split(tmp_path / "features/train", 30, rng)
    labels = rng.integers(0, 2, (30, 4))
    labels[7] = [1, 0, 0, 0]
    np.save(tmp_path / "features/train/labels.npy", labels)
    collection = Collection(run_place(tmp_path / "features"))
    found = collection.answer(collection.query_of_row("train", 7), Wish(30, 8, "both"))
    assert list(found["searches"]) == ["bcs"]
    for result in found["searches"]["bcs"]["results"]:
        assert result["right"] == bool(labels[result["row"], 0])
    pool = np.array([result["row"] for result in found["searches"]["bcs"]["results"] if result["hamming"] < 8])
    counts = labels[pool].sum(axis=0)
    assert dict(found["pool_classes"]) == {str(n): int(count) for n, count in enumerate(counts) if count}
    assert sum(found["histogram_same"]) == labels[:, 0].sum()


def test_many_classes_are_summed_up(tmp_path):
    write_split(tmp_path / "features/train", 60, np.random.default_rng(2))
    np.save(tmp_path / "features/train/labels.npy", np.minimum(np.arange(60), 50))
    collection = Collection(run_place(tmp_path / "features"))
    found = collection.answer(collection.query_of_row("train", 0), Wish(1, 8, "bcs"))
    assert len(found["pool_classes"]) == 13
    assert found["pool_classes"][-1][0] == "others"
    assert sum(size for _, size in found["pool_classes"]) == found["pool"]


def test_unless_evaluated_t_is_that_of_the_query(tmp_path):
    write_split(tmp_path / "features/train", 300, np.random.default_rng(4))
    collection = Collection(run_place(tmp_path / "features"))
    found = collection.answer(collection.query_of_row("train", 9), Wish(10, None, "both"))
    assert found["default_T"] is None
    assert found["pool"] >= 100 > sum(found["histogram"][:found["T"] - 1])


def test_nan_codes_of_the_net_are_a_sentence(tmp_path):
    write_split(tmp_path / "features/train", 10, np.random.default_rng(0))
    collection = Collection(run_place(tmp_path / "features"))
    with pytest.raises(Fault, match="The net gave no code"):
        collection.query_of_features("upload/x", "x", np.full(8, np.nan, np.float32), None, {})

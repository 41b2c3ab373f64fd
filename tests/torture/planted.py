"""Does the trial see what it is there for? Known defects, planted again in a copy of the checkout: it has to fail.

    .venv/bin/python -m torture.planted            (from tests/; make torture-planted does it)

Each plant is an edit of the source, and the part of the trial that has to find it. First those parts without a plant.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
COPIED = ("Makefile", "requirements*.txt", "third_party", "prototxt", "python", "data_prep", "eval", "tests")


@dataclass(frozen=True)
class Plant:
    """what: the defect. edits: (file, text, its replacement). only: the bad inputs, stages: the kills to try."""
    what: str
    edits: tuple[tuple[str, str, str], ...]
    only: str = "^NONE$"
    stages: str = ""

    def trial(self) -> tuple[str, ...]:
        """Further words for the trial."""
        return "--only", self.only, "--stages", self.stages, "--kills", "6" if self.stages else "0", "--seconds", "0"


PLANTS = (
    Plant("an output may be an input, and a foreign folder is replaced", (
        ("python/process/outputs.py", "    known = [path for", "    return\n    known = [path for"),
        ("python/features/feature_files.py", "    if folder.exists() and not _holds", "    if False and not _holds"),
        ("python/process/outputs.py", "    foreign = sorted(", "    return\n    foreign = sorted(")),
        "^over its input: : a database$"),
    Plant("layers of nets that do more than compute are taken", (
        ("python/caffe_files/trusted.py", "    if trusted:\n", "    if True:\n"),),
        "^extract: .*a layer (HDF5Output|HDF5Data|Data)$"),
    Plant("results are kept when there are any", (
        ("eval/measures/saved.py", "    if not search_is_saved(evaluation) or not codes_are_saved(evaluation):\n",
         "    if evaluation.out.results.exists():\n        return True\n    if not search_is_saved(evaluation):\n"),),
        "^evaluate kept"),
    Plant("--score-only takes lists of other features", (
        ("eval/measures/saved.py", "        check_made_from(path, found, given)\n", ""),), "^evaluate scored"),
    Plant("features are kept whatever the pixels are now", (
        ("python/features/feature_files.py", '    return key in (found.get("key"), found.get("added_to"))',
         "    return bool(found)"),), "^extract kept"),
    Plant("only the first entry of a database is looked at", (
        ("python/caffe_files/databases.py", "    if min(shape) < 1 or values !=", "    if False and values !="),),
        "short data in the second"),
    Plant("labels of a database are not looked at", (
        ("python/caffe_files/entries.py", "(min(labels), max(labels))", "(0, 0)"),), "label 5000 in the"),
    Plant("weights and activations may be NaN", (
        ("python/caffe_files/weights.py", "    if broken:", "    if False:"),
        ("python/features/extractor.py", "    if not np.isfinite(values).all():", "    if False:"),
        ("python/features/extractor.py", "        _check_finite(scores, self.classifier)", "        pass")),
        "extract: run/final.caffemodel: (all|one) NaN"),
    Plant("latent activations may be anything", (
        ("eval/search/feature_set.py", "        if low < 0 or high > 1:", "        if False:"),),
        "evaluate: run/features/test/latent.npy: (logits|0 to 255)"),
    Plant("predictions of another shape", (
        ("eval/search/feature_set.py", "    if predictions is not None and (", "    if False and ("),),
        "evaluate: .*predictions.npy: (a column|one|probabilities)"),
    Plant("fc7 of any size", (
        ("eval/search/feature_set.py", "        if not max(float(block.max()), -float(block.min())) <= limit:",
         "        if False:"),), "evaluate: .*fc7.npy: (-?1e30|NaN)"),
    Plant("half a JPEG is an image", (
        ("python/caffe_files/images.py", "    if len(content):\n",
         "    if len(content):\n        content = bytes(content) + b'\\xff\\xd9' * 9\n"),),
        "(half a JPEG in the|extract images: .*jpg: cut at (half|nine))"),
    Plant("snapshots are not verified", (
        ("python/training/snapshots.py", '        if found != progress.get("files", found):', "        if False:"),),
        "go on: .*of another training"),
    Plant("links in a tar are left out", (
        ("data_prep/sources/file_tree.py", "            self._places[name] = self._target(name)", "            pass"),),
        "^archive tar: .*link"),
    Plant("a variable that a target ignores is ignored", (
        ("Makefile", "$(if $(LISTED),$(filter-out $(TAKEN) $(EVERYWHERE),$(GIVEN)))", ""),),
        "^make: : (evaluate RUN=done GPU|upgrade FILE=x RUN|lint BITS)"),
    Plant("the released model is pinned as it comes", (
        ("data_prep/downloads/fetching.py", "    if file.layers:", "    if False:"),),
        "^fetch released-48: : (cut|text|zeros)"),
    Plant("any Content-Length", (
        ("data_prep/downloads/fetching.py", "    if not (told.isascii() and told.isdigit()):", "    if False:"),
        ("data_prep/downloads/fetching.py", "    except ValueError as error:", "    except MemoryError as error:")),
        "^fetch released-48: : length abc"),
    Plant("corrupt data stays as a part", (
        ("data_prep/downloads/fetching.py", "        partial.unlink()", "        pass"),),
        "^fetch t10k.*: : damaged deflate"),
    Plant("make hands DATA= to the shell", (
        ("Makefile", "data_prep/inputs.py name --data \"$$DATA\"", "data_prep/inputs.py name --data $(DATA)"),),
        "^make: : train DATA=.*touch"),
    Plant("RUN= is any word", (
        ("Makefile", "$(foreach name,DATASET NET BITS RUN,$(if", "$(foreach name,,$(if"),),
        "^make: : evaluate RUN=.*touch"),
    Plant("evaluate has no lock", (
        ("eval/basics/files.py", "        _lock(descriptor, folder)\n", ""),), stages="^evaluate$"),
    Plant("a database has its name before it is whole", (
        ("data_prep/databases/writer.py",
         '    partial = destination.with_name(destination.name + ".partial")\n    shutil',
         "    partial = destination\n    shutil"),
        ("data_prep/databases/writer.py", "        _replace(partial, destination)\n", ""),
        ("data_prep/databases/writer.py",
         "    finally:\n        shutil.rmtree(partial, ignore_errors=True)\n    return meta", "    return meta")),
        stages="^lists$"),
    Plant("readers wait for a FIFO", (
        ("eval/basics/files.py", "    if not stat.S_ISREG(path.stat().st_mode):", "    if False:"),),
        "^evaluate: run/features/test/meta.json: a FIFO"),
    Plant("JSON of any form", (
        ("python/process/readers.py", "        _validator(json.dumps(schema, sort_keys=True))(content)\n", ""),),
        "^(add|go on|package): .*json: (a JSON list|blobs|net|protocol|files|train_data)"),
    Plant("labels as Python reads them", (
        ("data_prep/prep/readers.py", "if not (text.isascii() and text.isdigit())", "if not text.isdigit()"),),
        "^lists: list.txt: label"),
    Plant("arrays with pickles", (
        ("python/packing/finished.py", "latent = read_array(", "latent = (lambda path, *_, **__: np.load(path))("),),
        "^package: .*latent.npy: (text|zeros|a JSON list)"),
)


def copy_of_the_checkout(place: Path) -> None:
    for pattern in COPIED:
        for path in REPO.glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, place / path.name)
    (place / ".venv").symlink_to(REPO / ".venv")
    (place / "build").mkdir()
    (place / "build/caffe").symlink_to(REPO / "build/caffe")


def trial(place: Path, good: Path, words: tuple[str, ...]) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "torture", "--good", good, *words], cwd=place / "tests",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout


def told(said: str) -> str:
    """The first line of what was wrong, in short."""
    wrong = ("SILENT", "TRACEBACK", "HANG", "HARM", "LOST")
    found = [line for line in said.splitlines() if line.split(" ")[0] in wrong]
    return " ".join(found[0].split())[:110] if found else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="plants whose text this is in")
    parser.add_argument("--good", type=Path, help="a folder with good inputs of an earlier call (made if not there)")
    options = parser.parse_args()
    plants = [plant for plant in PLANTS if options.only in plant.what]
    missed = 0
    with tempfile.TemporaryDirectory() as place:
        good = options.good or Path(place) / "good"
        clean = Path(place) / "clean"
        clean.mkdir()
        copy_of_the_checkout(clean)
        everything = "|".join(plant.only for plant in plants)
        status, said = trial(clean, good, ("--only", everything, "--kills", "0"))
        print(f"without a plant: {said.splitlines()[-2] if len(said.splitlines()) > 1 else said}", flush=True)
        missed += status != 0
        for number, plant in enumerate(plants):
            copy = Path(place) / str(number)
            copy.mkdir()
            copy_of_the_checkout(copy)
            for file, old, new in plant.edits:
                text = (copy / file).read_text()
                if old not in text:
                    raise SystemExit(f"{file} has no longer {old!r}: plant {plant.what!r} anew")
                (copy / file).write_text(text.replace(old, new, 1))
            status, said = trial(copy, good, plant.trial())
            found = status != 0 and told(said)
            missed += not found
            print(f"{'found ' if found else 'MISSED'} {plant.what}: {found or said[-300:]}", flush=True)
            shutil.rmtree(copy)
    print(f"planted {len(plants)}, missed {missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What extract.py can be told. Imports nothing that loads Caffe."""
import argparse
from dataclasses import dataclass
from pathlib import Path

from nets.blobs import FC7, OWN
from process.errors import DriverError
from process.package_folder import PackageFolder
from process.run_folder import RunFolder

PROTOCOLS = ("authors", "caffe")  # of pre-processing: features/preprocess.py
SPLITS = ("train", "test")
MOST_PARTS = 99_999


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of `of`."""
    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def folder(self, features: Path) -> Path:
        """Where it lies until the parts of these features are joined."""
        return parts_folder(features) / f"part-{self.number:05d}-of-{self.of:05d}"

    def rows(self, count: int, batch: int) -> range:
        """Its rows of `count`. Borders of parts are borders of batches.

        An image's features differ by rounding with the size of the batch it is in: so each batch is the one that it is
        in an unbroken extraction. DriverError for more parts than batches.
        """
        batches = -(-count // batch)
        if self.of > batches:
            raise DriverError(f"--part {self}: {count:,} images are {batches:,} batches of {batch}: give at most "
                              f"{batches:,} parts")
        first, end = (min(count, batch * (batches * number // self.of)) for number in (self.number - 1, self.number))
        return range(first, end)


def part(text: str) -> Part:
    """The Part of a command line's `i/n`."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_PARTS):
        raise argparse.ArgumentTypeError(f"{text}: give i/n, part i (from 1) of n (up to {MOST_PARTS:,})")
    return Part(int(number), int(of))


def parts_folder(features: Path) -> Path:
    """Where the parts of a folder of features lie."""
    return features.parent / f"{features.name}.parts"


@dataclass(frozen=True)
class ExtractOptions:
    """Exactly one of lmdb, images and databases is given. None elsewhere: as the run, the deploy net or the images say.

    mean: a path, or "none" for a net trained without a mean image.
    """
    run: RunFolder | None
    package: PackageFolder | None  # checked
    initial: bool
    net: Path | None
    weights: Path | None
    lmdb: Path | None
    images: list[str] | None
    databases: Path | None
    root: Path
    out: Path
    protocol: str
    mean: str | None
    scale: float | None
    resize: int | None
    latent_blob: str
    feature_blob: str
    batch: int | None
    thumbs: int | None
    gpu: str
    engine: str | None   # of the CPU: process/cpu.py
    threads: int | None
    any_memory: bool
    trust_net: bool
    part: Part | None = None  # to be extracted, not all
    join: bool = False        # parts that were extracted are to be put together
    expect: str | None = None  # features/recipe.py, expected()

    @property
    def folders(self) -> list[Path]:
        """The folders of features to write: one, or with databases one for each split."""
        return [self.out / split for split in SPLITS] if self.databases else [self.out]

    @property
    def inputs(self) -> list[Path | None]:
        """Every file and folder that is read, as far as the options name it."""
        mean = Path(self.mean) if self.mean and self.mean != "none" else None
        of_run = [self.run.deploy, self.run.train_val, self.run.final_model, self.run.snapshots] if self.run else []
        images = [*self.split_databases(), *map(Path, self.images or [])]
        package = self.package.path if self.package else None
        return [self.net, self.weights, mean, self.lmdb, package, *images, *of_run]

    @property
    def written_net(self) -> Path:
        """Where the deploy net of weights that come without one is written. Each part has one of its own."""
        if self.part:
            return self.part.folder(self.folders[0]).with_suffix(".prototxt")
        return (self.out if self.databases else self.out.parent) / "deploy.prototxt"

    def split_databases(self) -> list[Path]:
        """Those of --databases that may be read, there or not. The folder around them may hold outputs too."""
        kinds = ("originals_lmdb", "lmdb")
        return [self.databases / f"{split}_{kind}" for split in SPLITS for kind in kinds] if self.databases else []

    @property
    def caffe_log(self) -> Path:
        """Where Caffe's own log goes: into the run's, or beside the features. Each part has one of its own."""
        if self.part:
            return self.part.folder(self.folders[0]).with_suffix(".log")
        if self.run:
            return self.run.caffe_log
        return (self.out if self.databases else self.out.parent) / "caffe.log"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """What computes: net, weights, blobs, device."""
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), metavar="DIR",
                        help="a run's folder: its deploy net, final weights, mean image and scale are the defaults")
    parser.add_argument("--initial", action="store_true",
                        help="with --run: the weights it started from, not its final ones")
    parser.add_argument("--package", type=lambda text: PackageFolder(Path(text)), metavar="DIR",
                        help="a folder that package.py made, in place of a run: net, weights and pre-processing are "
                             "its own")
    parser.add_argument("--net", type=Path,
                        help="deploy prototxt (default: the run's; without one, the template's where the weights fit "
                             "it)")
    parser.add_argument("--weights", type=Path, help="caffemodel")
    parser.add_argument("--latent-blob", default=OWN,
                        help="blob of the latent layer, or none (own: whichever of this project's names the net has)")
    parser.add_argument("--feature-blob", default=FC7, help="blob of the features, or none")
    parser.add_argument("--batch", type=int, help="images a forward pass (default: the deploy net's)")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N", help="device")
    parser.add_argument("--any-memory", action="store_true",
                        help="extract even where the GPU's memory is estimated to be too small")
    parser.add_argument("--trust-net", action="store_true",
                        help="take a net whose layers do more than compute: they can read and write files and run code")


def add_pre_processing_options(parser: argparse.ArgumentParser) -> None:
    """How an image becomes the net's input."""
    parser.add_argument("--protocol", choices=PROTOCOLS, default="authors", help="pre-processing")
    parser.add_argument("--mean", metavar="FILE|none", help="mean image (.binaryproto or .npy), or none")
    parser.add_argument("--scale", type=float, help="factor on the pixels after the mean (default: the run's, else 1)")
    parser.add_argument("--resize", type=int,
                        help="side images are resized to before the crop, without a mean image, which tells it "
                             "(default: the run's images', else the net's input)")


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """An extraction cut into parts, which any processes on any machines compute."""
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument("--part", type=part, metavar="i/n",
                     help="only part i of n, to be joined: into <out>.parts/, whole or not at all")
    parser.add_argument("--expect", metavar="JSON",
                        help="stop unless weights, net and pre-processing are these (extract_cluster.py gives them)")
    cut.add_argument("--join", action="store_true",
                     help="put the parts in <out>.parts/ together; give the options that the parts were made with")


def check_options(parser: argparse.ArgumentParser, options: ExtractOptions) -> None:
    """Ends the program with status 2 for options that do not go together; DriverError when the run is missing."""
    if options.latent_blob == options.feature_blob == "none":
        parser.error("nothing to extract: --latent-blob and --feature-blob are both none")
    if options.batch is not None and options.batch < 1:
        parser.error("--batch must be at least 1")
    if options.initial and not options.run:
        parser.error("--initial goes with --run")
    if options.package and (options.run or options.net or options.weights or options.mean or options.scale
                            or options.resize or options.latent_blob != OWN or options.feature_blob != FC7):
        parser.error("--package brings net, weights, blobs and pre-processing: leave --run, --net, --weights, --mean, "
                     "--scale, --resize and the blobs out")
    if options.package:
        options.package.check()
    if options.run and not options.run.path.is_dir():
        raise DriverError(f"--run {options.run}: no such folder")

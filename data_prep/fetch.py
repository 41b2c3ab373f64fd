"""Download public files of the experiment: resumed after a break, checked, and renamed only when whole."""
import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from prep.errors import PrepError, run_program

# isort: split
from downloads.fetching import MIRROR_VARIABLE, addresses, fetch
from downloads.public_files import GROUPS, PUBLIC_FILES, PublicFile, files_of


@dataclass(frozen=True)
class Options:
    """name: of a file or a group. to: a directory, or for one file its path. url, mirror: other addresses."""
    name: str
    to: Path
    url: str | None
    mirror: str | None

    def target(self, file: PublicFile) -> Path:
        """A name without a suffix is a directory."""
        is_directory = self.to.is_dir() or not self.to.suffix or len(files_of(self.name)) > 1
        return self.to / file.name if is_directory else self.to


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    files = files_of(options.name)
    if options.url and len(files) > 1:
        raise PrepError(f"--url is one address, {options.name} is {len(files)} files; "
                        "use --mirror, or fetch them one by one")
    for file in files:
        target = options.target(file)
        fetch(file, target, *([options.url] if options.url else addresses(file, options.mirror)))
        print(f"{target}: whole, {target.stat().st_size} bytes")
    return 0


def parse(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("name", choices=[*GROUPS, *PUBLIC_FILES], help="which file, or group of files")
    parser.add_argument("--to", type=Path, default=Path("data/downloads"), metavar="FILE_OR_DIR",
                        help="where it goes; a name without a suffix is a directory")
    parser.add_argument("--url", help="another address of this file")
    parser.add_argument("--mirror", default=os.environ.get(MIRROR_VARIABLE), metavar="URL",
                        help=f"a folder on the web that holds the files under their names (also ${MIRROR_VARIABLE})")
    return Options(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(run_program(main))

"""Whether databases that are there were made from the images that the user names now."""
from pathlib import Path

from databases.writer import read_meta
from downloads.needed import COMPLETE
from prep.errors import PrepError
from sources.found import find_source
from sources.listing import SAMPLED


def check_made_from(databases: Path, data: Path) -> None:
    """Says that the complete databases in `databases` are kept. PrepError when `data` holds other files by now.

    Databases of earlier versions do not know: that is said instead.
    """
    if not (databases / COMPLETE).exists():
        return
    files = _files(databases)
    if files is None:
        print(f"{databases} is kept as it was made "
              "(DATA= is not read again; remove the folder to make it anew)")
    elif find_source(data).files != files:
        raise PrepError(f"DATA={data}: holds other files than {databases} was made from. Remove {databases} to make it "
                        "anew, or give the new images a name of their own with DATASET=")
    else:
        print(f"{databases} is kept: made from these files (names, sizes, lists; of images {SAMPLED:,} at most "
              "are compared)")


def _files(databases: Path) -> str | None:
    source = read_meta(databases / "train_lmdb").get("source")
    return source.get("files") if isinstance(source, dict) else None

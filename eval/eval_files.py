"""Files that appear whole or not at all: written beside, then renamed."""

import json
import os
from contextlib import contextmanager


@contextmanager
def whole_file(path, mode="wb", **options):
    """Open a file that gets its name only if the block ends well; a full disk leaves nothing under it."""
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, mode, **options) as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    with whole_file(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path, contents):
    """JSON without NaN or infinity, which no other reader would take."""
    write_text(path, json.dumps(contents, indent=1, allow_nan=False) + "\n")

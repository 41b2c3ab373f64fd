"""Ctrl-C while a program still loads: status 130 and a sentence, as later. Installed by importing this."""
import os
import sys
from types import TracebackType

INTERRUPTED = 130  # the shell's status for a program stopped by Ctrl-C


def _end_loading(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """sys.excepthook. Whatever is half loaded would only fail once more while the program ends: it ends at once."""
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


sys.excepthook = _end_loading

"""How the programs of eval/ begin and end: their one exception, their exit status, checks of their options."""

import argparse
import io
import os
import signal
import sys
import threading

INTERRUPTED = 130   # exit status of a program that Ctrl-C stopped, as shells have it


class EvalError(Exception):
    """A foreseeable mistake; the message names the file or option and says what to do."""


def run_program(main):
    """Run `main() -> int` as a program and end with its status, 1 after a foreseeable mistake, 130 after Ctrl-C.

    Both are told in a line, without a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")   # names of files may be any bytes
    try:
        status = main()
    except (EvalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except BaseException as error:
        if not _is_ctrl_c(error):
            raise
        status = tell_interruption()
    sys.exit(status)


def _is_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C, or C code made another of it on the way (SystemError, from numba's reading)."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_ctrl_c(error.__cause__))


def tell_interruption():
    """Say what Ctrl-C leaves behind. Returns the exit status for it.

    Objects that it left half made can fail once more while the program ends: nobody needs to be told.
    """
    sys.unraisablehook = lambda _: None
    print("\nstopped: finished files are whole, others were not written. Give the same command to start again",
          file=sys.stderr)
    return INTERRUPTED


def _end_imports(kind, error, trace):
    """sys.excepthook: Ctrl-C, or a missing package, while a program imports ends as later, without a traceback."""
    if issubclass(kind, EvalError):
        print(f"error: {error}", file=sys.stderr)
        os._exit(1)
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    tell_interruption()
    os._exit(INTERRUPTED)


def _interrupt_again(unraisable):
    """sys.unraisablehook: Ctrl-C that met a callback of C (numba's compiler has some), which can raise nothing.

    A moment later, since at once would be within the callback again.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


sys.unraisablehook = _interrupt_again
sys.excepthook = _end_imports   # at import: `run_program` is reached only once everything is imported


def positive(text):
    """argparse type: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value

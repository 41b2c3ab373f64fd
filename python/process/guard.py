"""Runs work that uses Caffe in a child process, so that Caffe's log goes to a file and its aborts become sentences.

Caffe reports on file descriptor 2 and answers a failed CHECK with abort(): without this, a user would see thousands of
lines of log and a core dump. The parent only waits; when Caffe aborts it prints Caffe's last words from the log.

The fork comes before Caffe and CUDA are loaded and before OpenCV has started threads. So a program imports its work
inside the function that it gives here, and nothing above it that imports Caffe.
"""
import ctypes
import errno
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

from process import abort_words
from process.errors import DriverError
from process.program import INTERRUPTED

PR_SET_PDEATHSIG = 1


def run_guarded(work: Callable[[TextIO], int | None], log_file: Path, program: str) -> int:
    """Calls work(console) in a child whose descriptor 2 is appended to log_file; returns the exit status.

    console is a text stream on the terminal's stderr. DriverError and OSError of the work end in a message and status
    1. Ctrl-C and SIGTERM are the child's affair: KeyboardInterrupt, unless the work installs handlers of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    log_start = os.fstat(log).st_size
    # a terminal sends Ctrl-C to the child as well
    handlers = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with(parent)
        _work_in_child(work, log, log_file, program)
    handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    os.close(log)
    _, status = os.waitpid(child, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if os.WIFSIGNALED(status):
        print(f"{program}: {_last_words(log_file, log_start, os.WTERMSIG(status))}", file=sys.stderr)
        return 1
    return os.waitstatus_to_exitcode(status)


def die_with(parent: int) -> None:
    """From here on this process is killed when its parent (by process id) ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before prctl
        os._exit(1)


def _work_in_child(work: Callable[[TextIO], int | None], log: int, log_file: Path, program: str) -> NoReturn:
    console = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(log, 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    status = 1
    try:
        status = work(console) or 0
    except (DriverError, OSError) as error:
        print(f"{program}: {_with_place(error, log_file)}", file=console)
    except MemoryError:
        print(f"{program}: the memory is full: close other programs, or take smaller batches. The same command goes on",
              file=console)
    except KeyboardInterrupt:
        status = INTERRUPTED
        print(f"{program}: interrupted. The same command goes on", file=console)
    except BaseException:
        traceback.print_exc(file=console)
    finally:
        sys.stdout.flush()
        console.flush()
        os._exit(status)  # not exit(): Caffe's prefetch threads need not be joined, and the parent's atexit is not ours


def _with_place(error: Exception, log_file: Path) -> Exception | str:
    """The disk that is full in words: Python often names no file, then it is the log's."""
    if getattr(error, "errno", None) != errno.ENOSPC:
        return error
    return _disk_is_full(Path(error.filename or log_file))


def _disk_is_full(file: Path) -> str:
    return f"the disk of {file.parent} is full: free some space. The same command goes on from what is whole"


def _last_words(log_file: Path, log_start: int, number: int) -> str:
    if shutil.disk_usage(log_file.parent).free < 1 << 20:  # no room for words in the log either
        return _disk_is_full(log_file)
    with open(log_file, "rb") as log:
        log.seek(log_start)
        fatal = abort_words.last_words(log.read().decode(errors="replace"))
    if fatal:
        advice = abort_words.explain(fatal)
        return f"Caffe stopped: {f'{advice} (Caffe: {fatal})' if advice else fatal}. Its log: {log_file}"
    if number == signal.SIGKILL:
        return f"killed, perhaps because the memory was full (see dmesg). Caffe's log: {log_file}"
    return f"Caffe ended with {signal.Signals(number).name}. Its log: {log_file}"

"""Runs work that uses Caffe in a child process, so that Caffe's log goes to a file and its aborts become sentences.

Caffe reports on file descriptor 2 and answers a failed CHECK with abort(): without this, a user would see thousands of
lines of log and a core dump. The parent only waits; when Caffe aborts it prints Caffe's last words from the log.

The fork comes before Caffe and CUDA are loaded and before OpenCV has started threads: `work` imports what it needs.
"""
import ctypes
import errno
import os
import shutil
import signal
import sys
import traceback

import abort_words
from driver_errors import DriverError

PR_SET_PDEATHSIG = 1
INTERRUPTED = 130  # the shell's status for a program stopped by Ctrl-C


def run_guarded(work, log_file, program):
    """Calls work(console) in a child whose descriptor 2 is appended to log_file; returns the exit status.

    console is a text stream on the terminal's stderr. DriverError and OSError of the work end in a message and status
    1. Ctrl-C and SIGTERM are the child's affair: KeyboardInterrupt, unless the work installs handlers of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.makedirs(os.path.dirname(log_file) or ".", exist_ok=True)
    log = os.open(log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    log_start = os.fstat(log).st_size
    handlers = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}  # the terminal sends it to the child as well
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


def die_with(parent):
    """From here on this process is killed when its parent (by process id) ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before prctl
        os._exit(1)


def _work_in_child(work, log, log_file, program):
    console = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(log, 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    status = 1
    try:
        status = work(console) or 0
    except (DriverError, OSError) as error:
        print(f"{program}: {_with_place(error, log_file)}", file=console)
    except KeyboardInterrupt:
        status = INTERRUPTED
        print(f"{program}: interrupted. The same command goes on", file=console)
    except BaseException:
        traceback.print_exc(file=console)
    finally:
        sys.stdout.flush()
        console.flush()
        os._exit(status)  # not exit(): Caffe's prefetch threads need not be joined, and the parent's atexit is not ours


def _with_place(error, log_file):
    """Python names no file when a disk is full."""
    return _disk_is_full(log_file) if getattr(error, "errno", None) == errno.ENOSPC and not error.filename else error


def _disk_is_full(log_file):
    return f"the disk of {os.path.dirname(log_file) or '.'} is full: free some space. The same command goes on from what is whole"


def _last_words(log_file, log_start, number):
    if shutil.disk_usage(os.path.dirname(log_file) or ".").free < 1 << 20:  # no room for words in the log either
        return _disk_is_full(log_file)
    with open(log_file, "rb") as log:
        log.seek(log_start)
        fatal = abort_words.last_words(log.read().decode(errors="replace"))
    if fatal:
        advice = abort_words.explain(fatal)
        return f"Caffe stopped: {f'{advice} (Caffe: {fatal})' if advice else fatal}. Its log: {log_file}"
    if number == signal.SIGKILL:
        return f"killed, perhaps for want of memory (see dmesg). Caffe's log: {log_file}"
    return f"Caffe ended with {signal.Signals(number).name}. Its log: {log_file}"

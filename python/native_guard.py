"""Runs work that uses Caffe in a child process, so that Caffe's log goes to a file and its aborts become sentences.

Caffe reports on file descriptor 2 and answers a failed CHECK with abort(): without this, a user would see thousands of
lines of log and a core dump. The parent only waits; when Caffe aborts it prints Caffe's last words from the log.
"""
import ctypes
import os
import re
import signal
import sys
import traceback

from driver_errors import DriverError

PR_SET_PDEATHSIG = 1
FATAL = re.compile(rb"^F\d{4,8} .*?\] (.*)$", re.MULTILINE)


def run_guarded(work, log_file, program):
    """Calls work(console) in a child whose descriptor 2 is appended to log_file; returns the exit status.

    console is a text stream on the terminal's stderr. DriverError and OSError of the work end in a message and status
    1; Ctrl-C and SIGTERM reach the child, which decides what to do with them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.makedirs(os.path.dirname(log_file) or ".", exist_ok=True)
    log = os.open(log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    log_start = os.fstat(log).st_size
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed parent takes the child along
        _work_in_child(work, log, program)
    os.close(log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print(f"{program}: {_last_words(log_file, log_start, os.WTERMSIG(status))}", file=sys.stderr)
        return 1
    return os.waitstatus_to_exitcode(status)


def _work_in_child(work, log, program):
    console = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(log, 2)
    status = 1
    try:
        status = work(console) or 0
    except (DriverError, OSError) as error:
        print(f"{program}: {error}", file=console)
    except BaseException:
        traceback.print_exc(file=console)
    finally:
        sys.stdout.flush()
        console.flush()
        os._exit(status)  # not exit(): Caffe's prefetch threads need not be joined, and the parent's atexit is not ours


def _last_words(log_file, log_start, number):
    with open(log_file, "rb") as log:
        log.seek(log_start)
        fatal = FATAL.findall(log.read())
    if fatal:
        words = fatal[-1].decode(errors="replace")
        advice = " (full disk?)" if "SerializeToOstream" in words or "No space" in words else ""
        return f"Caffe stopped: {words}{advice}. Its log: {log_file}"
    if number == signal.SIGKILL:
        return f"killed, perhaps for want of memory (see dmesg). Caffe's log: {log_file}"
    return f"Caffe ended with {signal.Signals(number).name}. Its log: {log_file}"

"""Work on files that can end the process which reads them: in a child, so that the end becomes a sentence.

A memory map of a file that is shorter than it says ends in SIGBUS, a damaged tree of pages in SIGSEGV.
"""
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from process.errors import DriverError
from process.guard import die_with

Result = TypeVar("Result")


def in_child(work: Callable[..., Result], *arguments: Any, where: object) -> Result:
    """work(*arguments), computed in a forked child; for work before Caffe is used. where: the file, for messages.

    DriverError and OSError of the work come back as DriverError.
    """
    context = multiprocessing.get_context("fork")
    answer, end = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(end, os.getpid(), work, arguments), daemon=True)
    child.start()
    end.close()
    try:
        fault, result = answer.recv()
    except EOFError:
        child.join()
        raise DriverError(ended(child.exitcode, where)) from None
    finally:
        child.kill()
        child.join()
    if fault:
        raise DriverError(fault)
    return result


def ended(status: int, where: object) -> str:
    """What the end of a process that was reading a file means. status: as multiprocessing gives it."""
    if status == -signal.SIGKILL:
        return f"the reader of {where} was killed, perhaps because the memory was full: the same command goes on"
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"{where} is damaged: reading it ended with {how}. Remove it and make it again"


def _answer(end: Any, parent: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends this process
    try:
        end.send((None, work(*arguments)))
    except (DriverError, OSError) as error:
        end.send((str(error), None))
    except MemoryError:
        end.send(("the memory is full: close other programs. The same command goes on", None))
    except Exception:
        end.send((f"reading failed:\n{traceback.format_exc()}", None))

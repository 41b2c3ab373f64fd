"""The memory that the machine has, and a limit that keeps this process within it."""
import resource
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
STATM = Path("/proc/self/statm")


def memory(meminfo: Path = MEMINFO, control_group: Path = CONTROL_GROUP) -> int:
    """Bytes of memory and swap, or what the control group grants of it; not what happens to be free now."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    kilobytes = {words[0]: int(words[1]) for words in lines}
    total = 1024 * (kilobytes["MemTotal:"] + kilobytes.get("SwapTotal:", 0))
    try:
        return min(total, int(control_group.read_text()))
    except (OSError, ValueError):  # no control group of version 2, or "max"
        return total


def stay_within_memory() -> None:
    """From here on an allocation beyond the machine's memory fails, where the kernel would kill some process for it.

    Caffe says the size then, and the guard makes a sentence of it. For work on the CPU: CUDA reserves what it never
    uses.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    data_pages = int(STATM.read_text().split()[5])
    limit = memory() + data_pages * resource.getpagesize()
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))

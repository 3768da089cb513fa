"""The memory that a process of a test has had at most: its own, not what its parent had when it forked (``ru_maxrss``)."""


def peak_mb():
    """Mebibytes of this process since it began."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

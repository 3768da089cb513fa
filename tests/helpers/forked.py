"""Work in forks of this process, for which everything is imported already, told of through a pipe: for tests that kill."""

import os
import time
import traceback


def in_child(work):
    """``work(pipe)`` in a fork, which writes what it tells of into the pipe: its process id, and what to read from."""
    mine, its = os.pipe()
    child = os.fork()
    if child:
        os.close(its)
        return child, mine
    code = 1
    try:
        os.close(mine)
        work(its)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child, pipe):
    """Let a child end, which must be without an error; seconds of its longest save, told of by ``[`` and ``]``."""
    longest = began = 0.0
    while sign := os.read(pipe, 1):
        began = time.monotonic() if sign == b"[" else began
        longest = max(longest, time.monotonic() - began) if sign == b"]" else longest
    os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0
    return longest

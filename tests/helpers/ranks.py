"""Processes that find one another as those of ``torchrun`` do, made by forking: what is imported already is not again."""

import os
import socket
import traceback

from atari_vlm.world_models.learned.team import open_team


def in_ranks(work, size=2):
    """``work(team)`` in so many processes; every one must come to its end."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    children = [_child(work, rank, size, port) for rank in range(size)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * size


def _child(work, rank, size, port):
    if child := os.fork():
        return child
    code = 1
    try:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
        os.environ.update({name: str(number) for name, number in place.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        with open_team() as team:
            assert (team.rank, team.size) == (rank, size)
            work(team)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

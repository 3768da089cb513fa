"""A session of Ray of this machine for the tests of a module, and the workers that it has."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from atari_vlm.runs.cluster.session import session


@contextmanager
def own_session(parallel=2, **environment):
    """A session whose workers find the modules of the tests, and these variables, in their environment."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("RAY_TMPDIR", short)  # sockets lie there, whose paths have 107 bytes at most
        helpers = str(Path(__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join([helpers, os.environ.get("PYTHONPATH", "")]))
        with session(SimpleNamespace(ray_address=None, parallel=parallel)) as opened:
            yield opened


def workers_of_this_process(kind="unit_player"):
    """Process ids of the workers of a kind in sessions and clusters that this process began."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            named = f"ray::{kind}".encode()
            is_one = entry.name.isdigit() and named in (entry / "cmdline").read_bytes()
            if is_one and _parent(_parent(int(entry.name))) == os.getpid():  # raylet is between
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _parent(process):
    stat = Path(f"/proc/{process}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])

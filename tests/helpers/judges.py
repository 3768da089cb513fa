"""Judges of programs that workers of Ray can import."""

import os

from atari_vlm.errors import SandboxUnavailableError
from atari_vlm.synthesis.judging import ProgramJudge


class FarJudge(ProgramJudge):
    """Judges in other processes than the one that it was made in."""

    def __init__(self, *options):
        super().__init__(*options)
        self.maker = os.getpid()

    def __call__(self, program):
        assert os.getpid() != self.maker
        return super().__call__(program)


class UnavailableJudge:
    """Stands on a machine that cannot hold programs."""

    def __init__(self, *_):
        pass

    def __call__(self, program):
        raise SandboxUnavailableError("there is no seccomp there")

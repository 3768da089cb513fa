"""Where programs run in the tests: in the sandbox, and in this process."""

import pytest
from sandbox_programs import ADDER

from atari_vlm.world_models.code import LocalProgram, Sandbox


@pytest.fixture(scope="module")
def adder():
    with Sandbox(ADDER, deadline_s=1.0) as sandbox:
        yield sandbox


@pytest.fixture(scope="module", params=[Sandbox, LocalProgram], ids=["sandbox", "local"])
def home(request):
    return request.param

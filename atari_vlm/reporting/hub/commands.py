"""``report push`` and ``report pull``: their options, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from atari_vlm.reporting.hub.pushing import push
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import Options
from atari_vlm.runs.terminal import messages, results
from atari_vlm.sharing.contents import left_out_words
from atari_vlm.sharing.names import HubName
from atari_vlm.sharing.pulling import pull

_PUSH = """Share a run, a checkpoint or a data set on the Hugging Face Hub, with a card that says where its numbers come from.

    HF_TOKEN=... python -m atari_vlm.report push atari_vlm_results/evaluate-quick-001 OWNER/NAME
    python -m atari_vlm.report push runs/Pong-rem-001/model OWNER/NAME --license cc-by-4.0 --private

What the folder is, is seen from it. Data and tables are sent, no code and nothing pickled; what is left out is said. Needs the
extra hub, and a token with write access in HF_TOKEN; HF_ENDPOINT is another address than the Hub's own.
"""

_PULL = """Fetch what somebody shared on the Hugging Face Hub into a new folder, as a stranger's: nothing in it is run.

    python -m atari_vlm.report pull OWNER/NAME --out FOLDER
    python -m atari_vlm.report pull OWNER/NAME@REVISION --out FOLDER

Code, pickles and links do not come along, which is said; names that lead elsewhere and files that are not what they say are
refused. Needs the extra hub; private repositories a token in HF_TOKEN.
"""


@dataclass(frozen=True)
class PushConfig(Options):
    """What is shared, and under which name."""

    program = "report"

    folder: Annotated[Path, tyro.conf.Positional]
    """the folder of a run, of a checkpoint or of a data set"""
    repo: Annotated[str, tyro.conf.Positional]
    """OWNER/NAME; it is made where there is none"""
    license: str = "mit"
    """the licence in the card, as the Hub names it"""
    private: bool = False
    """a new repository is shown to its owner alone"""
    game: str | None = None
    """of a data set that does not say it: the game"""


@dataclass(frozen=True)
class PullConfig(Options):
    """What is fetched, and where to."""

    program = "report"

    repo: Annotated[str, tyro.conf.Positional]
    """OWNER/NAME or OWNER/NAME@REVISION"""
    out: Path
    """the folder, which is not there yet"""


def run_push(argv: Sequence[str]) -> int:
    """The program ``report push``; its exit code."""
    config = parse(PushConfig, argv, _PUSH)
    sent = push(
        config.folder,
        config.repo,
        license_id=config.license,
        private=config.private,
        game=config.game,
    )
    for line in left_out_words(sent.left_out):
        messages().print(line)
    results().print(sent.address)
    return 0


def run_pull(argv: Sequence[str]) -> int:
    """The program ``report pull``; its exit code."""
    config = parse(PullConfig, argv, _PULL)
    fetched = pull(HubName.of(config.repo), config.out)
    for line in left_out_words(fetched.left_out):
        messages().print(line)
    results().print(fetched.folder)
    return 0

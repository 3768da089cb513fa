"""The cue game in the proof that a Dreamer learns: its dreams' texts, and the control that cannot read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from atari_vlm.proofs.dreamer_page import interval
from atari_vlm.scores.tables import table_lines
from atari_vlm.world_models.cue import DOORS, CueWorldModel
from atari_vlm.world_models.dreamer.actor import Playing, seen
from atari_vlm.world_models.dreamer.learner import DreamerLearner
from atari_vlm.world_models.dreamer.model import DreamerWorldModel
from atari_vlm.world_models.dreamer.rssm import Latent

DELAY = 4
CHANCE = 1 / len(DOORS)
BLIND = CHANCE + 0.1  # what a player that cannot read earns at most
_CELL_PX = 4  # a picture of 16 x 16 pixels: there is nothing to see in it
_DRAWS = 64  # dreams of each door
_GRAMMAR = "tests/world_models/dreamer/test_language_networks.py"
_MEASURED = {
    "named": "the text decoded from a beginning that was read names its door",
    "pays": "and the dream that goes on from there pays for this door alone",
    "told": "a beginning that was dreamed too tells a door",
    "told_pays": "and its dream pays for the door that it told alone",
}


def make() -> CueWorldModel:
    """The game."""
    return CueWorldModel(DELAY, cell_px=_CELL_PX)


def without_language(changes: dict[str, Any]) -> dict[str, Any]:
    """The same settings, but no text is read or shown again."""
    silent: dict[str, Any] = {"text_keys": {"encoder": [], "decoder": []}}
    return {**changes, "networks": {**changes["networks"], **silent}}


def measured(learner: DreamerLearner) -> dict[str, float]:
    """What is measured of a run in the end: :func:`imagined`."""
    return imagined(learner.world_model())


@torch.no_grad()
def imagined(
    model: DreamerWorldModel, delay: int = DELAY, *, draws: int = _DRAWS
) -> dict[str, float]:
    """Shares of ``draws`` dreams of each door by the names above; the last two of dreams whose first step is dreamed as well.

    In half of the dreams the door that was named is opened, in the other half another one: whoever foretells either reward
    always is right in half of them.
    """
    generator = torch.Generator().manual_seed(0)
    doors = torch.arange(len(DOORS)).repeat(draws)
    read = _read(model, doors, generator)
    words = model.networks.words
    assert words is not None
    decoded = words.said(words.foretell(read.h, read.z, read.language, generator, 0.0))
    named = np.array(decoded) == np.array(DOORS)[doors]
    begun = _dreamed(model, len(doors), generator)
    texts = words.said(begun.language)
    tells = torch.tensor([text in DOORS for text in texts])
    told = torch.tensor([DOORS.index(text) if text in DOORS else 0 for text in texts])
    right = _pays_alone(model, begun, told, delay, generator)
    return {
        "named": float(named.mean()),
        "pays": float(_pays_alone(model, read, doors, delay, generator).float().mean()),
        "told": float(tells.float().mean()),
        "told_pays": float(right[tells].float().mean()) if bool(tells.any()) else 0.0,
    }


def _read(model: DreamerWorldModel, doors: Tensor, generator: torch.Generator) -> Latent:
    """Where the model is when it has read the first step of games with these doors."""
    networks = model.networks
    shown = CueWorldModel(0, cell_px=networks.config.frame_px // 4).start.observations
    first = {"image": torch.from_numpy(shown["image"][doors, 0]), "text": shown["text"][doors, 0]}
    nothing = networks.rssm.begin(len(doors))
    before = Playing(nothing, torch.zeros(len(doors), networks.code.size))
    return seen(networks, before, first, generator, 1.0)


def _dreamed(model: DreamerWorldModel, rows: int, generator: torch.Generator) -> Latent:
    """First steps of games that nobody showed."""
    networks = model.networks
    nothing = networks.rssm.begin(rows)
    h, core = networks.rssm.advance(nothing, torch.zeros(rows, networks.code.size))
    z = networks.rssm.draw(networks.rssm.foretold(h), generator)
    assert networks.words is not None
    language = networks.words.foretell(h, z, nothing.language, generator, 1.0)
    return Latent(core, h, z, language)


def _pays_alone(
    model: DreamerWorldModel, state: Latent, doors: Tensor, delay: int, generator: torch.Generator
) -> Tensor:
    """Whether the dream of each row pays as a game with its door does, bool ``(B,)``; until the choice anything is done."""
    rows, n = len(doors), len(DOORS)
    for _ in range(delay):
        anything = torch.randint(n, (rows,), generator=generator)
        state = model.imagine(state, anything, generator=generator).state
    others = (doors + torch.randint(1, n, (rows,), generator=generator)) % n
    opens_right = torch.arange(rows) // n % 2 == 0
    step = model.imagine(state, torch.where(opens_right, doors, others), generator=generator)
    return (step.reward > 0.5) == opens_right


def to_markdown(rows: list[dict[str, Any]], blind: list[dict[str, Any]]) -> tuple[str, bool]:
    """What the page of the cue game says besides, and whether the control earns no more than one that cannot read; nothing and
    true for other games.
    """
    if "named" not in rows[0]:
        return "", True
    seeds = [f"seed {row['seed']}" for row in rows]
    lines = [[told, *(f"{row[name]:.2f}" for row in rows)] for name, told in _MEASURED.items()]
    page = (
        f"\nA text says at the first step which of {len(DOORS)} doors pays, and nothing says it again; the choice comes {DELAY} "
        f"steps later. The best\nreturn is 1, that of one who cannot read {CHANCE:g}. {_told_of(blind)}\n\n"
        "## What its dreams say\n\n"
        f"Shares of {len(DOORS) * _DRAWS} dreams of each seed; that a dream pays for a door alone is right half of the time by "
        "chance:\n\n"
        + "\n".join(table_lines(["", *seeds], lines))
        + f"\n\nThat the next-token loss of the language head falls below the unigram entropy of a small grammar is shown by the "
        f"test\n`test_a_grammar_is_learned_below_its_unigram_entropy` in `{_GRAMMAR}`.\n"
    )  # fmt: skip
    return page, all(row["return"] <= BLIND for row in blind)


def _told_of(blind: list[dict[str, Any]]) -> str:
    """What the control came to."""
    if not blind:
        return "The control that reads no texts was not trained (`--without-language`)."
    returns = np.array([row["return"] for row in blind])
    each = ", ".join(f"{row['return']:.2f} (seed {row['seed']})" for row in blind)
    held = int((returns <= BLIND).sum())
    return (
        f"The control, which is all the same but reads\nno texts, ends at **{returns.mean():.3f}**{interval(returns)}: {each}; "
        f"{held} of {len(blind)} seed(s) at {BLIND:g} or below."
    )

"""``ScriptedVLM``: the bundled player that needs no model. It looks at the pictures, says what it saw, and names an action.

Asked for a program that models an environment or solves a bundled problem, it gives one that was written beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atari_vlm.games import game_or_generic
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import Capability, NoScores, Sampling
from atari_vlm.vlm.scripted.boxing import play_boxing
from atari_vlm.vlm.scripted.crossing import play_freeway
from atari_vlm.vlm.scripted.habits import habit_of
from atari_vlm.vlm.scripted.paddles import play_breakout, play_pong
from atari_vlm.vlm.scripted.programs import asks_for_program, write_program
from atari_vlm.vlm.scripted.reading import Request, read_request
from atari_vlm.vlm.scripted.scene import Move, Play
from atari_vlm.vlm.scripted.shooters import play_assault, play_kaboom
from atari_vlm.vlm.scripted.simulating import asks_for_step, simulate_step
from atari_vlm.vlm.scripted.solving import asks_for_solution, write_solution
from atari_vlm.vlm.scripted.toys import play_catch, play_solo_pong
from atari_vlm.vlm.scripted.writing import write_answer

PLAYERS: Mapping[str, Play] = {
    "Assault": play_assault,
    "Boxing": play_boxing,
    "Breakout": play_breakout,
    "Catch": play_catch,
    "Freeway": play_freeway,
    "Kaboom": play_kaboom,
    "Pong": play_pong,
    "SoloPong": play_solo_pong,
}


class ScriptedVLM(NoScores):
    """Plays from pictures and words alone, as a vision-language model would, by rules somebody wrote.

    Some games have a player that finds the objects by colour (:data:`PLAYERS`); the others are played by habit: a mix of
    actions that suits the game, drawn by a hash of picture and step. It reads at most the last two pictures, each one
    whole frame of the screen. Equal requests get equal replies; it keeps nothing between calls, so threads may share one.
    It answers at once and for nothing: latency and cost are reported as 0.
    """

    name = "scripted"
    capabilities: frozenset[Capability] = frozenset({"schema", "choices"})

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer in the form asked for: by ``sampling``'s schema or choices, else by the words of the prompt."""
        asked = "\n".join(message.text for message in messages)
        if asks_for_program(asked):
            return self._say(write_program(asked, sampling.sample))
        if asks_for_solution(asked):
            return self._say(write_solution(asked, sampling.sample))
        if asks_for_step(asked):
            return self._say(simulate_step(asked))
        request = read_request(messages, sampling)
        if not request.actions:
            return self._say(
                "I find no numbered list of legal actions in the request, so I cannot choose one."
            )
        return self._say(write_answer(decide(request), request))

    def _say(self, text: str) -> Reply:
        return Reply(text, model=self.name, cost_usd=0.0)


def decide(request: Request) -> Move:
    """The game's own player, or the game's habit where there is none or where it sees nothing to act on."""
    game = game_or_generic(request.facts.game).name
    scene, player = request.scene(), PLAYERS.get(game)
    move = player(scene) if scene and player else None
    if move is not None and move.action in request.actions:
        return move
    return habit_of(game).move(request.actions, request.facts.last_action, request.dice())

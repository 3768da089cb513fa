"""``VLMTrainer``: play rounds of episodes, learn examples from them, evaluate with what was learned, and keep everything.

Training episodes come in rounds. All episodes of a round are played with the same examples; between rounds the library
learns. A round's size does not depend on how many episodes run at once, so neither do the results.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from atari_vlm import prompts
from atari_vlm._lazy import load
from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import (
    Demonstration,
    DemonstrationLibrary,
    DemonstrationRecorder,
    digest_of,
)
from atari_vlm.agents.in_context.examples import (
    InContextOptions,
    Strategy,
    agent_with_examples,
)
from atari_vlm.agents.vlm_agent import VLMAgent
from atari_vlm.errors import MismatchError, check_positive
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs import outputs
from atari_vlm.runs.answered import answered
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import game_name as known_game
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.player import EpisodeSpec, PlayedEpisode, Player, PlayerOptions
from atari_vlm.runs.progress import Label
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.seeds import eval_seed, train_seed
from atari_vlm.runs.trackers import EpisodeLog, LogConfig, check_installed
from atari_vlm.runs.videos import worth_filming, write_video
from atari_vlm.settings import flat
from atari_vlm.spaces import Env
from atari_vlm.training.in_context.options import TrainerOptions
from atari_vlm.types import Message
from atari_vlm.video import can_write_videos
from atari_vlm.vlm.base import VLM, close_vlm
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.local.tiny.bundled import ways

AMOUNTS = ("plan.num_episodes", "plan.num_eval_episodes")  # of a program's plan, which may grow


class VLMTrainer:
    """Trains (in context) and evaluates one VLM on one game.

    ``vlm_type`` is a name that ``load_vlm`` knows, or a VLM. Further keywords are the fields of :class:`TrainerOptions`.
    A run whose process died is continued by the same calls in the same order: what was played is read from its journal.
    Use it as a context manager, or :meth:`close` it: it holds the run's lock.

    Raises ``ConfigError`` (and its kin) for wrong arguments, ``RunError`` when the run is in use or does not fit.
    """

    def __init__(
        self,
        game_name: str,
        vlm_type: str | VLM,
        api_key: str | None = None,
        prompt_type: str | None = None,
        use_in_context_learning: bool = True,
        save_dir: str | Path = "./atari_vlm_results",
        **more: Any,
    ):
        self.options = TrainerOptions.of({**more, "save_dir": Path(save_dir)})
        self.game, self.prompt_type, self.use_icl = (
            known_game(game_name),
            prompt_type or self._trained_style(vlm_type),
            use_in_context_learning,
        )
        prompts.check_style(self.prompt_type)
        self._make_env().close()  # wrong keywords show here
        with ExitStack() as opened:
            self._open(opened, vlm_type, api_key)
            self._opened = opened.pop_all()
        self._next_episode = self._trained = 0
        self.last_played: list[EpisodeRow] = []

    def _trained_style(self, vlm_type: str | VLM) -> str:
        """What the bundled model was trained with, for any other ``cot``."""
        endpoint = {n: getattr(self.options, n) for n in ("model", "adapter", "base_url")}
        name = vlm_type if isinstance(vlm_type, str) else ""
        told = ways(name, {**endpoint, **self.options.vlm_options})
        return str(told.get("prompt_type", "cot"))

    def _open(self, opened: ExitStack, vlm_type: str | VLM, api_key: str | None) -> None:
        """The VLM, what limits it, and the run; ``opened`` closes what was opened here, whatever happens after."""
        check_installed(self.options.log)
        backend = self._backend(vlm_type, api_key)
        if isinstance(vlm_type, str):
            opened.callback(close_vlm, backend)
        self.vlm_type = vlm_type if isinstance(vlm_type, str) else backend.name
        self.library = DemonstrationLibrary()
        if self.options.demonstrations is not None and self.use_icl:
            self.library.add(self._imported(self.options.demonstrations))
        self._endpoint = backend.name
        vlm = limited(backend, self.options, api_key=api_key)
        opened.callback(vlm.close)
        self.budget = vlm.budget
        self.run = RunFolder.open(self._request(backend))
        opened.callback(self.run.close)
        vlm.restore(self.run.journal.replies(paid=True))
        self._player = Player(self.run.journal, vlm, self._make_env, self._player_options())
        config = LogConfig(self.options.log, flat(self.options.settings()))
        self._log = EpisodeLog(self.run.path, config, self.options.progress.say)
        opened.callback(self._log.close)

    def _imported(self, dataset_id: str) -> list[Demonstration]:
        """The demonstrations of a data set; ``MismatchError`` when they are of another game."""
        read: Callable[..., list[Demonstration]] = load(
            "atari_vlm.runs.demonstration_files:import_demonstrations"
        )
        demonstrations = read(dataset_id, self.options.in_context.examples)
        for demonstration in demonstrations:
            if demonstration.game != self.game:
                raise MismatchError(
                    f"the demonstrations {dataset_id!r} are of {demonstration.game}, the run plays {self.game}"
                )
        return demonstrations

    def __enter__(self) -> VLMTrainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the tables as far as the run has come and let go of the run and of all that was opened for it."""
        with self._opened:
            self._write_tables()

    def train(
        self, num_episodes: int = 100, eval_interval: int = 10, save_interval: int = 20
    ) -> dict[str, Any]:
        """Play and learn so many episodes; returns their summary (``outputs.summarise``).

        After every ``eval_interval`` episodes but the last, ``eval_episodes`` episodes are evaluated with the memory frozen;
        after every ``save_interval`` ``results.json`` is written. 0 means never.
        """
        check_positive(num_episodes=num_episodes)
        last = self._trained + num_episodes
        played: list[PlayedEpisode] = []
        while self._trained < last:
            ends = [
                _next_multiple(self._trained, size)
                for size in (self.options.round_size, eval_interval)
                if size
            ]
            played += self._round(min(*ends, last) - self._trained)
            if eval_interval and self._trained % eval_interval == 0 and self._trained < last:
                self.evaluate(self.options.eval_episodes)
            if save_interval and self._trained % save_interval == 0:
                outputs.write_results(self.run.path, self._header(), self.run.journal)
        return outputs.summarise([episode.row for episode in played])

    def evaluate(
        self, num_episodes: int = 10, *, strategy: Strategy | None = None, first: int = 0
    ) -> dict[str, Any]:
        """Play evaluation episodes, always on the same seeds, none of which is a training seed; nothing is learned.

        ``strategy`` chooses examples otherwise than the options say; so many ``first`` seeds are left out. Returns the summary
        of the episodes.
        """
        check_positive(num_episodes=num_episodes)
        strategy = strategy or self._strategy()
        specs = [
            self._spec("eval", eval_seed(self.options.seed, first + i)) for i in range(num_episodes)
        ]
        return {
            "strategy": strategy,
            **outputs.summarise([episode.row for episode in self._play(specs, strategy)]),
        }

    def run_episode(self) -> dict[str, Any]:
        """Play one training episode and learn from it (a round of one): reward, length, seed, trajectory (its journal rows)."""
        row = self._round(1)[0].row
        steps = self.run.journal.steps(row.episode)
        return {
            "reward": row.episode_return,
            "length": row.length,
            "seed": row.seed,
            "trajectory": steps,
        }

    def save_results(self) -> Path:
        """Write results.json, tables, videos and report.html, and mark the run as finished; returns the path of results.json."""
        self._write_tables()
        header = {**self._header(), "answered": self.answered()}
        path = outputs.write_results(self.run.path, header, self.run.journal)
        if can_write_videos():
            for row in worth_filming(self.run.journal.episodes(), self.options.videos):
                video = self.run.path / "videos" / f"{row.phase}-{row.episode:04d}.mp4"
                if not video.exists():
                    write_video(video, self.run.journal, row, self._make_env)
        write_report(self.run.path)
        self.run.finish()
        return path

    def answered(self) -> dict[str, str]:
        """What answered: the model asked for and the one that replied, the address, the prompt."""
        return answered(
            self._endpoint, self.run.journal.replies(), self.options.base_url, self.prompt_type
        )

    def _round(self, count: int) -> list[PlayedEpisode]:
        specs = [
            self._spec("train", train_seed(self.options.seed, self._trained + i))
            for i in range(count)
        ]
        played = self._play(specs, self._strategy())
        self.library.add([episode.result for episode in played if episode.result is not None])
        self._trained += count
        return played

    def _play(self, specs: list[EpisodeSpec], strategy: Strategy) -> list[PlayedEpisode]:
        """Play a group of episodes with the same examples, chosen now."""
        in_context = dataclasses.replace(self.options.in_context, strategy=strategy)
        shown = self.library.snapshot()
        phase = specs[0].phase
        conditions = {"strategy": strategy, "after": self._trained, "shown": digest_of(shown)}
        self.run.record_group(phase, [spec.episode for spec in specs], conditions)
        watch = self._recorder if self.use_icl and phase == "train" else None
        played = self._player.play(specs, self._agent_maker(shown, in_context), watch=watch)
        self.last_played = [episode.row for episode in played]
        self._write_tables()
        return played

    def _recorder(self, spec: EpisodeSpec) -> DemonstrationRecorder:
        return DemonstrationRecorder(spec.episode, self.options.in_context.examples)

    def _spec(self, phase: Any, seed: int) -> EpisodeSpec:
        number = self._next_episode
        self._next_episode += 1
        label = Label(self.game, self.vlm_type, self.options.seed, number, phase)
        return EpisodeSpec(number, phase, seed, label)

    def _strategy(self) -> Strategy:
        return self.options.in_context.strategy if self.use_icl else "none"

    def _agent_maker(
        self, shown: Sequence[Demonstration], options: InContextOptions
    ) -> Callable[[VLM, Env], Agent]:
        """How the agents of a group are made."""

        def make(vlm: VLM, examples: tuple[Message, ...]) -> VLMAgent:
            return VLMAgent(
                vlm, prompt_type=self.prompt_type, examples=examples, options=self.options.agent
            )

        return lambda vlm, _: agent_with_examples(vlm, shown, options, make)

    def _make_env(self) -> Env:
        return make_env(
            {"game_name": self.game, "env": self.options.env, "latency": self.options.latency}
        )

    def _backend(self, vlm_type: str | VLM, api_key: str | None) -> VLM:
        if not isinstance(vlm_type, str):
            return vlm_type
        return load_vlm(
            vlm_type,
            model=self.options.model,
            adapter=self.options.adapter,
            api_key=api_key,
            base_url=self.options.base_url,
            timeout_s=self.options.timeout_s,
            **self.options.vlm_options,
        )

    def _player_options(self) -> PlayerOptions:
        return PlayerOptions(
            max_steps=self.options.max_steps,
            parallel=self.options.parallel,
            progress=self.options.progress,
            stop=self.options.stop,
        )

    def _request(self, backend: VLM) -> RunRequest:
        settings = {
            **self._header(),
            "use_in_context_learning": self.use_icl,
            "endpoint": backend.name,
            **self.options.settings(),
        }
        return RunRequest(
            save_dir=self.options.save_dir,
            label=f"{self.game}-{self.vlm_type}-{self.prompt_type}",
            settings=json.loads(json.dumps(settings)),
            execution=self.options.execution(),
            run_name=self.options.run_name,
            resume=self.options.resume,
            command=self.options.command,
            command_line=self.options.command_line,
            rules=ResumeRules(("vlm_options.device",), AMOUNTS, TrainerOptions().settings()),
        )

    def _header(self) -> dict[str, Any]:
        return {"game_name": self.game, "vlm_type": self.vlm_type, "prompt_type": self.prompt_type}

    def _write_tables(self) -> None:
        outputs.write_tables(self.run.path, self.run.journal)
        self._log.update(self.run.journal.episodes())


def _next_multiple(value: int, size: int) -> int:
    return (value // size + 1) * size

"""Every kind of model behind one face: it begins at moments of real play, is stepped, says where objects are and what is shown.

What is true is taken as the model can know it: programs over object tables and the emulator are held against memory and the
screen's own pixels; models that read pictures against the real picture at their own size, with objects found by colours in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import load
from atari_vlm.errors import MismatchError, UnknownNameError
from atari_vlm.evaluation.model_table.costs import Costs, costs_of
from atari_vlm.evaluation.model_table.figures import same_boxes, same_places
from atari_vlm.evaluation.model_table.options import NAMED
from atari_vlm.evaluation.model_table.planted import CopyWorldModel, CorruptWorldModel
from atari_vlm.evaluation.model_table.real_play import (
    WARM_UP,
    Moments,
    Play,
    Recorder,
    boxes_in_memory,
    boxes_of,
)
from atari_vlm.evaluation.model_table.seeing import boxes_in_pictures
from atari_vlm.games import game as game_of
from atari_vlm.objects.base import COLUMNS, ROWS
from atari_vlm.sharing.names import is_hub_name
from atari_vlm.sharing.pulling import local_folder
from atari_vlm.space_trees import is_rgb
from atari_vlm.trees import take_rows
from atari_vlm.world_models.base import WorldModel, check_fit, context_space_of
from atari_vlm.world_models.code.shipped import golden
from atari_vlm.world_models.emulator import EmulatorWorldModel
from atari_vlm.world_models.seeing import Eye
from atari_vlm.world_models.view import REMEMBERED, eye_of, observations_told

_DATA_SET = "offline"  # the game that a checkpoint names which was trained from a data set


class Contestant:
    """A model in the table. ``draws``: dreams from each beginning; ``brighter``: whether it shows the brighter of two frames."""

    brighter = True
    draws = 1
    costs = Costs()

    def __init__(self, model: WorldModel[Any], recorder: Recorder):
        self.model, self.table, self.rgb = model, recorder.table, recorder.palette.rgb

    def begin(self, play: Play, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The model's state at moments of ``play``."""
        raise NotImplementedError

    def boxes(self, state: Any) -> np.ndarray | None:
        """Where objects are, ``(B, objects, 4)``; ``None`` where the model does not say."""
        raise NotImplementedError

    def pictures(self, state: Any) -> np.ndarray | None:
        """What is shown, uint8 ``(B, h, w, 3)``; ``None`` where nothing is."""
        shown: np.ndarray = self.model.decode(state)
        return shown

    def lives(self, state: Any) -> np.ndarray | None:
        """Lives left ``(B,)``, where the model counts them."""
        return None

    def true_boxes(self, moments: Moments) -> np.ndarray | None:
        """Where objects really are, to these eyes."""
        return moments.boxes

    def true_pictures(self, moments: Moments) -> np.ndarray:
        """What is really shown, to these eyes."""
        pictures: np.ndarray = self.rgb[moments.brighter if self.brighter else moments.last]
        return pictures

    def same_objects(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether boxes ``(..., 4)`` are those of the same objects, to these eyes."""
        return same_boxes(one, other)

    def close(self) -> None:
        """End what the model holds."""
        if hasattr(self.model, "close"):
            self.model.close()


class OfEmulator(Contestant):
    """The emulator itself, and what is wrong on purpose about it."""

    model: EmulatorWorldModel

    def begin(self, play: Play, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The snapshots of these moments."""
        return take_rows(play.snapshots, rows)

    def boxes(self, state: Any) -> np.ndarray:
        """As memory says."""
        return boxes_in_memory(self.table, self.model.memory(state))

    def lives(self, state: Any) -> np.ndarray:
        """As the emulator counts them."""
        lives: np.ndarray = state.lives
        return lives


class OfCopy(Contestant):
    """What was last seen."""

    def begin(self, play: Play, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """These moments."""
        moments = play.moments
        seen: Any = (moments.boxes[rows][:, None], moments.brighter[rows][:, None])
        return self.model.init(seen, np.zeros((len(rows), 0), np.int64), rng=rng)

    def boxes(self, state: Any) -> np.ndarray:
        """As they were."""
        boxes: np.ndarray = state.boxes
        return boxes


class OfTables(Contestant):
    """A program over object tables."""

    brighter = False

    def __init__(self, model: WorldModel[Any], recorder: Recorder):
        super().__init__(model, recorder)
        self.is_row = getattr(model, "contract", 0) == 1
        self.is_shown = is_rgb(model.observation_space)
        names = recorder.table.columns
        self._lives = names.index("lives") if "lives" in names else None

    def begin(self, play: Play, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The tables of these moments, with those before as far as the program reads them."""
        length = min(WARM_UP, observations_told(self.model))
        at = rows[:, None] + np.arange(1 - length, 1)
        return self.model.init(play.tables[at], play.actions[at[:, :-1]], rng=rng)

    def _rows(self, state: Any) -> np.ndarray | None:
        """States as object tables."""
        if self.is_row:
            return np.asarray(state.values)
        return None if self.is_shown else np.asarray(self.model.decode(state))

    def boxes(self, state: Any) -> np.ndarray | None:
        """As the rows say."""
        rows = self._rows(state)
        return None if rows is None else boxes_of(self.table, rows)

    def pictures(self, state: Any) -> np.ndarray | None:
        """What the program draws."""
        if self.is_shown:
            return super().pictures(state)
        return self.model.render(state) if hasattr(self.model, "render") else None

    def lives(self, state: Any) -> np.ndarray | None:
        """As the rows count them."""
        rows = None if self._lives is None else self._rows(state)
        return None if rows is None else rows[:, self._lives]


class OfPictures(Contestant):
    """A model that reads and dreams pictures."""

    def __init__(self, model: WorldModel[Any], recorder: Recorder):
        super().__init__(model, recorder)
        self._eye: Eye = eye_of(model)
        told = observations_told(model)
        self._length = min(
            WARM_UP, told if told > 1 else REMEMBERED
        )  # one tells no flight of a ball
        height, width = (context_space_of(model).shape or ())[:2]
        self._pixel = np.array([COLUMNS / width, ROWS / height])

    def begin(self, play: Play, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The state that pictures of these moments and those before lead to."""
        length = min(self._length, int(play.since[rows].min()) + 1)
        at = rows[:, None] + np.arange(1 - length, 1)
        shown = self.true_pictures(take_rows(play.moments, at.ravel()))
        contexts = shown.reshape(*at.shape, *shown.shape[1:])
        return self.model.init(contexts, play.actions[at[:, :-1]], rng=rng)

    def boxes(self, state: Any) -> np.ndarray | None:
        """Found by colours in what is dreamed."""
        return self._found(self.model.decode(state))

    def true_boxes(self, moments: Moments) -> np.ndarray | None:
        """Found by colours in the real picture at the model's size."""
        return self._found(self.true_pictures(moments))

    def true_pictures(self, moments: Moments) -> np.ndarray:
        """As the model sees them."""
        return np.stack([self._eye.of(self.rgb[plane]) for plane in moments.brighter])

    def same_objects(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether they are at the same place, as exactly as these pictures show it."""
        return same_places(one, other, self._pixel)

    def _found(self, pictures: np.ndarray) -> np.ndarray | None:
        return boxes_in_pictures(self.table.game, tuple(self.table.kinds), pictures)


def contestant(name: str, recorder: Recorder, draws: int) -> Contestant:
    """The model that a word of the command line means.

    Raises ``UnknownNameError`` for a word that is neither a name nor a folder, ``MismatchError`` for a model of another game, of
    other actions or another frame skip, and for one that reads neither object tables nor pictures.
    """
    env, game = recorder.env, recorder.table.game
    if name == "emulator":
        return OfEmulator(recorder.model, recorder)
    if name == "corrupt":
        return OfEmulator(CorruptWorldModel(env), recorder)
    if name == "copy":
        shape = recorder.emulator.screen_shape
        return OfCopy(CopyWorldModel(recorder.action_names, recorder.palette.rgb, shape), recorder)
    if name == "golden":
        return OfTables(golden(game), recorder)
    if not is_hub_name(name) and not Path(name).exists():
        raise UnknownNameError("world model", name, NAMED, _hint(name))
    return _of_checkpoint(name, recorder, draws)


def _hint(name: str) -> str:
    return "there is no such folder;" if "/" in name else ""


def _of_checkpoint(name: str, recorder: Recorder, draws: int) -> Contestant:
    folder = local_folder(name)
    checkpoint = load("atari_vlm.world_models.checkpoint:read_checkpoint")(folder)
    _check_game(name, checkpoint.config.get("game"), recorder.table.game)
    model = load("atari_vlm.world_models.checkpoint:build_model")(checkpoint, name)
    try:
        found = _by_context(name, model, recorder)
    except MismatchError:
        if hasattr(model, "close"):
            model.close()
        raise
    found.costs = costs_of(folder, checkpoint.provenance)
    found.draws = draws
    return found


def _by_context(name: str, model: WorldModel[Any], recorder: Recorder) -> Contestant:
    skip = recorder.emulator.config.frame_skip
    game = recorder.table.game
    check_fit(model, recorder.action_names, skip, f"{game} here", recorder.env.action_space)
    space = context_space_of(model)
    if space.shape == (len(recorder.table.columns),):
        return OfTables(model, recorder)
    if is_rgb(space):
        return OfPictures(model, recorder)
    raise MismatchError(
        f"{name} reads {space}: neither object tables of {game}, ({len(recorder.table.columns)},), nor pictures"
    )


def _check_game(name: str, told: Any, game: str) -> None:
    """Raise ``MismatchError`` where a checkpoint says that it is of another game."""
    if not isinstance(told, str) or told == _DATA_SET:
        return
    try:
        theirs = game_of(told).name
    except UnknownNameError:
        theirs = told
    if theirs != game:
        raise MismatchError(f"{name} is a model of {theirs}; the table is of {game}")

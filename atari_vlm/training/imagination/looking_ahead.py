"""How long the rest of a training run takes."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.runs.progress import Pace
from atari_vlm.world_models.learned.learner import Metrics, Stage
from atari_vlm.world_models.learned.schedule import TrainingSettings

_LATE = 10**9  # steps, after which every stage has begun that will


class LookingAhead:
    """Measures epochs, as long as they learn the same stages: those in which less was learned say nothing of the rest."""

    def __init__(self, settings: TrainingSettings, stages: Sequence[Stage]):
        self._epochs, self._stages = settings.epochs, stages
        self._pace = Pace(settings.play.eval_every)
        self._learned: set[str] = set()
        late = (_LATE, _LATE + settings.play.steps)
        self._waiting = {stage.name for stage in stages if stage.updates(self._epochs, late)}

    def after(self, epoch: int, metrics: Metrics) -> Metrics:
        """An epoch is over, which told ``metrics``: seconds left, and how many stages have not begun yet, with which it takes
        longer.
        """
        learned = {s.name for s in self._stages if f"{s.name}/seconds" in metrics}
        if learned != self._learned:
            self._pace.forget()
        self._learned = learned
        self._waiting -= learned
        left = self._pace.left(self._epochs - epoch)
        return {"run/seconds_left": left, "run/stages_waiting": float(len(self._waiting))}

"""Hold a learner to its contract; the public name is :func:`atari_vlm.checker.check_learner`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from atari_vlm.actions import random_actions
from atari_vlm.checker_models import check_world_model
from atari_vlm.errors import require
from atari_vlm.experience.replay import FOLLOWED, Column, Replay
from atari_vlm.space_json import space_to_json
from atari_vlm.trees import map_leaves, take_rows
from atari_vlm.world_models.base import StartFrames, context_space_of
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.families import load_part
from atari_vlm.world_models.inputs import as_observations
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Learner, Metrics, Workplace
from atari_vlm.world_models.learned.team import Team

MakeLearner = Callable[[Workplace], Learner]
_STEPS, _ROWS = 120, 4


def check_learner(make_learner: MakeLearner, *, updates: int = 2, seed: int = 0) -> None:
    """Check the :class:`~atari_vlm.world_models.learned.learner.Learner` protocol on random play.

    ``make_learner`` makes one in a workplace (CPU, one process); it is called three times. Checked
    are: every update reports the same finite numbers; a learner that takes another's arrays goes on
    as that one does, to the bit; measuring and playing change nothing that is learned; rows of the
    policy do not see one another, and it changes no state it was given; what ``weights`` and
    ``config`` say makes, through the family's loaders, the model that steps and the policy that
    plays the same; and the world model keeps its own promises. ``ContractError`` names the first
    promise that does not hold.
    """
    learner = _made(make_learner, seed)
    require(bool(learner.stages), "a learner has stages, one at least")
    names = [stage.name for stage in learner.stages]
    require(
        len(set(names)) == len(names), f"stages have names of their own, got {', '.join(names)}"
    )
    _check_updates(learner, updates)
    _check_restored(learner, make_learner, updates, seed)
    _check_measuring(learner, seed)
    _check_policy(learner, seed)
    _check_published(learner, seed)
    check_world_model(learner.world_model(), _contexts(learner), seed=seed)


def _made(make_learner: MakeLearner, seed: int) -> Learner:
    """A learner on a replay of random play, the same for the same seed."""

    def opened(columns: Mapping[str, Column], *, arrivals: bool = False) -> Replay:
        return Replay(columns, (2 if arrivals else 1) * _STEPS + 1, arrivals=arrivals)

    torch.manual_seed(seed)
    learner = make_learner(Workplace(opened, Device(), Team(), seed))
    policy, columns = learner.policy(), learner.replay.columns
    unkept = [name for name in policy.inputs if name not in columns]
    require(not unkept, f"the replay keeps what the policy sees; it lacks {', '.join(unkept)}")
    rng, left = np.random.default_rng(seed), 0
    actions = random_actions(policy.action_space, (_STEPS,), rng)
    for t in range(_STEPS):
        left = int(rng.integers(5, 12)) if left == 0 else left - 1
        step = {name: _value(column, rng) for name, column in _shown(columns).items()}
        reward = float(rng.integers(-1, 2))
        ends = {"terminated": left == 0, "truncated": False}
        learner.replay.add({**step, "action": actions[t], "reward": reward, **ends})
    return learner


def _shown(columns: Mapping[str, Column]) -> dict[str, Column]:
    """What a game shows of the columns."""
    known = {*FOLLOWED, "action"}
    return {
        n: column for n, column in columns.items() if n not in known and not column.written_back
    }


def _value(column: Column, rng: np.random.Generator) -> np.ndarray:
    """Random numbers of a column: all bytes, small whole numbers, normal fractions."""
    kind = np.dtype(column.dtype).kind
    if kind == "f":
        return rng.normal(size=column.shape).astype(column.dtype)
    above = 256 if column.dtype == "uint8" else 2 if kind == "b" else 8
    return rng.integers(above, size=column.shape).astype(column.dtype)


def _check_updates(learner: Learner, updates: int) -> None:
    """Every update of a stage reports the same names, and finite numbers."""
    for stage in learner.stages:
        reports = [learner.update(stage.name) for _ in range(updates)]
        for report in reports:
            require(
                report.keys() == reports[0].keys(), f"updates of {stage.name} report the same names"
            )
            _check_finite(report, f"an update of {stage.name}")


def _check_finite(metrics: Metrics, where: str) -> None:
    wrong = {name: value for name, value in metrics.items() if not np.isfinite(value)}
    require(not wrong, f"{where} reports finite numbers, got {wrong}")


def _kept(learner: Learner) -> dict[str, np.ndarray]:
    """A copy of everything that a checkpoint would hold."""
    replay = {f"replay.{name}": array for name, array in learner.replay.arrays().items()}
    kept = learner.arrays() | replay
    wrong = [name for name, array in kept.items() if not isinstance(array, np.ndarray)]
    require(not wrong, f"arrays() holds numpy arrays; these are none: {', '.join(wrong)}")
    return {name: array.copy() for name, array in kept.items()}


def _differing(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> str:
    """The names that are not equal to the bit, a few of them."""
    names = sorted(one.keys() ^ other.keys())
    both = (name for name in one if name in other)
    names += [name for name in both if one[name].tobytes() != other[name].tobytes()]
    return ", ".join(names[:4])


def _check_restored(learner: Learner, make: MakeLearner, updates: int, seed: int) -> None:
    """Another learner with this one's arrays goes on as this one does."""
    again = _made(make, seed)
    kept = _kept(learner)
    again.restore({name: array.copy() for name, array in kept.items()})
    replay = {name: array for name, array in kept.items() if name.startswith("replay.")}
    again.replay.restore({name.removeprefix("replay."): array for name, array in replay.items()})
    differing = _differing(kept, _kept(again))
    require(
        not differing, f"arrays() of a restored learner are those it was given; {differing} are not"
    )
    ends, stream = [], torch.get_rng_state()
    for one in (learner, again):
        torch.set_rng_state(stream)
        for stage in one.stages:
            for _ in range(updates):
                one.update(stage.name)
        ends.append(_kept(one))
    differing = _differing(*ends)
    require(
        not differing,
        f"a restored learner goes on as if never stopped, to the bit; {differing} differ",
    )


def _check_measuring(learner: Learner, seed: int) -> None:
    """Held-out losses and play leave weights, optimisers, streams and replay as they were."""
    before = _kept(learner)
    _check_finite(learner.held_out(learner.replay, 1), "held_out")
    _play_briefly(learner, seed)
    learner.world_model()
    differing = _differing(before, _kept(learner))
    require(not differing, f"measuring, playing and looking change nothing; {differing} changed")


def _play_briefly(learner: Learner, seed: int) -> tuple[np.ndarray, Any]:
    """What the policy does after three observations, told random actions; and its state then."""
    return _played(learner.policy(), _observations(learner, seed), seed)


def _observations(learner: Learner, seed: int) -> list[dict[str, np.ndarray]]:
    slots = learner.replay.any_slots(3 * _ROWS, np.random.default_rng(seed)).reshape(3, _ROWS)
    names = learner.policy().inputs
    return [{name: learner.replay.read(name, row) for name in names} for row in slots]


def _played(
    policy: Any, observations: list[dict[str, np.ndarray]], seed: int, rows: Any = slice(None)
) -> tuple[np.ndarray, Any]:
    executed_by_step = random_actions(policy.action_space, (3, _ROWS), np.random.default_rng(seed))
    state = policy.begin(len(executed_by_step[0][rows]))
    actions = np.zeros(0)
    for observed, executed in zip(observations, executed_by_step, strict=True):
        inputs = {name: values[rows] for name, values in observed.items()}
        before = map_leaves(lambda leaf: leaf.clone(), state)
        actions, after = policy.act(inputs, state, generator=None, temperature=0.0)
        unchanged = _alike(state, before)
        require(unchanged, "act() does not change the state that it is given")
        state = policy.executed(executed[rows], after)
    return actions, state


def _alike(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit."""
    same: list[bool] = []
    map_leaves(
        lambda a, b: same.append(torch.equal(torch.as_tensor(a), torch.as_tensor(b))), one, other
    )
    return all(same)


def _check_policy(learner: Learner, seed: int) -> None:
    """The first and last rows stay what they were while the rows between see something else."""
    policy, observations = learner.policy(), _observations(learner, seed)
    actions, state = _played(policy, observations, seed)
    require(
        len(actions) == _ROWS, f"act() gives an action a row, got {actions.shape} for {_ROWS} rows"
    )
    for action in actions:
        legal = policy.action_space.contains(action)
        require(legal, f"the policy acts within {policy.action_space}, got {action!r}")
    others = _observations(learner, seed + 1)
    for observed, elsewhere in zip(observations, others, strict=True):
        for name, values in observed.items():
            elsewhere[name][[0, -1]] = values[[0, -1]]
    again, after = _played(policy, others, seed)
    ends = np.array([0, _ROWS - 1])
    alike = np.array_equal(actions[ends], again[ends])
    alike = alike and _alike(take_rows(state, ends), take_rows(after, ends))
    require(
        alike, "a row of the policy depends on that row only; it changed with the rows beside it"
    )
    some, _ = _played(policy, observations, seed, ends)
    fits = np.allclose(some.astype(np.float64), actions[ends].astype(np.float64), atol=1e-4)
    require(fits, "a policy does the same for some of the rows as for all")


def _contexts(learner: Learner) -> StartFrames:
    """Real contexts as long as the model's."""
    model, replay = learner.world_model(), learner.replay
    length = max(1, int(model.context_length))
    firsts = replay.bounds()[0]
    cut = replay.segments_at(firsts[replay.lengths >= length][:_ROWS], length)
    inputs = {name: replay.read(name, cut.slots) for name in learner.policy().inputs}
    observations = as_observations(inputs, context_space_of(learner.world_model()))
    return StartFrames(observations, replay.read("action", cut.slots)[:, : length - 1])


def _check_published(learner: Learner, seed: int) -> None:
    """Weights and config make the same model and the same policy again."""
    model, start = learner.world_model(), _contexts(learner)
    names = list(model.action_names or ())
    acts = {"action_names": names} if names else {"action_space": space_to_json(model.action_space)}
    config = {**acts, "frame_skip": model.frame_skip, **learner.config()}
    weights = {name: array.copy() for name, array in learner.weights().items()}
    checkpoint = Checkpoint(learner.kind, config, weights)
    loaded = load_part(learner.kind, "model")(checkpoint)
    actions = random_actions(model.action_space, (len(start.actions),), np.random.default_rng(seed))
    steps = []
    for one in (model, loaded):
        state = one.init(start.observations, start.actions, rng=np.random.default_rng(seed))
        steps.append(one.step(state, actions, rng=np.random.default_rng(seed)))
    same = np.allclose(steps[0].reward, steps[1].reward, rtol=1e-4, atol=1e-4)
    same = same and np.array_equal(steps[0].terminated, steps[1].terminated)
    frames = [model.decode(steps[0].state), loaded.decode(steps[1].state)]
    gaps: list[float] = []
    map_leaves(lambda a, b: gaps.append(_gap(a, b)), *frames)
    require(same and max(gaps) <= 1, "weights() and config() make the model that the learner has")
    policy = load_part(learner.kind, "policy")(checkpoint, "cpu")
    ours, _ = _play_briefly(learner, seed)
    theirs, _ = _played(policy, _observations(learner, seed), seed)
    fits = np.allclose(ours.astype(float), theirs.astype(float), atol=1e-4)
    require(fits, "weights() and config() make the policy that the learner has")


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two arrays; texts are equal or not."""
    if one.dtype == object:
        return float((one != other).any())
    return float(np.abs(one.astype(float) - other).max())

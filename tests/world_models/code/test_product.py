"""Products of small programs: weights by maximum likelihood, wrong experts pruned, constraints kept."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.errors import ConfigError, SandboxError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code import LocalProgram, ProgramProduct, Sandbox, golden, score_program
from atari_vlm.world_models.code import product as product_module
from atari_vlm.world_models.code.product_weights import fit_weights, mean_nats, votes_of

BALL = """
class Expert:
    def predict(self, state, action):
        x, y, dx, dy = state[21:25]
        if y > 60 and y < 190 and 70 < x + min(0, 4 * dx) and x + max(0, 4 * dx) < 186:
            return {21: x + 4 * dx, 22: y + 4 * dy, 23: dx, 24: dy}
        return {}
"""
OTHER = """
class Expert:
    def predict(self, state, action):
        x, y, dx, dy = state[21:25]
        if not (60 < y < 190 and 70 < x < 180):
            return {}
        at, frame = state[27], state[32]
        for _ in range(4):
            frame, y = (frame + 1) % 256, y + dy
            at += 0 if frame % 8 == 1 else 2 * (int(y > at) - int(y < at))
        return {27: at}
"""
CLOCK = """
class Expert:
    def predict(self, state, action):
        return {32: (state[32] + 4) % 256, 33: 1.0 if action in (1, 4, 5) else 0.0}
"""
WRONG = """
class Expert:
    def predict(self, state, action):
        return {21: state[21] + 1, 22: state[22] + 1}
"""


@pytest.fixture(autouse=True, scope="module")
def in_this_process():
    """Starting a process costs more than all that these programs do; one test goes through the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product_module, "Sandbox", LocalProgram)
        yield


RIGHT = {"ball": BALL, "other": OTHER, "clock": CLOCK}


def played(seed, steps=260):
    """Transitions of the object table of Pong, as the golden program moves it."""
    rng = np.random.default_rng(seed)
    with golden("Pong", unsafe_local_code=True) as model:
        rows, actions = [model.start.observations[0, 0].astype(float)], []
        state = model.init(model.start.observations[:1], np.zeros((1, 0), np.int64), rng=rng)
        for _ in range(steps):
            actions.append(int(rng.integers(6)))
            state = model.step(state, np.array(actions[-1:]), rng=rng).state
            rows.append(state.values[0].copy())
        table = np.array(rows, np.float32)
        flags = np.zeros(steps, bool)
        return TransitionBuffer(
            table[:-1], np.array(actions), np.zeros(steps), table[1:], flags, flags, env_id="Pong",
            observation_space=model.context_space, action_space=model.action_space,
        )  # fmt: skip


@pytest.fixture(scope="module")
def buffers():
    return played(1), played(2)


@pytest.fixture(scope="module")
def product(buffers):
    return ProgramProduct.fit({**RIGHT, "wrong": WRONG}, buffers[0])


def test_the_wrong_expert_is_pruned_and_the_product_beats_each_of_them(buffers, product):
    train, held_out = buffers
    assert product.weights.keys() == product.experts.keys() == RIGHT.keys()
    assert all(weight > 1 for weight in product.weights.values())
    together = product.log_likelihood(held_out)
    alone = {
        name: ProgramProduct.fit({name: text}, train).log_likelihood(held_out)
        for name, text in {**RIGHT, "wrong": WRONG}.items()
    }
    assert np.isfinite(together) and together > max(alone.values()) + 1, (together, alone)


def test_the_same_scorer_takes_it(buffers, product):
    held_out = buffers[1]
    found = score_program(product.program, held_out)
    clock = ProgramProduct.fit({"clock": CLOCK}, buffers[0]).program
    alone = score_program(clock, held_out, unsafe_local_code=True)
    assert not found.bug and found.score >= alone.score
    with LocalProgram(product.program) as sandbox:
        rows = held_out.observations[:40].astype(float)
        steps = sandbox.step_rows(rows, held_out.actions[:40])
        assert np.array_equal(np.array(steps.states)[:, 32], held_out.next_observations[:40, 32])


SAYS = """
class Expert:
    def predict(self, state, action):
        return {at: value}
"""


def little(after, states=2):
    """As many transitions as ``after`` has entries, from zeros; number 0 becomes that entry."""
    n = len(after)
    following = np.zeros((n, states), np.float32)
    following[:, 0] = after
    flags, space = np.zeros(n, bool), gymnasium.spaces.Box(-9, 9, (states,), np.float32)
    return TransitionBuffer(
        np.zeros((n, states), np.float32), np.zeros(n, int), np.zeros(n), following, flags, flags,
        env_id="little", observation_space=space, action_space=gymnasium.spaces.Discrete(2),
    )  # fmt: skip


def says(at, value):
    return SAYS.replace("at: value", f"{at}: {value}")


def test_the_likelihood_of_one_expert_by_hand():
    """Right in 3 of 4, 2 values: the weight's odds are 3 to 1, so log 3, and the mean is that of a coin with 3/4."""
    buffer = little([1, 1, 1, 0])
    product = ProgramProduct.fit({"one": says(0, 1)}, buffer)
    assert product.weights["one"] == pytest.approx(np.log(3), abs=0.01)
    coin = 0.75 * np.log(0.75) + 0.25 * np.log(0.25)
    assert product.log_likelihood(buffer) == pytest.approx(coin + np.log(1 / 2), abs=1e-4)


def test_the_slope_is_that_of_the_likelihood():
    rng = np.random.default_rng(0)
    said = rng.integers(0, 3, (4, 30, 2)).astype(float)
    said[rng.random(said.shape) < 0.3] = np.nan
    votes = votes_of(said, rng.integers(0, 3, (30, 2)).astype(float), np.array([3.0, 3.0]))
    weights = rng.random(4)
    _, slope = mean_nats(votes, weights)
    for k in range(4):
        up, down = weights.copy(), weights.copy()
        up[k], down[k] = up[k] + 1e-5, down[k] - 1e-5
        numeric = (mean_nats(votes, up)[0] - mean_nats(votes, down)[0]) / 2e-5
        assert slope[k] == pytest.approx(numeric, abs=1e-6)
    fitted = fit_weights(votes, np.ones(4, bool))
    best = mean_nats(votes, fitted)[0]
    assert all(best >= mean_nats(votes, rng.random(4) * 2)[0] - 1e-6 for _ in range(50))


def test_what_nobody_foretold_is_finite():
    product = ProgramProduct.fit({"one": says(0, 1)}, little([1, 1, 1]))
    assert np.isfinite(product.log_likelihood(little([5, 5])))
    assert product.log_likelihood(little([5, 5])) < product.log_likelihood(little([1, 1]))


def test_a_constraint_is_hard():
    rule = "class Constraint:\n    def allows(self, state, action, after):\n        return after[0] < 2\n"
    experts = {"high": says(0, 3), "low": says(0, 1)}
    buffer = little([3, 3, 3, 3, 1, 1, 0])
    free = ProgramProduct.fit(experts, buffer)
    held = ProgramProduct.fit(experts, buffer, constraints=[rule])
    for product, value in ((free, 3), (held, 1)):
        with LocalProgram(product.program) as sandbox:
            assert sandbox.step(np.zeros(2), 0)[0][0] == value
    assert held.log_likelihood(buffer) < free.log_likelihood(buffer) < 0


def test_different_states_are_refused():
    with pytest.raises(ConfigError, match="foretells number 4 of a state; these states have 2"):
        ProgramProduct.fit({"one": says(4, 1)}, little([1, 1]))
    product = ProgramProduct.fit({"one": says(0, 1)}, little([1, 1]))
    with pytest.raises(ConfigError, match="2 numbers; the buffer's have 3"):
        product.log_likelihood(little([1], states=3))
    with pytest.raises(ConfigError, match="at least one expert"):
        ProgramProduct.fit({}, little([1]))


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "class Expert:\n    def predict(self, state, action):\n        raise ValueError('no')\n",
            "'odd': ValueError: no",
        ),
        ("class Expert:\n    def predict(self, state, action):\n        return 3\n", "'odd'"),
        ("class Other: pass\n", "'odd': KeyError"),
    ],
)
def test_an_expert_that_is_none_is_an_error_of_its_own(text, said):
    with pytest.raises(SandboxError, match=said):
        ProgramProduct.fit({"good": says(0, 1), "odd": text}, little([1, 1]))


def test_experts_run_in_the_sandbox(monkeypatch):
    monkeypatch.setattr(product_module, "Sandbox", Sandbox)
    product = ProgramProduct.fit({"one": says(0, 1)}, little([1, 1]))
    assert product.weights["one"] > 1
    with pytest.raises(SandboxError, match="socket"):
        ProgramProduct.fit({"odd": says(0, 1) + "\nimport socket\n"}, little([1, 1]))

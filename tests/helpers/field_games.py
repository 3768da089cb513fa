"""Small games, each with one habit of environments that people bring along. Ids ``Case/<Name>-v0``."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from PIL import Image

from atari_vlm.spaces import PILImage


class Ledge(gym.Env):
    """A light square walks on a dark 16 x 16 RGB picture: it falls off at cell 0 (-1) or 7 (+1)."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    shape = (16, 16, 3)
    actions = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = self.space()
        self.action_space = self.actions

    def space(self):
        return spaces.Box(0, 255, self.shape, np.uint8)

    def draw(self):
        picture = np.zeros(self.shape, np.uint8)
        picture[6:10, 2 * self.cell : 2 * self.cell + 2] = 255
        return picture

    render = draw

    def show(self):
        return self.draw()

    def extra(self):
        return {}

    def pay(self, over):
        return (1.0 if self.cell == 7 else -1.0) if over else 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.t = int(self.np_random.integers(3, 6)), 0
        return self.show(), self.extra()

    def over(self):
        return self.cell in (0, 7)

    def move(self, action):
        assert self.action_space.contains(action), f"{action!r} is no action of {self.action_space}"
        self.cell += 1 if int(action) == int(self.action_space.start) + 1 else -1

    def step(self, action):
        self.move(action)
        self.t += 1
        return self.show(), self.pay(self.over()), self.over(), False, self.extra()


class Painted(Ledge):
    """Paints over one picture and returns that very array each time."""

    def show(self):
        if not hasattr(self, "screen"):
            self.screen = np.zeros(self.shape, np.uint8)
        self.screen[:] = self.draw()
        return self.screen


class PaintedInDict(Painted):
    def space(self):
        return spaces.Dict({"pixels": super().space(), "cell": spaces.Box(0, 9, (1,), np.float64)})

    def show(self):
        if not hasattr(self, "both"):
            self.both = {"pixels": np.zeros(self.shape, np.uint8), "cell": np.zeros(1)}
        self.both["pixels"][:], self.both["cell"][:] = self.draw(), self.cell
        return self.both


class Vector(Ledge):
    """Shows numbers, in one array that it keeps."""

    def space(self):
        return spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def show(self):
        self.numbers = getattr(self, "numbers", np.zeros(2))
        self.numbers[:] = self.cell, self.t
        return self.numbers


class NanVector(Vector):
    def show(self):
        return np.array([self.cell, np.nan if self.t == 2 else self.t])


class OneTwo(Ledge):
    """Its actions are 1 (left) and 2 (right)."""

    actions = spaces.Discrete(2, start=1)


class Minus(Ledge):
    actions = spaces.Discrete(2, start=-3)


class Slide(Ledge):
    """Moves by a number; remembers what it was given."""

    actions = spaces.Box(-1.0, np.array([1.0, 2.0]), (2,), np.float64)

    def move(self, action):
        assert self.action_space.contains(action) and action.shape == (2,)
        self.cell = int(np.clip(self.cell + np.sign(action[0]), 0, 7))


class Square(Ledge):
    actions = spaces.Box(-1.0, 1.0, (2, 2))


class NanPay(Ledge):
    """Divides by zero in the reward of each second step."""

    bad = float("nan")

    def pay(self, over):
        return self.bad if self.t == 2 else super().pay(over)


class InfPay(NanPay):
    bad = -np.inf


class HugePay(NanPay):
    bad = 1e39


class NanArrayPay(NanPay):
    bad = np.array([np.nan], np.float32)


class TwoPay(NanPay):
    bad = np.zeros(2)


class TextPay(NanPay):
    bad = "0.5"


class NoPay(NanPay):
    bad = None


class Pixels(Ledge):
    """A dict whose picture is called otherwise."""

    def space(self):
        return spaces.Dict({"pixels": super().space()})

    def show(self):
        return {"pixels": self.draw()}


class Nested(Ledge):
    def space(self):
        inner = {"camera": super().space(), "joints": spaces.Box(-1, 1, (3,), np.float32)}
        return spaces.Dict({"robot": spaces.Dict(inner), "task": spaces.Text(8)})

    def show(self):
        return {"robot": {"camera": self.draw(), "joints": np.zeros(3, np.float32)}, "task": "go"}


class Parts(Ledge):
    """Actions in two parts, of which the first walks; a picture, a vector, a number and two texts are shown."""

    actions = spaces.MultiDiscrete([2, 3], start=[1, -1])

    def space(self):
        told = {"say": spaces.Text(8), "hear": spaces.Text(8, charset="é0123456789")}
        numbers = {"joints": spaces.Box(-1, 1, (3,), np.float32), "floor": spaces.Discrete(9)}
        return spaces.Dict({"camera": super().space(), **numbers, **told})

    def show(self):
        told = {"say": "left" if self.cell < 4 else "right", "hear": "é" * (self.t % 3) or "0"}
        numbers = {"joints": np.full(3, self.cell / 9, np.float32), "floor": np.int64(self.cell)}
        return {"camera": self.draw(), **numbers, **told}

    def move(self, action):
        assert self.action_space.contains(action), f"{action!r} is no action of {self.action_space}"
        self.cell += 1 if int(action[0]) == 2 else -1


class PartsInTuple(Ledge):
    """A tuple of observations; actions in a tuple, which nobody can learn."""

    actions = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3)))

    def space(self):
        return spaces.Tuple((super().space(), spaces.Discrete(9)))


class Unbounded(Slide):
    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)


class TwoCameras(Ledge):
    def space(self):
        return spaces.Dict({"left": super().space(), "right": super().space()})

    def show(self):
        return {"left": self.draw(), "right": self.draw()[:, ::-1]}


class Gray(Ledge):
    shape = (16, 16)


class GrayLast(Ledge):
    shape = (16, 16, 1)


class Pil(Ledge):
    def space(self):
        return PILImage(16, 16)

    def show(self):
        return Image.fromarray(self.draw())


class Large(Ledge):
    """A picture of another size and form."""

    shape = (40, 24, 3)


class UnitFloat(Ledge):
    """float32 pictures in 0..1."""

    def space(self):
        return spaces.Box(0.0, 1.0, self.shape, np.float32)

    def show(self):
        return self.draw().astype(np.float32) / 255


class PayInArray(Ledge):
    """The reward is an array of one number."""

    def pay(self, over):
        return np.array([super().pay(over)], np.float32)


class FlagInArray(Ledge):
    def over(self):
        return np.array([super().over()])


class FlagAsNumber(Ledge):
    def over(self):
        return np.int64(super().over())


class FlagAsText(Ledge):
    def over(self):
        return str(super().over())


class Lives(Ledge):
    """Not Atari; its info counts lives of its own, of which one goes at step 2 while the game goes on."""

    def extra(self):
        return {"lives": 3 - (self.t >= 2), "lost_life": self.t >= 2}


class ThreeNames(Ledge):
    """Two actions, three names."""

    names = ("LEFT", "RIGHT", "JUMP")

    def get_action_meanings(self):
        return list(self.names)


class OneName(ThreeNames):
    names = ("LEFT",)


class NoNames(ThreeNames):
    names = ()


class TwoNames(ThreeNames):
    names = ("LEFT", "RIGHT")


class OneStep(Ledge):
    """Every episode is one step long."""

    def over(self):
        return True


class Endless(Ledge):
    """Never ends."""

    def over(self):
        return False

    def move(self, action):
        self.cell = (self.cell + (1 if int(action) else -1)) % 8


class Lengths(Endless):
    """Lasts 2 to 9 steps, as the seed decides, and pays one a step."""

    def reset(self, *, seed=None, options=None):
        shown = super().reset(seed=seed)
        self.length = int(self.np_random.integers(2, 10))
        return shown

    def over(self):
        return self.t >= self.length

    def pay(self, over):
        return 1.0


class Loses(Ledge):
    """The simulator behind it is lost after 40 steps."""

    total = 0
    error = ConnectionResetError("lost the simulator")

    def move(self, action):
        type(self).total += 1
        if type(self).total > 40:
            raise self.error
        super().move(action)


class LosesFile(Loses):
    total = 0
    error = FileNotFoundError(2, "No such file or directory", "level.dat")


class Divides(Loses):
    total = 0
    error = ZeroDivisionError("division by zero")


class LosesReset(Ledge):
    def reset(self, *, seed=None, options=None):
        raise TimeoutError("no simulator")


class LosesMake(Ledge):
    def __init__(self, render_mode=None):
        raise OSError("no licence")


class OldStep(Ledge):
    """Steps as gym did."""

    def step(self, action):
        return super().step(action)[:4]


for _name, _class in list(globals().items()):
    if (
        isinstance(_class, type)
        and issubclass(_class, Ledge)
        and f"Case/{_name}-v0" not in gym.registry
    ):
        gym.register(f"Case/{_name}-v0", entry_point=_class, disable_env_checker=True)

"""Objects found by their colours in the emulator's screen, which knows nothing of memory; and play to hold memory against.

A finder takes the screen as palette indices uint8 ``(210, 160)`` and gives a box (left, top, right, bottom; the last two
outside), ``None`` where nothing is to be seen, or ``UNSURE`` where colours alone do not tell.
"""

from collections import defaultdict

import ale_py
import gymnasium
import numpy as np

from atari_vlm.objects.tables import TABLES

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
UNSURE = "unsure"


def bounds(mask, left=0, top=0):
    """The smallest box around the true pixels of a mask whose corner is (left, top)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )


def coloured(left, top, right, bottom, *colours):
    """A finder: everything of these colours within a window."""

    def find(screen):
        return bounds(np.isin(screen[top:bottom, left:right], colours), left, top)

    return find


def overlap(one, other):
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


PLAYFUL = {}  # game -> policy(memory, names, random, t): an action's number or None for a random one


def played(game, frames, seed, *, skip=1):
    """Memory int64 ``(128,)`` and screen of every step of random and scripted play in turns of 200 steps."""
    env = gymnasium.make(f"ALE/{game}-v5", frameskip=skip, repeat_action_probability=0.25)
    names, ale = env.unwrapped.get_action_meanings(), env.unwrapped.ale
    random, action = np.random.default_rng(seed), 0
    env.reset(seed=seed)
    for t in range(frames):
        memory = ale.getRAM().astype(int)
        wanted = PLAYFUL[game](memory, names, t) if t // 200 % 2 and game in PLAYFUL else None
        if wanted is not None:
            action = names.index(wanted)
        elif t % 12 == 0:
            action = int(random.integers(len(names)))
        *_, terminated, truncated, _ = env.step(action)
        yield ale.getRAM().astype(int), ale.getScreen()
        if terminated or truncated:
            env.reset()
    env.close()


def agreement(game, steps):
    """Mean overlap of every object between memory and pixels, and how many boxes it is over.

    A box that only one of the two sees counts 0.
    """
    table, found = TABLES[game], defaultdict(list)
    for memory, screen in steps:
        told = {one.name: one.box for one in table.read(memory).objects}
        for name, find in FINDERS[game].items():
            shown, said = find(screen), told.get(name)
            if shown != UNSURE and (shown or said):
                found[name].append(overlap(shown, said) if shown and said else 0.0)
    return {name: (float(np.mean(values)), len(values)) for name, values in found.items()}


def _follow(ball, paddle, left, right):
    return left if ball < paddle - 4 else right if ball > paddle + 4 else "NOOP"


def _pong(memory, names, t):
    return _follow(memory[54], memory[51], "RIGHT", "LEFT") if memory[54] else "FIRE"


def _breakout(memory, names, t):
    return _follow(memory[99], memory[72] + 7, "LEFT", "RIGHT") if memory[101] else "FIRE"


def _pong_ball(screen):
    field = screen[34:194]
    return UNSURE if (field == 14).all(1).any() else bounds(field == 14, 0, 34)


def _breakout_ball(screen):
    """Below the bricks only, and not where it touches the paddle."""
    ball = bounds(screen[93:189, 8:152] == 70, 8, 93)
    if ball is None or ball[1] == 93 or ball[3] == 189:
        return UNSURE
    return ball


def _breakout_paddle(screen):
    """The ball may be in the same rows: then the paddle is the longest run of its colour."""
    row = np.flatnonzero(screen[190, 8:152] == 70) + 8
    alone = len(row) and row[-1] - row[0] + 1 == len(row) <= 16
    return (int(row[0]), 189, int(row[-1]) + 1, 193) if alone else UNSURE


CAR_COLOURS = (66, 220, 18, 74, 130, 36, 136, 68, 216, 26)  # from the top


def _car(lane):
    top = 27 + 16 * lane

    def find(screen):
        """Body and wheels; wheels are black as the border is, so rows are those of the road's gray that is interrupted."""
        body = bounds(screen[top : top + 10, 8:] == CAR_COLOURS[lane], 8, top)
        if body is None:
            return None
        if any(chicken - 8 < body[0] < chicken + 8 for chicken in (44, 108)):
            return UNSURE
        rows = np.flatnonzero((screen[top - 1 : top + 11, body[0] : body[2]] != 6).any(1))
        return body[0], top - 1 + int(rows[0]), body[2], top + int(rows[-1])

    return find


def _chicken(left):
    def find(screen):
        yellow = screen[14:201, left - 2 : left + 10] == 30
        yellow[101 - 14 : 109 - 14] = False  # the line in the middle
        box = bounds(yellow, left - 2, 14)
        return UNSURE if box is None or 90 < box[1] < 112 else box

    return find


FINDERS = {
    "Pong": {
        "ball": _pong_ball,
        "your paddle": coloured(132, 34, 152, 194, 200),
        "other paddle": coloured(8, 34, 28, 194, 56),
    },
    "Breakout": {"ball": _breakout_ball, "paddle": _breakout_paddle},
    "Freeway": {
        **{f"car in lane {10 - lane}": _car(lane) for lane in range(10)},
        "your chicken": _chicken(44),
        "other chicken": _chicken(108),
    },
}
PLAYFUL |= {"Pong": _pong, "Breakout": _breakout, "Freeway": lambda memory, names, t: "UP"}

"""Objects found by their colours in the emulator's screen, which knows nothing of memory; and play to hold memory against.

A finder takes the screen as palette indices uint8 ``(210, 160)`` and gives a box (left, top, right, bottom; the last two
outside), ``None`` where nothing is to be seen, or ``UNSURE`` where colours alone do not tell.
"""

from collections import defaultdict
from pathlib import Path

import ale_py
import cv2
import gymnasium
import numpy as np

from atari_vlm.objects.tables import TABLES

gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
UNSURE = "unsure"
DATA = Path(__file__).parents[1] / "data"
TOURED = ("MontezumaRevenge",)


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


PLAYFUL = {}  # game -> policy(memory, names, t): the name of an action
_HELD = 4  # frames of an action of a way


def _ways(game):
    """Ways through many rooms, one letter an action, found by a search of the emulator without sticky actions."""
    return DATA.joinpath("montezuma_ways.txt").read_text().split() if game in TOURED else []


def played(game, steps, seed, *, skip=1, difficulty=0):
    """Memory int64 ``(128,)`` and screen after every ``skip`` frames of random and scripted play, in turns of 200 steps.

    With an even seed a game that has ways plays them first.
    """
    ways = _ways(game) if seed % 2 == 0 else []
    sticky = 0.0 if ways else 0.25
    env = gymnasium.make(
        f"ALE/{game}-v5", frameskip=1, repeat_action_probability=sticky, difficulty=difficulty
    )
    names, ale = env.unwrapped.get_action_meanings(), env.unwrapped.ale
    random = np.random.default_rng(seed)
    plans = [[ord(letter) - ord("a") for letter in way] for way in ways]
    for t in range(steps):
        if t == 0 or ale.game_over() or (plans and not plans[0]):
            plans, action, frame = plans[1:] if t and plans else plans, 0, 0
            env.reset(seed=seed if t == 0 or ways else None)
        memory = ale.getRAM().astype(int)
        if not plans:
            scripted = PLAYFUL.get(game) if t // 200 % 2 else None
            if scripted:
                action = names.index(scripted(memory, names, t))
            elif t % 12 == 0:
                action = int(random.integers(len(names)))
        for _ in range(skip):
            if plans and plans[0] and frame % _HELD == 0:
                action = plans[0].pop(0)
            env.step(action)
            frame += 1
        yield ale.getRAM().astype(int), ale.getScreen()
    env.close()


def agreement(game, steps):
    """Mean overlap of every object between memory and pixels, and how many boxes it is over.

    A box that only one of the two sees counts 0. Where several objects look alike, a finder gives all their boxes, and each
    is held against the nearest.
    """
    table, found = TABLES[game], defaultdict(list)
    for memory, screen in steps:
        told = {one.name: one.box for one in table.read(memory).objects}
        for names, find in FINDERS[game].items():
            shown = find(screen)
            if isinstance(names, str):
                if shown != UNSURE and (shown or told.get(names)):
                    both = shown and names in told
                    found[names].append(overlap(shown, told[names]) if both else 0.0)
            elif shown != UNSURE:
                _compare(names, told, shown, found)
    return {name: (float(np.mean(values)), len(values)) for name, values in found.items()}


def _compare(names, told, shown, found):
    """Alike objects: the nearest pairs first; what is left over on either side counts 0, for any one of them."""
    pairs = sorted(
        ((overlap(told[n], box), n, i) for n in names if n in told for i, box in enumerate(shown)),
        reverse=True,
    )
    left, boxes = {name for name in names if name in told}, set(range(len(shown)))
    for value, name, i in pairs:
        if name in left and i in boxes and value > 0:
            left.discard(name)
            boxes.discard(i)
            found[name].append(value)
    for name in left:
        found[name].append(0.0)
    for i in boxes:
        found[names[sum(shown[i][:2]) % len(names)]].append(0.0)


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


def pieces(mask, left=0, top=0, grown_by=9):
    """The boxes of all pieces of a mask that lie apart whose corner is (left, top)."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((grown_by, grown_by), np.uint8))
    count, labels = cv2.connectedComponents(grown)
    return [bounds((labels == number) & mask, left, top) for number in range(1, count)]


def _lanes(kind, places=3):
    numbers = [f"{lane}.{place}" for lane in range(1, 5) for place in range(1, places + 1)]
    return tuple(f"{kind} {number if places > 1 else number[0]}" for number in numbers)


def _in_the_sea(*colours, heights=range(1, 20), grown_by=5):
    def find(screen):
        found = pieces(np.isin(screen[62:163, 8:], colours), 8, 62, grown_by)
        return [box for box in found if box[3] - box[1] in heights]

    return find


def _torpedoes(screen):
    """Small things of the divers' colour, where gray submarines say that they are no divers."""
    if not (screen[62:163, 8:] == 8).any():
        return UNSURE
    return _in_the_sea(134, heights=range(1, 6), grown_by=9)(screen)


def _divers(screen):
    """Of a diver at the edge only a hand or a foot may be seen, which says nothing of its size."""
    violet = screen[62:163, 8:] == 134
    at_the_edge = violet[:, [*range(4), *range(-4, 0)]].any()
    return UNSURE if at_the_edge else _in_the_sea(134, heights=range(8, 20), grown_by=9)(screen)


def _skulls(side):
    """Two skulls stand 16 columns apart."""

    def find(screen):
        both = bounds(screen[48:95] == 14, 0, 48)
        if both is None or both[2] - both[0] != 23:
            return None if both is None else UNSURE
        left, top, right, bottom = both
        return (left, top, left + 7, bottom) if side == "left" else (right - 7, top, right, bottom)

    return find


def _key(screen):
    """Not the doors and the rope, which have its colour."""
    golden = screen[48:140] == 252
    golden[:44, 20:24] = golden[:44, 136:140] = golden[40:, 112] = False
    return bounds(golden, 0, 48)


def _small(left, top, right, bottom, width, *colours):
    """A thing of a colour that larger things have too."""
    find_all = coloured(left, top, right, bottom, *colours)

    def find(screen):
        box = find_all(screen)
        return UNSURE if box and box[2] - box[0] > width else box

    return find


def _flags(screen):
    return pieces(screen[32:178, 8:152] == 134, 8, 32)


_INVADERS = tuple(f"invader {row}.{column}" for row in range(1, 7) for column in range(1, 7))


def _invaders(screen):
    """The boxes of all invaders; they stand at least 8 columns and 8 rows apart."""
    field = screen[28:150] == 20
    grown = cv2.dilate(field.astype(np.uint8), np.ones((3, 5), np.uint8))
    count, labels = cv2.connectedComponents(grown)
    return [bounds((labels == number) & field, 0, 28) for number in range(1, count)]


_FLAGS = tuple(f"gate {gate}, {side} flag" for gate in (1, 2) for side in ("left", "right"))
FINDERS = {
    "Boxing": {
        "you": coloured(32, 37, 129, 177, 12),
        "other boxer": coloured(32, 37, 129, 177, 0),
    },
    "MontezumaRevenge": {
        "explorer": coloured(0, 47, 160, 181, 250, 70, 74),
        "jewel": coloured(0, 48, 160, 100, 56),
        "key": _key,
        "torch": _small(74, 52, 86, 72, 8, 236),
        "spider": _small(0, 75, 160, 95, 8, 200),
        "left skull": _skulls("left"),
        "right skull": _skulls("right"),
        "rolling skull": coloured(42, 105, 160, 181, 14),
        "left door": coloured(20, 54, 24, 91, 252),
        "right door": coloured(136, 54, 140, 91, 252),
    },
    "Seaquest": {
        "submarine": _small(8, 44, 160, 165, 16, 24),
        _lanes("fish"): _in_the_sea(200, 232),
        _lanes("enemy submarine"): _in_the_sea(8),
        _lanes("diver", 1): _divers,
        _lanes("torpedo", 1): _torpedoes,
    },
    "SpaceInvaders": {
        _INVADERS: _invaders,
        "cannon": coloured(0, 184, 160, 195, 196),
        "ship": coloured(0, 8, 160, 22, 82),
    },
    "Skiing": {
        "skier": coloured(8, 34, 152, 66, 72),
        _FLAGS: _flags,
        "mogul 1": coloured(8, 32, 152, 178, 12),
        "mogul 2": coloured(8, 32, 152, 178, 10),
        **{
            f"tree {number + 1}": coloured(8, 32, 152, 178, colour)
            for number, colour in enumerate((214, 212, 218, 198))
        },
    },
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


def _boxing(memory, names, t):
    """Come near and hit."""
    across, down = memory[33] - memory[32], memory[35] - memory[34]
    upright = "DOWN" if down > 2 else "UP" if down < -2 else ""
    sideways = "RIGHT" if across > 28 else "LEFT" if across < 22 else ""
    return "FIRE" if t % 6 < 2 else upright + sideways or "FIRE"


PLAYFUL |= {
    "Boxing": _boxing,
    "Pong": _pong,
    "Breakout": _breakout,
    "Freeway": lambda memory, names, t: "UP",
}

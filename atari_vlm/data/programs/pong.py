"""Pong as the console plays it: a step is four frames, a state is one row of the game's object table.

Written by hand from what the console's memory does, frame by frame. Everything is done for many rows at once.

Places are those of memory: a ball of height y covers the screen's rows y - 14 to y - 11, and it is out of play where y is 0.
Each frame the ball moves by (dx, dy), the other paddle follows it by two pixels, and every second frame yours moves half the
way to where the knob stands. A ball that meets a paddle leaves it by where it met it; a point is followed by 63 frames without
a ball.
"""

from __future__ import annotations

import numpy as np

# a state: seven numbers each of what is to be seen (x, y, width, height, dx, dy, visible), then what memory holds
SEEN_BALL, SEEN_YOURS, SEEN_OTHER = slice(0, 7), slice(7, 14), slice(14, 21)
X, Y, DX, DY, PLACE, NEXT, OTHER, POINTS, OTHERS, SERVE, SOUND, FRAME, BUTTON, KNOB = range(21, 35)
COLUMNS = 35

FRAMES = 4
TURNS = np.array([0, 0, -1, 1, -1, 1])  # NOOP, FIRE, RIGHT (up), LEFT (down), RIGHTFIRE, LEFTFIRE
BUTTONS = np.array([0, 1, 0, 0, 1, 1])
TURN, UPPERMOST, LOWERMOST = 5.757, 14.75, 205.67  # of the knob: pixels a frame, and where it stops
# a paddle: its rows, the rows that send the ball off at one angle, and how many of the angles lead upwards
YOUR_PADDLE = 16, 4, 2
OTHER_PADDLE = 16, 4, 2
LAST_POINT = 21

BROWN, WHITE, GREEN, ORANGE = (144, 72, 17), (236, 236, 236), (92, 186, 92), (213, 130, 74)
TOP, BOTTOM = 34, 194  # the first row of the field, and the first below it
DIGITS = (
    "### #.# #.# #.# ###", ".#. .#. .#. .#. .#.", "### ..# ### #.. ###", "### ..# .## ..# ###", "#.# #.# ### ..# ..#",
    "### #.. ### ..# ###", "#.. #.. ### #.# ###", "### ..# ..# ..# ..#", "### #.# ### #.# ###", "### #.# ### ..# ..#",
)  # fmt: skip


class Environment:
    """The game, in the place where ``set_state`` puts it."""

    def set_state(self, state):
        """Go to a row of the object table."""
        self.state = np.array(state, float)

    def step(self, action):
        """Four frames: the next row, the points won or lost, and whether one side has 21."""
        states, rewards, dones = self.step_batch(self.state[None], np.array([action]))
        self.state = states[0]
        return states[0], float(rewards[0]), bool(dones[0])

    def step_batch(self, states, actions):
        """The same for many rows."""
        game = np.array(states, float).T
        before = game.copy()
        turns, buttons = TURNS[actions], BUTTONS[actions]
        for _ in range(FRAMES):
            frame(game, turns)
            game[BUTTON] = buttons  # what was held in the frame before is what counts at a paddle
        show(game, before)
        rewards = (game[POINTS] - before[POINTS]) - (game[OTHERS] - before[OTHERS])
        return game.T, rewards, np.maximum(game[POINTS], game[OTHERS]) >= LAST_POINT

    def first(self):
        """The row that a new game begins with."""
        game = np.zeros((COLUMNS, 1))
        game[[Y, PLACE, NEXT, KNOB, FRAME, SERVE, OTHER], 0] = 60, 109, 109, 110.21, 71, 59, 22
        show(game, game.copy())
        game[SEEN_BALL] = 0  # it is not drawn yet
        return game[:, 0].tolist()

    def render(self, state):
        """The screen, (210, 160, 3)."""
        return picture(np.asarray(state))


def frame(game, turns):
    """One frame of all rows of ``game`` (COLUMNS, B), in place."""
    game[FRAME] = (game[FRAME] + 1) % 256
    waiting = game[SERVE] > 0
    passed = game[X] > 204
    scored = ~waiting & (passed | (game[X] < 53))
    flying = ~(waiting | scored)
    fade(game, ~scored)
    fly(game, flying)
    if waiting.any():
        wait(game, waiting)
    if scored.any():
        game[OTHERS] += scored & passed
        game[POINTS] += scored & ~passed
        game[SERVE, scored], game[SOUND, scored] = 63, 14
    follow(game)
    turn_knob(game, turns)


def fade(game, rows):
    """A sound that is counted down to the next multiple of 64."""
    game[SOUND] -= rows & (game[SOUND] % 64 > 0)


def fly(game, rows):
    """The ball: paddles first, then the walls, then its motion."""
    near = rows & (game[X] >= 64) & (game[X] <= 192) & ((game[X] <= 68) | (game[X] >= 188))
    if near.any():
        meet_paddles(game, near)
    up, down = (game[Y] <= 45) & (game[DY] < 0), (game[Y] >= 206) & (game[DY] > 0)
    bounced = rows & (up | down)
    if bounced.any():
        game[DY, bounced] *= -1
        game[Y] += bounced * np.sign(game[DY])
        game[SOUND, bounced] = 131
    game[X] += rows * game[DX]
    game[Y] += rows * game[DY]


def meet_paddles(game, rows):
    """A ball that overlaps a paddle leaves it; the lower on the paddle, the more downwards. Your button makes it faster."""
    right = game[X] > 128
    drawn = np.where(right, 2 * ((game[PLACE] + 1) // 2), game[OTHER])
    height, part, upwards = np.array([OTHER_PADDLE, YOUR_PADDLE]).T[:, right.astype(int)]
    high, low = np.where(right, -2, -4), np.where(right, height - 1, height - 2)
    met = rows & (game[Y] - drawn >= high) & (game[Y] - drawn <= low)
    paddle = np.where(right, game[PLACE], game[OTHER])
    speed = np.abs(game[DX])
    game[DX] = np.where(met, np.where(right, -speed - game[BUTTON], speed), game[DX])
    game[DY] = np.where(met, (game[Y] - paddle + part - 1) // part - upwards, game[DY])
    game[SOUND, met] = 195


def wait(game, rows):
    """No ball; when the time is over it is served from the middle, towards where it left, the way it moved last."""
    game[SERVE] -= rows
    served = rows & (game[SERVE] == 0)
    game[Y, rows] = 0
    if served.any():
        game[DX, served] = np.where(game[DX, served] > 0, 1, -1)
        game[DY, served] = np.where(game[DY, served] < 0, -1, 1)
        game[X, served], game[Y, served] = 128 + game[DX, served], 128 + game[DY, served]
        game[OTHER, served], game[SOUND, served] = 128, 71


def follow(game):
    """The other paddle goes after the ball, but rests in one frame of eight."""
    game[OTHER] += 2 * np.sign(game[Y] - game[OTHER]) * (game[FRAME] % 8 != 1)


def turn_knob(game, turns):
    """Your paddle: after every even frame the console reads the knob, and shows what it made of it a frame later."""
    game[KNOB] = np.minimum(np.maximum(game[KNOB] + TURN * turns, UPPERMOST), LOWERMOST)
    game[PLACE] = game[NEXT]
    read = np.minimum(np.maximum(game[KNOB] // 2 * 2, 38), 204)
    game[NEXT] = np.where(game[FRAME] % 2 == 0, (game[NEXT] + read) // 2, game[NEXT])


def show(game, before):
    """Fill in what is to be seen, with the paddles' mean motion since ``before``."""
    place(game[SEEN_BALL], game[X] - 49, game[Y] - 14, (2, 4))
    game[SEEN_BALL][4:6] = game[[DX, DY]] * game[SEEN_BALL][6]
    place(game[SEEN_YOURS], 140, 2 * ((game[PLACE] + 1) // 2) - 14, (4, YOUR_PADDLE[0]))
    place(game[SEEN_OTHER], 16, game[OTHER] - 15, (4, OTHER_PADDLE[0]))
    for part in (SEEN_YOURS, SEEN_OTHER):
        both = (game[part][6] > 0) & (before[part][6] > 0)
        motion = (game[part][1] - before[part][1]) / FRAMES
        game[part][5] = motion * (both & (np.abs(motion) <= 8))


def place(part, x, y, size):
    """An object as far as it lies in the field; zeros where nothing of it does."""
    upper, lower = np.maximum(y, TOP), np.minimum(y + size[1], BOTTOM)
    inside = lower > upper
    part[0], part[1], part[2], part[3] = x, upper, size[0], lower - upper
    part[4:6], part[6] = 0, 1
    part *= inside


def picture(state):
    """The screen of one row: walls, points, paddles, ball."""
    screen = np.empty((210, 160, 3), np.uint8)
    screen[:], screen[0, :8] = BROWN, 0
    screen[24:TOP] = screen[BOTTOM:] = WHITE
    passed = state[X] > 204
    late = state[SERVE] == 63  # a point is shown one frame after it was made
    draw_number(screen, int(state[OTHERS]) - (late and passed), 20, ORANGE)
    draw_number(screen, int(state[POINTS]) - (late and not passed), 100, GREEN)
    for part, colour in ((SEEN_OTHER, ORANGE), (SEEN_YOURS, GREEN), (SEEN_BALL, WHITE)):
        x, y, width, height, _, _, visible = state[part].astype(int)
        if visible:
            screen[y : y + height, x : x + width] = colour
    return screen


def draw_number(screen, number, left, colour):
    """Two digits from column ``left`` on, the first only where it is not 0."""
    for digit, at in ((number // 10 % 10, left), (number % 10, left + 16)):
        if digit or at > left:
            shape = np.array([[dot == "#" for dot in row] for row in DIGITS[digit].split()])
            screen[1:21, at : at + 12][np.kron(shape, np.ones((4, 4), bool))] = colour

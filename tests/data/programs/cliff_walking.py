"""CliffWalking-v1: 4 rows of 12 cells, numbered row by row; the cliff lies between start (36) and goal (47)."""

ROWS, COLUMNS, START, GOAL = 4, 12, 36, 47
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


class Environment:
    def __init__(self):
        self.state = START

    def set_state(self, state):
        self.state = int(state)

    def step(self, action):
        row, column = divmod(self.state, COLUMNS)
        down, right = MOVES[int(action)]
        row = min(max(row + down, 0), ROWS - 1)
        column = min(max(column + right, 0), COLUMNS - 1)
        cell = row * COLUMNS + column
        if START < cell < GOAL:
            self.state = START
            return self.state, -100.0, False
        self.state = cell
        return cell, -1.0, cell == GOAL

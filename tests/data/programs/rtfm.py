"""The read-the-manual game: a board of 4 x 4 numbers and what the player holds."""

BEATEN_BY = {6: 4, 7: 3, 8: 5, 9: 2}  # brask by bell, dolm by salt, quill by torch, vesh by copper
RIVER_CLAN = (6, 9)
MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # wait, up, down, left, right


class Environment:
    def __init__(self):
        self.board = [[1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]
        self.held = 0

    def set_state(self, state):
        self.board = [[int(cell) for cell in row] for row in state["board"]]
        self.held = int(state["held"])

    def step(self, action):
        row, column = next((r, c) for r in range(4) for c in range(4) if self.board[r][c] == 1)
        down, right = MOVES[int(action)]
        to_row, to_column = min(max(row + down, 0), 3), min(max(column + right, 0), 3)
        met = self.board[to_row][to_column]
        if met in BEATEN_BY and self.held != BEATEN_BY[met]:
            return self._state(), -1.0, True
        if 2 <= met <= 5:
            self.held = met
        self.board[row][column] = 0
        self.board[to_row][to_column] = 1
        won = met in RIVER_CLAN
        return self._state(), 1.0 if won else 0.0, won

    def _state(self):
        return {"board": [list(row) for row in self.board], "held": self.held}

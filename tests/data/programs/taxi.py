"""Taxi-v4: the state is ((row * 5 + column) * 5 + passenger) * 4 + destination; passenger 4 sits in the taxi."""

STOPS = ((0, 0), (0, 4), (4, 0), (4, 3))  # red, green, yellow, blue
WALLS = {(0, 1), (1, 1), (3, 0), (4, 0), (3, 2), (4, 2)}  # cells with a wall on their right side


class Environment:
    def __init__(self):
        self.state = 0

    def set_state(self, state):
        self.state = int(state)

    def step(self, action):
        rest, destination = divmod(self.state, 4)
        rest, passenger = divmod(rest, 5)
        row, column = divmod(rest, 5)
        reward, done = -1.0, False
        if action == 0:
            row = min(row + 1, 4)
        elif action == 1:
            row = max(row - 1, 0)
        elif action == 2 and column < 4 and (row, column) not in WALLS:
            column += 1
        elif action == 3 and column > 0 and (row, column - 1) not in WALLS:
            column -= 1
        elif action == 4:
            if passenger < 4 and STOPS[passenger] == (row, column):
                passenger = 4
            else:
                reward = -10.0
        elif action == 5:
            passenger, reward, done = self._drop((row, column), passenger, destination)
        self.state = ((row * 5 + column) * 5 + passenger) * 4 + destination
        return self.state, reward, done

    @staticmethod
    def _drop(place, passenger, destination):
        if passenger != 4 or place not in STOPS:
            return passenger, -10.0, False
        stop = STOPS.index(place)
        return (stop, 20.0, True) if stop == destination else (stop, -1.0, False)

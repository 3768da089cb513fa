"""An attribute that is computed once: once an instance, and without a lock that a fork could leave taken."""

import threading

from atari_vlm._lazy import computed_once


class Thing:
    calls = 0

    @computed_once
    def value(self):
        """What it is worth."""
        self.calls += 1
        return [self.calls]


def test_it_is_computed_once_an_instance():
    one, other = Thing(), Thing()
    assert one.value is one.value and one.calls == 1 and other.calls == 0
    assert Thing.value.__doc__ == "What it is worth."


def test_another_instance_does_not_wait():
    held, go_on = threading.Event(), threading.Event()

    class Slow:
        @computed_once
        def value(self):
            if held.is_set():
                return "at once"
            held.set()
            return go_on.wait(5)

    thread = threading.Thread(target=lambda: Slow().value)
    thread.start()
    assert held.wait(5)
    answers = []
    other = threading.Thread(target=lambda: answers.append(Slow().value))
    other.start()
    other.join(2)
    assert answers == ["at once"]  # while the first is still being computed
    go_on.set()
    thread.join()

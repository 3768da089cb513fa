"""GIF-MCTS: the statistics of the published code, the paper's by hand, and what happens to replies without a program."""

import math

import pytest
from search_helpers import program

from atari_vlm.synthesis import SearchConfig
from atari_vlm.synthesis.gif_mcts import GifMcts
from atari_vlm.synthesis.records import Outcome

HALF = (0.5, 0.5)


def grow(scores, programs=(), **options):
    """A tree after these outcomes one by one, and what was chosen; ``"b"`` raises, ``None`` is a reply without a program."""
    tree, chosen = GifMcts(SearchConfig(**options)), []
    for call, score in enumerate(scores, 1):
        choice = tree.select(call)
        chosen.append(f"{choice.kind[0]}@{choice.parent}")
        text = programs[call - 1] if programs else program(score)
        if score is None:
            tree.apply(choice, Outcome(failure="no-code"))
        elif score == "b":
            tree.apply(choice, Outcome(text, failure="bug"))
        else:
            tree.apply(choice, Outcome(text, score))
    return tree, chosen


# What the code of the paper (nicoladainese96/code-world-models, e17e787) does with these scores, measured by running its own
# class with numpy's seed 0: the choices, then (number, parent, kind) -> visits, value, terminal; then the learned weights.
PINNED = {
    "A": (
        [0.4, 0.5, 0.6, 0.7, 0.3],
        {},
        "g@0 g@0 i@2 i@3 i@4",
        [(6, 0.4167), (1, 0.4), (4, 0.5250), (3, 0.5333), (2, 0.5), (1, 0.3)],
        {"generate": (0.53513, 0.46380), "improve": (0.60089, 0.39006), "fix": HALF},
    ),
    "B": (
        ["b", "b", 0.8, 0.5],
        {},
        "g@0 f@1 f@2 i@3",
        [(5, 0.26), (4, 0.725), (3, 0.7), (2, 0.65), (1, 0.5)],
        {
            "generate": (0.45833, 0.54167),
            "improve": (0.54125, 0.45875),
            "fix": (0.51676, 0.49223),
        },
    ),
    "C": (
        ["b", "b", "b", "b", 0.2, 0.2],
        {},
        "g@0 f@1 f@2 g@0 f@4 f@3",
        [(7, 0.0571), (4, 0.2), (3, 0.2), (2, 0.2), (2, 0.2), (1, 0.2), (1, 0.2)],
        {"generate": (0.44729, 0.55101), "improve": HALF, "fix": (0.45352, 0.54606)},
    ),
    "D": (
        [0.9, 0.5, 0.5],
        {"programs": ["a = 1", program(0.5), program(0.5)]},
        "g@0 g@0 g@2",
        [(4, 0.475), (1, 0.0), (2, 0.5), (1, 0.5)],
        {"generate": (0.63369, 0.35082), "improve": HALF, "fix": HALF},
    ),
    "E": (
        ["b", "b", 0.5, 0.5],
        {"fixes": 1},
        "g@0 f@1 g@0 i@3",
        [(5, 0.2), (2, 0.0), (1, 0.0), (2, 0.5), (1, 0.5)],
        {
            "generate": (0.48968, 0.51514),
            "improve": (0.54125, 0.45875),
            "fix": (0.45833, 0.54167),
        },
    ),
    "F": (
        [0.9, 0.2, 0.2, 0.2, 0.2],
        {"programs": ["a = 1"] * 5, "exploration": 10.0},
        "g@0 g@0 g@0 g@0 g@0",
        [(6, 0.2833), (2, 0.0), (2, 0.0), (1, 0.0)],
        {"generate": (0.57056, 0.44724), "improve": HALF, "fix": HALF},
    ),
}


@pytest.mark.parametrize("scenario", PINNED)
def test_preset_code_does_what_the_published_code_does(scenario):
    scores, options, chosen, statistics, weights = PINNED[scenario]
    tree, choices = grow(scores, preset="code", **options)
    nodes = tree.nodes()
    assert " ".join(choices) == chosen
    assert [node.visits for node in nodes] == [visits for visits, _ in statistics]
    assert [node.value for node in nodes] == pytest.approx([v for _, v in statistics], abs=1e-4)
    assert tree.weights().keys() == weights.keys()
    for kind, expected in weights.items():
        assert tree.weights()[kind] == pytest.approx(expected, abs=1e-4)


def test_a_dead_node_is_asked_again_by_preset_code_alone():
    scores, options, *_ = PINNED["F"]
    again, _ = grow(scores, preset="code", **options)
    assert [node.node for node in again.nodes()] == [0, 3, 4, 5]  # 3 stands where 1 stood
    assert all(node.terminal for node in again.nodes()[1:])
    never, _ = grow(scores, preset="paper", **options)
    assert [node.node for node in never.nodes()] == [0, 1, 2, 3, 4, 5]
    assert [node.visits for node in never.nodes()] == [6, 1, 1, 1, 1, 1]


def test_the_partial_program_grows_as_the_preset_says():
    for preset, lines in (("code", [4, 4, 7, 10, 13]), ("paper", [2, 2, 4, 6, 8])):
        tree, chosen = grow([0.4, 0.5, 0.6, 0.7, 0.3], preset=preset)
        assert chosen[:2] == ["g@0", "g@0"]
        depth = {0: 0}
        for node in tree.nodes()[1:]:
            depth[node.node] = depth[node.parent] + 1
        place = {node.number: node for node in tree.root.below() if node.outcome}
        for number, node in place.items():
            text = node.outcome.program.split("\n")
            assert node.partial.split("\n") == text[: lines[depth[number]]]


def test_preset_paper_equals_a_computation_by_hand():
    """Two generated programs (0.4, 0.5), then one step down.

    Call 2: an untried g is worth (0.5 v_G + 0.5 v_L) with v_G = (2 * 0.5 + 0.4) / 3 = 0.46667 and v_L = 0.4, so 0.43333, against
    0.4 of the tried one, with equal bonuses. Training at call 2: n = 4, error 0.43333 - 0.5 = -0.06667, step 2 * -0.06667 / 4 =
    -0.03333; w_G = 0.5 + 0.03333 * 0.03333 = 0.50111, w_L = 0.5 - 0.03333 * 0.03333 = 0.49889.
    Call 3 at the root (N = 3): program 2 has 0.5 + 0.1 sqrt(ln 3 / 2) = 0.57412; an untried g (0.50111 * 0.475 + 0.49889 * 0.45)
    + 0.1 sqrt(ln 3 / 3) = 0.46253 + 0.06051. So 2, where an untried i (0.55) is above an untried g (0.475): its result is 0.6.
    The root's mean is (0.4 + 0.5 + 0.6) / 4, that of program 2 (0.5 + 0.6) / 2.
    """
    tree, chosen = grow([0.4, 0.5, 0.6])
    assert chosen == ["g@0", "g@0", "i@2"]
    nodes = tree.nodes()
    assert [node.visits for node in nodes] == [4, 1, 2, 1]
    assert [node.value for node in nodes] == pytest.approx([0.375, 0.4, 0.55, 0.6])
    weights = tree.weights()
    assert weights["generate"] == pytest.approx((0.5 + 1 / 900, 0.5 - 1 / 900))
    assert weights["improve"] == (0.5, 0.5)  # it has no sibling: there is nothing to weigh
    tried = 0.5 + 0.1 * math.sqrt(math.log(3) / 2)
    untried = (0.5 + 1 / 900) * 0.475 + (0.5 - 1 / 900) * 0.45 + 0.1 * math.sqrt(math.log(3) / 3)
    assert tried > untried


def test_bugs_are_worth_what_their_fixes_promise():
    tree, chosen = grow(["b"])
    assert tree.nodes()[1].value == 0.99 and tree.nodes()[0].value == 0.0
    for number, value in ((2, 0.66), (3, 0.33)):
        tree, chosen = grow(["b"] * number)
        assert tree.nodes()[number].value == pytest.approx(value) and chosen[-1][0] == "f"
    tree, chosen = grow(["b"] * 4 + [0.1], exploration=0.0, prior_generate=(0.1, 2))
    assert chosen == [
        "g@0",
        "f@1",
        "f@2",
        "f@3",
        "g@0",
    ]  # three fixes failed: nobody goes there again
    assert [(node.terminal, node.fixes_left) for node in tree.nodes()[1:5]] == [
        (True, 3),
        (True, 2),
        (True, 1),
        (False, 0),
    ]
    assert [node.value for node in tree.nodes()[1:5]] == [0.0] * 4


def test_no_fixes_is_a_tree_without_them():
    for preset in ("paper", "code"):
        _, chosen = grow(["b", 0.3, "b", 0.4], fixes=0, preset=preset)
        assert not any(choice[0] == "f" for choice in chosen)


@pytest.mark.parametrize("preset", ["paper", "code"])
@pytest.mark.parametrize("off", ["allow_generate", "allow_improve"])
def test_actions_that_are_switched_off_are_never_taken(preset, off):
    scores = [None, "b", 0.2, 0.3, "b", "b", 0.1, 0.4, 0.2, 0.3]
    tree, chosen = grow(scores, preset=preset, **{off: False})
    letter = off[6]
    after = [
        choice for choice in chosen if choice != "g@0"
    ]  # the first program comes from somewhere
    assert not any(choice[0] == letter for choice in after)
    assert len(tree.nodes()) > 3


def test_a_reply_without_a_program_is_a_dead_end_and_a_fix_without_one_a_failed_fix():
    tree, chosen = grow([None, "b", None, 0.5])
    assert chosen == ["g@0", "g@0", "f@2", "f@3"]
    nodes = tree.nodes()
    assert nodes[1].failure == "no-code" and nodes[1].terminal and nodes[1].value == 0.0
    assert nodes[3].program is None and nodes[3].fixes_left == 2
    assert nodes[2].value == pytest.approx(0.5)  # solved, by the second fix of the same program


def test_a_fix_after_one_without_a_program_is_about_the_same_program():
    tree, _ = grow(["b", None])
    choice = tree.select(3)
    assert choice.kind == "fix" and choice.basis.program == program("b")


def test_choices_that_are_out_push_others_away():
    """Virtual loss: what is out counts as visits that brought nothing, and is gone when its outcome is there."""
    tree = GifMcts(SearchConfig())
    out = [tree.select(call) for call in (1, 2, 3)]
    assert {choice.parent for choice in out} == {0} and len({id(c.place) for c in out}) == 3
    for choice, score in zip(out, (0.2, 0.3, 0.4), strict=True):
        tree.apply(choice, Outcome(program(score), score))
    assert [node.visits for node in tree.nodes()] == [4, 1, 1, 1]
    assert all(node.waiting == 0 for node in [tree.root, *tree.root.below()])
    first, second = tree.select(4), tree.select(5)
    assert first.place is not second.place


def test_a_search_without_generate_waits_for_its_first_program():
    tree = GifMcts(SearchConfig(allow_generate=False))
    first = tree.select(1)
    assert tree.select(2) is None
    tree.apply(first, Outcome(program(0.3), 0.3))
    assert tree.select(2).kind == "improve"

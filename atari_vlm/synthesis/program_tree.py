"""The nodes of the tree of GIF-MCTS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from atari_vlm.synthesis.records import Kind, Outcome, SearchNode


@dataclass(eq=False)
class TreeNode:
    """An action and, once it was taken, what it led to.

    ``partial`` is the node's state: the first lines of its program; ``lines`` counts them as the search does. ``broken`` while
    its program raises and no fix was tried. ``waiting`` counts the choices below it whose outcomes are still out. ``reward`` is
    the score of a program that cannot be continued; the node itself is then worth 0.
    """

    kind: Kind
    parent: TreeNode | None
    number: int | None = None
    visits: int = 0
    fixes_left: int = 0
    value_sum: float = 0.0
    reward: float = 0.0
    waiting: int = 0
    lines: int = 0
    partial: str = ""
    terminal: bool = False
    broken: bool = False
    outcome: Outcome | None = None
    children: list[TreeNode] = field(default_factory=list)

    @property
    def value(self) -> float:
        """Mean of what went through it; 0 before anything did."""
        return self.value_sum / self.visits if self.visits else 0.0

    @property
    def hoped(self) -> float:
        """The mean if whatever is out brought nothing."""
        return self.value_sum / (self.visits + self.waiting)

    @property
    def to_be_fixed(self) -> TreeNode:
        """The node whose program a fix is about: this one, or the one before where a fix brought no program."""
        node = self
        while node.kind == "fix" and node.outcome is not None and node.outcome.program is None:
            assert node.parent is not None
            node = node.parent
        return node

    def add(self, kind: Kind) -> None:
        """Another action that can be taken here."""
        self.children.append(TreeNode(kind, self))

    def path(self) -> Iterator[TreeNode]:
        """This node and those above it, up to the root."""
        node: TreeNode | None = self
        while node is not None:
            yield node
            node = node.parent

    def chain(self) -> Iterator[TreeNode]:
        """This node and those before it while they are fixes, the one that was to be fixed first last."""
        for node in self.path():
            yield node
            if node.kind != "fix":
                return

    def below(self) -> Iterator[TreeNode]:
        """Every node below this one."""
        todo = [*self.children]
        while todo:
            node = todo.pop()
            yield node
            todo += node.children

    def record(self) -> SearchNode:
        """What is told of it."""
        outcome = self.outcome or Outcome()
        number = self.number or 0
        return SearchNode(
            node=number,
            parent=None if self.parent is None else self.parent.number,
            call=number,
            kind=self.kind,
            score=outcome.score,
            bug=outcome.bug,
            visits=self.visits,
            value=self.value,
            terminal=self.terminal,
            fixes_left=self.fixes_left,
            program=outcome.program,
            failure=outcome.failure,
        )

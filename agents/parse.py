"""What a reply means: the ladder from a VLM's words to one legal action, or to a problem that can be shown to it.

The rungs, best first; the highest one that a reply reaches decides, and within a rung the last occurrence:

1. a JSON object with the key ``action``, alone, fenced, embedded or cut after that value (a constrained reply is the first
   case), or with a key that means the same (``move``, ``action_name`` …)
2. a tag ``ACTION: <NAME or index>``, in some languages; an element ``<action>``; a box of LaTeX
3. an action name alone on the last line, or there after a label such as ``Answer:``
4. a legal index, if the whole reply is nothing else
5. a decision in the last sentence ("so I press FIRE"): one legal name, no second one, no negation, no question

A number or a name somewhere in a sentence is never an answer, and none that is taken back is one. Thoughts and lines copied
from the prompt are taken out first, and placeholders (``<NAME>``) do not count. Nothing here raises, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from atari_vlm.agents.action_words import clean, find, folded, names_in, resolve, shown
from atari_vlm.agents.doubt import CORRECTION, NEGATION
from atari_vlm.agents.json_values import near_values, object_groups
from atari_vlm.agents.thoughts import LONGEST_REPLY, split_thinking
from atari_vlm.types import Reply

Rung = Literal["json", "tag", "name", "index", "sentence"]
ProblemKind = Literal["empty", "refused", "cut", "missing", "illegal"]

_LONGEST = 20_000  # characters of a reply that are looked at, from its end
_OTHER_KEYS = (
    "action_name", "next_action", "final_action", "chosen_action", "selected_action", "best_action", "move", "next_move",
    "decision", "choice", "answer", "button", "command", "actions",
)  # fmt: skip
_LABELS = r"动作|動作|行动|行動|操作|アクション|동작|행동|действие|acción|accion|ação|acao|aktion|azione|eylem|akcja|hành động"
_SEPARATOR = r"(?:[:=]+>?|-+>|[ \t]-{1,2}(?=[ \t]))"
_TAG = re.compile(
    r"(?:^[ \t>*_#`\-\d.)]*(?i:(?:(?:final|next|chosen|best|my|the|recommended|selected|suggested|optimal)[ \t]+)?action"
    r"(?:[ \t]+to[ \t]+take|[ \t]+is)?|" + _LABELS + r")|\bACTION)[ \t*_`]*" + _SEPARATOR
    + r"[ \t]*(.*)$"
    r"|<(?i:action|move|decision|choice|final_action)>([^<>]{0,200})</|\\boxed\{((?:[^{}\n]|\{[^{}\n]{0,80}\}){0,100})\}",
    re.MULTILINE,
)  # fmt: skip
_ELEMENT = re.compile(r"<(answer|output|response|final_answer)>([^<>]{0,200})</\1>", re.IGNORECASE)
_LABEL = re.compile(
    r"^[\s>*_#`\-\d.)]*(?:(?:my|the|final|best) )?(?:answer|decision|decide|choice|move|output|response)[ *_`]*[:=]",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*(?:[-*•+]|[0-9]+[.):])\s")
_DECIDES = re.compile(
    r"\b(?:I|we)(?:'ll|'m| will| should| must| am| are)?(?: now| therefore| then)?(?: going to| need to| have to)? "
    r"(?:choose|pick|select|press|hit|push|go|move|steer|decide|take|opt|play|use|turn)\b"
    r"|\blet(?:'s| us| me) (?:choose|pick|select|press|hit|push|go|move|steer|take|play|use|turn)\b"
    r"|\b(?:best|right|optimal|final|correct|next|my) (?:action|move|choice|option|decision|answer) (?:now )?is\b"
    r"|\b(?:decision|answer|choice|conclusion|action) is\b"
    r"|^(?:(?:so|therefore|thus|hence|then|now),? )*(?:choose|pick|select|press|hit|push|move|steer|play|use|go)\b",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\b(?:last|previous\w*|earlier|before|was|were|would|could|might|may|maybe|perhaps|unless|if|or|instead|first|after)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """A legal action, the reasoning that came with it, and the rung of the ladder it stood on."""

    action: int
    reasoning: str
    rung: Rung


@dataclass(frozen=True)
class Problem:
    """Why a reply is no answer; ``text`` is a sentence that the model can be shown."""

    kind: ProblemKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def parse_reply(reply: Reply, names: Sequence[str], *, prompt: str = "") -> Answer | Problem:
    """:func:`parse_action` of a reply: a refused one is a problem, and the last line of a cut one is not trusted."""
    if reply.finish_reason in ("refusal", "filter"):
        return Problem("refused", "the request was refused")
    answer = parse_action(reply.text, names, prompt=prompt, cut=reply.finish_reason == "length")
    if isinstance(answer, Problem) and reply.note and answer.kind in ("empty", "cut"):
        return Problem(answer.kind, reply.note)
    return answer


def parse_action(
    text: str, names: Sequence[str], *, prompt: str = "", cut: bool = False
) -> Answer | Problem:
    """Climb the ladder. ``prompt`` is what the model was sent: lines copied from it are no answer."""
    if len(text) > LONGEST_REPLY:
        return Problem("missing", "the reply is far too long; answer briefly")
    thoughts, visible = split_thinking(text)
    visible = without_echo(visible[-_LONGEST:], prompt).strip()
    answer = _climb(visible, names, cut)
    if isinstance(answer, Answer) and not answer.reasoning:
        return Answer(answer.action, thoughts, answer.rung)
    return answer or _nothing(visible, cut)


def _climb(visible: str, names: Sequence[str], cut: bool) -> Answer | Problem | None:
    answer = _from_json(visible, names)
    if answer is not None:
        return answer
    plain = folded(visible)[-_LONGEST:]
    lines = plain.rpartition("\n")[0] if cut else plain
    answer = _from_tag(lines, names) or _from_last_line(lines, names) or _from_index(lines, names)
    if answer is not None:
        return answer
    answer = _from_other_keys(visible, names) or _from_element(lines, names)
    if answer is not None or cut:
        return answer
    return _from_sentence(lines, names)


def _nothing(visible: str, cut: bool) -> Problem:
    if cut:
        return Problem(
            "cut", "the reply was cut off before it named an action; answer more briefly"
        )
    if not visible:
        return Problem("empty", "the reply was empty")
    return Problem("missing", "the reply names no action in the form that was asked for")


def without_echo(text: str, prompt: str) -> str:
    """``text`` without the lines that are copied from ``prompt``.

    A line counts as copied if the prompt has it too and it is long (four words or more) or a neighbour of another such
    line: a single short line (``ACTION: LEFT``) may well be an answer that agrees with an example.
    """
    known = {line.strip() for line in prompt.splitlines()} - {""}
    if not known:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    same = [False, *(line.strip() in known for line in lines), False]
    kept = [
        line
        for i, line in enumerate(lines, start=1)
        if not (same[i] and (same[i - 1] or same[i + 1] or len(line.split()) >= 4))
    ]
    return "\n".join(kept)


def _from_json(text: str, names: Sequence[str]) -> Answer | Problem | None:
    groups = [
        [(item["action"], item.get("reasoning")) for item in group]
        for group in object_groups(text, "action")
    ]
    if not groups:
        groups = [[(value, None) for value in group] for group in near_values(text, "action")]
    groups = [[pair for pair in group if not _is_placeholder(pair[0], names)] for group in groups]
    last = next((group for group in reversed(groups) if group), None)
    if last is None:
        return None
    if len(last) > 1:
        return Problem("illegal", f"{len(last)} actions were named where one was asked for")
    action, reasoning = last[0]
    return _settle(action, _text(reasoning), "json", names)


def _from_other_keys(text: str, names: Sequence[str]) -> Answer | None:
    """An object whose only action stands under another name than ``action``."""
    groups = object_groups(text, *_OTHER_KEYS)
    if not groups or len(groups[-1]) > 1:
        return None
    item = groups[-1][0]
    actions = {find(item[key], names) for key in _OTHER_KEYS if key in item}
    action = actions.pop() if len(actions) == 1 else None
    if action is None:
        return None
    return Answer(action, _text(item.get("reasoning")), "json")


def _from_tag(text: str, names: Sequence[str]) -> Answer | Problem | None:
    tags = [
        match
        for match in _TAG.finditer(text)
        if not _is_placeholder(_tag_value(match, text), names)
    ]
    if not tags:
        return None
    last = tags[-1]
    if any(CORRECTION.match(line.strip()) for line in text[last.end() :].splitlines()[1:]):
        return Problem("illegal", "the action was taken back afterwards")
    return _settle(_tag_value(last, text), text[: last.start()].strip(), "tag", names)


def _tag_value(tag: re.Match[str], text: str) -> str:
    """What follows the last tag of the line, or, if that is nothing, the next line that is not empty."""
    if tag[1] is None:
        return tag[2] or tag[3] or ""
    value = re.split(r"\bACTION[ \t]*[:=]", tag[1])[-1]
    if clean(value):
        return value
    following = text[tag.end() :].split("\n")
    return next((line for line in following if clean(line)), "")


def _from_last_line(text: str, names: Sequence[str]) -> Answer | None:
    """A name alone on the last line; an item of a list is not alone, and an index needs a label or no other line."""
    lines = [line for line in text.splitlines() if clean(line)]
    before = "\n".join(lines[:-1])
    line = lines[-1] if lines else ""
    value = _LABEL.sub("", line, count=1)
    if value == line and before and (_ITEM.match(line) or re.search(r"[0-9]", line)):
        return None
    if value == line and re.fullmatch(r"[0-9]+", clean(line)):
        return None
    action = resolve(value, names, synonyms=False)
    return None if action is None else Answer(action, before, "name")


def _from_index(text: str, names: Sequence[str]) -> Answer | None:
    if not re.fullmatch(r"[0-9]{1,3}", text.strip()) or int(text) >= len(names):
        return None
    return Answer(int(text), "", "index")


def _from_element(text: str, names: Sequence[str]) -> Answer | None:
    """``<answer>LEFT</answer>`` with words behind it."""
    elements = list(_ELEMENT.finditer(text))
    action = find(elements[-1][2], names) if elements else None
    return None if action is None else Answer(action, text[: elements[-1].start()].strip(), "tag")


def _from_sentence(text: str, names: Sequence[str]) -> Answer | None:
    """A decision in the last sentence that nothing in it puts in doubt."""
    lines = [line for line in text.splitlines() if clean(line)]
    if not lines or _ITEM.match(lines[-1]):
        return None
    sentence = re.split(r"(?<=[.!?;])\s+", lines[-1].strip())[-1]
    decision = _DECIDES.search(sentence)
    if decision is None or "?" in sentence or len(sentence) > 300:
        return None
    if NEGATION.search(sentence) or _UNDECIDED.search(sentence) or CORRECTION.search(sentence):
        return None
    named = names_in(sentence[decision.end() :], names)
    written = (
        any(name in sentence for name in names) or clean(sentence).split()[-1].upper() in names
    )
    if len(named) != 1 or len(names_in(sentence, names)) != 1 or not written:
        return None
    return Answer(named[0], text[: text.rfind(sentence)].strip(), "sentence")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _settle(value: object, reasoning: str, rung: Rung, names: Sequence[str]) -> Answer | Problem:
    action = find(value, names)
    if action is None:
        return Problem("illegal", f"{shown(value)} is not one of the legal actions")
    return Answer(action, reasoning, rung)


def _is_placeholder(value: object, names: Sequence[str]) -> bool:
    bracketed = isinstance(value, str) and re.match(r"\W*<[^<>|]+>\W*$", value) is not None
    return bracketed and find(value, names) is None

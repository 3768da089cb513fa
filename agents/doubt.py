"""Whether an answer is taken back in the same breath: negated, questioned, corrected, or followed by another name.

``LEFT is wrong``, ``FIRE?``, ``RIGHT... wait, LEFT`` and ``UP while FIRE`` are no answers; ``LEFT, the ball falls``, ``LEFT (not
RIGHT)`` and ``LEFT because RIGHT is blocked`` are. Where it cannot be told, an answer counts as taken back: asking again is
cheaper than playing what was not meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_OTHER_TONGUES = r"[不没沒非勿错錯誤否别別]|ない|않|아니|\b(?:не|нет|nein|nicht|kein\w*|falsch|pas|faux|nunca|errado|sbagliato)\b"
NEGATION = re.compile(
    r"\b(?:not|no|never|nor|neither|nothing|without|against|avoid\w*|cannot|don't|wrong|incorrect|bad|worse|worst|useless|unnecessary"
    r"|needless|pointless|impossible|illegal|invalid|unavailable|forbidden|dangerous|risky|mistaken?|miss\w*|los(?:e|es|ing)"
    r"|fail\w*|too)\b|n't\b|" + _OTHER_TONGUES,
    re.IGNORECASE,
)
_JUDGEMENT = re.compile(
    r"\b(?:wrong|incorrect|a mistake|bad idea|not (?:needed|necessary|possible|legal|good|right|correct|it|that))\b|"
    r"[错錯誤]|\b(?:falsch|errado)\b",
    re.IGNORECASE,
)
CORRECTION = re.compile(
    r"(?:^|[.,;:!\-(\n]|\b(?:but|or|and|oh|ah|uh|hm+)\b)[\s\"'*_]{0,4}(?:no(?=\s*(?:[,.!:;\-]|$|wait\b))|wait\b|actually\b|nope\b|oops\b|sorry\b|correction\b"
    r"|scratch (?:that|it)\b|hm+\b|rather\b(?! than)|on second thoughts?\b|never ?mind\b|hold on\b|not so\b|forget (?:that|it)\b"
    r"|instead\b(?! of))",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|since|as|so|to|for|due|given|when|before|until|while it|if)\b", re.IGNORECASE
)
_BREAK = re.compile(r"[.,;:!(\n]|\s-+\s|->")
_BRACKETED = re.compile(r"\(([^()]*)\)?")
_REFUSED_NAME = re.compile(
    r"\b(?:not|than|instead of|over|without|and not|nor|rather than|never)\s+([\w+&]+)",
    re.IGNORECASE,
)
_FOLLOWS = re.compile(
    r"^\W*(?:(?:or|and|then|maybe|perhaps|possibly|rather|but|else)\b\W*)*([\w+&\-]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w+&]+")

IsName = Callable[[str], bool]  # whether a word is an action's name, in any case


def taken_back(rest: str, is_name: IsName) -> bool:
    """Whether ``rest``, the words behind an answer in its line, takes it back."""
    if re.match(r"\s*\(\s*[0-9]{1,3}\s*(?:\)|$)", rest):  # another index
        return True
    if any(doubting_comment(match[1], is_name) for match in _BRACKETED.finditer(rest)):
        return True
    plain = _REFUSED_NAME.sub(
        lambda match: " " if is_name(match[1]) else match[0], _BRACKETED.sub(" ", rest)
    )
    following = _FOLLOWS.match(plain)
    if "?" in plain or (following and is_name(following[1])):
        return True
    reason = _REASON.search(plain)
    claimed = plain[: reason.start()] if reason else plain
    direct = _BREAK.split(claimed, maxsplit=1)[0]
    if NEGATION.search(direct) or _JUDGEMENT.search(claimed) or CORRECTION.search(plain):
        return True
    return any(word.isupper() and is_name(word) for word in _WORD.findall(claimed))


def doubting_comment(comment: str, is_name: IsName) -> bool:
    """Whether words in brackets take back what stands before them: ``(no)``, ``(wrong)``; not ``(not RIGHT)``."""
    start = re.match(r"\W*(not\s+)?([\w']+)", comment)
    if start is None:
        return "?" in comment
    if "?" in comment or CORRECTION.match(comment.strip()):
        return True
    negated_name = start[1] and (
        is_name(start[2]) or start[2].lower() in ("up", "down", "left", "right", "fire", "the", "a")
    )
    return not negated_name and NEGATION.match(comment.strip()) is not None

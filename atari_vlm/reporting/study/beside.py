"""What stands beside the numbers of a study's page, as HTML: what its agents see, and film strips of their play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.reporting.study.markup import estimate, share, table, text, usd
from atari_vlm.reporting.study.perceived import Perceived, beside_scores
from atari_vlm.reporting.study.strips import Strip

STEPS = "steps.html"
_MOST_WAYS = 40


def perception(content: Mapping[str, Any], seen: Perceived) -> str:
    """What the agents see in pictures of the games, beside what they score there."""
    rows = [
        (
            *(row["game"], row["agent"], estimate(score["score"]) if score else "not played"),
            *(share(row[name]) for name in ("f1", "field_accuracy")),
            f"{share(row['direction_accuracy'])} ({share(row['direction_chance'])})",
            *(share(row[name]) for name in ("flip_rate", "decoy_echo")),
            *(row["failed"], row["questions"], row["model"] or "unknown", usd(row["cost_usd"])),
        )
        for row, score in beside_scores(seen.rows, content["games"])
    ]
    head = (
        "Game,Agent,Score [95 %],Objects F1,Numbers right,Direction (chance),Flips,Decoy echo,Unread,Questions,Model,Cost"
    ).split(",")
    facts = "; ".join(f"{name}: {value}" for name, value in seen.conditions.items())
    return f'{table(head, rows)}<p class="soft">{text(facts)}</p>' if rows else ""


def films(films: Sequence[Strip]) -> str:
    """The strips, each with the ways to every step of its episode and of the others of its game and agent."""
    parts = []
    for film in films:
        frames = "".join(
            f'<figure><img alt="step {step}" src="data:image/png;base64,{picture}"><figcaption>step {step}</figcaption></figure>'
            for step, picture in zip(film.steps, film.pictures, strict=True)
        )
        note = f'<p class="soft">{text(film.note)}</p>' if film.note else ""
        own = _way(film.episode, film.episode_return)
        parts.append(
            f'<div class="strip"><p><b>{text(film.label)}</b> · every step of {own}{_others(film)}</p>'
            f'<div class="film">{frames}</div>{note}</div>'
        )
    return "".join(parts)


def _others(film: Strip) -> str:
    others = [one for one in film.alike if one[0] != film.episode]
    if not others:
        return ""
    ways = ", ".join(_way(*one) for one in others[:_MOST_WAYS])
    more = len(others) - _MOST_WAYS
    rest = f', <a href="{STEPS}">{more:,} more</a>' if more > 0 else ""
    return f" · {ways}{rest}"


def _way(episode: int, episode_return: float | None) -> str:
    """The way to an episode among all steps, with what it earned."""
    earned = "" if episode_return is None else f" ({episode_return:g})"
    return f'<a href="{STEPS}#e={episode}&amp;s=0">episode {episode}</a>{earned}'

"""Whether pictures come out here as where a bundle was made: else the questions about them cannot be compared."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping

from atari_vlm.evaluation.study import Study
from atari_vlm.pil_images import to_image
from atari_vlm.runs.environments import make_env
from atari_vlm.settings import plain


def picture_probe(study: Study) -> str:
    """SHA-256 of the first picture of the study's first game as PNG: resizing and the encoder differ between machines.

    A game without pictures has the digest of nothing.
    """
    return _probe(json.dumps(plain(study.environment(study.games[0], {})), sort_keys=True))


@functools.lru_cache(maxsize=64)
def _probe(settings: str) -> str:
    env = make_env(json.loads(settings))
    try:
        observation, _ = env.reset(seed=0)
    finally:
        env.close()
    shows = isinstance(observation, Mapping) and "image" in observation
    return hashlib.sha256(to_image(observation["image"]).png if shows else b"").hexdigest()

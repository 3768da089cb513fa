"""The games whose memory is read."""

from __future__ import annotations

from collections.abc import Mapping

from atari_vlm.objects.base import GameObjects
from atari_vlm.objects.breakout import BREAKOUT
from atari_vlm.objects.freeway import FREEWAY
from atari_vlm.objects.pong import PONG

TABLES: Mapping[str, GameObjects] = {table.game: table for table in (BREAKOUT, FREEWAY, PONG)}

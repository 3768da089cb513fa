"""The games whose memory is read."""

from __future__ import annotations

from collections.abc import Mapping

from atari_vlm.objects.base import GameObjects
from atari_vlm.objects.boxing import BOXING
from atari_vlm.objects.breakout import BREAKOUT
from atari_vlm.objects.freeway import FREEWAY
from atari_vlm.objects.montezuma import MONTEZUMA
from atari_vlm.objects.pong import PONG
from atari_vlm.objects.seaquest import SEAQUEST
from atari_vlm.objects.skiing import SKIING
from atari_vlm.objects.space_invaders import SPACE_INVADERS

TABLES: Mapping[str, GameObjects] = {
    table.game: table
    for table in (BOXING, BREAKOUT, FREEWAY, MONTEZUMA, PONG, SEAQUEST, SKIING, SPACE_INVADERS)
}

"""What the console's memory says of a few games: objects on the screen, hidden values, points and lives."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "GameObjects": "atari_vlm.objects.base",
    "Reading": "atari_vlm.objects.base",
    "ScreenObject": "atari_vlm.objects.base",
    "TABLES": "atari_vlm.objects.tables",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

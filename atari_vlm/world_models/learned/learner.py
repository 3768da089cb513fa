"""What a family of learned world models brings; the trainer does the rest."""

from __future__ import annotations

Metrics = dict[str, float]

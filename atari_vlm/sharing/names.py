"""Names of what is shared: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, with ``hub:`` before it where a folder could be meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike

from atari_vlm.errors import ConfigError

PREFIX = "hub:"
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubName:
    """A repository, and the branch, tag or commit of it that is meant (``None``: its newest)."""

    repo: str
    revision: str | None = None

    @classmethod
    def of(cls, text: str, *, revisions: bool = True) -> HubName:
        """The name that ``text`` is, with or without ``hub:``; ``ConfigError`` for anything else."""
        repo, at, revision = text.removeprefix(PREFIX).partition("@")
        parts = repo.split("/")
        named = len(parts) == 2 and all(map(_is_part, parts))
        if named and not at:
            return cls(repo)
        if named and revisions and _REVISION.fullmatch(revision) and ".." not in revision:
            return cls(repo, revision)
        wanted = "OWNER/NAME or OWNER/NAME@REVISION" if revisions else "OWNER/NAME"
        raise ConfigError(
            f"{text!r:.120} is no name on the Hub: {wanted} is, of letters, digits, '.', '_' and '-'"
        )

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a whole commit, which never means anything else."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def is_hub_name(place: str | PathLike[str]) -> bool:
    """Whether ``place`` begins with ``hub:``: it then means a repository, never a folder of that name."""
    return str(place).startswith(PREFIX)


def _is_part(part: str) -> bool:
    return _PART.fullmatch(part) is not None and "--" not in part and ".." not in part

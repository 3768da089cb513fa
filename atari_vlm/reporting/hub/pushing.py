"""Sharing a run, a checkpoint or a data set: staged, looked through, and sent in one commit."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import AuthenticationError, ConfigError
from atari_vlm.files import open_real
from atari_vlm.reporting.hub.describing import card_of, kind_of
from atari_vlm.reporting.hub.staging import Item, Staged, cleaner_of, staged
from atari_vlm.sharing.client import TOKEN, client, is_own_server, speaking, token
from atari_vlm.sharing.contents import CARD, MOST_BYTES
from atari_vlm.sharing.names import HubName

TYPES = {"run": "dataset", "checkpoint": "model", "dataset": "dataset"}
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class Pushed:
    """Where it is now, and what of the folder was left out (name, reason)."""

    kind: str
    address: str
    left_out: tuple[tuple[str, str], ...]


def push(
    folder: Path,
    repo: str,
    *,
    license_id: str = "mit",
    private: bool = False,
    game: str | None = None,
) -> Pushed:
    """Send a folder to the repository ``OWNER/NAME``, which is made where there is none, with its card.

    Everything arrives in one commit or nothing does; large files that had arrived when a push was cut are not sent again.
    ``game`` is what a data set is of. Raises ``ConfigError`` for what is not shared, ``AuthenticationError`` without a token that
    may write, and ``UnavailableError`` where the Hub cannot be reached.
    """
    name = HubName.of(repo, revisions=False)
    if not _LICENSE.fullmatch(license_id):
        raise ConfigError(
            f"{license_id!r:.80} is no licence as the Hub names them, such as mit or cc-by-4.0"
        )
    kind = kind_of(folder)
    api = client()
    if token() is None:
        raise AuthenticationError(f"to push needs a token with write access: set {TOKEN}")
    cleaner = cleaner_of(folder, kind)
    with tempfile.TemporaryDirectory(prefix="atari_vlm_push_") as scratch:
        files = staged(folder, kind, cleaner, Path(scratch), game)
        card = cleaner.text(card_of(folder, kind, game).text(name.repo, license_id))
        sent = Staged((*files.items, Item(CARD, card.encode())), files.left_out)
        address = _send(api, name, TYPES[kind], sent, private)
    return Pushed(kind, address, files.left_out)


def _send(api: Any, name: HubName, repo_type: str, files: Staged, private: bool) -> str:
    with speaking(name, f"{name} cannot be pushed"), ExitStack() as opened:
        api.create_repo(name.repo, repo_type=repo_type, private=private, exist_ok=True)
        operations = [_operation(item, opened) for item in files.items]
        info = api.create_commit(
            name.repo,
            operations,
            repo_type=repo_type,
            commit_message="Shared by atari_vlm",
            num_threads=2,
        )
        return str(info.commit_url)


def _operation(item: Item, opened: ExitStack) -> Any:
    """A file to add. An open file is sent by the plain protocol, which every server of the Hub's kind speaks."""
    add = require("huggingface_hub", "hub").CommitOperationAdd
    content: Any = item.content
    if isinstance(content, Path):
        file = open_real(content, MOST_BYTES)
        opened.callback(file.close)
        content = file if is_own_server() else str(content)
    return add(path_in_repo=item.name, path_or_fileobj=content)

"""The Hub's own client, and what goes wrong with it in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from atari_vlm._lazy import require
from atari_vlm.errors import (
    AtariVLMError,
    AuthenticationError,
    ConfigError,
    RequestError,
    UnavailableError,
    one_line,
)
from atari_vlm.sharing.names import HubName
from atari_vlm.vlm.remote.keys import Secret, check_url

HOME = "https://huggingface.co"
TOKEN, ADDRESS = "HF_TOKEN", "HF_ENDPOINT"


def address() -> str:
    """Where the Hub is: ``HF_ENDPOINT``, else its own address; ``ConfigError`` for what is none."""
    given = os.environ.get(ADDRESS, "").strip()
    try:
        return check_url(given) if given else HOME
    except ConfigError as error:
        raise ConfigError(f"{ADDRESS} is no address such as {HOME}: {given!r:.200}") from error


def token() -> Secret | None:
    """The token in ``HF_TOKEN``; a login that the client stored is not used."""
    given = os.environ.get(TOKEN, "").strip()
    return Secret(given) if given else None


def client() -> Any:
    """A ``huggingface_hub.HfApi``; ``MissingDependencyError`` names the extra."""
    hub, secret = require("huggingface_hub", "hub"), token()
    utils = require("huggingface_hub.utils", "hub")
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    return hub.HfApi(endpoint=address(), token=False if secret is None else secret.reveal())


def is_own_server() -> bool:
    """Whether the address is not the Hub's own: what only that one speaks (Xet) is then not used."""
    return urlsplit(address()).hostname != urlsplit(HOME).hostname


@contextmanager
def speaking(name: HubName, doing: str) -> Iterator[None]:
    """Whatever the client raises inside is one typed sentence; ``doing`` is what could not be done."""
    try:
        yield
    except AtariVLMError:
        raise
    except Exception as error:
        raise _meant(name, doing, error) from error


def is_missing(error: Exception) -> bool:
    """Whether the Hub says that there is no such repository: to who has no token it says 401 of one that is not shown."""
    if type(error).__name__ in ("RevisionNotFoundError", "GatedRepoError"):
        return False
    return _status(error) == 404 or (_status(error) == 401 and token() is None)


def there_is_none(name: HubName) -> ConfigError:
    """The error for a repository that is not there, or not shown."""
    seen = "that the token may see" if token() is not None else f"that is shown without {TOKEN}"
    return ConfigError(f"there is no {name.repo} at {address()} {seen}")


def _meant(name: HubName, doing: str, error: Exception) -> AtariVLMError:
    status, kind = _status(error), type(error).__name__
    if status in (401, 403) or kind == "GatedRepoError":
        return AuthenticationError(_about_token(name, doing, status))
    if kind == "RepositoryNotFoundError":
        return there_is_none(name)
    if kind == "RevisionNotFoundError":
        return ConfigError(f"{doing}: {name.repo} has no revision {name.revision or 'main'}")
    if kind == "OfflineModeIsEnabled":
        return ConfigError(f"{doing}: HF_HUB_OFFLINE is set; unset it to ask the Hub")
    reason = _reason(error)
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return RequestError(f"{doing}: the Hub refused it ({status}): {reason}")
    return UnavailableError(f"{doing}: {reason}. The same command goes on where it stopped")


def _about_token(name: HubName, doing: str, status: int | None) -> str:
    if token() is None:
        return (
            f"{doing}: there is no {name.repo} at {address()} that is shown to everybody; set {TOKEN} to a token, with write "
            "access to push"
        )
    problem = "does not know" if status == 401 else "does not let in"
    return f"{doing}: {address()} {problem} the token in {TOKEN} for {name.repo}; set another one"


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, or behind the one that it came from."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(found := getattr(response, "status_code", None), int):
            return found
        error = error.__cause__
    return None


def _reason(error: BaseException) -> str:
    """What was said, by the first error of the chain, without the token."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = f"{one_line(error) or 'no word'} ({type(error).__name__})"
    secret = token()
    return said if secret is None else secret.scrub(said)

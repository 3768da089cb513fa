"""Keys that never show, and which key goes to which address."""

from __future__ import annotations

import base64
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from atari_vlm.errors import AuthenticationError, ConfigError

NO_KEY = (
    "no-key"  # what is sent to a server of one's own when no key was given: the SDKs insist on one
)
_MASK = "[key]"
_KEY_FORM = re.compile(
    r"(?<![A-Za-z0-9])((sk|pk|rk)[-_](?=\S*\d)[A-Za-z0-9_-]{12,}|(gsk|hf|r8|ghp|tgp|fw)_[A-Za-z0-9_]{16,}|(xai|nvapi|pplx|csk)-[A-Za-z0-9_-]{16,}"
    r"|AIza[A-Za-z0-9_-]{20,}|AQ\.[A-Za-z0-9_-]{20,}|Bearer\s+\S{8,})"
)
_PIECE = 8  # a vendor's own masking leaves about as much


class Secret:
    """A key. ``str``, ``repr``, formatting and pickling do not give it away; only :meth:`reveal` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the SDK and nobody else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is never written anywhere")

    def scrub(self, text: str) -> str:
        """``text`` without the key: raw, url-encoded or base64 at any alignment, whole or in pieces of 8 characters and more.

        Keys below 8 characters are placeholders and stay.
        """
        pieces = {
            form[at : at + _PIECE] for form in self._forms() for at in range(len(form) - _PIECE + 1)
        }
        shown, hidden_until = [], 0
        for at, character in enumerate(text):
            if text[at : at + _PIECE] in pieces:
                if at >= hidden_until:
                    shown.append(_MASK)
                hidden_until = at + _PIECE
            if at >= hidden_until:
                shown.append(character)
        return "".join(shown)

    def _forms(self) -> list[str]:
        if len(self._value) < _PIECE:
            return []
        quoted = urllib.parse.quote(self._value, safe="")
        forms = [self._value, quoted, re.sub("%..", lambda code: code[0].lower(), quoted)]
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + self._value.encode()).decode()
            # only these characters depend on nothing but the key
            encoded = encoded[-(-shift * 8 // 6) : (shift + len(self._value)) * 8 // 6]
            forms += [encoded, encoded.replace("+", "-").replace("/", "_")]
        return forms


@dataclass(frozen=True)
class Vendor:
    """What is fixed about a vendor: its name in ``VLM.name``, its own address, and the environment variables it reads."""

    name: str
    home: str
    key_variables: tuple[str, ...]
    url_variable: str


@dataclass(frozen=True)
class Endpoint:
    """Where requests go and with which key. ``custom`` tells an address that is not the vendor's own."""

    url: str
    custom: bool
    key: Secret


def find_endpoint(vendor: Vendor, api_key: str | Secret | None, base_url: str | None) -> Endpoint:
    """Resolve address and key: an argument comes before the environment.

    The key in the vendor's environment variable goes to the vendor's own address, or to the address that the environment
    names beside it; never to a ``base_url`` given as an argument: that is somebody else's server. Raises ``ConfigError``
    for a bad address and ``AuthenticationError`` for a missing or unusable key.
    """
    from_environment = os.environ.get(vendor.url_variable) or None
    url = check_url(base_url or from_environment or vendor.home)
    custom = (
        urllib.parse.urlsplit(url)[:2] != urllib.parse.urlsplit(vendor.home)[:2]
    )  # another host, or in the clear
    given = api_key.reveal() if isinstance(api_key, Secret) else api_key
    if given is None and not (custom and base_url):
        given = next(
            (os.environ[name] for name in vendor.key_variables if os.environ.get(name)), None
        )
    if given is None and custom:
        given = NO_KEY
    if not given or not given.strip():
        raise AuthenticationError(
            f"no key for {vendor.name}: set {' or '.join(vendor.key_variables)}, or pass api_key (--api-key). "
            "Without a key: --base-url URL for a server of your own, or --vlm scripted"
        )
    key = given.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthenticationError(
            f"the key for {vendor.name} holds spaces or characters that no key has; copy it again"
        )
    return Endpoint(url, custom, Secret(key))


def check_url(url: str) -> str:
    """``url`` without a trailing slash; ``ConfigError`` unless it is a plain http(s) address without credentials or query."""
    if any(mark in url for mark in "@?#"):
        raise ConfigError(
            "base_url must not hold a user, a key, a query or a fragment; pass the key as api_key (--api-key)"
        )
    try:
        parts = urllib.parse.urlsplit(url)
        valid = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"base_url {url!r} is not an address such as http://127.0.0.1:8000/v1")
    return url.rstrip("/")


def looks_like_key(text: str) -> bool:
    """Whether a word is a key: of a form that vendors use, or the value of a variable of the environment that holds one."""
    known = (
        value
        for name, value in os.environ.items()
        if name.endswith("_API_KEY") and len(value) >= _PIECE
    )
    return _KEY_FORM.search(text) is not None or any(value in text for value in known)


def refuse_keys(options: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for an option that holds a key and is not meant to; the message does not show it."""
    for name, value in options.items():
        words = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(word, str) and looks_like_key(word) for word in words):
            raise ConfigError(
                f"the value of {name} looks like a key: it is not used, shown or stored; a key is given in the vendor's "
                "environment variable, with --api-key-env NAME or with --api-key"
            )

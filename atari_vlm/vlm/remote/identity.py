"""What a remote VLM is called, what it can do, and whether it is near: from its address and options alone."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import urllib.parse
from dataclasses import dataclass

from atari_vlm.vlm.base import Capability
from atari_vlm.vlm.remote.keys import Endpoint, Vendor
from atari_vlm.vlm.remote.options import DEFAULT_OPTIONS, RemoteOptions

_CHANGE_ANSWERS = (
    "structured",
    "scores",
    "reasoning_effort",
    "reasoning_tokens",
    "image_detail",
)


@dataclass(frozen=True)
class Target:
    """What a request depends on beside its messages."""

    model: str
    endpoint: Endpoint
    options: RemoteOptions


def name_of(vendor: Vendor, target: Target) -> str:
    """Everything that changes answers, and no secret: ``extra_body`` appears as a digest."""
    options, defaults = target.options, DEFAULT_OPTIONS
    changed = [
        f"{key}={getattr(options, key)}"
        for key in _CHANGE_ANSWERS
        if getattr(options, key) != getattr(defaults, key)
    ]
    if options.extra_body:
        body = json.dumps(dict(options.extra_body), sort_keys=True, default=repr)
        changed.append(f"extra_body={hashlib.sha256(body.encode()).hexdigest()[:12]}")
    address = f"@{target.endpoint.url}" if target.endpoint.custom else ""
    return f"{vendor.name}/{target.model}{address}" + (f"[{','.join(changed)}]" if changed else "")


def capabilities_of(options: RemoteOptions) -> frozenset[Capability]:
    """Which constraints are sent, and whether choices are scored."""
    able: dict[str, set[Capability]] = {"choice": {"schema", "choices"}, "none": set()}
    scores: set[Capability] = set() if options.scores == "none" else {"scores"}
    return frozenset(able.get(options.structured, {"schema"}) | scores)


def is_near(url: str) -> bool:
    """Whether an address is this machine's or of a private network."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".lan", ".internal"))

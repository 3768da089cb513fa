"""What a user reads when a request failed: which VLM, what the vendor said, and what to do about it. Never the key."""

from __future__ import annotations

import dataclasses
import urllib.parse

from atari_vlm.errors import AuthenticationError, RequestError, UnavailableError
from atari_vlm.vlm.remote.keys import NO_KEY, Endpoint, Vendor
from atari_vlm.vlm.remote.outcomes import Failure
from atari_vlm.vlm.remote.surroundings import hint_of_surroundings

_SCHEMA_WORDS = (
    "response_format", "json_schema", "jsonschema", "response_schema", "responseschema", "output_config", "output_format",
    "structured", "grammar",
)  # fmt: skip
_EFFORT = "Set reasoning_effort to a value that the model knows (--vlm-option reasoning_effort=VALUE), or leave it unset"
_TOKENS = "Set the name of the limit (--vlm-option token_parameter={}), or a smaller --reply-tokens"
_REQUEST_ADVICE = (  # words in the vendor's message -> what to change here
    ("max_completion_tokens", _TOKENS.format("max_completion_tokens")),
    ("max_tokens", _TOKENS.format("max_tokens")),
    ("temperature", "This model takes no such temperature: leave it unset (no --temperature)"),
    ("effort", _EFFORT),
    ("thinking", _EFFORT),
    ("context", "The prompt is longer than the model allows: fewer examples, frames or past replies (--frames 1)"),
    ("image", "Send fewer or smaller images (--frames 1), or choose a model that takes images (--model)"),
)  # fmt: skip


class SchemaRefusedError(RequestError):
    """A server refused a JSON schema. The message names the option that turns it off."""


def explain(failure: Failure, name: str, vendor: Vendor, model: str, endpoint: Endpoint) -> Failure:
    """The failure with the VLM's ``name``, without the key, and with what to do about it."""
    advice = hint_of_surroundings(failure, endpoint.url) if failure.error is None else ""
    if failure.error is not None:
        advice = advise(failure, vendor, model, endpoint)
    message = endpoint.key.scrub(f"{name}: {failure.message.rstrip('. ')}")
    return dataclasses.replace(failure, message=f"{message}. {advice}" if advice else message)


def speaks_of_schema(failure: Failure) -> bool:
    """Whether a vendor's message names a schema."""
    message = failure.message.lower()
    return any(word in message for word in _SCHEMA_WORDS)


def known_reason(failure: Failure) -> str:
    """The advice for what a vendor's message is about, if that is known and is not the schema."""
    message = failure.message.lower()
    return failure.advice or next(
        (advice for word, advice in _REQUEST_ADVICE if word in message), ""
    )


def advise(failure: Failure, vendor: Vendor, model: str, endpoint: Endpoint) -> str:
    """What the user can do about a permanent failure, as a sentence."""
    if failure.error is SchemaRefusedError:
        return (
            "The server refuses the JSON schema: set structured='none' (--vlm-option structured=none; for vLLM "
            "structured=choice)"
        )
    if failure.error is AuthenticationError:
        return _advise_key(vendor, model, endpoint)
    if failure.advice:
        return failure.advice
    if failure.error is UnavailableError:
        return "Run the same command again later"
    if failure.status == 404:
        return f"Check the model id (--model {model}) and the address ({endpoint.url}, --base-url)"
    if failure.status is not None and failure.status < 400:
        return "Redirects are not followed, so that no key goes astray: pass the final address as --base-url"
    return known_reason(failure) or "It would fail again, so it is not repeated"


def _advise_key(vendor: Vendor, model: str, endpoint: Endpoint) -> str:
    variables = " or ".join(vendor.key_variables)
    if endpoint.custom and endpoint.key.reveal() == NO_KEY:
        own = urllib.parse.urlsplit(vendor.home).hostname
        return (
            f"No key was sent ({variables} is for {own} only): name the variable that holds this server's key with "
            "--api-key-env NAME, or pass this server's key as api_key (--api-key)"
        )
    return f"Check the key (--api-key-env NAME, api_key, --api-key or {variables}) and that it may use {model}"

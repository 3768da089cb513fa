"""What a user reads when a request failed: which VLM, what the vendor said, and what to do about it. Never the key."""

from __future__ import annotations

import dataclasses
import urllib.parse

from atari_vlm.errors import AuthenticationError, RequestError, UnavailableError
from atari_vlm.vlm.remote.keys import NO_KEY, Endpoint, Vendor
from atari_vlm.vlm.remote.retry import Failure

_SCHEMA_WORDS = (
    "response_format", "json_schema", "jsonschema", "response_schema", "responseschema", "output_config", "output_format",
    "structured", "grammar",
)  # fmt: skip
_REQUEST_ADVICE = (  # words in the vendor's message -> what to change here
    ("max_completion_tokens", "Set token_parameter='max_completion_tokens'"),
    ("max_tokens", "Set token_parameter, or a smaller max_tokens"),
    ("temperature", "This model takes no temperature: leave it unset (None)"),
    ("effort", "Set reasoning_effort to a value that the model knows, or leave it unset"),
    ("thinking", "Set reasoning_effort to a value that the model knows, or leave it unset"),
    ("context", "The prompt is longer than the model allows: fewer examples, frames or past replies"),
    ("image", "Send fewer or smaller images, or choose a model that takes images"),
)


class SchemaRefusedError(RequestError):
    """A server refused a JSON schema. The message names the option that turns it off."""


def explain(failure: Failure, name: str, vendor: Vendor, model: str, endpoint: Endpoint) -> Failure:
    """The failure with the VLM's ``name``, without the key, and with what to do about it if it is permanent."""
    advice = "" if failure.error is None else advise(failure, vendor, model, endpoint)
    message = endpoint.key.scrub(f"{name}: {failure.message}")
    return dataclasses.replace(failure, message=f"{message}. {advice}" if advice else message)


def refused_schema(failure: Failure) -> Failure:
    """The failure of a request that carried a schema: marked if it was the schema that the server refused."""
    message = failure.message.lower()
    if failure.error is not RequestError or not any(word in message for word in _SCHEMA_WORDS):
        return failure
    return dataclasses.replace(failure, error=SchemaRefusedError)


def advise(failure: Failure, vendor: Vendor, model: str, endpoint: Endpoint) -> str:
    """What the user can do about a permanent failure, as a sentence."""
    if failure.error is SchemaRefusedError:
        return "The server refuses the JSON schema: set structured='none' (or 'choice' for vLLM)"
    if failure.error is AuthenticationError:
        return _advise_key(vendor, model, endpoint)
    if failure.error is UnavailableError:
        return "The account's credit or quota is used up; add to it and run the same command again"
    if failure.status == 404:
        return f"Check the model id (--model {model}) and the address ({endpoint.url}, --base-url)"
    if failure.status == 413:
        return "The request is too large: fewer examples or frames, or smaller images"
    if failure.status is not None and failure.status < 400:
        return "Redirects are not followed, so that no key goes astray: pass the final address as --base-url"
    message = failure.message.lower()
    return next(
        (advice for word, advice in _REQUEST_ADVICE if word in message), "It would fail again, so it is not repeated"
    )


def _advise_key(vendor: Vendor, model: str, endpoint: Endpoint) -> str:
    variables = " or ".join(vendor.key_variables)
    if endpoint.custom and endpoint.key.reveal() == NO_KEY:
        own = urllib.parse.urlsplit(vendor.home).hostname
        return (
            f"No key was sent ({variables} is for {own} only): name the variable that holds this server's key with "
            "--api-key-env NAME, or pass this server's key as api_key (--api-key)"
        )
    return f"Check the key (api_key, --api-key or {variables}) and that it may use {model}"

"""What a user reads when a request failed: the VLM, the vendor's words, what to do about it, and never the key."""

import pytest

from atari_vlm.errors import AuthenticationError, RequestError, UnavailableError
from atari_vlm.vlm.advice import (
    SchemaRefusedError,
    advise,
    explain,
    known_reason,
    speaks_of_schema,
)
from atari_vlm.vlm.remote.keys import NO_KEY, Endpoint, Secret, Vendor
from atari_vlm.vlm.remote.outcomes import Failure

VENDOR = Vendor("vendor", "https://api.vendor.test/v1", ("FIRST_API_KEY", "SECOND_API_KEY"), "URL")
KEY = "sk-very-secret-0123456789"


def endpoint(custom=False, key=KEY):
    url = "http://127.0.0.1:1/v1" if custom else VENDOR.home
    return Endpoint(url, custom, Secret(key))


def advice_for(message="", *, custom=False, key=KEY, **fields):
    return advise(Failure(message, **fields), VENDOR, "m-1", endpoint(custom, key))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"error": SchemaRefusedError}, ("structured='none'", "--vlm-option structured=none")),
        ({"error": AuthenticationError}, ("FIRST_API_KEY or SECOND_API_KEY", "may use m-1")),
        ({"error": UnavailableError}, ("again later",)),
        ({"error": RequestError, "status": 404}, ("--model m-1", VENDOR.home, "--base-url")),
        ({"error": RequestError, "status": 308}, ("Redirects are not followed", "--base-url")),
        ({"error": RequestError, "status": 400}, ("not repeated",)),
        ({"error": RequestError, "advice": "Accept the terms first"}, ("Accept the terms first",)),
    ],
)
def test_each_permanent_failure_says_what_to_do(fields, words):
    advice = advice_for(**fields)
    assert all(word in advice for word in words)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Unsupported parameter: MAX_TOKENS, use max_completion_tokens", "max_completion_tokens)"),
        ("temperature does not support 0.7", "leave it unset"),
        ("invalid reasoning effort", "reasoning_effort=VALUE"),
        ("maximum context length is 8192", "fewer examples"),
        ("too many images", "fewer or smaller images"),
    ],
)
def test_the_vendor_s_words_lead_to_the_option(message, words):
    assert words in advice_for(message, error=RequestError, status=400)
    assert words in known_reason(Failure(message))


def test_a_key_that_was_kept_back_from_a_stranger_s_server_is_explained():
    advice = advice_for(error=AuthenticationError, custom=True, key=NO_KEY)
    assert "for api.vendor.test only" in advice and "--api-key-env NAME" in advice


@pytest.mark.parametrize(
    ("message", "is_about"),
    [
        ("'response_format' is not supported", True),
        ("Invalid JSON_SCHEMA for grammar", True),
        ("image too large", False),
        ("", False),
    ],
)
def test_schemas_are_recognised_in_the_vendor_s_words(message, is_about):
    assert speaks_of_schema(Failure(message)) is is_about


def test_an_explained_failure_names_the_vlm_and_hides_the_key():
    failure = Failure(f"HTTP 401: bad key {KEY}.", status=401, error=AuthenticationError)
    explained = explain(failure, "vendor:m-1", VENDOR, "m-1", endpoint())
    assert explained.message.startswith("vendor:m-1: HTTP 401: bad key") and KEY not in str(
        explained
    )
    assert ".. " not in explained.message and "Check the key" in explained.message
    assert (explained.status, explained.error) == (401, AuthenticationError)


def test_a_passing_failure_hints_at_the_surroundings_only(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    explained = explain(Failure("no connection"), "v", VENDOR, "m", endpoint())
    assert "SSL_CERT_FILE names" in explained.message and "again later" not in explained.message
    busy = explain(Failure("HTTP 429: busy", status=429), "v", VENDOR, "m", endpoint())
    assert busy.message == "v: HTTP 429: busy"

"""Keys go only where they belong and show nowhere."""

import base64
import copy
import logging
import pickle
import traceback
import urllib.parse

import pytest
from fake_server import PERMANENT_FAULTS, FakeVendorServer, FaultSchedule
from hypothesis import given
from hypothesis import strategies as st
from remote_helpers import BACKENDS, SAMPLING, VirtualClock, question

from atari_vlm.errors import (
    AuthenticationError,
    ConfigError,
    RequestError,
    UnavailableError,
    VLMError,
)
from atari_vlm.vlm.remote import openai as openai_vlm
from atari_vlm.vlm.remote.keys import NO_KEY, Secret, check_url, find_endpoint
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.retry import RetryPolicy

CANARY = "sk-CANARY/4f9a+77==b_2c-e1:Zq"
VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
OTHER_VARIABLES = ("OPENAI_ADMIN_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_WEBHOOK_SECRET")
each_backend = pytest.mark.parametrize("dialect", BACKENDS)


def forms(key):
    """The key as it might show: raw, url-encoded, and base64 at each alignment (without the edges that neighbours change)."""
    shown = [key, urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key), repr(key)[1:-1]]
    for pad in ("", "x", "xx"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            shown.append(encode((pad + key).encode()).decode().rstrip("=")[4:-2])
    return shown


def assert_hidden(text, key=CANARY):
    for form in forms(key):
        assert form not in text, f"the key shows as {form!r}"


@pytest.fixture
def no_environment(monkeypatch):
    for name in (
        *VARIABLES,
        *OTHER_VARIABLES,
        "OPENAI_BASE_URL",
        "ANTHROPIC_BASE_URL",
        "GOOGLE_GEMINI_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def url_of(dialect, server):
    return {
        "openai": server.openai_url,
        "anthropic": server.anthropic_url,
        "google": server.google_url,
    }[dialect]


def headers_of(server):
    return "\n".join(
        f"{name}: {value}" for request in server.requests for name, value in request.headers.items()
    )


@each_backend
def test_environment_keys_never_go_to_a_given_address(dialect, no_environment):
    for name in (*VARIABLES, *OTHER_VARIABLES):
        no_environment.setenv(name, CANARY)
    with (
        FakeVendorServer() as server,
        BACKENDS[dialect]("m", base_url=url_of(dialect, server)) as vlm,
    ):
        vlm.complete(question(), sampling=SAMPLING)
        assert len(server.requests) == 1
        assert_hidden(headers_of(server) + server.requests[0].path)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.org/v1",
    ],
)
def test_environment_keys_go_to_the_vendors_own_address_only(url, no_environment):
    no_environment.setenv("OPENAI_API_KEY", CANARY)
    assert find_endpoint(openai_vlm.VENDOR, None, url).key.reveal() == NO_KEY
    for own in (None, "https://api.openai.com/v1", "https://api.openai.com/v1/"):
        assert find_endpoint(openai_vlm.VENDOR, None, own).key.reveal() == CANARY


@each_backend
def test_an_argument_comes_before_the_environment(dialect, no_environment):
    for name in VARIABLES:
        no_environment.setenv(name, "sk-of-the-environment")
    with (
        FakeVendorServer() as server,
        BACKENDS[dialect]("m", api_key="sk-argument", base_url=url_of(dialect, server)) as vlm,
    ):
        vlm.complete(question(), sampling=SAMPLING)
        assert "sk-argument" in headers_of(server) and "sk-of-the-environment" not in headers_of(
            server
        )


@each_backend
def test_key_and_address_of_the_environment_belong_together(dialect, no_environment):
    variable = {
        "openai": "OPENAI_BASE_URL",
        "anthropic": "ANTHROPIC_BASE_URL",
        "google": "GOOGLE_GEMINI_BASE_URL",
    }[dialect]
    for name in VARIABLES:
        no_environment.setenv(name, "sk-of-the-environment")
    with FakeVendorServer() as server:
        no_environment.setenv(variable, url_of(dialect, server))
        with BACKENDS[dialect]("m") as vlm:
            assert vlm.name == f"{dialect}/m@{url_of(dialect, server)}", (
                "the name tells where requests go"
            )
            vlm.complete(question(), sampling=SAMPLING)
        assert "sk-of-the-environment" in headers_of(server)


@each_backend
def test_a_missing_key_says_what_to_do(dialect, no_environment):
    with pytest.raises(
        AuthenticationError, match=r"set \w+_API_KEY.*--api-key.*--base-url.*scripted"
    ) as caught:
        BACKENDS[dialect]("m")
    assert caught.value.exit_code == 77


@pytest.mark.parametrize("key", ["", "  ", "two words", "tab\tkey", "line\nkey", "käse", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key, no_environment):
    with pytest.raises(AuthenticationError) as caught:
        BACKENDS["openai"]("m", api_key=key)
    assert not key.strip() or key not in str(caught.value)


@each_backend
def test_permanent_errors_take_one_request_name_the_fix_and_hide_the_key(dialect, caplog):
    caplog.set_level(logging.DEBUG)
    clock = VirtualClock()
    fixes = {
        "401": "Check the key", "403": "Check the key", "404": "--model", "413": "fewer examples",
        "400": "not repeated", "422": "not repeated",
    }  # fmt: skip
    assert set(fixes) == set(PERMANENT_FAULTS)
    with FakeVendorServer() as server:
        server.error_text = "you sent " + " and ".join(forms(CANARY))
        vlm = BACKENDS[dialect](
            "m",
            api_key=CANARY,
            base_url=url_of(dialect, server),
            options=RemoteOptions(clock=clock),
        )
        with vlm:
            for fault, fix in fixes.items():
                server.clear()
                server.faults = FaultSchedule(always=fault)
                with pytest.raises(VLMError, match=fix) as caught:
                    vlm.complete(question(), sampling=SAMPLING)
                assert len(server.requests) == 1 and clock.sleeps == []
                assert CANARY in headers_of(server), "the key did go to the server"
                assert_permanent(caught.value, fault)
                assert_hidden(
                    "".join(traceback.format_exception(caught.value)) + repr(caught.value)
                )
    assert_hidden(repr(vlm) + vlm.name + caplog.text)


def assert_permanent(error, fault):
    assert type(error) is (AuthenticationError if fault in ("401", "403") else RequestError)
    assert error.exit_code == (77 if fault in ("401", "403") else 2)
    assert fault in str(error)
    assert error.__cause__ is None and error.__context__ is None


@each_backend
def test_passing_errors_hide_the_key_too(dialect, caplog):
    caplog.set_level(logging.DEBUG)
    with FakeVendorServer(faults=FaultSchedule(always="503")) as server:
        server.error_text = "overloaded: " + " ".join(forms(CANARY))
        options = RemoteOptions(clock=VirtualClock(), retry=RetryPolicy(max_attempts=4))
        with BACKENDS[dialect](
            "m", api_key=CANARY, base_url=url_of(dialect, server), options=options
        ) as vlm:
            with pytest.raises(UnavailableError, match="4 attempts failed") as caught:
                vlm.complete(question(), sampling=SAMPLING)
        assert len(server.requests) == 4
    assert "attempt 3 failed" in caplog.text
    assert_hidden("".join(traceback.format_exception(caught.value)) + caplog.text)


@each_backend
def test_no_key_follows_a_redirect(dialect):
    with FakeVendorServer() as elsewhere, FakeVendorServer(redirect_to=elsewhere.url) as server:
        with BACKENDS[dialect]("m", api_key=CANARY, base_url=url_of(dialect, server)) as vlm:
            with pytest.raises(RequestError, match="Redirects are not followed"):
                vlm.complete(question(), sampling=SAMPLING)
        assert len(server.requests) == 1 and elsewhere.requests == []


def test_a_server_that_wants_a_key_which_was_not_sent_is_explained(no_environment):
    no_environment.setenv("OPENAI_API_KEY", CANARY)
    with FakeVendorServer(faults=FaultSchedule(always="401")) as server:
        with BACKENDS["openai"]("m", base_url=server.openai_url) as vlm:
            with pytest.raises(
                AuthenticationError,
                match=r"No key was sent \(OPENAI_API_KEY is for api.openai.com only\).*--api-key",
            ):
                vlm.complete(question(), sampling=SAMPLING)


def test_a_secret_shows_nowhere():
    secret = Secret(CANARY)
    assert_hidden(f"{secret} {secret!r} {[secret]} {secret!s:>40}")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    assert not hasattr(secret, "__dict__")


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_scrubbing_leaves_no_form_of_the_key(key, before, after):
    inside = base64.b64encode(before + key.encode() + after).decode()
    scrubbed = Secret(key).scrub(f"<{key}|{urllib.parse.quote(key, safe='')}|{inside}>")
    assert key not in scrubbed
    shift = len(before) % 3
    core = base64.b64encode(bytes(shift) + key.encode()).decode()[
        [0, 2, 3][shift] : (shift + len(key)) * 8 // 6
    ]
    assert core not in scrubbed
    assert scrubbed.startswith("<[key]|[key]|") and scrubbed.endswith(">")


@given(st.text())
def test_scrubbing_changes_nothing_else(text):
    assert Secret("k-0123456789-xyz").scrub(text) == text
    assert Secret("EMPTY").scrub("EMPTY " + text) == "EMPTY " + text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://h/v1",
        "http://",
        "http://h:99999",
        "http://h:x",
        "http://ho st/",
        "http://h/\n",
        "file:///etc",
        "http://hé/",
    ],
)
def test_bad_addresses_are_refused(url):
    with pytest.raises(ConfigError, match="base_url"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://u:{CANARY}@h/v1",
        f"https://h/v1?key={CANARY}",
        f"https://h/v1#{CANARY}",
        f"https://{CANARY}@h",
    ],
)
def test_addresses_with_a_key_in_them_are_refused_without_showing_it(url):
    with pytest.raises(ConfigError, match="--api-key") as caught:
        check_url(url)
    assert_hidden(str(caught.value))

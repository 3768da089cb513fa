"""A session of Ray: of this machine alone, begun here and ended with the run, or a cluster that stands already.

What Ray opens here it opens on all addresses of the machine, whatever it is told (measured with 2.60), so a session of our own
asks everybody for a token, which is drawn here, lives in the environment of its processes, and is written nowhere.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import atari_vlm
from atari_vlm._lazy import require
from atari_vlm.errors import AtariVLMError, ConfigError, MismatchError, one_line
from atari_vlm.runs.cluster.units import Needs

PATIENCE_S = 60.0  # without any worker, before that is said
_CONNECT_S = 4.0
_ASKED_OF_A_HEAD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_NAMESPACE = "atari_vlm"
_OURS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",  # no word to Ray's makers
    "RAY_worker_niceness": "0",  # workers are what the program is for; Ray's own 15 starves them on a busy machine
}


class Executing(Protocol):
    """The options that are read."""

    @property
    def ray_address(self) -> str | None: ...  # noqa: D102

    @property
    def parallel(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Session:
    """A running Ray. ``word`` tells its actors from those of every other run; ``gpus`` is how many the cluster has."""

    ray: Any
    word: str
    is_ours: bool
    gpus: float

    @property
    def here(self) -> Any:
        """Where an actor has to be that may not be lost with another machine: on the driver's."""
        kind = require("ray.util.scheduling_strategies", "scale").NodeAffinitySchedulingStrategy
        return kind(self.ray.get_runtime_context().get_node_id(), soft=False)

    def nobody_begins(self, needs: Needs) -> str:
        """What is said where no worker that takes so much has begun for :data:`PATIENCE_S`."""
        free = self.ray.available_resources()
        shown = ", ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        wanted = f"one takes {needs.cpus:g} CPU and {needs.gpus:g} GPU"
        return f"no worker within {PATIENCE_S:.0f} s; {wanted}, free: {shown}"


@dataclass(frozen=True)
class About:
    """What a worker says of itself."""

    version: str
    ray: str
    machine: str

    @classmethod
    def here(cls) -> About:
        """This process."""
        return cls(atari_vlm.__version__, metadata.version("ray"), socket.gethostname())

    def named(self, worker: str, *, is_far: bool) -> str:
        """What a worker is called, with its machine where there are several."""
        return f"{worker} on {self.machine}" if is_far else worker

    def check(self) -> None:
        """Raise ``MismatchError`` where a worker runs another version than the driver."""
        mine = About.here()
        for name, ours, theirs in (
            ("atari_vlm", mine.version, self.version),
            ("Ray", mine.ray, self.ray),
        ):
            if ours != theirs:
                raise MismatchError(
                    f"the worker on {self.machine} has {name} {theirs}, this process {ours}: install the same version on every "
                    "machine"
                )


def check_ray() -> Any:
    """The module; ``MissingDependencyError`` names the extra where it is not installed."""
    return require("ray", "scale")


@contextmanager
def session(options: Executing) -> Iterator[Session]:
    """Within the block Ray runs. One that runs in this process already is used as it is, and stays.

    Raises ``MissingDependencyError`` without Ray, ``ConfigError`` where nothing answers at the address or Ray cannot start,
    ``MismatchError`` for a cluster of another version.
    """
    ray = check_ray()
    with ExitStack() as opened:
        is_new = not ray.is_initialized()
        is_ours = options.ray_address is None
        if is_new:
            if is_ours:
                opened.enter_context(_environment(_closed()))
            elif options.ray_address != "auto":
                check_head(str(options.ray_address))
            opened.enter_context(_silence())
            opened.callback(ray.shutdown)
            with _signals_kept(), _small() if is_ours else nullcontext():
                _start(ray, options)
        gpus = float(ray.cluster_resources().get("GPU", 0.0))
        yield Session(ray, secrets.token_hex(4), is_ours, gpus)


def _start(ray: Any, options: Executing) -> None:
    common: dict[str, Any] = {
        "namespace": _NAMESPACE,
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": logging.CRITICAL,
    }
    if options.ray_address is None:
        cpus = max(os.cpu_count() or 1, options.parallel)  # so many units are played at once
        common |= {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        common |= {"address": "local"}
    else:
        common |= {"address": options.ray_address}
    try:
        ray.init(**common)
    except (ConnectionError, TimeoutError) as error:
        raise ConfigError(_nobody(str(options.ray_address or "this machine"))) from error
    except Exception as error:
        if "ersion mismatch" in str(error):
            raise MismatchError(
                f"the cluster at {options.ray_address} runs another version than this process: {one_line(error)}"
            ) from error
        raise ConfigError(f"Ray cannot start: {one_line(error)}") from error


def check_head(address: str) -> None:
    """Raise ``ConfigError`` within seconds unless a head of Ray that lets this process in answers at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        raise ConfigError(f"{_nobody(address)} ({error.strerror or error})") from error
    grpc = require("grpc", "scale")
    answer = _answer_of_a_head(grpc, address)
    if answer is grpc.StatusCode.UNAUTHENTICATED and (token := _token()) is not None:
        answer = _answer_of_a_head(grpc, address, [("authorization", f"Bearer {token}")])
    if answer is grpc.StatusCode.UNAUTHENTICATED:
        raise ConfigError(
            f"the Ray cluster at {address} asks for its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH, as on its machines"
        )
    if answer is grpc.StatusCode.UNIMPLEMENTED:
        raise ConfigError(f"{_nobody(address)} (what listens there is no head of Ray)")


def _answer_of_a_head(grpc: Any, address: str, metadata: Sequence[tuple[str, str]] = ()) -> Any:
    """How a question that every head understands ended: a status of gRPC, ``None`` where it was answered."""
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_S)
            channel.unary_unary(_ASKED_OF_A_HEAD)(b"", timeout=_CONNECT_S, metadata=metadata)
        except grpc.FutureTimeoutError:
            return grpc.StatusCode.UNIMPLEMENTED  # nothing that speaks gRPC
        except grpc.RpcError as error:
            return error.code()
    return None


def _token() -> str | None:
    """The token that Ray would show, if there is one: without the mode it shows none."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    loader: Any = require("ray._raylet", "scale").AuthenticationTokenLoader.instance()
    has_one = loader.has_token(ignore_auth_mode=True)
    return loader.get_raw_token() if has_one else None


def _nobody(address: str) -> str:
    return f"no head of a Ray cluster answers at {address}; start one with: ray start --head --port 6379"


def _closed() -> dict[str, str]:
    """The environment of a session of our own; what the user has set already stays."""
    wanted = dict(_OURS)
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        wanted["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return {name: value for name, value in wanted.items() if name not in os.environ}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(values)
    _read_again()
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        _read_again()


def _read_again() -> None:
    """Ray reads how it is let in once, when it is imported."""
    raylet: Any = require("ray._raylet", "scale")
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Within the block Ray sets handlers of its own for the end of a process; a program has its own already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def _silence() -> Iterator[None]:
    """Ray prints the death of every worker to stdout, where a program's results stand; the driver tells it in its own words."""
    with _instead("ray._private.worker", "print_to_stdstream", lambda *_, **__: None):
        yield


@contextmanager
def _small() -> Iterator[None]:
    """Begin the agents that stand beside a dashboard as if there could be none: fewer ports, and seconds less."""
    left_out = ImportError("a session of atari_vlm has no dashboard")
    with _instead("ray._private.utils", "get_dashboard_dependency_error", lambda: left_out):
        yield


@contextmanager
def _instead(module: str, name: str, value: Any) -> Iterator[None]:
    """Something of Ray's own, within the block; nothing where this version has no such thing."""
    home: Any = require(module, "scale")
    usual = getattr(home, name, None)
    if usual is not None:
        setattr(home, name, value)
    try:
        yield
    finally:
        if usual is not None:
            setattr(home, name, usual)


def check_start(error: BaseException) -> None:
    """Raise ``ConfigError`` where a worker did not begin because of what is not installed on its machine."""
    text = str(error)
    if "ModuleNotFoundError" in text or "ImportError" in text or "AttributeError" in text:
        reason = next((line for line in reversed(text.splitlines()) if "Error:" in line), text)
        raise ConfigError(
            f"a worker cannot begin: {' '.join(reason.split())[:200]}; install the same version of atari_vlm, with the extra "
            "scale, on every machine"
        ) from error
    if isinstance(getattr(error, "cause", None), AtariVLMError):
        raise error.cause  # type: ignore[attr-defined]

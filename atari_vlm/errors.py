"""Every error the package raises on purpose. The class says what the caller can do about it.

::

    AtariVLMError                     .exit_code = 1
    ├── ConfigError (ValueError)      a wrong argument: the message says what was wrong and what is allowed   [2]
    │   ├── UnknownNameError          a name that no registry knows; the nearest known names are offered      [2]
    │   └── MismatchError             two things that do not fit together; the message names both sides       [2]
    ├── MissingDependencyError        an extra that is not installed (ImportError)                            [2]
    ├── NotSupportedError             this backend cannot do that (for example score choices)                 [2]
    ├── VLMError                      a vision-language model could not be asked
    │   ├── AuthenticationError       401 / 403: the key is wrong or lacks access; never retried              [77]
    │   ├── RequestError              400 / 404 / 413 / 422: this request can never succeed; never retried    [2]
    │   ├── ModelNotAvailableError    weights, memory or hardware are not there; names the alternatives       [69]
    │   └── UnavailableError          retries, deadline or circuit breaker exhausted; resumable               [75]
    ├── BudgetExhaustedError          dollars, calls or tokens are used up; resumable                         [75]
    ├── ReplayMissError               a recording does not hold this request                                  [65]
    ├── RunError                      a run folder is locked, was made by another config, or diverged         [73]
    │   ├── DivergedError             a loss is no finite number; the run's last checkpoint is whole           [73]
    │   └── StorageError (OSError)    a file cannot be written, mostly a full disk; resumable                 [74]
    ├── CheckpointError               a checkpoint is damaged, unsafe or of another kind                      [65]
    ├── ContractError (AssertionError) an implementation breaks a protocol of this package                     [1]
    └── SandboxError                  generated code was stopped
        ├── SandboxViolationError     it tried something forbidden
        ├── SandboxTimeoutError       it did not answer in time
        ├── SandboxCrashError         its process died
        ├── SandboxUnavailableError   this machine cannot hold generated code; names the way without protection [69]
        └── SandboxProgramError       it raised an exception of its own

``exit_code`` (in brackets) is what the programs end with; 75 means "run the same command again later".
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class AtariVLMError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class ConfigError(AtariVLMError, ValueError):
    """A wrong argument. The message says what was wrong and what is allowed."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name that no registry knows; the nearest ones are offered, unless ``hint`` says better what was meant."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = ""):
        self.kind, self.name, self.known, self.hint = kind, name, sorted(known), hint
        spelled = {str(known).casefold(): known for known in self.known}
        nearest = [
            spelled[word]
            for word in difflib.get_close_matches(str(name).casefold(), spelled, n=4, cutoff=0.5)
        ]
        if not hint and nearest:
            hint = f"did you mean {', '.join(nearest)}?"
        listed = (
            self.known
            if len(self.known) <= 12
            else [*self.known[:12], f"… ({len(self.known)} in all)"]
        )
        names = f"known: {', '.join(listed)}" if listed else "" if hint else "there is none"
        super().__init__(f"unknown {kind} {name!r}: {' '.join(filter(None, (hint, names)))}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.kind, self.name, self.known, self.hint)


class MismatchError(ConfigError):
    """Two things that do not fit together."""


class MissingDependencyError(AtariVLMError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 2


class NotSupportedError(AtariVLMError):
    """This backend cannot do what was asked."""

    exit_code = 2


class VLMError(AtariVLMError):
    """A vision-language model could not be asked."""


class AuthenticationError(VLMError):
    """The key is missing, wrong, or lacks access."""

    exit_code = 77


class RequestError(VLMError):
    """The vendor refused this request for good."""

    exit_code = 2


class ModelNotAvailableError(VLMError):
    """The weights, the memory or the hardware for a local model are not there."""

    exit_code = 69


class UnavailableError(VLMError):
    """The vendor could not be reached within the retry policy. The run can be resumed."""

    exit_code = 75


class BudgetExhaustedError(AtariVLMError):
    """A limit on dollars, calls or tokens (``kind``: usd, calls, tokens) is reached. The run can be resumed."""

    exit_code = 75

    def __init__(self, message: str = "", kind: str = ""):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.kind)


class ReplayMissError(AtariVLMError):
    """A recording does not hold this request."""

    exit_code = 65


class RunError(AtariVLMError):
    """A run folder is locked, belongs to another configuration, or diverged from its journal."""

    exit_code = 73


class DivergedError(RunError):
    """A loss is no finite number. ``arrays`` are what it was computed from; nothing was learned from them."""

    def __init__(self, message: str = "", arrays: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.arrays = dict(arrays or {})

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.arrays)


class StorageError(RunError, OSError):
    """A file cannot be written: a full disk, a quota, a medium that fails. The run can be resumed."""

    exit_code = 74


class CheckpointError(AtariVLMError):
    """A checkpoint is damaged, unsafe or of another kind."""

    exit_code = 65


class ContractError(AtariVLMError, AssertionError):
    """An implementation breaks a protocol of this package; raised by :mod:`atari_vlm.checker`."""


class SandboxError(AtariVLMError):
    """Generated code was stopped."""


class SandboxViolationError(SandboxError):
    """Generated code tried something forbidden."""


class SandboxTimeoutError(SandboxError):
    """Generated code did not answer in time."""


class SandboxCrashError(SandboxError):
    """The process of the generated code died."""


class SandboxUnavailableError(SandboxError):
    """This machine cannot hold generated code, so none is run."""

    exit_code = 69


class SandboxProgramError(SandboxError):
    """Generated code raised an exception of its own; ``line`` is that of the program, where it is known."""

    def __init__(self, message: str = "", line: int | None = None):
        super().__init__(message)
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.line)


def require(truth: bool, promise: str) -> None:
    """Raise :class:`ContractError` with the ``promise`` that was broken."""
    if not truth:
        raise ContractError(promise)


def check_positive(**values: float) -> None:
    """Raise :class:`ConfigError` for the first keyword whose value is not a number above zero."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ConfigError(f"{name} must be greater than 0, got {value!r}")


def check_count(**values: Any) -> None:
    """Raise :class:`ConfigError` for the first keyword that is not a whole number of at least 1."""
    for name, value in values.items():
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if not whole or operator.index(value) < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_temperature(**values: float) -> None:
    """Raise :class:`ConfigError` for the first keyword whose value is no temperature: 0 (the likeliest) or above, finite."""
    for name, value in values.items():
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not real or not 0 <= value < float("inf"):
            raise ConfigError(f"{name} is 0 or a finite number above, got {value!r}")


class StoppedError(AtariVLMError):
    """Somebody asked for the end of the run; it stopped between two steps and can be resumed."""

    exit_code = 130


@contextmanager
def reading(
    what: object, error: type[AtariVLMError], *, passing: tuple[type[AtariVLMError], ...] = ()
) -> Iterator[None]:
    """The boundary of a format: whatever a parser raises inside becomes ``error``, in one sentence that names the file.

    What says that something is missing here, rather than wrong there, passes as it is, and so does what is ``passing``.
    """
    known: tuple[type[AtariVLMError], ...] = (
        error,
        MissingDependencyError,
        NotSupportedError,
        *passing,
    )
    try:
        yield
    except known:
        raise
    except Exception as cause:
        reason = one_line(cause) or type(cause).__name__
        kind = (
            ""
            if isinstance(cause, (AtariVLMError, OSError)) or type(cause) is ValueError
            else type(cause).__name__ + ": "
        )
        raise error(f"{what} cannot be read: {kind}{reason}") from cause


def one_line(error: BaseException) -> str:
    """What an error of somebody else's code says, cut to one line."""
    return " ".join(str(error).split())[:200]

"""How a server wants to be asked, found out from what it refuses.

Servers refuse a JSON schema in any words, at any place and with any status, so that no list of words is ever complete: where
a first request with a schema is refused, one without it tells. The name of the output limit is found out likewise.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from atari_vlm.errors import RequestError
from atari_vlm.vlm.advice import SchemaRefusedError, known_reason, speaks_of_schema
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.outcomes import Failure

logger = logging.getLogger(__name__)
_NOT_THE_SCHEMA = (401, 402, 403, 404, 413, 429)
_UNKNOWN = re.compile(
    r"unsupported|not supported|unknown|unrecogni[sz]ed|unexpected|extra|forbidden|not permitted|not allowed|deprecated|instead"
    r"|\buse\b|invalid param"
)
_SERVER_ERRORS = 2  # 5xx in a row with a schema before one request is made without


@dataclass(frozen=True)
class Manner:
    """One way to ask. ``token_parameter`` ``None`` is the dialect's own choice."""

    constrained: bool = True
    token_parameter: Literal["max_tokens", "max_completion_tokens"] | None = None


class Manners:
    """The manner that is known to work, or hoped to, and what to try instead. Threads may share it."""

    def __init__(self, options: RemoteOptions, token_names: tuple[str, ...]):
        self._options, self._token_names = options, token_names
        self.current = Manner(constrained=options.structured != "none")
        self._schema_proven = False
        self._server_errors = 0

    def other(
        self,
        manner: Manner,
        failure: Failure,
        sampling: Sampling,
        request: Mapping[str, Any],
        *,
        trial: bool,
    ) -> Manner | None:
        """The manner to try at once after ``failure``, or ``None``. ``trial``: the manner was itself an attempt of that kind."""
        other_name = self._other_name(failure, request)
        if other_name is not None and manner.token_parameter is None:
            return dataclasses.replace(manner, token_parameter=other_name)
        constrained = manner.constrained and _is_constrained(sampling)
        if (
            constrained
            and self._options.structured == "auto"
            and self._doubts_schema(failure, trial)
        ):
            return dataclasses.replace(manner, constrained=False)
        return None

    def worked(self, manner: Manner, sampling: Sampling) -> None:
        """Note that a request was answered: a schema that has worked once is not doubted any more."""
        if manner.constrained and _is_constrained(sampling):
            self._schema_proven, self._server_errors = True, 0

    def adopt(self, manner: Manner, name: str, refusal: str) -> None:
        """Keep to what worked after ``refusal``, the reason (without keys) why another manner did not."""
        news, self.current = self.current.constrained and not manner.constrained, manner
        if news:
            logger.warning(
                "%s: %s. The server refuses the JSON schema: answers are not constrained from now on, as with structured='none' "
                "(--vlm-option structured=none)", name, refusal.rstrip(". ")
            )  # fmt: skip

    def judged(self, failure: Failure, sampling: Sampling) -> Failure:
        """The failure, marked if a schema that was insisted on is what the server refused."""
        if (
            failure.error is RequestError
            and _is_constrained(sampling)
            and speaks_of_schema(failure)
        ):
            return dataclasses.replace(failure, error=SchemaRefusedError)
        return failure

    def _other_name(
        self, failure: Failure, request: Mapping[str, Any]
    ) -> Literal["max_tokens", "max_completion_tokens"] | None:
        used = next((name for name in self._token_names if name in request), None)
        if (
            used is None
            or self._options.token_parameter != "auto"
            or failure.error is not RequestError
        ):
            return None
        message = failure.message.lower()
        if not re.search(rf"\b{used}\b", message) or not _UNKNOWN.search(message):
            return None
        return "max_completion_tokens" if used == "max_tokens" else "max_tokens"

    def _doubts_schema(self, failure: Failure, trial: bool) -> bool:
        """Whether the schema may be the reason of a failure."""
        if (
            failure.error is RequestError
            and failure.status is not None
            and failure.status not in _NOT_THE_SCHEMA
        ):
            unknown = (
                not self._schema_proven and failure.status >= 400 and not known_reason(failure)
            )
            return speaks_of_schema(failure) or unknown
        if (
            failure.error is None
            and failure.status is not None
            and failure.status >= 500
            and not self._schema_proven
        ):
            self._server_errors += not trial
            return self._server_errors % _SERVER_ERRORS == 0
        return False


def _is_constrained(sampling: Sampling) -> bool:
    return bool(sampling.schema or sampling.choices)

"""CogVLM2, which transformers does not know: only through the Python code that comes with its weights, and only on request.

That code was written for transformers 4 and needs torchvision and xformers; its own ``generate`` is known to fail from 4.42
on (github.com/zai-org/CogVLM2/issues/142, /156). Only its documented ``build_conversation_input_ids`` and ``forward`` are
used here. It reads one picture: the pictures of the last message side by side, oldest left. Requests are answered singly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ModelNotAvailableError
from atari_vlm.hub import reason_of
from atari_vlm.types import Message
from atari_vlm.vlm.local.checkpoint_folder import ALTERNATIVES, read_object, unavailable
from atari_vlm.vlm.local.engine import AnswerRequest, Generation, ScoreRequest
from atari_vlm.vlm.local.loading import Loaded, fitting_placement, load_model, stop_ids
from atari_vlm.vlm.local.options import LocalOptions

EXPLANATION = (
    "transformers has no class for CogVLM2, so it needs code from the model's own repository. Either serve it behind an "
    "OpenAI-compatible endpoint: `lmdeploy serve api_server THUDM/cogvlm2-llama3-chat-19B --server-port 23333`, then "
    "`--vlm cogvlm2 --base-url http://127.0.0.1:23333/v1`; or run that code in this process after reading it: "
    "`--vlm cogvlm2 --trust-remote-code --revision COMMIT` with a full commit (40 hex digits); or take a relative that "
    "needs no foreign code: `--vlm cogvlm2 --model zai-org/GLM-4.1V-9B-Thinking`"
)


def check_remote_code(family: str, model: str, options: LocalOptions) -> None:
    """Foreign code runs only when asked for, and from the hub only in one exact version; explain the routes otherwise."""
    is_folder = Path(model).expanduser().is_dir()
    if options.trust_remote_code and not is_folder and not options.pinned:
        raise ModelNotAvailableError(
            f"trust_remote_code runs code from {model}: pin it with revision=COMMIT, 40 hex digits, "
            f"got {options.revision!r}. {EXPLANATION if family == 'cogvlm2' else ''}".rstrip()
        )
    if (
        family == "cogvlm2"
        and "cogvlm" in model.lower()
        and not is_folder
        and not options.trust_remote_code
    ):
        raise ModelNotAvailableError(
            f"{model} cannot be loaded as it is: {EXPLANATION}. {ALTERNATIVES}."
        )


def is_foreign(name: str, folder: Path) -> bool:
    """Whether a checkpoint is CogVLM2's, and not of a type that transformers knows; any other unknown type is refused."""
    transformers = require("transformers", "local")
    config = read_object(folder / "config.json")
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in transformers.CONFIG_MAPPING:
        return False
    if "cog" in json.dumps([kind, config.get("architectures"), config.get("auto_map")]).lower():
        return True
    raise unavailable(
        f"{name} is a model of type {kind!r}, which transformers {transformers.__version__} does not know: a newer "
        "version may (pip install -U transformers), and so may a server"
    )


def load_foreign(name: str, folder: Path, options: LocalOptions) -> Loaded:
    """Load a CogVLM2 checkpoint with its own code."""
    if not options.trust_remote_code:
        raise ModelNotAvailableError(
            f"{name} cannot be loaded as it is: {EXPLANATION}. {ALTERNATIVES}."
        )
    transformers = require("transformers", "local")
    device, dtype = fitting_placement(name, folder, options)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=True
        )
        model = load_model(transformers.AutoModelForCausalLM, folder, (device, dtype), options)
    except ModelNotAvailableError:
        raise
    except Exception as error:  # whatever the foreign code raises
        raise ModelNotAvailableError(
            f"the code of {name} does not run here ({reason_of(error)}). {EXPLANATION}. {ALTERNATIVES}."
        ) from error
    stops = stop_ids(model, tokenizer)
    return Loaded(CogEngine(model, stops), CogEncoder(model, tokenizer), "cogvlm2", dtype)


@dataclass(frozen=True, eq=False)
class CogPrompt:
    """What the model's own code made of a request: ``inputs`` of its forward pass, batch of one."""

    inputs: dict[str, Any]

    def __len__(self) -> int:
        return int(self.inputs["input_ids"].shape[1])


class CogEncoder:
    """Messages through the model's own ``build_conversation_input_ids``."""

    def __init__(self, model: Any, tokenizer: Any):
        self._model, self._tokenizer = model, tokenizer

    def encode(self, messages: Sequence[Message]) -> CogPrompt:
        """System and earlier turns as text, the last user message with its pictures as one."""
        from PIL import Image as PilImage

        *earlier, last = messages
        query, history = _turns(earlier, last)
        pictures = [PilImage.fromarray(strip(last))] if last.images else []
        made = self._model.build_conversation_input_ids(
            self._tokenizer, query=query, history=history, images=pictures, template_version="chat"
        )
        inputs = {
            name: made[name][None].to(self._model.device)
            for name in ("input_ids", "token_type_ids", "attention_mask")
        }
        if pictures:
            inputs["images"] = [[made["images"][0].to(self._model.device, self._model.dtype)]]
        return CogPrompt(inputs)

    def choice_ids(self, choice: str) -> list[int]:
        """The tokens of an answer."""
        return [int(token) for token in self._tokenizer.encode(choice, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class CogEngine:
    """Forward passes of the model's own code."""

    def __init__(self, model: Any, stops: Sequence[int]):
        self.model, self._stops = model, tuple(stops)

    def answer(self, requests: Sequence[AnswerRequest]) -> list[Generation]:
        """One request after another."""
        return [self._answer(request) for request in requests]

    def score(self, requests: Sequence[ScoreRequest]) -> list[np.ndarray]:
        """One pass per choice: log-probability of its tokens and of the end, float64 ``(n,)`` per request."""
        return [np.array([self._score(r.prompt, choice) for choice in r.choices]) for r in requests]

    def _answer(self, request: AnswerRequest) -> Generation:
        ids: list[int] = []
        inputs: dict[str, Any] = request.prompt.inputs  # type: ignore[attr-defined]
        out = self._forward(inputs)
        while True:
            logits = out.logits[0, -1].float()
            token = (
                int(logits.argmax())
                if request.sampler.greedy
                else request.sampler.draw(logits.cpu().numpy())
            )
            ids.append(token)
            if token in self._stops:
                return Generation(tuple(ids[:-1]), True, len(ids), 0)
            if len(ids) >= request.max_tokens:
                return Generation(tuple(ids), False, len(ids), 0)
            inputs = _with_text(inputs, [token])
            out = self._forward(self._last_only(inputs, out.past_key_values))

    def _score(self, prompt: Any, choice: Sequence[int]) -> float:
        logits = (
            self._forward(_with_text(prompt.inputs, choice))
            .logits[0, -len(choice) - 1 :]
            .float()
            .log_softmax(-1)
        )
        tokens = sum(float(logits[place, token]) for place, token in enumerate(choice))
        return tokens + float(logits[-1, list(self._stops)].logsumexp(0))

    def _forward(self, inputs: dict[str, Any]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(**inputs, use_cache=True, return_dict=True)

    def _last_only(self, inputs: dict[str, Any], past: Any) -> dict[str, Any]:
        """Inputs for the newest token alone, with the position that the model's own rule gives it."""
        rule = sys.modules[type(self.model).__module__].build_position_ids  # type: ignore[attr-defined]
        return {
            "input_ids": inputs["input_ids"][:, -1:],
            "token_type_ids": inputs["token_type_ids"][:, -1:],
            "position_ids": rule(inputs["token_type_ids"], inputs["attention_mask"])[:, -1:],
            "attention_mask": inputs["attention_mask"],
            "past_key_values": past,
        }


def _with_text(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The inputs with text tokens behind them (type 0 is language)."""
    import torch

    new = torch.tensor([list(tokens)], device=inputs["input_ids"].device)
    more = {
        "input_ids": new,
        "token_type_ids": torch.zeros_like(new),
        "attention_mask": torch.ones_like(new),
    }
    grown = {
        name: torch.cat([inputs[name], tail.to(inputs[name].dtype)], dim=1)
        for name, tail in more.items()
    }
    return {**inputs, **grown}


def _turns(earlier: Sequence[Message], last: Message) -> tuple[str, list[tuple[str, str]]]:
    """The query and the (question, answer) pairs before it; what the system says opens the conversation."""
    opening = "\n".join(message.text for message in earlier if message.role == "system")
    history: list[tuple[str, str]] = []
    question = ""
    for message in earlier:
        if message.role == "user":
            question = message.text
        elif message.role == "assistant":
            history.append((question, message.text))
    if opening and history:
        history[0] = (f"{opening}\n{history[0][0]}", history[0][1])
        return last.text, history
    return f"{opening}\n{last.text}".strip(), history


def strip(message: Message) -> np.ndarray:
    """The pictures of a message side by side, uint8 ``(H, sum of W, 3)``; lower ones are filled up with black."""
    height = max(image.pixels.shape[0] for image in message.images)
    fill = [((0, height - image.pixels.shape[0]), (0, 0), (0, 0)) for image in message.images]
    return np.concatenate(
        [np.pad(i.pixels, f) for i, f in zip(message.images, fill, strict=True)], axis=1
    )

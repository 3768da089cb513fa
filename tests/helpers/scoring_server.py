"""Servers that score with a true model: vLLM's ``prompt_logprobs`` and ``/v1/systemone``, for ``FakeVendorServer(respond=...)``.

The prompt is made by transformers' own chat template or processor and the log-probabilities by one plain forward pass for each
request, so that nothing of what this package does in process is used.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PILImage

_NOT_IMPLEMENTED = (404, {}, b'{"detail": "Not Found"}')


class TrueScores:
    """The model in ``folder`` behind both addresses. ``changed(body)`` may change a vLLM answer before it is sent."""

    def __init__(self, folder: Path, *, pictures: bool = False, changed=None):
        import transformers

        self.pictures, self.changed = pictures, changed
        model, processor = (
            (transformers.AutoModelForImageTextToText, transformers.AutoProcessor)
            if pictures
            else (transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
        )
        self.model, self.processor = (
            model.from_pretrained(folder).eval(),
            processor.from_pretrained(folder),
        )
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        self.bodies: list[dict[str, Any]] = []

    def respond(self, request) -> tuple[int, dict[str, str], bytes]:
        self.bodies.append(request.body)
        if request.path == "/v1/systemone":
            return 200, {}, json.dumps(self._decide(request.body)).encode()
        if request.path != "/v1/chat/completions" or "prompt_logprobs" not in request.body:
            return _NOT_IMPLEMENTED
        body = self._completion(request.body)
        return 200, {}, json.dumps(self.changed(body) if self.changed else body).encode()

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion as vLLM writes it: one token, and what was asked about the prompt."""
        assert body["prompt_logprobs"] == 0 and body["max_tokens"] == 1
        inputs = self._inputs(body)
        ids = inputs["input_ids"][0]
        with torch.inference_mode():
            log_probs = self.model(**inputs).logits[0].double().log_softmax(-1)
        entries: list[Any] = [None]
        for place in range(1, len(ids)):
            token = int(ids[place])
            value = log_probs[place - 1, token]
            rank = int((log_probs[place - 1] > value).sum()) + 1
            text = self.tokenizer.decode([token])
            entries.append(
                {str(token): {"logprob": float(value), "rank": rank, "decoded_token": text}}
            )
        message = {"role": "assistant", "content": "x"}
        return {
            "object": "chat.completion", "model": body["model"], "prompt_logprobs": entries,
            "choices": [{"index": 0, "finish_reason": "length", "message": message}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": 1, "total_tokens": len(ids) + 1},
        }  # fmt: skip

    def _inputs(self, body: dict[str, Any]) -> dict[str, Any]:
        chat = [
            {"role": turn["role"], "content": self._content(turn["content"])}
            for turn in body["messages"]
        ]
        return dict(
            self.processor.apply_chat_template(
                chat,
                add_generation_prompt=body.get("add_generation_prompt", True),
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        )

    def _content(self, content: Any) -> Any:
        if not self.pictures:
            texts = content if isinstance(content, list) else [{"text": content}]
            return "\n".join(part["text"] for part in texts if "text" in part)
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return [
            part if part["type"] == "text" else {"type": "image", "image": _opened(part)}
            for part in parts
        ]

    def _decide(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the handler of ``transformers serve`` does with a valid request: the library's own pipeline answers."""
        from transformers.pipelines import DecisionPipeline

        processor = self.processor if self.pictures else None
        pipe = DecisionPipeline(model=self.model, tokenizer=self.tokenizer, processor=processor)
        request = {key: body.get(key, {}) for key in ("state", "questions", "assets")}
        answers = pipe.postprocess(pipe.forward(pipe.preprocess(request)))
        return {"model": body["model"], "answers": answers, "usage": {"input_tokens": 1}}


def _opened(part: dict[str, Any]) -> Any:
    data = part["image_url"]["url"].partition("base64,")[2]
    return PILImage.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

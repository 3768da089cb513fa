"""The forward passes: answers token by token, and the scores of all choices in one pass. Used by one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, NotSupportedError
from atari_vlm.types import Message
from atari_vlm.vlm.local.choices import ChoiceTree, WordScores, with_choices
from atari_vlm.vlm.local.encoder import Encoder
from atari_vlm.vlm.local.layouts import PLAIN_ATTENTION, Layout
from atari_vlm.vlm.local.prefix import WORTHWHILE, Kept, PrefixCache, Start
from atari_vlm.vlm.local.prompt import Padded, Prompt, check_fits, check_left_padded, pad_left
from atari_vlm.vlm.local.sampling import TokenSampler


@dataclass(frozen=True)
class Generation:
    """New tokens only. ``stopped`` is ``False`` when the limit cut the answer; ``cached`` prompt tokens were not computed."""

    ids: tuple[int, ...]
    stopped: bool
    generated: int
    cached: int


@dataclass(frozen=True)
class AnswerRequest:
    """A prompt, how to draw, and the most new tokens. ``words_only``: the mark of a picture ends the answer too."""

    prompt: Prompt
    sampler: TokenSampler
    max_tokens: int
    words_only: bool = False


@dataclass(frozen=True)
class ScoreRequest:
    """A prompt and the tokens of each choice."""

    prompt: Prompt
    choices: tuple[tuple[int, ...], ...]


def score_request(
    encoder: Encoder, messages: Sequence[Message], choices: Sequence[str]
) -> ScoreRequest:
    """The request to score ``choices`` as answers to ``messages``; ``ConfigError`` without any."""
    if not choices:
        raise ConfigError("score_choices needs at least one choice")
    prompt = encoder.encode(messages)
    return ScoreRequest(prompt, tuple(tuple(encoder.choice_ids(choice)) for choice in choices))


class Engine:
    """One loaded model. ``layout`` batches pictures; ``stop_ids`` end an answer; ``pad_id`` fills rows."""

    def __init__(
        self,
        model: Any,
        layout: Layout,
        *,
        stop_ids: Sequence[int],
        pad_id: int,
        prefix_cache: bool = True,
    ):
        self.model, self._layout, self._pad_id = model, layout, pad_id
        self._stop_ids = tuple(stop_ids)
        text = model.config.get_text_config()
        self._plain = model.config.model_type in PLAIN_ATTENTION
        self._window: int | None = getattr(text, "sliding_window", None)
        self._context: int | None = getattr(text, "max_position_embeddings", None)
        reusable = prefix_cache and self._plain and layout.prefix_reusable
        self.prefixes: PrefixCache | None = PrefixCache() if reusable else None
        self._learning = False

    def answer(self, requests: Sequence[AnswerRequest]) -> list[Generation]:
        """Answer every request; row ``i`` does not depend on the others."""
        answers: dict[int, Generation] = {}
        for start, members in self._groups(
            [r.prompt for r in requests], [r.max_tokens for r in requests]
        ):
            group = [requests[i] for i in members]
            answers.update(zip(members, self._generate(start, group), strict=True))
        return [answers[i] for i in range(len(requests))]

    def score(self, requests: Sequence[ScoreRequest]) -> list[np.ndarray]:
        """Log-probability of each choice as the complete answer (its tokens, then the end), float64 ``(n,)`` per request."""
        if not self._plain:
            return [self._score_rows(request) for request in requests]
        scores: dict[int, np.ndarray] = {}
        room = [1 + max(map(len, request.choices)) for request in requests]
        for start, members in self._groups([r.prompt for r in requests], room):
            group = [requests[i] for i in members]
            scores.update(zip(members, self._score_tree(start, group), strict=True))
        return [scores[i] for i in range(len(requests))]

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens behind which no text goes on: those that end an answer, and the marks of pictures, which are no words."""
        config = self.model.config
        marks = (getattr(config, f"{kind}_token_id", None) for kind in ("image", "video"))
        pictures = {self._layout.token_id, *(mark for mark in marks if isinstance(mark, int))}
        return *self._stop_ids, *sorted(pictures - set(self._stop_ids))

    @property
    def scores_in_one_pass(self) -> bool:
        """Whether all choices stand behind one copy of the prompt; else :meth:`log_probs` refuses."""
        return self._plain

    def log_probs(self, requests: Sequence[ScoreRequest]) -> list[Any]:
        """What :meth:`score` computes, as tensors float64 ``(n,)`` that carry gradients to the model's weights.

        ``NotSupportedError`` for a model whose attention is not plain.
        """
        return self.states(requests)[0]

    def states(self, requests: Sequence[ScoreRequest]) -> tuple[list[Any], Any]:
        """:meth:`log_probs`, and what the model's head reads behind each prompt: its last hidden state ``(B, D)``.

        Words that several prompts begin with are computed once; gradients of all of them flow through that.
        """
        words, read = self.words(requests)
        return [row.of_choices for row in words], read

    def words(self, requests: Sequence[ScoreRequest]) -> tuple[list[WordScores], Any]:
        """:meth:`states`, word by word."""
        import torch

        if not self._plain:
            raise NotSupportedError(
                f"models of type {self.model.config.model_type!r} have no one-pass scores to learn from"
            )
        prompts = [request.prompt for request in requests]
        check_fits(prompts, [1 + max(map(len, r.choices)) for r in requests], self._context)
        scores: dict[int, WordScores] = {}
        read: dict[int, Any] = {}
        self._learning = True
        try:
            for begun, members in self._alike(prompts):
                group = [requests[i] for i in members]
                scores_of_group, read_of_group = self._learning_pass(begun, group)
                scores.update(zip(members, scores_of_group, strict=True))
                read.update(zip(members, read_of_group, strict=True))
        finally:
            self._learning = False
        order = range(len(requests))
        return [scores[i] for i in order], torch.stack([read[i] for i in order])

    def _alike(self, prompts: Sequence[Prompt]) -> list[tuple[Prompt | None, list[int]]]:
        """Prompts that begin with the same words, and those words where they are worth being computed once."""
        members: dict[bytes, list[int]] = {}
        recomputes = self._recomputes
        for index, prompt in enumerate(prompts):
            words = prompt.ids[: prompt.spans[0][0]] if prompt.spans else prompt.ids[:0]
            shared = len(words) >= WORTHWHILE and not recomputes
            members.setdefault(words.tobytes() if shared else b"", []).append(index)
        return [
            (
                prompts[own[0]].first(prompts[own[0]].spans[0][0])
                if begun and len(own) > 1
                else None,
                own,
            )
            for begun, own in members.items()
        ]

    @property
    def _recomputes(self) -> bool:
        """Whether activations are recomputed for the gradient, which goes with no keys and values of a start."""
        return any(getattr(part, "gradient_checkpointing", False) for part in self.model.modules())

    def _learning_pass(
        self, begun: Prompt | None, group: Sequence[ScoreRequest]
    ) -> tuple[list[WordScores], Any]:
        """Log-probabilities and last hidden states of a group, behind what all of it begins with."""
        from transformers import DynamicCache

        prompts = [request.prompt for request in group]
        trees = [ChoiceTree.of(request.choices) for request in group]
        start, more = Start(), dict[str, Any](use_cache=False)
        if begun is not None:
            cache = DynamicCache()
            whole = pad_left([begun], 0, self._pad_id)
            self._forward(
                whole, start, [begun], past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            start = Start(
                len(begun),
                Kept(begun.keys, tuple((layer.keys, layer.values) for layer in cache.layers)),
            )
            more = {"past_key_values": start.cache(len(group)), "use_cache": True}
        padded = pad_left(prompts, start.length, self._pad_id)
        block, seen = self._tree_block(padded, prompts, trees)
        read: list[Any] = []
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda module, given: read.append(given[0]))
        try:
            out = self._forward(block, start, prompts, **more, **seen)
        finally:
            hook.remove()
        scores = [
            tree.words(logits, self._stop_ids)
            for tree, logits in zip(trees, out.logits, strict=True)
        ]
        return scores, read[0][:, 0]

    def _groups(
        self, prompts: Sequence[Prompt], room: Sequence[int]
    ) -> list[tuple[Start, list[int]]]:
        """Split a batch by the known start of its prompts; check that prompts and answers fit the context."""
        longest = max(len(prompt) + extra for prompt, extra in zip(prompts, room, strict=True))
        check_fits(prompts, room, self._context)
        fits_window = self._window is None or longest <= self._window
        if self.prefixes is None or not fits_window:
            return [(Start(), list(range(len(prompts))))]
        return self.prefixes.groups(prompts)

    def _forward(self, padded: Padded, start: Start, prompts: Sequence[Prompt], **more: Any) -> Any:
        """One pass over prompts (behind ``start``), with pictures. ``more`` replaces or adds model inputs."""
        import torch

        device, dtype = self.model.device, self.model.dtype
        pictures = self._layout.collate([prompt.pieces_after(start.length) for prompt in prompts])
        inputs = {
            "input_ids": padded.ids,
            "attention_mask": padded.mask.astype(np.int64),
            "position_ids": padded.positions,
        }
        tensors = {
            name: torch.from_numpy(array).to(device, dtype if array.dtype.kind == "f" else None)
            for name, array in {**inputs, **pictures}.items()
        }
        with torch.inference_mode(not (self._learning and torch.is_grad_enabled())):
            return self.model(**{**tensors, **more})

    def _new_cache(self, start: Start, rows: int) -> Any:
        from transformers import DynamicCache

        return start.cache(rows) if self._plain else DynamicCache(config=self.model.config)

    def _learn(self, prompts: Sequence[Prompt], start: Start, padded: Padded, cache: Any) -> None:
        fits = self._window is None or max(map(len, prompts)) <= self._window
        if self.prefixes is not None and fits:
            self.prefixes.learn(prompts, start, padded, cache)

    def _generate(self, start: Start, group: Sequence[AnswerRequest]) -> list[Generation]:
        prompts = [request.prompt for request in group]
        padded = pad_left(prompts, start.length, self._pad_id)
        cache = self._new_cache(start, len(group))
        out = self._forward(
            padded, start, prompts, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        self._learn(prompts, start, padded, cache)
        return _Decoding(self, group, padded, start).run(out.logits[:, -1], cache)

    def _score_tree(self, start: Start, group: Sequence[ScoreRequest]) -> list[np.ndarray]:
        """All choices behind the prompt in one row each, every choice blind to the others."""
        prompts = [request.prompt for request in group]
        trees = [ChoiceTree.of(request.choices) for request in group]
        padded = pad_left(prompts, start.length, self._pad_id)
        block, more = self._tree_block(padded, prompts, trees)
        cache = self._new_cache(start, len(group))
        out = self._forward(block, start, prompts, past_key_values=cache, use_cache=True, **more)
        self._learn(prompts, start, padded, cache)
        return [
            tree.scores(logits, self._stop_ids)
            for tree, logits in zip(trees, out.logits, strict=True)
        ]

    def _tree_block(
        self, padded: Padded, prompts: Sequence[Prompt], trees: Sequence[ChoiceTree]
    ) -> tuple[Padded, dict[str, Any]]:
        """The padded prompts with their choices behind them, and what the model is told about who sees whom."""
        import torch

        block, allowed = with_choices(padded, prompts, trees)
        mask = torch.from_numpy(allowed).to(self.model.device)
        bias = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device)
        bias.masked_fill_(~mask, torch.finfo(self.model.dtype).min)
        return block, {
            "attention_mask": bias,
            "logits_to_keep": 1 + block.ids.shape[1] - padded.ids.shape[1],
        }

    def _score_rows(self, request: ScoreRequest) -> np.ndarray:
        """Every choice behind its own copy of the prompt, one row each: for models whose attention is not plain."""
        rows = [request.prompt.extended(choice) for choice in request.choices]
        padded = pad_left(rows, 0, self._pad_id)
        longest = max(map(len, request.choices))
        out = self._forward(padded, Start(), rows, use_cache=False, logits_to_keep=longest + 1)
        return np.array(
            [
                ChoiceTree.of([choice]).scores(logits[longest - len(choice) :], self._stop_ids)[0]
                for choice, logits in zip(request.choices, out.logits, strict=True)
            ]
        )


class _Decoding:
    """The token-by-token part of one batch."""

    def __init__(
        self, engine: Engine, group: Sequence[AnswerRequest], padded: Padded, start: Start
    ):
        self._model = engine.model
        ends = {False: frozenset(engine._stop_ids), True: frozenset(engine.end_ids)}
        self._ends = [ends[request.words_only] for request in group]
        self._group, self._start = group, start
        self._mask = padded.mask.astype(np.int64)
        self._next = np.array([request.prompt.next_position for request in group])  # (B,)
        self._axes = padded.positions.shape[:-2]
        self._ids: list[list[int]] = [[] for _ in group]
        self._stopped = [False] * len(group)

    def run(self, logits: Any, cache: Any) -> list[Generation]:
        """Go on from the prompt's last logits ``(B, V)`` until every row has ended."""
        while True:
            tokens = self._take(logits)
            if all(self._ended(row) for row in range(len(self._group))):
                return self._answers()
            logits = self._step(tokens, cache)

    def _ended(self, row: int) -> bool:
        return self._stopped[row] or len(self._ids[row]) >= self._group[row].max_tokens

    def _take(self, logits: Any) -> list[int]:
        """The next token of every row; rows that have ended repeat theirs, which nobody reads."""
        best = logits.argmax(-1).tolist()
        tokens = []
        for row, request in enumerate(self._group):
            sampler = request.sampler
            token = best[row] if sampler.greedy else sampler.draw(logits[row].float().cpu().numpy())
            tokens.append(token)
            if not self._ended(row):
                self._ids[row].append(token)
                self._stopped[row] = token in self._ends[row]
        return tokens

    def _step(self, tokens: Sequence[int], cache: Any) -> Any:
        import torch

        rows = len(tokens)
        self._mask = np.concatenate([self._mask, np.ones((rows, 1), dtype=np.int64)], axis=1)
        check_left_padded(self._mask)
        positions = np.broadcast_to(self._next[:, None], (*self._axes, rows, 1)).copy()
        self._next = self._next + 1
        arrays = {
            "attention_mask": self._mask,
            "position_ids": positions,
            "input_ids": np.array(tokens)[:, None],
        }
        tensors = {
            name: torch.from_numpy(array).to(self._model.device) for name, array in arrays.items()
        }
        with torch.inference_mode():
            return self._model(
                **tensors, past_key_values=cache, use_cache=True, logits_to_keep=1
            ).logits[:, -1]

    def _answers(self) -> list[Generation]:
        return [
            Generation(tuple(ids[:-1] if stopped else ids), stopped, len(ids), self._start.length)
            for ids, stopped in zip(self._ids, self._stopped, strict=True)
        ]

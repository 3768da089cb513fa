"""Plain transformers calls that the tests compare with: no cache, no batching, no own positions or masks."""

import numpy as np


def plain_inputs(vlm, prompt, extra=()):
    """What the stock processor would hand to the model for one prompt with text tokens behind it."""
    import torch

    ids = torch.tensor([[*prompt.ids.tolist(), *extra]])
    layout, config = vlm._engine._layout, vlm._engine.model.config
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "qwen" in config.model_type or "glm" in config.model_type:
        inputs["mm_token_type_ids"] = (ids == layout.token_id).int()
    pictures = layout.collate([prompt.pieces])
    return {**inputs, **{name: torch.from_numpy(array) for name, array in pictures.items()}}


def reference_scores(vlm, messages, choices):
    """Per choice: one whole forward pass, the log-probabilities of its tokens and of the end summed."""
    import torch

    prompt, scores = vlm._encoder.encode(messages), []
    for choice in choices:
        tokens = vlm._encoder.choice_ids(choice)
        with torch.inference_mode():
            logits = (
                vlm._engine.model(**plain_inputs(vlm, prompt, tokens))
                .logits[0]
                .double()
                .log_softmax(-1)
            )
        places = range(len(prompt) - 1, len(prompt) - 1 + len(tokens))
        total = sum(
            float(logits[place, token]) for place, token in zip(places, tokens, strict=True)
        )
        scores.append(total + float(logits[-1, list(vlm._engine._stop_ids)].logsumexp(0)))
    return np.array(scores)


def reference_answer(vlm, messages, max_tokens):
    """transformers' own greedy generate: the new tokens."""
    prompt = vlm._encoder.encode(messages)
    out = vlm._engine.model.generate(
        **plain_inputs(vlm, prompt), max_new_tokens=max_tokens, do_sample=False
    )
    return out[0, len(prompt) :].tolist()

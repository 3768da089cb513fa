"""A checkpoint in the shape of CogVLM2: a model type transformers does not know, and its own code with the same interface.

One linear layer over token and picture features with a running mean instead of attention; enough to tell right inputs from
wrong ones. Past keys and values are a tuple, as that code's are.
"""

import json
from pathlib import Path

CODE = '''
import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast


class TinyCogConfig(PretrainedConfig):
    model_type = "tiny_cog"

    def __init__(self, vocab_size=300, hidden_size=16, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)


def build_position_ids(token_type_ids, attention_mask=None):
    """Picture tokens share one position."""
    text = (token_type_ids == 0).long()
    return text.cumsum(-1)


class TinyCogForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = TinyCogConfig
    _supports_sdpa = True

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.place = nn.Embedding(2048, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def build_conversation_input_ids(self, tokenizer, *, query, history=None, images=None, template_version=None):
        assert template_version == "chat" and len(images) <= 1
        text = "".join(f"Question: {q} Answer: {a}\\n" for q, a in history or []) + f"Question: {query} Answer:"
        ids, types = [tokenizer.bos_token_id], [0]
        if images:
            ids, types = ids + [tokenizer.pad_token_id] * 4, types + [1] * 4
        new = tokenizer.encode(text, add_special_tokens=False)
        ids, types = ids + new, types + [0] * len(new)
        pixels = [torch.from_numpy(np.asarray(image, np.float32)).mean((0, 1)) / 255 for image in images or []]
        return {"input_ids": torch.tensor(ids), "token_type_ids": torch.tensor(types),
                "attention_mask": torch.ones(len(ids), dtype=torch.long), "images": pixels}

    def forward(self, input_ids, token_type_ids, attention_mask, images=None, position_ids=None, past_key_values=None,
                use_cache=None, return_dict=None):
        if position_ids is None:
            position_ids = build_position_ids(token_type_ids, attention_mask)
        x = self.embed(input_ids) + self.place(position_ids)
        if images is not None and past_key_values is None:
            assert (token_type_ids == 1).sum() == 4
            x = x + (token_type_ids == 1)[..., None] * images[0][0].mean() * 5
        if past_key_values is not None:
            x = torch.cat([past_key_values[0][0], x], 1)
        mean = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[None, :, None]
        logits = self.head((x + mean).tanh())[:, -input_ids.shape[1]:]
        return CausalLMOutputWithPast(logits=logits, past_key_values=((x, x),))
'''


def build(folder: Path) -> Path:
    """Write weights, tokenizer and code."""
    import torch
    from safetensors.torch import save_file

    from atari_vlm.vlm.local.tiny.parts import tiny_tokenizer

    folder.mkdir(parents=True)
    tokenizer = tiny_tokenizer(["<image>"])
    tokenizer.save_pretrained(folder)
    (folder / "modeling_tiny_cog.py").write_text(CODE)
    size, width = len(tokenizer), 16
    rng = torch.Generator().manual_seed(0)
    shapes = {
        "embed.weight": (size, width),
        "place.weight": (2048, width),
        "head.weight": (size, width),
        "head.bias": (size,),
    }
    tensors = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    names = {"AutoConfig": "TinyCogConfig", "AutoModelForCausalLM": "TinyCogForCausalLM"}
    config = {
        "model_type": "tiny_cog",
        "architectures": ["TinyCogForCausalLM"],
        "vocab_size": size,
        "hidden_size": width,
        "eos_token_id": tokenizer.eos_token_id,
        "auto_map": {auto: f"modeling_tiny_cog.{name}" for auto, name in names.items()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder

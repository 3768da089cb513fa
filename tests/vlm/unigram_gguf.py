"""A language model without a thought, as a GGUF file for llama.cpp: ``python unigram_gguf.py FILE`` (needs gguf and numpy).

Every layer's weights are 0 and every token is embedded alike, so that the logits are the same after any text: the numbers below.
It says quotation marks, mostly. Held to a JSON schema it writes what the schema leaves no choice in, closes every text at once,
and chooses among the rest: all that a grammar can make of a model that knows nothing.
"""

import sys

import gguf
import numpy as np

WIDTH, HEADS, CONTEXT = 32, 2, 8192
LOGITS = {'"': 8.0, "</s>": 4.0}
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def vocabulary():
    """Tokens with their scores and types: three special ones, every byte, every printable ASCII character."""
    kinds = gguf.TokenType
    rows = [
        ("<unk>", 0.0, kinds.UNKNOWN),
        ("<s>", 0.0, kinds.CONTROL),
        ("</s>", 0.0, kinds.CONTROL),
    ]
    rows += [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]
    rows += [(chr(code), -float(code), kinds.NORMAL) for code in range(33, 127)]
    return [*rows, ("\u2581", -33.0, kinds.NORMAL)]


def write(path):
    """Write the model."""
    rows = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("unigram")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _, _ in rows])
    writer.add_token_scores([score for _, score, _ in rows])
    writer.add_token_types([int(kind) for _, _, kind in rows])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, value in tensors([token for token, _, _ in rows]).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(tokens):
    """The weights, float32."""
    ones, zeros = np.ones(WIDTH, np.float32), np.zeros((WIDTH, WIDTH), np.float32)
    logits = np.array([LOGITS.get(token, 0.0) for token in tokens], np.float32)
    block = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return {
        "token_embd.weight": np.ones((len(tokens), WIDTH), np.float32),
        **{f"blk.0.{name}.weight": zeros for name in block},
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
        "output_norm.weight": ones,
        "output.weight": np.repeat(logits[:, None] / WIDTH, WIDTH, axis=1),
    }


if __name__ == "__main__":
    write(sys.argv[1])

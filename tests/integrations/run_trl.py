"""One GRPO step of TRL on the CPU with a tiny Qwen3-VL: three turns a rollout, pictures from the tool, the reward the game's.

The weights are random, so what they would say is no tool call: the words of each turn are put in the place of what was generated.
All else is TRL's: the conversation, the pictures' features, the rewards, the loss and the step of the optimiser.
"""

import hashlib
import itertools

import torch
from datasets import Dataset
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_vl_chat_template

from atari_vlm.integrations import trl as ours
from atari_vlm.integrations.playing import Game
from atari_vlm.vlm.local.tiny import build_tiny

TURNS, SEED = 3, 3
BUTTONS = ["RIGHT", "LEFT", "FIRE"]
folder = build_tiny("qwen3-vl", "tiny")


class Pictures(Qwen3VLProcessor):
    """The real processor without its part for films, which needs torchvision."""

    attributes = ("image_processor", "tokenizer")

    def __init__(self, image_processor, tokenizer, chat_template=None, **_):
        from transformers.processing_utils import ProcessorMixin

        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
        self.vision_start_token_id = tokenizer.convert_tokens_to_ids(self.vision_start_token)
        self.vision_end_token_id = tokenizer.convert_tokens_to_ids(self.vision_end_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
tokenizer.chat_template = qwen3_vl_chat_template
processor = Pictures(
    AutoImageProcessor.from_pretrained(folder, backend="pil"), tokenizer, qwen3_vl_chat_template
)
model = Qwen3VLForConditionalGeneration.from_pretrained(folder)
turns = itertools.count()


def words_of(turn):
    """What the model says in a turn: a call of the tool, and at the end a word."""
    if turn < TURNS:
        return f'<tool_call>\n{{"name": "press", "arguments": {{"button": "{BUTTONS[turn]}"}}}}\n</tool_call><|im_end|>'
    return "done<|im_end|>"


class Planted(GRPOTrainer):
    """TRL's trainer, but for the words that are generated."""

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        ids = tokenizer(words_of(next(turns)), add_special_tokens=False)["input_ids"]
        return [list(ids) for _ in prompt_ids], None


played = []


class Seen(ours.AtariGame):
    """Notes the digests of the pictures that it gives to the trainer."""

    def press(self, button: str) -> list:
        """Press a button.

        Args:
            button: The name of the button.
        """
        content = super().press(button)
        played.append(hashlib.sha256(content[0]["image"].convert("RGB").tobytes()).hexdigest())
        return content


rows = Dataset.from_list(
    [{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Play."}]}], "seed": SEED}]
    * 2
)
args = GRPOConfig(
    output_dir="out", per_device_train_batch_size=2, num_generations=2, max_steps=1, max_completion_length=2000,
    use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no", learning_rate=1e-3, beta=0.0,
)  # fmt: skip
trainer = Planted(
    model, args=args, train_dataset=rows, processing_class=processor,
    environment_factory=lambda: Seen("Pong-v5", max_steps=TURNS),
)  # fmt: skip
trainer.train()

game = Game("Pong-v5", TURNS)
game.reset(SEED)
digests = [game.press(button).sha256 for button in BUTTONS]
assert len(played) == 2 * TURNS and set(played) == set(digests), (
    len(played),
    len(set(played) & set(digests)),
)
(line,) = [line for line in trainer.state.log_history if "loss" in line]
assert trainer.state.global_step == 1 and torch.isfinite(torch.tensor(line["loss"]))
print(
    f"trl: one step of GRPO, {len(played)} pictures equal those played, loss {line['loss']:g}, reward {line['reward']:g}"
)

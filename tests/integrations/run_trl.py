"""One GRPO step of TRL on the CPU with a tiny Qwen3-VL: pictures from the tool, the reward the game's, weights that change.

The weights are random, so what they would say is no tool call: the words of each turn are put in the place of what was generated.
All else is TRL's: the conversation, the features of pictures, the rewards, the loss, the step of the optimiser. The game is begun
shortly before the first point is lost: one of the two rollouts presses on and loses it, the other stops before.
"""

import hashlib
import itertools
import math

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


def opening():
    """How often nothing is pressed at first, so that the last of BUTTONS loses the first point; and the digests after it."""
    game = Game("Pong-v5")
    shown = game.reset(SEED)
    while not shown.reward:
        shown = game.press("NOOP")
    nothing = shown.step - TURNS
    game.reset(SEED)
    for _ in range(nothing):
        game.press("NOOP")
    played = [game.press(button) for button in BUTTONS]
    assert [shown.reward for shown in played] == [0.0] * (TURNS - 1) + [-1.0]
    return nothing, [shown.sha256 for shown in played]


OPENING, DIGESTS = opening()


def words_of(turn, rollout):
    """What the model says in a turn: a call of the tool, and at the end a word; the second rollout stops a turn earlier."""
    if turn < TURNS - rollout:
        return f'<tool_call>\n{{"name": "press", "arguments": {{"button": "{BUTTONS[turn]}"}}}}\n</tool_call><|im_end|>'
    return "done<|im_end|>"


class Planted(GRPOTrainer):
    """TRL's trainer, but for the words that are generated."""

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        turn = next(turns)
        said = [words_of(turn, rollout) for rollout in range(len(prompt_ids))]
        return tokenizer(said, add_special_tokens=False)["input_ids"], None


played = []


class Seen(ours.AtariGame):
    """Begins late, and notes the digests of the pictures that it gives to the trainer."""

    def reset(self, seed=None, **row):
        """Begin an episode."""
        told = super().reset(seed, **row)
        for _ in range(OPENING):
            self._game.press("NOOP")
        return told

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
    environment_factory=lambda: Seen("Pong-v5", max_steps=OPENING + TURNS),
)  # fmt: skip
before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
trainer.train()

assert len(played) == 2 * TURNS - 1 and set(played) == set(DIGESTS), played
(line,) = [line for line in trainer.state.log_history if "loss" in line]
changed = sum(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
assert trainer.state.global_step == 1 and math.isfinite(line["loss"])
assert line["reward"] == -0.5 and line["grad_norm"] > 0 and changed > len(before) / 2
print(
    f"trl: one step of GRPO, {len(played)} pictures equal those played, rewards -1 and 0, gradient {line['grad_norm']:.3g}, "
    f"{changed} of {len(before)} weights changed"
)

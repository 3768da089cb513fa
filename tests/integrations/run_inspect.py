"""``inspect eval`` by the task's name with a mock model and no network; its log is opened and held against the game."""

import base64
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import PIL.Image
from inspect_ai import eval as inspect_eval
from inspect_ai.log import list_eval_logs, read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from atari_vlm.integrations.playing import Game

STEPS = 68  # a point is lost on the way
words = [Path(sys.executable).with_name("inspect"), "eval", "atari_vlm/atari"]
words += ["--model", "one-button/FIRE", "-T", "max_steps=3", "-T", "episodes=1"]
words += ["--log-dir", "logs", "--display", "plain"]
done = subprocess.run(words, capture_output=True, text=True, check=False)
assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
(listed,) = list_eval_logs("logs")
(tried,) = read_eval_log(listed).samples
assert read_eval_log(listed).status == "success"
assert tried.scores["episode_return"].metadata["fallbacks"] == 0  # FIRE is a button

buttons = ["RIGHT", "I would go LEFT.", "no button here", "FIRE"] * (STEPS // 4)
outputs = [ModelOutput.from_content("mockllm/model", text) for text in buttons]
for output in outputs:  # else the mock counts tokens, by a table from the network
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
model = get_model("mockllm/model", custom_outputs=outputs)
(log,) = inspect_eval(
    "atari_vlm/atari", model=model, task_args={"max_steps": STEPS, "first_seed": 3}, log_dir="logs2", display="plain"
)  # fmt: skip
(sample,) = read_eval_log(log.location).samples
played = sample.scores["episode_return"].metadata
game = Game("Pong-v5", STEPS)
digests, total = [game.reset(3).sha256], 0.0
for word in ["RIGHT", "LEFT", "NOOP", "FIRE"] * (STEPS // 4):
    shown = game.press(word)
    digests.append(shown.sha256)
    total += shown.reward
assert played["sha256"] == digests
assert sample.scores["episode_return"].value == total == -1.0
assert played["fallbacks"] == STEPS // 4 and played["steps"] == STEPS
pictures = [p for m in sample.messages if m.role == "user" for p in m.content if p.type == "image"]
assert len(pictures) == STEPS
for picture, digest in zip(pictures, digests[:-1], strict=True):
    address = picture.image
    if address.startswith("attachment://"):
        address = sample.attachments[address.removeprefix("attachment://")]
    seen = PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    assert hashlib.sha256(seen.tobytes()).hexdigest() == digest
print(
    f"inspect: the task is found by its name; {STEPS} pictures in the log are those that were played, score {total:g}"
)

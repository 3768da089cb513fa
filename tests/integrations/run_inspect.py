"""``inspect eval`` by the task's name with a mock model and no network; its log is opened and held against the game."""

import base64
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import PIL.Image
from inspect_ai import eval as inspect_eval
from inspect_ai.log import list_eval_logs, read_eval_log
from inspect_ai.model import ModelOutput, get_model

from atari_vlm.integrations.playing import Game

STEPS = 12
# inspect's mock counts tokens with a table that tiktoken would download: here the words are counted
Path("offline").mkdir(exist_ok=True)
Path("offline", "tiktoken.py").write_text(
    "class Words:\n    def encode(self, text, **_): return text.split()\ndef get_encoding(name): return Words()\n"
)
sys.path.insert(0, "offline")
words = [
    Path(sys.executable).with_name("inspect"),
    "eval",
    "atari_vlm/atari",
    "--model",
    "mockllm/model",
]
words += ["-T", "max_steps=3", "-T", "episodes=1", "--log-dir", "logs", "--display", "plain"]
paths = os.pathsep.join(
    filter(None, [str(Path("offline").resolve()), os.environ.get("PYTHONPATH")])
)
done = subprocess.run(
    words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
)
assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
(listed,) = list_eval_logs("logs")
assert read_eval_log(listed).status == "success"

buttons = ["RIGHT", "I would go LEFT.", "no button here", "FIRE"] * (STEPS // 4)
outputs = [ModelOutput.from_content("mockllm/model", text) for text in buttons]
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
assert played["sha256"] == digests and sample.scores["episode_return"].value == total
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
    f"inspect: the task is found by its name; {STEPS} pictures in the log are those that were played"
)

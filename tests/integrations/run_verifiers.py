"""A rollout of verifiers against a model server on this machine: what it was sent are the pictures that were played."""

import asyncio
import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import PIL.Image
import verifiers.v1 as vf

from atari_vlm.integrations.verifiers import load_environment

STEPS, SEED = 3, 3  # every turn starts a process of verifiers
ANSWERS = ["RIGHT", "LEFT", "none that I know"]
asked = []
# a program that has imported the integration, and a process that it starts as verifiers starts its workers
WORKER = """
import multiprocessing
from verifiers.v1 import taskset_config_type
import atari_vlm.integrations.verifiers as ours
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(pool.apply(taskset_config_type, (ours.ID,)).__name__)
"""


class Model(BaseHTTPRequestHandler):
    """Chat completions, streamed or not."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ANSWERS[len(asked) % len(ANSWERS)]
        asked.append(body)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": "1", "created": 0, "model": body["model"], "usage": usage}
        message = {"role": "assistant", "content": answer}
        if body.get("stream"):
            kind, end = "text/event-stream", {"index": 0, "delta": {}, "finish_reason": "stop"}
            chunks = [{"index": 0, "delta": message, "finish_reason": None}, end]
            parts = [{**whole, "object": "chat.completion.chunk", "choices": [c]} for c in chunks]
            raw = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
        else:
            kind = "application/json"
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            raw = json.dumps({**whole, "object": "chat.completion", "choices": [choice]})
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw.encode())))
        self.end_headers()
        self.wfile.write(raw.encode())


async def play(env, client):
    async with env.serving():
        task = next(iter(env.taskset))
        return await env.run_episode(task, vf.ModelContext(model="local", client=client))


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = load_environment(game="Pong-v5", max_steps=STEPS, episodes=1, first_seed=SEED)
    client = vf.EvalClientConfig(
        base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", api_key_var="NO_KEY_IS_NEEDED"
    )

    episode = asyncio.run(play(env, client))
    assert episode.ok, [*episode.errors, *(trace.errors for trace in episode.traces)]
    (trace,) = episode.traces
    told = trace.info["atari"]
    assert told["steps"] == STEPS == len(asked) and told["fallbacks"] == STEPS // 3
    for number, body in enumerate(asked):
        users = [message for message in body["messages"] if message["role"] == "user"]
        assert len(users) == number + 1
        (picture,) = [part for part in users[-1]["content"] if part["type"] == "image_url"]
        raw = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
        seen = PIL.Image.open(io.BytesIO(raw)).convert("RGB")
        assert hashlib.sha256(seen.tobytes()).hexdigest() == told["sha256"][number]
    print(
        f"verifiers: {STEPS} turns with image parts, pixel digests equal, reward {trace.rewards['episode_return'].score:g}"
    )
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "AtariConfig", done.stderr
    print("verifiers: a worker process finds the task set by its id")


if __name__ == "__main__":
    main()

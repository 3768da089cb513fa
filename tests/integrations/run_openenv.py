"""OpenEnv's own client plays 80 steps against our server: rewards, ends and pixels are those of the game played here."""

import base64
import hashlib
import io
import socket
import threading
import time

import PIL.Image
import uvicorn
from openenv import GenericEnvClient

from atari_vlm.integrations.openenv import Session, make_app, make_client

STEPS, SEED = 80, 3  # a point is lost on the way
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
config = uvicorn.Config(make_app("Pong-v5"), host="127.0.0.1", port=port, log_level="warning")
server = uvicorn.Server(config)
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.05)

url = f"http://127.0.0.1:{port}"
for title, client in (("generic", GenericEnvClient(base_url=url)), ("ours", make_client(url))):
    own = Session("Pong-v5")
    with client.sync() as env:
        told, seen = own.reset(SEED, "one"), env.reset(seed=SEED, episode_id="one")
        total = 0.0
        for number in range(STEPS + 1):
            picture = PIL.Image.open(io.BytesIO(base64.b64decode(seen.observation["png"])))
            assert hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest() == told["sha256"]
            assert (seen.reward, seen.done) == (told["reward"], told["done"])
            total += seen.reward
            assert seen.observation["episode_id"] == "one" and seen.observation["seed"] == SEED
            assert seen.observation["step"] == number
            button = own.buttons[number * 7 % len(own.buttons)]
            action = {"button": button} if title == "generic" else button
            if number < STEPS:
                told, seen = own.step(button), env.step(action)
    assert total == -1.0
    print(
        f"openenv, {title} client: {STEPS} steps, rewards and pixel digests equal, return {total:g}"
    )
server.should_exit = True

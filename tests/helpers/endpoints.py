"""Endpoints that are broken in one way each, over real HTTP in every vendor's dialect; they see by the pixels."""

import io
import json
import re
from dataclasses import dataclass, field

import numpy as np
import PIL.Image
from fake_server import answer_body

from atari_vlm.evaluation.checkup.cards import COLOURS, DIGITS, Card
from atari_vlm.types import Image

_CARDS = {
    Card(colour, digit).image.digest: str(Card(colour, digit))
    for colour in COLOURS
    for digit in DIGITS
}


def seen(png):
    """What a picture shows, when it is a card."""
    pixels = np.array(PIL.Image.open(io.BytesIO(png)).convert("RGB"))
    return _CARDS.get(Image(pixels).digest, "a game")


@dataclass
class Endpoint:
    """A server's manners. ``pictures``: all, none (dropped), refused, first, last, or a number that it takes at most.

    ``schema``: kept, ignored, refused. ``thinks``: a function of the body that says whether only thoughts come. ``usage``
    replaces what it counts, ``served`` the name of the model that answers.
    """

    pictures: object = "all"
    schema: str = "kept"
    choices: bool = False
    thinks: object = staticmethod(lambda body: False)
    thought: dict = field(default_factory=lambda: {"content": "<think>First I look, then"})
    usage: dict = field(default_factory=dict)
    served: str = ""

    def respond(self, request):
        """The response to a request of :class:`fake_server.FakeVendorServer`."""
        images = list(request.images)
        most = self.pictures if isinstance(self.pictures, int) else len(images)
        if self.pictures == "refused" and images:
            return refusal("this model does not support image input")
        if len(images) > most:
            return refusal(f"At most {most} image(s) may be provided in one request")
        shown = {"none": [], "first": images[:1], "last": images[-1:]}.get(self.pictures, images)
        form = schema_of(request.body)
        if form and self.schema == "refused":
            return refusal("response_format is not supported")
        form = form if self.schema == "kept" else None
        allowed = request.body.get("structured_outputs", {}).get("choice") if self.choices else None
        body = json.loads(answer_body(request, self._say(request, shown, form, allowed), None))
        if self.thinks(request.body):
            body["choices"][0]["message"] = {"role": "assistant", "content": "", **self.thought}
        if self.usage:
            body["usage"] = {**body["usage"], **self.usage}
        if self.served:
            body["model"] = self.served
        return 200, {}, json.dumps(body).encode()

    def _say(self, request, shown, form, allowed):
        if allowed:
            return allowed[0]
        if "picture_1" in request.text:
            asked = request.text.count("<colour> <digit>")
            named = [seen(png) for png in shown]
            named += ["green 5"] * (asked - len(named))  # what it does not see it makes up
            return json.dumps({f"picture_{n + 1}": name for n, name in enumerate(named[:asked])})
        if form and "word" in form["properties"]:
            return json.dumps({"word": form["properties"]["word"]["enum"][0]})
        if form and "action" in form["properties"]:
            actions = form["properties"]["action"]["enum"]
            return json.dumps({"reasoning": "The ball is above.", "action": actions[-1]})
        if "two and three" in request.text:
            return "5"
        if "ACTION: <NAME>" in request.text and not schema_of(request.body):
            names = re.findall(r"^\d+: (\S+)", request.text, re.MULTILINE)
            return f"The ball is above.\nACTION: {names[-1]}"
        return "Hello to you, and a very good day!"


def refusal(words):
    """A response that refuses a request."""
    return 400, {}, json.dumps({"error": {"message": words, "code": 400}}).encode()


def schema_of(body):
    """The JSON schema in a request of any dialect."""
    if "response_format" in body:
        return body["response_format"]["json_schema"]["schema"]
    if "format" in body.get("output_config", {}):
        return body["output_config"]["format"]["schema"]
    return body.get("generationConfig", {}).get("responseJsonSchema")

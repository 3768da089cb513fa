"""TRL's side of ``bench tune --peer trl=P/bin/python``: run by that Python, never imported here.

Its ``GRPOTrainer`` is started on the model and the prompts that our side put into the folder; where it would make its first
step, it is asked for as many as are wanted. What its loop does around a step (data loader, log, callbacks) is left out.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_BUTTONS = ("RIGHT", "LEFT", "FIRE")


def run(spec: Mapping[str, Any], serve: Callable[..., None]) -> None:
    """Start the trainer; it ends where its first step would be."""
    os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")
    importlib.import_module("torch").set_num_threads(1)
    trainer = (games if spec["form"] == "games" else turns)(spec)
    step = trainer.training_step

    def served(model: Any, inputs: Any, count: Any) -> None:
        given = Steps(trainer, step, (model, inputs, count))
        served_works = {"update": lambda: given.play(spec["steps"])}
        if spec["form"] == "turns":
            served_works = {"decide": given.decide, "update": given.update, "step": given.step}
            served_works["think"] = lambda: given.think(spec["thought"])
        serve(facts_of(trainer, spec), served_works)
        raise SystemExit

    trainer.training_step = served
    trainer.train()


class Steps:
    """What the trainer does, on the batch that its first step was given."""

    def __init__(self, trainer: Any, step: Callable[..., Any], given: tuple[Any, Any, Any]):
        self._trainer, self._step, self._given = trainer, step, given
        self._made: Any = None

    def decide(self) -> None:
        """An answer to every row."""
        self._trainer._generate([prompt_of(row) for row in self._given[1]])

    def update(self) -> None:
        """A step of the optimizer on answers that were generated before."""
        if self._made is None:
            self._made = self._trainer._prepare_inputs(self._given[1])
        self._trainer._prepare_inputs = lambda given: self._made
        try:
            self.step()
        finally:
            del self._trainer._prepare_inputs

    def step(self) -> None:
        """Answers, and a step of the optimizer."""
        trainer, (model, _, _) = self._trainer, self._given
        self._step(*self._given)
        trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        model.zero_grad()

    def play(self, decisions: int) -> None:
        """A step whose episodes have so many decisions; TRL drops the rest of one that grows longer than it allows."""
        before = self._trainer.turns
        self.step()
        played = self._trainer.turns - before - 1
        if played != decisions:
            raise RuntimeError(f"TRL played {played} decisions of {decisions}")

    def think(self, tokens: int) -> None:
        """A step whose answers have so many tokens more."""
        limits = self._trainer.generation_config
        usual = limits.max_new_tokens, limits.min_new_tokens
        limits.max_new_tokens = limits.min_new_tokens = usual[0] + tokens
        try:
            self.step()
        finally:
            limits.max_new_tokens, limits.min_new_tokens = usual


def prompt_of(row: Mapping[str, Any]) -> Any:
    """A row's conversation with its pictures in it, as the trainer itself puts them there."""
    put = importlib.import_module("trl.data_utils").prepare_multimodal_messages
    return put(row["prompt"], row["images"])


def facts_of(trainer: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What work this is, read off the trainer's own tokens and pictures."""
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    if spec["form"] == "games":
        steps = spec["steps"]
        return {
            "parameters": trained,
            "work": {"rows": trainer.args.generation_batch_size * steps, "steps": steps},
        }
    rows = [trainer.train_dataset[n] for n in range(spec["rows"])]
    ids, _, fields = trainer._tokenize_prompts([prompt_of(row) for row in rows])
    pixels = importlib.import_module("numpy").asarray(fields["pixel_values"]).astype("<f4")
    work = {
        "rows": trainer.args.generation_batch_size,
        "tokens": hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12],
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest()[:12],
    }
    return {"parameters": trained, "work": work}


def turns(spec: Mapping[str, Any]) -> Any:
    """The trainer of given prompts: an answer each, rewarded by chance."""
    numpy, trl = importlib.import_module("numpy"), importlib.import_module("trl")
    told = json.loads((Path(spec["folder"]) / "prompts.json").read_text())
    pictures = iter(numpy.load(Path(spec["folder"]) / "pictures.npy"))
    rows = importlib.import_module("datasets").Dataset.from_list(
        [row_of(row, pictures) for row in told["rows"]]
    )
    processor, rng = processor_of(spec), numpy.random.default_rng(0)
    longest = max(
        len(processor.tokenizer.encode(name, add_special_tokens=False)) for name in told["answers"]
    )

    def chance(completions: Any, **_: Any) -> list[float]:
        return rng.random(len(completions)).tolist()  # type: ignore[no-any-return]

    args = config_of(spec, batch=spec["rows"], max_completion_length=longest + 1)
    return trl.GRPOTrainer(
        model_of(spec),
        reward_funcs=chance,
        args=args,
        train_dataset=rows,
        processing_class=processor,
    )


def row_of(messages: Any, pictures: Any) -> dict[str, Any]:
    """A conversation with places for pictures, and the pictures."""
    image, images, prompt = importlib.import_module("PIL.Image"), [], []
    for message in messages:
        content = []
        for part in message["parts"]:
            content.append({"type": "image" if part is None else "text", "text": part})
            if part is None:
                images.append(image.fromarray(next(pictures)))
        prompt.append({"role": message["role"], "content": content})
    return {"prompt": prompt, "images": images}


def games(spec: Mapping[str, Any]) -> Any:
    """The trainer that plays with our environment; the calls of its tool stand where the model's words would."""
    trl, ours = (
        importlib.import_module("trl"),
        importlib.import_module("atari_vlm.integrations.trl"),
    )
    steps, processor = spec["steps"], processor_of(spec)
    template = importlib.import_module("trl.chat_template_utils").qwen3_vl_chat_template
    processor.chat_template = processor.tokenizer.chat_template = template

    class Calling(trl.GRPOTrainer):  # type: ignore[misc, name-defined]
        """It generates as many tokens as a call has, and the call is put in their place."""

        turns = 0

        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **options: Any) -> Any:
            words = words_of(self.turns % (steps + 1), steps)
            self.turns += 1
            ids = processor.tokenizer(words, add_special_tokens=False)["input_ids"]
            limits = self.generation_config
            limits.max_new_tokens = limits.min_new_tokens = len(ids)
            super()._generate_single_turn(prompt_ids, *args, **options)
            return [list(ids) for _ in prompt_ids], None

    content = [{"type": "text", "text": "Play."}]
    rows = [{"prompt": [{"role": "user", "content": content}], "seed": 2 * n} for n in range(64)]
    batch = spec["rows"] // steps
    return Calling(
        model_of(spec),
        args=config_of(spec, batch=batch, max_completion_length=400 * steps),
        train_dataset=importlib.import_module("datasets").Dataset.from_list(rows),
        processing_class=processor,
        environment_factory=ours.environment_factory(game="Pong-v5", max_steps=steps),
    )


def words_of(turn: int, steps: int) -> str:
    """What the model says in a turn: a call of the tool, and behind the last picture a word."""
    if turn == steps:
        return "<|im_end|>"
    button = _BUTTONS[turn % len(_BUTTONS)]
    return f'<tool_call>\n{{"name": "press", "arguments": {{"button": "{button}"}}}}\n</tool_call><|im_end|>'


def config_of(spec: Mapping[str, Any], *, batch: int, max_completion_length: int) -> Any:
    """One generation of ``batch`` answers for one step of the optimizer."""
    return importlib.import_module("trl").GRPOConfig(
        output_dir=str(Path(spec["folder"]) / "trl"),
        per_device_train_batch_size=batch,
        num_generations=spec["group"],
        max_completion_length=max_completion_length,
        max_steps=10_000,
        learning_rate=1e-3,
        beta=0.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=10_000,
        disable_tqdm=True,
    )


def model_of(spec: Mapping[str, Any]) -> Any:
    """The model with the weights of our side."""
    kind = importlib.import_module("transformers").Qwen3VLForConditionalGeneration
    return kind.from_pretrained(Path(spec["folder"]) / "base")


def processor_of(spec: Mapping[str, Any]) -> Any:
    """The real processor without its part for films, which needs torchvision."""
    t = importlib.import_module("transformers")
    mixin = importlib.import_module("transformers.processing_utils").ProcessorMixin
    folder = Path(spec["folder"]) / "base"

    class Pictures(t.Qwen3VLProcessor):  # type: ignore[misc, name-defined]
        attributes = ("image_processor", "tokenizer")

        def __init__(self, image_processor: Any, tokenizer: Any):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
            for name in ("image_token", "video_token", "vision_start_token", "vision_end_token"):
                number = tokenizer.convert_tokens_to_ids(getattr(self, name))
                setattr(self, f"{name}_id", number)
            mixin.__init__(self, image_processor, tokenizer, chat_template=tokenizer.chat_template)

    tokenizer = t.AutoTokenizer.from_pretrained(folder, padding_side="left")
    return Pictures(t.Qwen2VLImageProcessorPil.from_pretrained(folder), tokenizer)

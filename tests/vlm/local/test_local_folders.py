"""Checkpoints as they lie on people's disks: each loads, or ends in one sentence that names what is wrong; nothing runs."""

import json
import os
import shutil

import pytest

from atari_vlm.errors import AtariVLMError, ConfigError, ModelNotAvailableError
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4932\n"


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def edit_text(folder, **values):
    file = folder / "config.json"
    edit(file, text_config=json.loads(file.read_text())["text_config"] | values)


def as_pipe(file):
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def sparse(file):
    with open(file, "wb") as stream:
        stream.write(
            (64).to_bytes(8, "little")
            + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,30000000000]}}'
        )


def without_tensor(folder):
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if "mlp" in name)]
    save_file(tensors, file, metadata={"format": "pt"})


WRITE = {  # the file, what stands in it, a word of the sentence
    "config cut off": ("config.json", b'{"model_type": "qwen2_vl", ', "config.json is damaged"),
    "config is a list": ("config.json", b"[1]", "config.json holds no JSON object"),
    "config is deep": ("config.json", b'{"a":' * 100_000, "config.json is damaged"),
    "config is not text": ("config.json", b"\xff\xfe{}", "config.json is damaged"),
    "config is empty": ("config.json", b"{}", "model of type None"),
    "config points": ("config.json", LFS, r"config.json is a Git LFS pointer.*git lfs pull"),
    "type is a list": ("config.json", b'{"model_type": ["qwen2_vl"]}', "model of type"),
    "weights point": ("model.safetensors", LFS, r"model.safetensors is a Git LFS pointer"),
    "tokenizer points": ("tokenizer.json", LFS, r"tokenizer.json is a Git LFS pointer"),
    "header is a list": ("model.safetensors", b"\x02\0\0\0\0\0\0\0[]", "damaged"),
    "header is huge": ("model.safetensors", b"\xff" * 7 + b"\x7f{}", "damaged"),
    "no tensors": ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}", "lacks"),
    "index cut off": ("model.safetensors.index.json", b"{", "index.json is damaged"),
    "index of lists": ("model.safetensors.index.json", b"[[]]", "index.json holds no JSON object"),
    "index names nothing": (
        "model.safetensors.index.json",
        b'{"weight_map": {}}',
        "names no files",
    ),
    "index leads away": (
        "model.safetensors.index.json",
        b'{"weight_map": {"a": "../x"}}',
        "names no files",
    ),
    "tokenizer cut off": ("tokenizer.json", b'{"version": "1.0", ', "cannot be loaded"),
    "tokenizer is another": ("tokenizer.json", b"{}", "cannot be loaded"),
    "processor cut off": ("preprocessor_config.json", b"{", "cannot be loaded"),
}
CHANGE = {
    "weights cut off": (lambda d: os.truncate(d / "model.safetensors", 40_000), "cut off"),
    "weights of 30 GB that are not there": (lambda d: sparse(d / "model.safetensors"), "damaged"),
    "config is a pipe": (lambda d: as_pipe(d / "config.json"), "no real file|no config.json"),
    "weights are a pipe": (lambda d: as_pipe(d / "model.safetensors"), "no real file"),
    "index is a pipe": (lambda d: as_pipe(d / "model.safetensors.index.json"), "no real file"),
    "tokenizer is a pipe": (lambda d: as_pipe(d / "tokenizer.json"), "no real file"),
    "template is a pipe": (lambda d: as_pipe(d / "chat_template.jinja"), "no real file"),
    "a tensor is missing": (without_tensor, "lacks 1 of the model's weights"),
    "no tokenizer": (lambda d: [f.unlink() for f in d.glob("tokenizer*")], "lacks its tokenizer"),
    "no vocabulary": (lambda d: (d / "tokenizer.json").unlink(), "cannot be loaded"),
    "no image processor": (lambda d: [f.unlink() for f in d.glob("*processor*")], "cannot be loaded"),
    "adapter": (lambda d: (d / "adapter_config.json").write_text('{"base_model_name_or_path": "o/x"}'), "LoRA.*'o/x'"),
    "unknown type": (lambda d: edit(d / "config.json", model_type="internvl_chat"), "'internvl_chat', which transformers"),
    "awq": (lambda d: edit(d / "config.json", quantization_config={"quant_method": "awq", "bits": 4}), "quantised.*'awq'"),
    "gptq": (lambda d: edit(d / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "quantised.*'gptq'"),
    "aqlm": (lambda d: edit(d / "config.json", quantization_config={"quant_method": "aqlm"}), "quantised.*'aqlm'"),
    "another shape": (lambda d: edit_text(d, vocab_size=7), "cannot be loaded"),
    "another width": (lambda d: edit_text(d, hidden_size=16), "cannot be loaded"),
    "shape is text": (lambda d: edit_text(d, hidden_size="big"), "cannot be loaded"),
}  # fmt: skip


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny("qwen2-vl"), tmp_path / "copy")


def refused(folder, match, **options):
    with pytest.raises(AtariVLMError, match=match) as caught:
        TransformersVLM("qwen-vl", str(folder), options=LocalOptions(**options))
    text = str(caught.value)
    assert isinstance(caught.value, ModelNotAvailableError), repr(caught.value)
    assert "\n" not in text and "CogVLM" not in text and "--base-url URL" in text
    return text


@pytest.mark.parametrize(("name", "content", "match"), WRITE.values(), ids=WRITE)
def test_damaged_files(folder, name, content, match):
    (folder / name).write_bytes(content)
    refused(folder, match)


@pytest.mark.parametrize(("change", "match"), CHANGE.values(), ids=CHANGE)
def test_parts_that_are_missing_or_different(folder, change, match):
    change(folder)
    refused(folder, match)


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "", "GPU0", "meta"])
def test_devices(folder, device):
    with pytest.raises(ConfigError, match=r"no device .* here: auto, cpu"):
        TransformersVLM("qwen-vl", str(folder), options=LocalOptions(device=device))


def test_of_named_templates_the_default_is_taken(folder, request_of):
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    both = [
        {"name": "tool_use", "template": "{{ 1 / 0 }}"},
        {"name": "default", "template": template},
    ]
    for named in (both, both[1:], [{"name": "only", "template": template}]):
        edit(folder / "tokenizer_config.json", chat_template=named)
        vlm = TransformersVLM("qwen-vl", str(folder))
        assert vlm.complete(request_of(1), sampling=Sampling(max_tokens=1)).usage.output_tokens == 1
        vlm.close()
    edit(
        folder / "tokenizer_config.json",
        chat_template=[{"name": n, "template": template} for n in ("a", "b")],
    )
    with pytest.raises(ConfigError, match="chat templates a, b and none called default"):
        TransformersVLM("qwen-vl", str(folder))


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_code_beside_the_weights_does_not_run(folder, tmp_path, file):
    ran = tmp_path / "RAN"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass X: pass\n")
    kinds = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoImageProcessor")
    auto_map = {**{kind: "own.X" for kind in kinds}, "AutoTokenizer": ["own.X", "own.X"]}
    edit(
        folder / file,
        auto_map=auto_map,
        tokenizer_class="X",
        image_processor_type="X",
        processor_class="X",
    )
    try:
        TransformersVLM("qwen-vl", str(folder)).close()
    except ModelNotAvailableError:
        pass
    assert not ran.exists()


HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch RAN') }}",
    "{% for x in range(10 ** 12) %}{{ x }}{% endfor %}",
    "{{ 'a' * (10 ** 18) }}",
    "{{ messages.append(1) }}",
    "{{ raise_exception('no') }}",
    "{% if %}",
    "{{ messages[0].content[0].nothing.at.all }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_hostile_templates(folder, request_of, tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(AtariVLMError):
        vlm = TransformersVLM("qwen-vl", str(folder))
        vlm.complete(request_of(1), sampling=Sampling(max_tokens=1))
    assert not (tmp_path / "RAN").exists()

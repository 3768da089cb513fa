"""One reader of YAML: plain data or one sentence, whatever the file holds."""

import os
import random
import time

import pytest
import yaml

from atari_vlm.errors import ConfigError
from atari_vlm.yaml_files import read_yaml

LAUGHS = "a0: &n0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &n{i} [{','.join([f'*n{i - 1}'] * 9)}]\n" for i in range(1, 11)
)
MERGES = "a0: &n0 {x: 1}\n" + "".join(
    f"a{i}: &n{i} {{<<: [*n{i - 1}, *n{i - 1}]}}\n" for i in range(1, 40)
)
HOSTILE = {
    "deep lists": "vlm: " + "[" * 20000,
    "deep mappings": "".join(" " * i + "a:\n" for i in range(200)),
    "empty int": 'seed: !!int ""\n',
    "no bool": "seed: !!bool abc\n",
    "long int": "seed: " + "1" * 5000 + "\n",
    "aliases": LAUGHS,
    "merges": MERGES,
    "merges by tag": "a: &a {x: 1}\nb: {!!merge x: *a}\n",
    "itself": "a: &a [*a]\n",
    "itself in a mapping": "a: &a {b: *a}\n",
    "python": "a: !!python/object/apply:os.system [true]\n",
    "timestamp tag": "a: !!timestamp 2001-99-99\n",
    "set": "a: !!set {x, y}\n",
    "binary": "a: !!binary aGk=\n",
    "pairs": "a: !!pairs [x: 1]\n",
    "key of a list": "? [1]\n: x\n",
    "number as a name": "1: x\n",
    "list": "[1]\n",
    "word": "hello\n",
    "nothing": "",
    "two documents": "a: 1\n---\nb: 2\n",
    "no such alias": "a: *b\n",
    "control codes": "a: \x00\x01\n",
    "tabs": "a:\n\t- b\n",
    "too long": "a: " + "x" * (1 << 18),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_one_sentence_and_quick(tmp_path, name):
    path, begin = tmp_path / "file.yaml", time.monotonic()
    path.write_text(HOSTILE[name], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"file\.yaml") as refused:
        read_yaml(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert time.monotonic() - begin < 5


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"a: \xff")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "latin", "absent", ".", "link"):
        with pytest.raises(ConfigError):
            read_yaml(tmp_path / name)


def test_plain_data_is_read_as_it_is(tmp_path):
    content = {
        "a": [1, 2.5, True, None, "yes", "2001-01-01", {"b": []}],
        "shared": ["x"] * 3,
        "words": "line\nline",
        "empty": {},
    }
    content["again"] = content["shared"]  # written with an alias
    text = yaml.safe_dump(content, sort_keys=False)
    assert "*id001" in text
    (tmp_path / "file.yaml").write_text(text)
    assert read_yaml(tmp_path / "file.yaml") == content
    (tmp_path / "file.yaml").write_text("day: 2001-01-01\nno-such-day: 2001-99-99\n")
    assert read_yaml(tmp_path / "file.yaml") == {"day": "2001-01-01", "no-such-day": "2001-99-99"}


def test_a_link_is_followed_only_where_it_is_allowed(tmp_path):
    (tmp_path / "file.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to("file.yaml")
    assert read_yaml(tmp_path / "link.yaml") == {"a": 1}
    with pytest.raises(ConfigError, match="symbolic link"):
        read_yaml(tmp_path / "link.yaml", links=False)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_mutated_texts_are_plain_data_or_one_sentence(tmp_path, count):
    """Seeded mutations of a run's config and of every hostile text: nothing runs, nothing untyped comes through."""
    draw, path = random.Random(count), tmp_path / "file.yaml"
    sound = "identity: 0f\nsettings: {seed: 1, env: {}, plan: [1, 2.5, null]}\ncommand:\n  vlm: gpt-4o\n  games: [Pong]\n"
    texts = [sound, *(text for text in HOSTILE.values() if len(text) < 10_000)]
    marks = [
        "!!",
        "&a ",
        "*a ",
        "{",
        "[",
        "]",
        "}",
        ": ",
        "- ",
        "\n",
        "? ",
        "|",
        ">",
        "%",
        "<<",
        "\x00",
        "\u2028",
        "!!int ",
        "'",
    ]
    for _ in range(count):
        text = draw.choice(texts)
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(text) + 1)
            text = (
                text[:at]
                + draw.choice([*marks, text[: draw.randint(0, 40)], ""])
                + text[at + draw.randint(0, 3) :]
            )
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            content = read_yaml(path)
        except ConfigError as refused:
            assert "file.yaml" in str(refused)
        else:
            assert isinstance(content, dict) and len(str(content)) < 1 << 22

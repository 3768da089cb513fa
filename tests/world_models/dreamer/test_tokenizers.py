"""Bytes, words, and the tokenizer of a language model's folder; no text is ever an error."""

import json

import pytest

from atari_vlm.errors import ConfigError, ModelNotAvailableError, UnknownNameError
from atari_vlm.world_models.dreamer.language import (
    ByteTokenizer,
    WordTokenizer,
    make_tokenizer,
    tokenizer_from,
)

TEXTS = ["the red door pays", "the blue door, it is said, pays nothing!", "a door is a door"]
ODD = ["", " ", "naïve façade", "\U0001f6aa door", "\x00\x07", "zzz qqq", "\ud800", "a" * 3000]


@pytest.fixture
def folder(tmp_path):
    """A folder with a tokenizer of byte pairs, learned here."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def all_kinds(folder):
    return [
        make_tokenizer("bytes"),
        make_tokenizer(folder),
        make_tokenizer("words", ["door", "red"]),
    ]


def test_no_text_is_an_error(folder):
    for tokenizer in all_kinds(folder):
        for text in [*TEXTS, *ODD]:
            ids = tokenizer.encode(text)
            assert all(0 <= i < tokenizer.size and i != tokenizer.pad for i in ids)
            assert isinstance(tokenizer.decode([*ids, tokenizer.pad]), str)
        assert tokenizer.encode("") == [] and tokenizer.decode([tokenizer.pad] * 3) == ""


def test_round_trips(folder):
    for tokenizer in all_kinds(folder)[:2]:
        for text in [*TEXTS, *ODD[:6]]:
            assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(make_tokenizer(folder).encode(TEXTS[0])) < len(TEXTS[0]) / 2


def test_words_by_hand():
    tokenizer = WordTokenizer(["Door", "red", ",", "door"])
    assert tokenizer.size == 5
    assert tokenizer.encode("Red door, blue DOOR!") == [3, 2, 4, 1, 2, 1]
    assert tokenizer.decode([3, 2, 0, 4, 1]) == "red door , ?"
    assert WordTokenizer.of(TEXTS).words[:2] == ("door", "the")
    assert WordTokenizer.of(TEXTS, most=1).words == ("door",)


def test_a_tokenizer_travels_as_plain_data(folder):
    for tokenizer in all_kinds(folder):
        twin = tokenizer_from(json.loads(json.dumps(tokenizer.described())))
        assert (twin.size, twin.pad) == (tokenizer.size, tokenizer.pad)
        assert [twin.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_silence_is_the_models_padding_or_a_token_of_its_own(folder):
    assert make_tokenizer(folder).pad == 0  # <|endoftext|>
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(content))
    own = make_tokenizer(folder)
    assert own.pad == own.size - 1 and own.size > len(content["model"]["vocab"])


@pytest.mark.parametrize(
    "described",
    [
        None, {}, {"kind": "byte"}, {"kind": ["bytes"]}, {"kind": "words"}, {"kind": "words", "words": "door"},
        {"kind": "words", "words": [3]}, {"kind": "words", "words": []}, {"kind": "words", "words": ["two words"]},
        {"kind": "folder", "content": 3}, {"kind": "folder", "content": "{}"}, {"kind": "bytes", "more": 1},
        {"kind": "folder", "folder": "/etc"},
    ],
)  # fmt: skip
def test_what_describes_none(described):
    with pytest.raises(ConfigError):
        tokenizer_from(described)


def test_places_without_a_tokenizer(tmp_path):
    with pytest.raises(UnknownNameError, match="tokenizer 'byte': did you mean bytes"):
        make_tokenizer("byte")
    with pytest.raises(ModelNotAvailableError, match=r"has no tokenizer.json"):
        make_tokenizer(tmp_path)
    with pytest.raises(ModelNotAvailableError, match="neither a folder nor a model id"):
        make_tokenizer("./nowhere")
    with pytest.raises(ConfigError, match="needs the words"):
        make_tokenizer("words")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer.json cannot be read"):
        make_tokenizer(tmp_path)


def test_bytes_that_are_no_text_are_shown():
    assert ByteTokenizer().decode([0xC3 + 1]) == "\ufffd"

"""Tokenizers: bytes, words of a list, and those of a language model's folder. A word that one lacks is never an error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, ModelNotAvailableError, UnknownNameError, reading
from atari_vlm.files import read_real
from atari_vlm.world_models.dreamer.cores.pretrained import folder_of

KINDS = ("bytes", "words", "FOLDER")
_FILE, _MOST_BYTES = "tokenizer.json", 64 << 20
_WORD = re.compile(r"\w+|[^\w\s]")


class Tokenizer(Protocol):
    """Texts to ids below ``size`` and back; ``pad`` is the id of silence, which no text has in it."""

    size: int
    pad: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; silence says nothing."""
        ...

    def described(self) -> dict[str, Any]:
        """Plain data of which :func:`tokenizer_from` makes an equal tokenizer."""
        ...


class ByteTokenizer:
    """A token is a byte of UTF-8: 256 of them after silence, which is 0."""

    size, pad = 257, 0

    def encode(self, text: str) -> list[int]:
        """As the protocol has it."""
        return [byte + 1 for byte in text.encode("utf-8", "replace")]

    def decode(self, ids: Iterable[int]) -> str:
        """As the protocol has it; bytes that are no UTF-8 are shown as one sign."""
        return bytes(i - 1 for i in ids if i != self.pad).decode("utf-8", "replace")

    def described(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"kind": "bytes"}


class WordTokenizer:
    """A token is a word or a mark of ``words``, in small letters; silence is 0, and 1 is any word that is not among them."""

    pad, unknown = 0, 1

    def __init__(self, words: Sequence[str]):
        self.words = tuple(dict.fromkeys(word.lower() for word in words))
        if wrong := [word for word in self.words if not _WORD.fullmatch(word)]:
            raise ConfigError(f"a word is letters and digits, or one mark, got {wrong[0]!r}")
        if not self.words:
            raise ConfigError("the tokenizer 'words' needs the words that it knows")
        self.size = len(self.words) + 2
        self._ids = {word: n for n, word in enumerate(self.words, 2)}

    @classmethod
    def of(cls, texts: Iterable[str], most: int = 4096) -> WordTokenizer:
        """One that knows the words of some texts, the most frequent first."""
        counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
        return cls([word for word, _ in counts.most_common(most)])

    def encode(self, text: str) -> list[int]:
        """As the protocol has it."""
        return [self._ids.get(word, self.unknown) for word in _WORD.findall(text.lower())]

    def decode(self, ids: Iterable[int]) -> str:
        """As the protocol has it: words with a space between them, ``?`` for one that was not known."""
        return " ".join(
            "?" if i == self.unknown else self.words[i - 2] for i in ids if i != self.pad
        )

    def described(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"kind": "words", "words": list(self.words)}


class FolderTokenizer:
    """That of a language model: the content of its ``tokenizer.json``. Needs the library tokenizers (extra ``local``).

    Silence is the model's padding, else its end of text, else a token of its own after all others.
    """

    def __init__(self, content: str):
        library = require("tokenizers", "local")
        with reading(_FILE, ConfigError):
            self._tokenizer = library.Tokenizer.from_str(content)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
        self._content, self.size = content, self._tokenizer.get_vocab_size()
        special = self._tokenizer.get_added_tokens_decoder()
        named = {token.content: number for number, token in special.items() if token.special}
        found = [named[name] for name in ("<pad>", "[PAD]", "<|padding|>") if name in named]
        found += [named[name] for name in ("<|endoftext|>", "</s>", "<eos>") if name in named]
        self.pad = found[0] if found else self.size
        self.size = max(self.size, self.pad + 1, *(number + 1 for number in special), 1)

    def encode(self, text: str) -> list[int]:
        """As the protocol has it, without tokens that a model adds around a text."""
        text = text.encode("utf-8", "replace").decode()  # what UTF-8 cannot hold is no text there
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [i for i in ids if i != self.pad]

    def decode(self, ids: Iterable[int]) -> str:
        """As the protocol has it."""
        return str(self._tokenizer.decode([i for i in ids if i != self.pad]))

    def described(self) -> dict[str, Any]:
        """As the protocol has it; the content goes with it, so that a checkpoint needs no folder."""
        return {"kind": "folder", "content": self._content}


def make_tokenizer(kind: str | Path, words: Sequence[str] = ()) -> Tokenizer:
    """``"bytes"``, ``"words"`` (of a list), or that of a folder or an id of the Hugging Face hub.

    Raises ``ConfigError`` for words that are none, ``ModelNotAvailableError`` for a folder without ``tokenizer.json``.
    """
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "words":
        return WordTokenizer(words)
    if "/" not in str(kind) and not Path(kind).is_dir():
        raise UnknownNameError("tokenizer", kind, KINDS)
    path = Path(kind).expanduser()
    folder = path if path.is_dir() else folder_of(kind)
    file = folder / _FILE
    if not file.exists():
        raise ModelNotAvailableError(f"{folder} has no {_FILE}: it holds no tokenizer")
    with reading(file, ConfigError):
        content = read_real(file, _MOST_BYTES, links=True).decode()
    return FolderTokenizer(content)


def tokenizer_from(described: Any) -> Tokenizer:
    """The tokenizer that a checkpoint describes; ``ConfigError`` for what describes none."""
    kinds = {"bytes": set(), "words": {"words"}, "folder": {"content"}}
    kind = described.get("kind") if isinstance(described, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds or described.keys() != {"kind", *kinds[kind]}:
        raise ConfigError(
            f"a tokenizer is described by its kind, {', '.join(kinds)}; got {described!r:.80}"
        )
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "folder":
        if not isinstance(described["content"], str):
            raise ConfigError("a tokenizer of a folder is described by the content of its file")
        return FolderTokenizer(described["content"])
    words = described["words"]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ConfigError("a tokenizer of words is described by a list of words")
    return WordTokenizer(words)

"""Language in a Dreamer: a text becomes tokens, one or a few at a step, that the world model reads and foretells."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "ByteTokenizer": "atari_vlm.world_models.dreamer.language.tokenizers",
    "FolderTokenizer": "atari_vlm.world_models.dreamer.language.tokenizers",
    "LanguageHead": "atari_vlm.world_models.dreamer.language.networks",
    "Telling": "atari_vlm.world_models.dreamer.language.telling",
    "TokenEmbedding": "atari_vlm.world_models.dreamer.language.networks",
    "Tokenizer": "atari_vlm.world_models.dreamer.language.tokenizers",
    "WordTokenizer": "atari_vlm.world_models.dreamer.language.tokenizers",
    "make_tokenizer": "atari_vlm.world_models.dreamer.language.tokenizers",
    "tokenizer_from": "atari_vlm.world_models.dreamer.language.tokenizers",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

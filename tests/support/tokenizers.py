"""Build small tokenizers of the kinds, besides byte-level BPE, that GPT-2 checkpoints have."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from generation.text.context import ContextTokenizer

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MARKS = ".,!?'-0123456789"
_WORDS = ["the", "and", "was", "cat", "hat", "light", "ferry", "island", "keeper", "人", "語", "日", "本", "は"]


def word_piece() -> Tokenizer:
    """Return a WordPiece tokenizer like BertTokenizer's: [CLS] before a text, [SEP] after it."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *_LETTERS, *_MARKS, "##", *(f"##{letter}" for letter in _LETTERS), *_WORDS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def unigram() -> Tokenizer:
    """Return a Unigram tokenizer like SentencePiece's: unknown characters as byte tokens, </s> after a text."""
    special = ["<unk>", "<s>", "</s>"]
    pieces = [(piece, 0.0) for piece in special]
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    pieces += [("▁", -2.0)] + [(letter, -6.0) for letter in (*_LETTERS, *_MARKS)]
    pieces += [(f"▁{word}", -4.0) for word in _WORDS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair=None, special_tokens=[("</s>", 2)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def holed() -> ContextTokenizer:
    """Return a tokenizer with six ids, of which 3 and 4 are not tokens."""
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 5}))
    return ContextTokenizer(inner, vocabulary=6, holes=[3, 4])

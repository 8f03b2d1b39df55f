"""Load the tokenizer of a checkpoint as `AutoTokenizer` does, and find the tokens that begin and end a text."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2Config, PreTrainedTokenizerFast

from generation.export.configuration import read_json
from generation.export.errors import ExportError, in_one_line

# A folder with one of these files has a tokenizer; some kinds need further files.
FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
# Settings of generation_config.json that change the generated text, with the defaults of transformers.
_SETTINGS: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "max_new_tokens": None,
    "max_length": 20,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "min_length": 0,
    "min_new_tokens": None,
    "num_beams": 1,
    "length_penalty": 1.0,
    "sequence_bias": None,
}
# In characters: some values are long lists.
_LONGEST_VALUE = 40


@dataclass(frozen=True, slots=True)
class Tokens:
    """The ids that are tokens, and those that begin and end a text; see `ArtifactConfig` for the fields."""

    tokens: int
    holes: tuple[int, ...]
    ends_of_text: tuple[int, ...]
    begin_of_text: int | None
    notes: tuple[str, ...] = ()


def written(tokenizer: Tokenizer) -> str:
    """Return ``tokenizer.json`` in the form that is read fastest.

    The library writes each merge of a BPE tokenizer as a pair. As one string with a blank, which is the older form,
    50,000 are read in two thirds of the time; a token that has a blank itself could not be told apart.
    """
    content = json.loads(tokenizer.to_str())
    merges = content["model"].get("merges", ())
    if merges and not any(" " in part for merge in merges for part in merge):
        content["model"]["merges"] = [" ".join(merge) for merge in merges]
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def has_tokenizer(path: Path) -> bool:
    """Return whether the folder `path` holds a tokenizer."""
    return any((path / name).is_file() for name in FILES)


def load_fast(path: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in the folder `path`.

    Raises:
        ExportError: there is none, it cannot be read, or `transformers` has no fast tokenizer of this kind.
    """
    if not has_tokenizer(path):
        raise ExportError(f"{path} has no tokenizer: none of {', '.join(FILES)}")
    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The libraries raise plain exceptions for files that they cannot parse.
        raise ExportError(f"the tokenizer in {path} cannot be read: {in_one_line(error)}") from error
    if not isinstance(found, PreTrainedTokenizerFast):
        raise ExportError(
            f"the tokenizer in {path} is a {type(found).__name__}, which the tokenizers library cannot run"
        )
    # Training leaves these settings in some files. At run time they would silently truncate prompts.
    found.backend_tokenizer.no_truncation()
    found.backend_tokenizer.no_padding()
    return found


def find_tokens(path: Path, config: GPT2Config, fast: PreTrainedTokenizerFast) -> tuple[Tokenizer, Tokens]:
    """Return the tokenizer, and which ids are tokens, end a text and begin a text.

    End tokens come from generation_config.json, or else from config.json. The begin token comes from the same files, or
    else from the tokenizer, or else it is the first end token.

    Raises:
        ExportError: the tokenizer does not fit the model, or a file does not hold token ids.
    """
    tokenizer, notes = _within(fast.backend_tokenizer, config.vocab_size)
    ids = set(tokenizer.get_vocab(with_added_tokens=True).values())
    highest = max(ids, default=-1)
    if highest >= config.vocab_size:
        raise ExportError(
            f"the tokenizer in {path} has ids up to {highest}, the model only {config.vocab_size} tokens: they belong "
            "to different models"
        )
    if highest < 0:
        raise ExportError(f"the tokenizer in {path} has no tokens")
    if len(ids) != tokenizer.get_vocab_size(with_added_tokens=True):
        raise ExportError(f"the tokenizer in {path} has several tokens with one id")
    generation = path / "generation_config.json"
    chosen = read_json(generation) if generation.is_file() else {}
    ends = _ids(chosen.get("eos_token_id"), generation) or _ids(config.eos_token_id, path / "config.json")
    known = tuple(token for token in dict.fromkeys(ends) if token in ids)
    begins = [chosen.get("bos_token_id"), config.bos_token_id, fast.bos_token_id, fast.cls_token_id, *known]
    notes += _notes(chosen)
    if unknown := sorted(set(ends) - set(known)):
        notes.append(f"no text ends with token {', '.join(map(str, unknown))}: the tokenizer does not have it")
    if not known:
        notes.append("the model has no end-of-text token: texts end at their limit of tokens")
    tokens = Tokens(
        tokens=highest + 1,
        holes=tuple(token for token in range(highest) if token not in ids),
        ends_of_text=known,
        begin_of_text=next((token for token in begins if token in ids), None),
        notes=tuple(notes),
    )
    return tokenizer, tokens


def _within(tokenizer: Tokenizer, rows: int) -> tuple[Tokenizer, list[str]]:
    """Remove added tokens, often for padding, whose ids exceed the model's embedding table.

    `transformers` cannot run a text with such a token either.
    """
    described = json.loads(tokenizer.to_str())
    outside = [one["content"] for one in described["added_tokens"] if one["id"] >= rows]
    if not outside:
        return tokenizer, []
    described["added_tokens"] = [one for one in described["added_tokens"] if one["id"] < rows]
    try:
        kept = Tokenizer.from_str(json.dumps(described))
    except Exception:  # noqa: BLE001 - a bare one: another part of the tokenizer needs them
        return tokenizer, []
    return kept, [f"the model has no embedding for {', '.join(outside)}: left out of the tokenizer"]


def _ids(value: object, file: Path) -> list[int]:
    found: list[object] = [] if value is None else value if isinstance(value, list) else [value]
    ids = [one for one in found if isinstance(one, int) and not isinstance(one, bool)]
    if len(ids) < len(found):
        raise ExportError(f"{file} has eos_token_id {value!r}; wanted is a token id or a list of them")
    return ids


def _notes(chosen: dict[str, Any]) -> Iterator[str]:
    set_there = [
        f"{name} {shorten(str(chosen[name]), _LONGEST_VALUE, placeholder=' ...')}"
        for name, default in _SETTINGS.items()
        if chosen.get(name, default) not in (default, None)
    ]
    if set_there:
        yield (
            f"generation_config.json sets {', '.join(set_there)}: the server does not apply that, send it with each "
            "request"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress log messages and warnings of the libraries, dozens of lines that do not concern the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)

"""Generate the tables of fields and the responses in ``docs/api.md``; the prose is written by hand.

``python -m tests.support.api_doc`` rewrites the tables from the schemas, and the responses with the bundled model.
Tests compare them with the code and with a running server.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.server import serve
from generation.api.openapi_document import document
from generation.config import ROOT
from tests.support.completions import KNOWN

PATH = ROOT / "docs" / "api.md"
WIDTH = 110
# The one that the document sets.
TEMPLATE = "{% for one in messages %}{{ one.role }}: {{ one.content }}{{ eos_token }}{% endfor %}"
EXCHANGE = re.compile(r"```http\n(?P<request>(?:GET|POST) .*?)```\n```http\n(?P<response>HTTP/1\.1 .*?)```", re.DOTALL)
TABLE = re.compile(r"<!-- fields of (\w+) -->\n.*?<!-- end -->", re.DOTALL)

SAMPLER = "test_a_field_does_what_the_sampler_does"
FOLLOWS = "test_the_answer_follows_the_schema"
WITHOUT_EFFECT = "test_a_field_without_effect_on_this_tokenizer_changes_nothing"
CUT = "test_a_prompt_is_cut_where_it_is_asked_for"
ACCEPTED = "test_fields_that_are_accepted_change_nothing"
DRY = "test_dry_is_that_of_its_author"
BEAMS = "test_it_is_that_of_transformers"
PROOFS = {
    "model": ["test_the_models_own_name_or_none_is_accepted", "test_another_model_is_not_found"],
    "prompt": ["test_text_and_token_ids_are_the_same_prompt", "test_every_prompt_of_a_list_gets_its_own_answer"],
    "max_tokens": ["test_sixteen_tokens_are_the_default", "test_no_new_tokens_and_echo_return_the_prompt"],
    "n": ["test_choices_have_a_stream_of_chance_each"],
    "best_of": ["test_the_best_are_those_of_the_highest_mean_logprob"],
    "temperature": [SAMPLER, "test_at_temperature_zero_the_seed_does_not_matter"],
    "top_p": [SAMPLER],
    "frequency_penalty": [SAMPLER],
    "presence_penalty": [SAMPLER],
    "logit_bias": [SAMPLER],
    "logprobs": ["test_they_are_those_of_the_model_before_any_sampling_rule", "test_the_prompt_is_scored_with_echo"],
    "echo": ["test_echo_puts_the_prompt_before_the_answer"],
    "stop": ["test_a_stop_string_across_tokens_never_shows"],
    "seed": ["test_choices_differ_and_a_seed_repeats_them", SAMPLER],
    "stream": ["test_any_stream_adds_up_to_the_whole_answer"],
    "stream_options": ["test_the_usage_comes_in_an_event_of_its_own", "test_the_usage_so_far_comes_with_every_event"],
    "user": ["test_the_user_field_changes_nothing"],
    "suffix": ["test_a_wrong_value_is_refused_with_its_name"],
    "top_k": [SAMPLER],
    "min_p": [SAMPLER],
    "typical_p": [SAMPLER],
    "repetition_penalty": [SAMPLER],
    "ignore_eos": [SAMPLER],
    "min_tokens": [SAMPLER, "test_no_stop_string_before_the_least_number_of_tokens"],
    "stop_token_ids": [SAMPLER, "test_a_stop_token_ends_a_choice_and_its_text_may_be_included"],
    "include_stop_str_in_output": ["test_the_stop_string_may_be_included"],
    "bad_words": [SAMPLER, "test_words_are_kept_out_with_and_without_a_space_before"],
    "allowed_token_ids": [SAMPLER],
    "skip_special_tokens": ["test_special_tokens_are_left_out_unless_asked_for"],
    "spaces_between_special_tokens": [WITHOUT_EFFECT],
    "add_special_tokens": [WITHOUT_EFFECT],
    "use_beam_search": [BEAMS, "test_beams_are_the_choices_of_a_prompt"],
    "length_penalty": [BEAMS],
    "prompt_logprobs": ["test_log_probabilities_of_the_prompt"],
    "logprob_token_ids": ["test_log_probabilities_of_named_tokens"],
    "return_token_ids": ["test_token_ids_are_those_of_prompt_and_choice"],
    "truncate_prompt_tokens": [CUT],
    "truncation_side": [CUT],
    "priority": [ACCEPTED],
    "session_id": [ACCEPTED],
    "request_id": ["test_the_request_names_its_answer"],
    "cache_salt": ["test_the_usage_says_what_came_from_the_prefix_cache_and_a_salt_keeps_it_apart"],
    "return_tokens_as_token_ids": ["test_tokens_may_be_named_by_their_ids"],
    "structured_outputs": [FOLLOWS, "test_each_kind_has_its_older_name", "test_any_json_object"],
    "response_format": [FOLLOWS, "test_any_json_object"],
    "guided_json": [FOLLOWS, "test_what_random_weights_write_validates"],
    "guided_choice": ["test_the_answer_is_one_of_the_choices"],
    "guided_regex": ["test_the_answer_matches_the_expression"],
    "guided_grammar": ["test_a_grammar_is_gbnf_or_lark"],
    "guided_decoding_backend": [FOLLOWS],
    "dry_multiplier": [SAMPLER, DRY],
    "dry_base": [DRY],
    "dry_allowed_length": [SAMPLER, DRY],
    "dry_penalty_last_n": [DRY],
    "dry_sequence_breakers": [DRY],
    "xtc_probability": [SAMPLER],
    "xtc_threshold": [SAMPLER, "test_xtc_is_that_of_its_author"],
    "timeout_s": ["test_what_there_is_at_the_deadline_is_returned", "test_no_token_in_time_is_an_error"],
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request in the document, and its response there."""

    method: str
    path: str
    body: str
    status: int
    media: str
    answer: str

    @property
    def chats(self) -> bool:
        """Whether the answer needs a chat template."""
        return self.path.endswith("/chat/completions") and self.status == 200

    def send(self, client: httpx.Client) -> httpx.Response:
        """Send the request."""
        return client.request(self.method, self.path.removeprefix("/api"), content=self.body or None)


def exchanges(text: str) -> Iterator[Exchange]:
    """Yield every request in the document with its response."""
    for match in EXCHANGE.finditer(text):
        head, _, body = match["request"].partition("\n\n")
        method, path = head.split()[:2]
        head, _, answer = match["response"].partition("\n\n")
        status = int(head.split()[1])
        media = re.search(r"(?i)content-type: ([\w/-]+)", head)
        yield Exchange(method, path, body.strip(), status, media[1] if media else "", answer.strip())


def shape(value: Any) -> Any:
    """Return the keys of a JSON value and the types of its leaves; a list counts as its first entry."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def field_table(name: str) -> str:
    """Return the Markdown table of the fields of a body; for completions, with the tests of each field.

    The table of chats has the fields that differ from those of completions.
    """
    schemas = document(keys="function")["components"]["schemas"]
    fields = schemas[name]["properties"]
    if name == "ChatBody":
        fields = {key: one for key, one in fields.items() if one != schemas["CompletionBody"]["properties"].get(key)}
    proven = name == "CompletionBody"
    rows = ["| field | values | default | what |" + (" proven by |" if proven else "")]
    rows.append("|---|---|---|---|" + ("---|" if proven else ""))
    order = sorted(fields, key=lambda field: list(PROOFS).index(field)) if proven else list(fields)
    for field in order:
        one = fields[field]
        default = f"`{json.dumps(one['default'])}`" if "default" in one else "required"
        added = "" if not proven or field in KNOWN else " (beyond OpenAI)"
        row = f"| `{field}` | {_values(one)} | {default} | {one['description']}{added} |"
        rows.append(row + (" " + ", ".join(f"`{test}`" for test in PROOFS[field]) + " |" if proven else ""))
    return "\n".join(rows)


def _values(schema: dict[str, Any]) -> str:
    """Describe in words the values that a JSON schema allows, except null."""
    kind = schema.get("type")
    if "anyOf" in schema:
        text = " or ".join(_values(one) for one in schema["anyOf"] if one.get("type") != "null")
    elif "$ref" in schema:
        inner = document(keys="function")["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        text = "object of " + ", ".join(f"`{name}`" for name in inner)
    elif schema.get("maxItems") == 0:
        text = "`[]`"
    elif kind == "array" and "prefixItems" in schema:
        text = "[" + ", ".join(_values(one) for one in schema["prefixItems"]) + "]"
    elif "const" in schema or "enum" in schema:
        text = " or ".join(f"`{json.dumps(one)}`" for one in schema.get("enum", [schema.get("const")]))
    elif kind == "array":
        most = f" (at most {schema['maxItems']})" if "maxItems" in schema else ""
        text = f"[{_values(schema['items'])}]{most}"
    elif kind == "object" and schema.get("additionalProperties") is True:
        text = "object"
    elif kind == "object":
        text = f"{{string: {_values(schema['additionalProperties'])}}}"
    elif kind == "string":
        text = f"string of at most {schema['maxLength']} characters" if "maxLength" in schema else "string"
    else:
        text = f"{kind} {_range(schema)}".strip()
    return text


def _range(schema: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "to below"}
    return " ".join(f"{word} {schema[key]}" for key, word in words.items() if key in schema).replace(
        str(1 << 63), "2^63"
    )


def _shown(response: httpx.Response) -> str:
    """Return a response as the document shows it."""
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
    media = response.headers["content-type"].split(";")[0]
    lines.append(f"Content-Type: {media}")
    body = response.text.strip()
    if media == "application/json" and len(body) > WIDTH:
        body = json.dumps(response.json(), indent=2, ensure_ascii=False)
    return "\n".join([*lines, "", body, ""])


def main() -> None:
    """Rewrite the tables and the responses in the document."""
    text = PATH.read_text(encoding="utf-8")
    text = TABLE.sub(lambda one: f"<!-- fields of {one[1]} -->\n{field_table(one[1])}\n<!-- end -->", text)
    with serve() as plain, serve(CHAT_TEMPLATE=TEMPLATE) as chat, httpx.Client(timeout=60) as client:

        def renewed(match: re.Match[str]) -> str:
            (exchange,) = exchanges(match[0])
            client.base_url = (chat if exchange.chats else plain).url
            return match[0].replace(match["response"], _shown(exchange.send(client)))

        text = EXCHANGE.sub(renewed, text)
    PATH.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The body of ``POST /api/hf``: the fields of text-generation-inference's root route (``GenerateParameters``)."""

from typing import Annotated, Literal, Self

from pydantic import Field

from generation.api.bodies import SEED_LIMIT, Body, Stop, at_most
from generation.api.constraints import LONGEST_REGEX, Schema, follow_schema
from generation.api.nullable import NullableBody
from generation.errors import refused
from generation.sampling.grammar import Constraint

DEFAULT_TOKENS = 100
_Stops = Annotated[list[Stop], at_most(16), Field(max_length=16)]


class HfGrammar(Body):
    """Constraint of the generated text."""

    type: Literal["json", "regex", "json_schema"]
    value: Schema = Field(
        description="a JSON schema, as an object or a string; a regular expression; or `{name, schema}` for json_schema"
    )

    def constraint(self, param: str) -> Constraint:
        """Return the constraint; errors name the field `param`.

        Raises:
            InvalidRequestError: the value does not have the form of its type, or is too long.
        """
        value = self.value
        if self.type == "regex":
            if not isinstance(value, str) or len(value) > LONGEST_REGEX:
                raise refused(param, f"a regular expression is a string of at most {LONGEST_REGEX} characters")
            return Constraint("regex", value, param)
        if self.type == "json_schema":
            if not isinstance(value, dict) or not isinstance(value.get("schema"), dict):
                raise refused(param, "must be an object with a name and a schema for the type json_schema")
            return follow_schema(value["schema"], f"{param}.schema")
        return follow_schema(value, param)


class HfParameters(NullableBody):
    """Parameters of generation. In every field, null means the default."""

    max_new_tokens: int | None = Field(
        None, ge=1, le=1 << 20, description=f"maximum number of tokens; default: {DEFAULT_TOKENS}, or as many as fit"
    )
    do_sample: bool = Field(False, description="sample; also implied by temperature, top_k, top_p or typical_p")
    temperature: float = Field(1.0, gt=0, le=100, description="lower is more predictable")
    top_k: int | None = Field(None, ge=1, le=1 << 20, description="keep this many of the likeliest tokens")
    top_p: float = Field(
        1.0, gt=0, le=1, description="keep the smallest set of likeliest tokens whose probabilities add up to this"
    )
    typical_p: float = Field(
        1.0, gt=0, le=1, description="keep the most typical tokens whose probabilities add up to this"
    )
    repetition_penalty: float = Field(
        1.0, ge=0.01, le=10, description="lower the score of every token in the prompt or the text by this factor"
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="lower a token's score by this for each time it was generated"
    )
    seed: int | None = Field(
        None, ge=0, lt=2 * SEED_LIMIT, description="the same seed and request give the same answer; null = random"
    )
    stop: _Stops = Field([], description="strings that end the text; the text includes them")
    stop_sequences: _Stops = Field([], description="older name of stop")
    best_of: int = Field(
        1, ge=1, le=128, description="generate this many; return the one with the highest mean log-probability"
    )
    truncate: int | None = Field(None, ge=1, description="maximum number of prompt tokens; earlier ones are dropped")
    return_full_text: bool = Field(False, description="begin the text with the prompt")
    details: bool = Field(False, description="report the tokens, their log-probabilities and the finish reason")
    decoder_input_details: bool = Field(False, description="report the tokens of the prompt; turns details on")
    top_n_tokens: int = Field(0, ge=0, le=20, description="with details, also report this many of the likeliest tokens")
    grammar: HfGrammar | None = Field(None, description="the text follows a JSON schema or a regular expression")
    watermark: bool = Field(False, description="not supported; only null or false is accepted")
    adapter_id: str | None = Field(None, description="not supported; only null is accepted")

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled. Like text-generation-inference, infer it from the sampling fields."""
        return self.do_sample or self.temperature != 1 or self.top_k is not None or min(self.top_p, self.typical_p) < 1

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings of both fields, without duplicates."""
        return tuple(dict.fromkeys((*self.stop, *self.stop_sequences)))

    @property
    def detailed(self) -> bool:
        """Whether the response has details."""
        return self.details or self.decoder_input_details

    def constraint(self) -> Constraint | None:
        """Return the constraint that the grammar defines; None without a grammar."""
        return None if self.grammar is None else self.grammar.constraint("parameters.grammar.value")


class HfBody(NullableBody):
    """Body of ``POST /api/hf``."""

    inputs: str = Field(
        description="the text to continue; empty = start from the beginning-of-text token",
        examples=["Once upon a time"],
    )
    parameters: HfParameters = Field(HfParameters(), description="parameters of generation")
    stream: bool = Field(False, description="stream the answer as server-sent events, one per token")

    def check(self) -> Self:
        """Check the rules that concern more than one field.

        Raises:
            InvalidRequestError: a field is not allowed with another, or not supported; the error names it.
        """
        given = self.parameters
        if given.watermark:
            raise refused("parameters.watermark", "this server adds no watermark: only null or false is accepted")
        if given.adapter_id is not None:
            raise refused("parameters.adapter_id", "this server has no adapters: only null is accepted")
        if given.best_of > 1 and self.stream:
            raise refused("parameters.best_of", "must be 1 in a stream")
        if given.best_of > 1 and not given.samples:
            raise refused("parameters.best_of", "needs sampling: set do_sample, or best_of to 1")
        if given.decoder_input_details and self.stream:
            raise refused("parameters.decoder_input_details", "not in a stream")
        return self

/* The server: what it offers, what is sent to it, and its answers and errors in words. */

const base = location.origin + location.pathname.replace(/\/playground\/?$/i, "");
let model = null;      // of /health: name, precision, context, vocabulary, chat
let offers = {};       // the fields of a completion, as /openapi.json describes them

/** Return a bound of a field, such as "maximum"; a field that may be null describes its values under "anyOf". */
function bound(name, limit) {
  const field = offers[name] ?? {};
  return [field, ...field.anyOf ?? []].map(one => one[limit]).find(value => value !== undefined);
}

/** Return the choice that a request for one token gets; at temperature 0, so that the answer does not depend on chance. */
async function oneToken(prompt, more, signal) {
  const asked = { prompt, max_tokens: 1, temperature: 0, ...model && { model: model.name }, ...offers.ignore_eos && { ignore_eos: true } };
  return (await (await post("/v1/completions", { ...asked, ...more }, signal)).json()).choices[0];
}

/** How many of the likeliest tokens a request asks for: a few, so that the panel keeps its height. */
const mostReported = () => Math.min(5, bound("logprobs", "maximum") ?? 5);

/** Return [[name, logprob], ...] of the likeliest next tokens, likeliest first. */
async function likeliest(prompt, signal, more = {}) {
  const choice = await oneToken(prompt, { logprobs: mostReported(), ...more }, signal);
  return Object.entries(choice.logprobs.top_logprobs[0]).sort((a, b) => b[1] - a[1]);
}

/** Yield the tokens that come after the likeliest ones. Log-probabilities are those of the model before any bias, so ruling
    out what is known makes the server report the next one. */
async function* furtherTokens(prompt, many, signal) {
  const as_ids = { return_tokens_as_token_ids: true }, bias = {};
  for (const [name] of await likeliest(prompt, signal, as_ids)) bias[name.slice(9)] = -100;
  for (let found = Object.keys(bias).length; found < many; found++) {
    const choice = await oneToken(prompt, { logprobs: 0, logit_bias: bias, ...as_ids }, signal);
    const id = choice.logprobs.tokens[0].slice(9);
    bias[id] = -100;
    yield [choice.text && !choice.text.includes("\ufffd") ? choice.text : `token_id:${id}`, choice.logprobs.token_logprobs[0]];
  }
}

/** Learn what is served. The first request of a page can meet a model that still loads. */
async function greet() {
  try {
    const health = await (await fetch(`${base}/health`)).json();
    if (health.model && !Object.keys(offers).length) {
      const contract = await (await fetch(`${base}/openapi.json`)).json();
      offers = contract.components.schemas.CompletionBody.properties;
    }
    model = health.model;
    $("chat").href = `${base}/playground/chat`;
    $("chat").hidden = !model?.chat;
    say($("model"), model ? `${model.name}, ${model.precision}, context of ${model.context} tokens` : `Model: ${health.state}`);
    if (health.state === "loading") setTimeout(greet, 500);
  } catch {
    say($("model"), "The server does not answer; trying again …");
    setTimeout(greet, 3000);
  }
  if (model) onModel();
}

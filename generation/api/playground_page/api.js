/* The server: what it offers, what is sent to it, and its answers and errors in words. */

const base = location.origin + location.pathname.replace(/\/playground\/?$/i, "");
let model = null;      // of /health: name, precision, context, vocabulary, chat
let offers = {};       // the fields of a completion, as /openapi.json describes them

class ApiError extends Error {
  constructor(message, param = null, status = 0) { super(message); this.param = param; this.status = status; }
}

/** Return a bound of a field, such as "maximum"; a field that may be null describes its values under "anyOf". */
function bound(name, limit) {
  const field = offers[name] ?? {};
  return [field, ...field.anyOf ?? []].map(one => one[limit]).find(value => value !== undefined);
}

/** The key is sent both as the Functions host and as the app itself take it. */
function keyHeaders() {
  const key = $("key").value;
  return key ? { "x-functions-key": key, authorization: `Bearer ${key}` } : {};
}

/** Send JSON; return the response, or throw an ApiError whose message a person can act on. */
async function post(path, body, signal) {
  let response;
  try {
    response = await fetch(base + path, {
      method: "POST", signal, headers: { "content-type": "application/json", ...keyHeaders() }, body: JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (/[^\x00-\xff]/.test($("key").value)) throw new ApiError("This key has characters that no key can have.", "key");
    throw new ApiError("The server does not answer. Your text is kept.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  if (response.status === 401 || response.status === 403) {
    return new ApiError($("key").value ? "The server does not accept this key." : "This server asks for a key, under Settings.", "key", response.status);
  }
  const said = (await response.json().catch(() => null))?.error;
  const message = said?.message ?? `The server answered with status ${response.status}.`;
  const wait = response.headers.get("retry-after");
  return new ApiError(message + (wait ? `; try again in ${wait} s` : ""), said?.param ?? null, response.status);
}

/** Yield the events of a stream; throw where it breaks off or reports an error. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read().catch(error => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) throw new ApiError("The connection broke off. What came is kept.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (!line.startsWith("data: ")) continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new ApiError(event.error.message, event.error.param);
      yield event;
    }
  }
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

/* Requests to the server: the key, streams, and errors in words. The chat page has this part, too. */

class ApiError extends Error {
  constructor(message, param = null, status = 0) { super(message); this.param = param; this.status = status; }
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

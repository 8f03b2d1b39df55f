/* A chat: the messages are kept in the page alone, and all of them are sent each time. */
"use strict";

const $ = id => document.getElementById(id);
const base = location.origin + location.pathname.replace(/\/playground\/chat\/?$/i, "");
let model = null;     // of /health
let messages = [];    // as the API takes them
let running = null;   // the request that runs

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

/** Show a message; return the element of its text. */
function show({ role, content }) {
  const box = document.createElement("article"), who = document.createElement("b"), text = document.createElement("span");
  box.className = role;
  who.textContent = role === "user" ? "You" : "Model";
  text.textContent = content;
  box.append(who, text);
  $("messages").append(box);
  box.scrollIntoView({ block: "nearest" });
  return text;
}

function draw() {
  $("messages").replaceChildren();
  messages.forEach(show);
  $("send").textContent = running ? "Stop" : "Send";
  for (const name of ["again", "fresh"]) $(name).disabled = Boolean(running) || !messages.length;
}

/** Yield the events of a stream; throw where it breaks off or reports an error. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The connection broke off.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (!line.startsWith("data: ")) continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function body() {
  const system = $("system").value.trim(), asked = { model: model?.name, stream: true };
  asked.messages = [...system ? [{ role: "system", content: system }] : [], ...messages];
  for (const name of ["temperature", "max_completion_tokens"]) if ($(name).value) asked[name] = Number($(name).value);
  return asked;
}

async function post() {
  const key = $("key").value, keys = key ? { "x-functions-key": key, authorization: `Bearer ${key}` } : {};
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: "POST", signal: running.signal, headers: { "content-type": "application/json", ...keys }, body: JSON.stringify(body()),
  });
  if (response.ok) return response;
  const said = (await response.json().catch(() => null))?.error;
  const asks = key ? "The server does not accept this key." : "This server asks for a key, under Settings.";
  throw new Error(response.status === 401 ? asks : said?.message ?? `The server answered with status ${response.status}.`);
}

/** Let the model answer the last message; what came before an error or Stop stays. */
async function answer() {
  running = new AbortController();
  fail("");
  draw();
  const answered = { role: "assistant", content: "" };
  let text = null;
  try {
    for await (const event of events(await post())) {
      text ??= show(answered);
      text.textContent = answered.content += event.choices[0]?.delta.content ?? "";
    }
    text ??= show(answered);
  } catch (error) {
    if (error.name !== "AbortError") fail(error.message);
  }
  if (text) messages.push(answered);
  running = null;
  draw();
}

function send() {
  if (running) return running.abort();
  const content = $("message").value;
  if (!content.trim() || !model?.chat) return;
  messages.push({ role: "user", content });
  $("message").value = "";
  answer();
}

$("form").addEventListener("submit", event => { event.preventDefault(); send(); });
$("message").addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) send();
});
$("again").addEventListener("click", () => {
  if (messages.at(-1).role === "assistant") messages.pop();
  answer();
});
$("fresh").addEventListener("click", () => { messages = []; fail(""); draw(); $("message").focus(); });

/** Learn what is served. The first request of a page can meet a model that still loads. */
async function greet() {
  try {
    const health = await (await fetch(`${base}/health`)).json();
    model = health.model;
    const able = model?.chat ? "" : ", which has no chat template: set CHAT_TEMPLATE, or write with it in the playground";
    $("model").textContent = model ? model.name + able : `Model: ${health.state}`;
    $("send").disabled = !model?.chat;
    if (health.state === "loading") setTimeout(greet, 500);
  } catch {
    $("model").textContent = "The server does not answer; trying again …";
    setTimeout(greet, 3000);
  }
}

$("back").href = `${base}/playground`;
draw();
greet();

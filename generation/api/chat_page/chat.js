/* A chat. The page keeps the messages and sends all of them with each request. */
"use strict";

const $ = id => document.getElementById(id);
const base = location.origin + location.pathname.replace(/\/playground\/chat\/?$/i, "");
let model = null;     // from /health
let messages = [];    // in the form of the API
let running = null;   // AbortController of the current request

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

/** Append a message to the page; return the element that holds its text. */
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

function body() {
  const system = $("system").value.trim(), asked = { model: model?.name, stream: true };
  asked.messages = [...system ? [{ role: "system", content: system }] : [], ...messages];
  for (const name of ["temperature", "max_completion_tokens"]) if ($(name).value) asked[name] = Number($(name).value);
  return asked;
}

/** Stream the answer to the last message; keep the partial answer after an error or Stop. */
async function answer() {
  running = new AbortController();
  fail("");
  draw();
  const answered = { role: "assistant", content: "" };
  let text = null;
  try {
    for await (const event of events(await post("/v1/chat/completions", body(), running.signal))) {
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

/** Show the served model; poll while it is loading. */
async function greet() {
  try {
    const health = await (await fetch(`${base}/health`)).json();
    model = health.model;
    const able = model?.chat ? "" : " has no chat template: set CHAT_TEMPLATE, or use the playground";
    $("model").textContent = model ? model.name + able : `Model: ${health.state}`;
    $("send").disabled = !model?.chat;
    if (health.state === "loading") setTimeout(greet, 500);
  } catch {
    $("model").textContent = "The server does not respond; retrying …";
    setTimeout(greet, 3000);
  }
}

$("back").href = `${base}/playground`;
draw();
greet();

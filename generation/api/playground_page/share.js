/* What is kept and passed on: the address, this browser's storage, files, and the request as code. Never the key. */

const STORE = "generation-playground";

/** Return the text and the settings that differ from the first ones, as the fragment of an address. */
function fragment() {
  const s = Object.fromEntries(Object.entries(readSettings()).filter(([name, value]) => value !== FIRST[name]));
  const bytes = new TextEncoder().encode(JSON.stringify({ t: doc.map(one => [one.by, one.text]), s }));
  return btoa(Array.from(bytes, one => String.fromCharCode(one)).join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function readFragment(given) {
  const bytes = Uint8Array.from(atob(given.replaceAll("-", "+").replaceAll("_", "/")), one => one.charCodeAt(0));
  const { t, s } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  return { segments: tidy(t.map(([by, text]) => checked({ by, text }))), settings: s };
}

function session() { return { version: 1, model: model?.name ?? null, settings: readSettings(), ...packNodes() }; }

/** Take over a session; throws where it is none. */
function restore(data) {
  if (data?.version !== 1) throw new TypeError("no session");
  unpackNodes(data);
  writeSettings(data.settings);
}

/** Keep the session in this browser. Where it has no room, alternatives go first, then all but the text. */
function keep() {
  const data = session(), light = { ...data, segments: data.segments.map(({ by, text }) => ({ by, text })) };
  history.replaceState(null, "", `#${fragment()}`);
  for (const one of [data, light, { ...light, nodes: [], current: -1 }]) {
    try { return localStorage.setItem(STORE, JSON.stringify(one)); } catch { /* no room, or no storage */ }
  }
}
const keepSoon = later(keep, 300);

/** Return to the session of this browser. A text that comes with the address joins it as a branch of its own. */
function recall() {
  const given = location.hash.slice(1);
  try { restore(JSON.parse(localStorage.getItem(STORE))); } catch { show(given ? [] : [{ by: "y", text: "Once upon a time" }]); }
  if (!given || given === fragment()) return;
  try {
    const { segments, settings } = readFragment(given);
    start(segments, settings);
  } catch { report(new ApiError("The address has no text that can be read.")); }
}

/** Begin with another text; what there was stays under Branches. */
function start(segments, settings) {
  commit();
  clearCards();
  clearErrors();
  current = null;
  writeSettings(settings);
  show(segments);
}

function exportSession() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(session(), null, 1)], { type: "application/json" }));
  link.download = "playground-session.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function importSession(file) {
  if (!file) return;
  try { commit(); restore(JSON.parse(await file.text())); } catch { return report(new ApiError(`${file.name} is no session of this page.`)); }
  clearErrors();
  clearCards();
  changed("Imported");
}

/* The code reads the key from the environment; the key itself is never shown. */
let language = "curl";

/** Return a JSON value in Python's notation. */
function literal(value) {
  if (value === null || typeof value === "boolean") return { null: "None", true: "True", false: "False" }[value];
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return typeof value === "object" ? `{${Object.entries(value).map(([name, one]) => `"${name}": ${literal(one)}`).join(", ")}}` : JSON.stringify(value);
}

const OPENAI = "model prompt max_tokens n temperature top_p frequency_penalty presence_penalty seed stop stream".split(" ");
const CODE = {
  curl(asked, keyed) {
    const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
    const key = keyed ? ' \\\n  -H "x-functions-key: $FUNCTION_KEY" -H "Authorization: Bearer $FUNCTION_KEY"' : "";
    return `curl -N ${quoted(`${base}/v1/completions`)}${key} \\\n  -d ${quoted(JSON.stringify(asked))}`;
  },
  python(asked, keyed) {
    const extra = {}, fields = [];
    for (const [name, value] of Object.entries({ model: "", ...asked })) {
      if (OPENAI.includes(name)) fields.push(`    ${name}=${literal(value)},\n`); else extra[name] = value;
    }
    if (Object.keys(extra).length) fields.push(`    extra_body=${literal(extra)},\n`);
    const [before, client] = keyed ? ['import os\n\n', 'key = os.environ["FUNCTION_KEY"]\nclient = OpenAI(api_key=key, default_headers={"x-functions-key": key}'] : ["", 'client = OpenAI(api_key="unused"'];
    return `${before}from openai import OpenAI\n\n${client}, base_url="${base}/v1")\ntexts = [""] * ${asked.n ?? 1}\n` +
      `for event in client.completions.create(\n${fields.join("")}):\n    for choice in event.choices:\n        texts[choice.index] += choice.text\nprint(*texts, sep="\\n---\\n")`;
  },
  javascript({ stream, ...asked }, keyed) {
    const [before, headers] = keyed ? ["const key = process.env.FUNCTION_KEY;\n", ', "x-functions-key": key, authorization: `Bearer ${key}`'] : ["", ""];
    return `${before}const response = await fetch("${base}/v1/completions", {\n  method: "POST",\n  headers: { "content-type": "application/json"${headers} },\n` +
      `  body: JSON.stringify(${JSON.stringify(asked, null, 2).replaceAll("\n", "\n  ")}),\n});\nif (!response.ok) throw new Error(await response.text());\n` +
      `const { choices } = await response.json();\nfor (const { text } of choices) console.log(text, "\\n---");`;
  },
};

function drawCode() {
  let code;
  try { code = CODE[language](body(textOf(doc).slice(0, spot)), Boolean($("key").value)); } catch (error) { code = error.message; }
  say($("code"), code);
}

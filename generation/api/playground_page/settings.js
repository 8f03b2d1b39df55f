/* The fields of a request: made from one list, checked, sent, and told what was wrong with them. */

const NUMBERS = [
  // name, label, first value, least, most, step of the slider, hint
  ["temperature", "Temperature", 0.8, 0, 2, 0.05, "Lower is more predictable; 0 is greedy."],
  ["top_k", "Top-k", 50, 0, 100, 1, "Keep this many of the likeliest tokens; 0 keeps all."],
  ["top_p", "Top-p", 1, 0.01, 1, 0.01, "Keep the likeliest tokens that hold this much probability."],
  ["min_p", "Min-p", 0, 0, 1, 0.01, "Keep tokens with this fraction of the top probability."],
  ["frequency_penalty", "Frequency penalty", 0, -2, 2, 0.05, "Lower a token's score by this for each use in the answer."],
  ["presence_penalty", "Presence penalty", 0, -2, 2, 0.05, "Lower a token's score by this once the answer uses it."],
  ["repetition_penalty", "Repetition penalty", 1, 1, 2, 0.01, "Weaken tokens of prompt and answer; 1 is off."],
  ["max_tokens", "New tokens", 60, 1, 500, 1, "Generate at most this many."],
  ["n", "Sequences", 1, 1, 16, 1, "Compare several side by side."],
];
const FORMATS = [
  // field of the request, label, label of the text field, example, hint
  ["", "Free text", "", "", ""],
  ["guided_choice", "Choices", "Choices", " yes\n no", "One a line. Spaces count."],
  ["guided_regex", "Regular expression", "Expression", " [1-9][0-9]? (cats|dogs)", "The whole answer matches it."],
  ["guided_json", "JSON schema", "Schema", "{\"type\": \"object\"}", "The answer is JSON of this schema."],
];
const FIRST = { seed: "", stop: "", format: "", pattern: "" };
for (const [name, , value] of NUMBERS) FIRST[name] = String(value);

// The field of the request that says whether a setting is offered, where it has another name.
const OFFERS = { format: "prompt", pattern: "prompt" };

/** Make a labelled field with a hint and a place for what is wrong with it. */
function field(name, label, tag, hint, values = {}, ...more) {
  const input = Object.assign(element(tag), values, { id: name }), caption = Object.assign(element("label", "", label), { htmlFor: name });
  const help = element("p", "hint", hint), wrong = element("p", "refused");
  help.id = `${name}-help`;
  wrong.id = `${name}-error`;
  input.setAttribute("aria-describedby", `${help.id} ${wrong.id}`);
  const box = element("div", more.length ? "field sliding" : "field", "", caption, input, ...more, help, wrong);
  box.id = `${name}-field`;
  return box;
}

function makeSettings() {
  const form = $("settings");
  for (const [name, label, value, min, max, step, hint] of NUMBERS) {
    const slider = Object.assign(element("input"), { type: "range", min, max, step, value, ariaLabel: `${label}, slider` });
    slider.addEventListener("input", () => { $(name).value = slider.value; });
    form.append(field(name, label, "input", hint, { type: "number", step: "any", value }, slider));
    $(name).addEventListener("input", () => { slider.value = $(name).value || value; });
  }
  form.append(
    field("stop", "Stop before", "textarea", "One a line, with escapes such as \\n and \\u00e9.", { placeholder: "\\n\\n", spellcheck: false }),
    field("seed", "Seed", "input", "Same seed and request, same answer.", { placeholder: "random" }),
    field("format", "Format", "select", "What the answer is like."),
    field("pattern", "Pattern", "textarea", "", { rows: 4, className: "code" }),
    field("key", "Key", "input", "Never kept.", { type: "password", autocomplete: "off", placeholder: "none" }),
  );
  $("format").append(...FORMATS.map(([name, label]) => new Option(label, name)));
  form.addEventListener("input", event => { refuse(event.target.closest(".field").id.replace(/-field$/, ""), ""); showFormat(); });
}

/** Show only what the server offers. */
function showOffers() {
  for (const name of Object.keys(FIRST)) $(`${name}-field`).hidden = !offers[OFFERS[name] ?? name];
  for (const one of [...$("format").options]) if (one.value && !offers[one.value]) one.remove();
  $("format-field").hidden = $("format").options.length < 2;
  showFormat();
}

function showFormat() {
  const [name, , label, example, hint] = FORMATS.find(([one]) => one === $("format").value) ?? FORMATS[0];
  $("pattern-field").hidden = !name;
  say($("pattern-field").firstChild, label);
  $("pattern").placeholder = example;
  say($("pattern-help"), hint);
}

const readSettings = () => Object.fromEntries(Object.keys(FIRST).map(name => [name, $(name).value]));

/** Take over settings, which may come from a link or a file: only what is known, and only as text. */
function writeSettings(given) {
  for (const [name, value] of Object.entries(FIRST)) $(name).value = String(given?.[name] ?? value).slice(0, 20000);
  for (const [name, , value] of NUMBERS) $(name).nextSibling.value = $(name).value || value;
  if (!$("format").value) $("format").value = "";
  showFormat();
}

/** Show what is wrong with a field, or that nothing is. */
function refuse(name, message) {
  const place = $(`${name}-error`);
  if (!place) return;
  say(place, message);
  $(name).ariaInvalid = message ? "true" : null;
  if (message) place.closest("details")?.setAttribute("open", "");
}

/** Return the field that a parameter of the request is entered in. */
function fieldOf(param) {
  return /^(guided|structured|response_format)/.test(param) ? "pattern" : param?.split(".")[0];
}

function unescape(text) {
  return text.replace(/\\(u\{[0-9a-f]{1,6}\}|u[0-9a-f]{4}|.?)/gi, (whole, what) => {
    const known = { n: "\n", t: "\t", r: "\r", "\\": "\\" }[what], point = what.length > 1 ? parseInt(what.replace(/[u{}]/gi, ""), 16) : NaN;
    if (known === undefined && !(point <= 0x10ffff)) throw new ApiError(`${whole} is no escape. Write a backslash as \\\\.`, "stop");
    return known ?? String.fromCodePoint(point);
  });
}

/** Return the numbers that can be read; used to draw as well as to send. */
const numbers = () => Object.fromEntries(NUMBERS.map(([name, , value]) => [name, $(name).value === "" ? value : Number($(name).value)]));

/** Return the body of a request that continues `prompt`. What equals the server's default is left out.
    Throws an ApiError that names the field. */
function body(prompt) {
  const made = { ...model && { model: model.name }, prompt }, values = numbers();
  for (const [name, label] of NUMBERS) {
    if ($(name).validity.badInput) throw new ApiError(`${label} is a number.`, name);
    if (offers[name] && $(name).value && values[name] !== offers[name].default) made[name] = values[name];
  }
  if ($("seed").value.trim()) {
    made.seed = Number($("seed").value);
    if (!Number.isSafeInteger(made.seed)) throw new ApiError("A seed is a whole number of up to 9007199254740991.", "seed");
  }
  const stops = $("stop").value.split("\n").filter(Boolean).map(unescape), format = $("format").value, pattern = $("pattern").value;
  if (stops.length) made.stop = stops;
  if (format) {
    if (!pattern.trim()) throw new ApiError("Enter what the answer has to look like.", "pattern");
    try {
      made[format] = format === "guided_choice" ? pattern.split("\n").filter(Boolean) : format === "guided_json" ? JSON.parse(pattern) : pattern;
    } catch (error) { throw new ApiError(`The schema is not valid JSON: ${error.message}`, "pattern"); }
  }
  return { ...made, stream: true };
}

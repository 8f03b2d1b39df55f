/* What could stand at the cursor: the tokens that the model weighs, and what the settings make of them. */

let place = null;     // {doc, number, start, token, known, reported, counts}: a token of the text, or the next one where number is -1
let asking = null;    // aborts the request for the next token
let pieces = null;    // {prefix, count, seen}: the tokens before the cursor
let opener = null;    // what gets the focus back when the sheet closes

/** Look at a token of a text, or with -1 at the one that would come at `start`. */
function inspect(segments, number, start) {
  const found = number < 0 ? null : tokensOf(segments)[number];
  const next = { doc: segments, number, start: found?.start ?? start, token: found?.token ?? null, known: null, reported: 0, counts: {} };
  const prefix = textOf(segments).slice(0, next.start);
  if (place && !place.failed && place.number === number && place.token === next.token && place.prefix === prefix) {
    place.doc = segments;
    if (!place.known && !running) askNext();
    return drawRows();
  }
  asking?.abort();
  place = { ...next, prefix };
  if (found) {
    place.known = found.token[3];
    place.reported = Math.min(mostReported(), place.known.length);
    for (const token of found.segment.tokens.slice(0, found.number)) place.counts[token[1]] = (place.counts[token[1]] ?? 0) + 1;
  } else if (!running) askNext();
  drawRows();
}

/** Look at what the cursor is at. */
function inspectCursor() {
  inspect(doc, atEnd() ? -1 : tokenAt(tokensOf(doc), spot), spot);
  countTokens();
}

const shown = () => !phone.matches || modes.contains("sheet");

const askNext = later(async () => {
  const asked = place;
  if (!asked || asked.token || !model || !shown() || running) return;
  const control = asking = new AbortController();
  try {
    const known = await likeliest(asked.prefix, control.signal);
    if (place !== asked) return;
    Object.assign(asked, { known, reported: known.length });
  } catch (error) {
    if (error.name === "AbortError" || place !== asked) return;
    asked.failed = error.message;
  }
  drawRows();
}, 300);

/** Count the tokens before the cursor, against the context. */
const countTokens = later(async () => {
  if (!model || running) return;
  const prefix = textOf(doc).slice(0, spot);
  if (pieces?.prefix === prefix) return drawMeter();
  try {
    const answer = await (await post("/tokenize", { prompt: prefix })).json();
    pieces = { prefix, count: answer.count, seen: new Set(answer.pieces) };
  } catch { pieces = null; }
  if (prefix !== textOf(doc).slice(0, spot)) return;
  drawMeter();
  if (numbers().repetition_penalty !== 1) drawRows();
}, 200);

function drawMeter() {
  const room = pieces && model ? model.context - pieces.count : null;
  say($("meter"), room === null ? "–" : `${pieces.count} / ${model.context}`);
  const over = room !== null && numbers().max_tokens > room;
  $("meter").classList.toggle("over", over);
  say($("max_tokens-help"), over ? `The context has room for ${Math.max(0, room)} after this text.` : NUMBERS.find(([name]) => name === "max_tokens")[6]);
}

/** Add further tokens, one request each. */
async function deepen() {
  if (!allowed($("more")) || !place?.known) return;
  const asked = place, control = asking = new AbortController();
  enable($("more"), false);
  try {
    for await (const one of furtherTokens(asked.prefix, asked.reported + 10, control.signal)) {
      if (place !== asked) return;
      asked.known = [...asked.known.filter(([name]) => name !== one[0]), one].sort((a, b) => b[1] - a[1]);
      asked.reported++;
      drawRows(true);
    }
  } catch (error) {
    if (error.name !== "AbortError") report(error);
  }
  drawRows();
}

const END = /^<\|.*\|>$/;

function rowOf([name, logprob], { share, cut: rule }, most) {
  const raw = Math.exp(logprob), half = /^(bytes|token_id):/.test(name), track = element("span", "track", "", element("i", "raw"), element("i", "now"));
  const seen = numbers().repetition_penalty !== 1 && (place.counts[name] || (pieces?.prefix === place.prefix && pieces.seen.has(name)));
  const one = button(`option${rule ? " cut" : ""}${seen ? " seen" : ""}`, "", () => { if (allowed(one)) follow(name, logprob); });
  track.firstChild.style.width = `${raw / most * 100}%`;
  track.lastChild.style.width = `${share / most * 100}%`;
  one.append(element("code", "", visible(name)), track, element("span", "", percent(raw)), element("span", "", rule || percent(share)));
  if (place.token?.[1] === name) one.ariaCurrent = "true";
  const what = half ? "A part of a character" : END.test(name) ? "End the text here" : `Continue with “${visible(name)}”`;
  one.ariaLabel = `${what}: model ${percent(raw)}, ${rule ? `cut off by ${rule}` : `with these settings ${percent(share)}`}${seen ? ", weakened by the repetition penalty" : ""}`;
  enable(one, !half && !running);
  return element("li", "", "", one);
}

/** Draw the bars. A row that has the focus keeps it. */
function drawRows(working = false) {
  const list = $("rows"), focused = [...list.querySelectorAll("button")].indexOf(document.activeElement), lines = [];
  const ready = model && place?.known && !running?.inText;
  let note = place?.failed ?? "";
  say($("looked"), running?.inText ? "Writing …" : place?.token ? `Token ${place.number + 1}: “${visible(place.token[1])}”` : "Next token");
  if (ready) {
    const rules = numbers(), shares = place.known.map(([, logprob]) => Math.exp(logprob)), others = model.vocabulary - shares.length;
    const rest = Math.max(0, 1 - shares.reduce((sum, one) => sum + one, 0));
    const found = shape(place.known, tail(shares[place.reported - 1], place.reported, rest, others), rules, place.counts);
    const highest = Math.max(...shares, ...found.rows.map(one => one.share));
    const most = [0.1, 0.25, 0.5].find(one => one >= highest) ?? 1;  // steps, so that bars do not all move with the highest
    place.known.forEach((one, i) => lines.push(rowOf(one, found.rows[i], most)));
    lines.push(element("li", "option others", "", element("span", "", `${others.toLocaleString("en")} others`), element("span", "", percent(rest)),
      element("span", "", found.others ? `≈ ${percent(found.others)}` : "cut")));
    if (rules.repetition_penalty !== 1) note = "↓: weakened by the repetition penalty. How much depends on scores that the API does not report.";
    else if (!place.token && (rules.frequency_penalty || rules.presence_penalty)) note = "These penalties count tokens of the answer; none precedes its first.";
    else if ($("format").value) note = "What the format rules out is not shown.";
    else note = "Choose a token to continue with it.";
  }
  list.replaceChildren(...lines);
  list.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
  say($("looked-note"), note);
  enable($("more"), ready && !working && !running && place.known.length < 40 && Boolean(offers.logit_bias));
  for (const name of ["before", "after"]) enable($(name), !running && place?.doc.some(one => one.tokens));
}

/** Step to a neighbouring token, those without a text of their own included. */
function step(by) {
  const tokens = tokensOf(place.doc), inText = place.doc === doc;
  const number = place.number >= 0 ? place.number + by : by < 0 ? tokens.findLastIndex(one => one.end <= place.start) : -1;
  if (!tokens[number]) return inText && by > 0 ? placeCursor(prompt.value.length) : undefined;
  if (inText) {
    putCursor(tokens[number].start);
    paint();
  }
  inspect(place.doc, number);
}

/** Continue with another token; the branch that it leaves is kept. */
function follow(name, logprob) {
  if (running) return;
  const before = cut(place.doc, place.start), known = place.known;
  closeSheet();
  $("go").focus({ preventScroll: true });
  if (END.test(name)) { commit(); show(before); return changed("The text ends here"); }
  generate({ from: [...before, { by: "m", text: name, tokens: [[name, name, logprob, known]] }], base: place.start, other: name });
}

function openSheet(from) {
  opener = from;
  modes.add("sheet");
  $("peek").ariaExpanded = "true";
  inspectCursor();
  askNext();
  $("looked").focus({ preventScroll: true });
  $("mark").scrollIntoView({ block: "nearest" });
}

/** Close the sheet; the cursor goes back to the end, where the next Generate is expected to go on. */
function closeSheet() {
  if (!modes.contains("sheet")) return;
  modes.remove("sheet");
  $("peek").ariaExpanded = "false";
  (opener === prompt ? $("go") : opener ?? $("go")).focus({ preventScroll: true });
  if (!running) placeCursor(prompt.value.length);
}

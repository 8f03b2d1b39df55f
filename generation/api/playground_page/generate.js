/* One request and what becomes of it: in the text where it is one sequence, else in cards side by side. */

let running = null;  // the request that runs: an AbortController with `inText`

const REASONS = { stop: "ended by itself", length: "reached the limit of new tokens", stopped: "stopped by you", failed: "broke off" };

/** Show an error in words, at its field too where it has one. */
function report(error) {
  refuse(fieldOf(error.param), error.message);
  say($("error"), error.message);
  $("error").hidden = false;
}

function clearErrors() {
  $("error").hidden = true;
  say($("error"), "");
  for (const one of document.querySelectorAll(".refused")) refuse(one.id.replace(/-error$/, ""), "");
}

/** A sequence beside others: its text, why it ended, and what can be done with it. */
class Card {
  picked = -1;
  why = element("span", "who");
  text = Object.assign(element("div", "text"), { tabIndex: 0, role: "group" });
  use = button("", "Continue with this", () => {
    if (!allowed(this.use)) return;
    go(this.node);
    changed("Chosen");
    $("go").focus();
  });
  constructor(number, from) {
    this.from = this.doc = from;
    this.text.ariaLabel = `Sequence ${number}; arrow keys go through its tokens`;
    const copy = button("", "Copy", () => copyFrom(copy, textOf(this.own())));
    enable(this.use, false);
    this.box = element("article", "card", "", element("div", "row between", "", element("h3", "", `Sequence ${number}`), this.why), this.text, element("div", "row", "", this.use, copy));
    this.text.addEventListener("click", event => this.pick(tokenUnder(this.text, this.own(), event), phone.matches));
    this.text.addEventListener("keydown", event => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Enter: 0 }[event.key];
      if (by === undefined || event.ctrlKey) return;
      event.preventDefault();
      this.pick(Math.min(tokensOf(this.own()).length - 1, Math.max(0, this.picked + by)), phone.matches && !by);
    });
  }
  own() { return this.doc.slice(this.from.length); }
  show(segments, writing) {
    this.doc = segments;
    draw(this.text, this.own(), { writing, picked: this.picked });
  }
  /** Show a token of this sequence, on a phone in the sheet. */
  pick(number, sheet) {
    if (running || number < 0) return;
    for (const one of cards) {
      one.picked = one === this ? number : -1;
      one.show(one.doc, false);
    }
    if (sheet) openSheet(this.text);
    inspect(this.doc, tokensOf(this.from).length + number);
  }
}

let cards = [];
function clearCards() { cards = []; $("candidates").replaceChildren(); }

/** Continue `from`, by default what stands before the cursor. */
async function generate({ from = cut(doc, spot), base = textOf(from).length, other = null } = {}) {
  if (running) return;
  clearErrors();
  let asked;
  try {
    asked = body(textOf(from));
    if (other !== null) delete asked.n;
  } catch (error) { return report(error); }
  closeSheet();
  commit();
  const before = doc, many = asked.n ?? 1, control = new AbortController(), began = performance.now();
  const parts = Array.from({ length: many }, () => new Continuation());
  clearCards();
  running = Object.assign(control, { inText: many === 1 });
  following = true;
  prompt.readOnly = true;
  if (many > 1) {
    cards = parts.map((_, i) => new Card(i + 1, from));
    $("candidates").replaceChildren(...cards.map(one => one.box));
  }
  const segments = part => tidy([...from, part.segment()]);
  const render = () => {
    if (many === 1) grow(segments(parts[0]));
    else parts.forEach((part, i) => { cards[i].show(segments(part), !part.reason); say(cards[i].why, REASONS[part.reason] ?? ""); });
  };
  let frame = 0, first = null, count = 0, failure = null;
  for (const name of ["first", "speed", "count"]) say($(name), "–");
  say($("go"), "Stop");
  say($("state"), "Waiting …");
  if (many === 1) show(from, false);
  drawControls();
  (many === 1 ? paper.caret : $("candidates")).scrollIntoView({ block: "nearest" });
  try {
    const response = await post("/v1/completions", { ...asked, logprobs: mostReported() }, control.signal);
    for await (const event of events(response)) {
      const now = performance.now();
      for (const choice of event.choices) {
        parts[choice.index].add(choice);
        count += choice.logprobs?.tokens.length ?? 0;
      }
      if (first === null) {
        first = now;
        say($("first"), `${Math.round(now - began)} ms`);
        say($("state"), "Writing …");
      } else if (now > first) say($("speed"), String(Math.round(count / (now - first) * 1000)));
      say($("count"), String(count));
      frame ||= requestAnimationFrame(() => { frame = 0; render(); });
    }
  } catch (error) {
    failure = control.signal.aborted ? "stopped" : "failed";
    if (!control.signal.aborted) report(error instanceof ApiError ? error : new ApiError(`The page met an error: ${error.message}`));
  }
  cancelAnimationFrame(frame);
  for (const part of parts) part.reason ??= failure ?? "failed";
  running = null;
  finish({ parts, segments, base, other, before, failure });
}

/** Keep what came, show it, and say how it ended. */
function finish({ parts, segments, base, other, before, failure }) {
  const parent = parentOf(textOf(segments(parts[0])).slice(0, base));
  const made = parts.map(part => {
    const one = segments(part);
    return part.characters.length || other !== null ? addNode({ parent, by: "m", doc: one, base, reason: part.reason, other }) : null;
  });
  prompt.readOnly = false;
  if (parts.length === 1) {
    if (made[0]) current = made[0];
    const selected = prompt.selectionStart !== prompt.selectionEnd;
    show(made[0]?.doc ?? before, made[0] && selected ? false : null);
  } else parts.forEach((part, i) => {
    cards[i].node = made[i];
    cards[i].show(segments(part), false);
    say(cards[i].why, made[i] ? REASONS[part.reason] : `${REASONS[part.reason]}, nothing written`);
    enable(cards[i].use, Boolean(made[i]));
  });
  if (parts.length > 1 && !made.some(Boolean) && failure) clearCards();
  const ends = parts.length > 1 ? "Done" : made[0] ? `Done: ${REASONS[parts[0].reason]}` : "The model ended the text here";
  changed(failure === "stopped" ? "Stopped by you" : failure ? "Failed" : ends);
}

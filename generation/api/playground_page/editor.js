/* One text that both write. The textarea holds it; the paper behind shows who wrote what, and how sure the model was. */

let doc = [];           // the segments of the text
let spot = 0;           // where the cursor is; a textarea without the focus can lose its selection
let following = false;  // whether the page scrolls along with a stream

const prompt = $("prompt"), paper = $("paper");
const atEnd = () => spot >= textOf(doc).length;

function putCursor(place) {
  spot = place;
  prompt.setSelectionRange(place, place);
}

/** Take over the cursor of the textarea, in which a line break is one character. */
function readCursor() {
  const { selectionEnd, value } = prompt;
  spot = selectionEnd >= value.length ? textOf(doc).length : selectionEnd;
}

/** Show a text, with the cursor at a place, by default its end; false leaves the cursor. */
function show(segments, place = null) {
  doc = segments;
  const text = textOf(segments);
  if (prompt.value !== text) prompt.value = text;
  if (place === false) readCursor(); else putCursor(place ?? text.length);
  paint();
}

/** Show a text that grows; a selection that the person made stays. */
function grow(segments) {
  const text = textOf(segments);
  doc = segments;
  if (text.startsWith(prompt.value)) prompt.setRangeText(text.slice(prompt.value.length), prompt.value.length, prompt.value.length, "preserve");
  else prompt.value = text;
  paint();
  if (following) paper.caret.scrollIntoView({ block: "nearest" });
}

/** Return how unsure the model was, from 1 to 5. */
const heatOf = logprob => 1 + [0.9, 0.6, 0.3, 0.1, 0].findIndex(least => Math.exp(logprob) >= least);

// Ranges are painted on one text node: elements around words would change where a browser breaks lines.
const paints = Object.fromEntries(["model", "tail", "h2", "h3", "h4", "h5", "picked"].map((name, priority) => {
  const paint = globalThis.Highlight ? Object.assign(new Highlight(), { priority }) : new Set();
  CSS.highlights?.set(name, paint);
  return [name, paint];
}));

/** Draw segments into an element. `from`: where the rest begins that Generate would cut off; `picked`: the number of a token;
    `writing`: show a caret. A leading space is not painted: at a line's end it would stand out as a sliver. */
function draw(parent, segments, { from = Infinity, picked = -1, writing = false } = {}) {
  const text = textOf(segments), heat = modes.contains("heat");
  if (!parent.node) parent.append(parent.node = new Text(), parent.caret = element("i", "caret"));
  // What is added gives an empty last line its height.
  if (parent.node.data !== text + "\u200b") parent.node.data = text + "\u200b";
  parent.caret.hidden = !writing;
  for (const [name, range] of parent.painted ?? EMPTY) paints[name].delete(range);
  parent.painted = [];
  const paint = (name, start, end) => {
    start += text.slice(start, end).search(/\S|$/);
    if (start >= end) return;
    const range = new StaticRange({ startContainer: parent.node, startOffset: start, endContainer: parent.node, endOffset: end });
    paints[name].add(range);
    parent.painted.push([name, range]);
  };
  let place = 0;
  for (const { by, text: part } of segments) {
    const end = place + part.length;
    if (by === "m" && !heat) {
      if (place < from) paint("model", place, Math.min(end, from));
      if (end > from) paint("tail", Math.max(place, from), end);
    }
    place = end;
  }
  tokensOf(segments).forEach(({ token, start, end }, number) => {
    if (heat && heatOf(token[2]) > 1) paint(`h${heatOf(token[2])}`, start, end);
    if (number === picked) paint("picked", start, end);
  });
}

/** Return where a part of a drawn text is on the screen. */
function rectsOf(parent, start, end) {
  const range = new Range();
  range.setStart(parent.node, start);
  range.setEnd(parent.node, end);
  return [...range.getClientRects()];
}

/** Return the number of the token at a point, or -1. */
function tokenUnder(parent, segments, { clientX: x, clientY: y }) {
  return tokensOf(segments).findIndex(({ start, end }) => rectsOf(parent, start, end).some(one => one.left <= x && x <= one.right && one.top <= y && y <= one.bottom));
}

function paint() {
  const here = spot, inside = !running && !atEnd(), mark = $("mark");
  draw(paper, doc, { from: inside ? here : Infinity, picked: inside ? tokenAt(tokensOf(doc), here) : -1, writing: Boolean(running?.inText) });
  mark.hidden = !inside;
  if (inside) {
    const { left, top, height } = rectsOf(paper, here, here + 1)[0], origin = paper.getBoundingClientRect();
    Object.assign(mark.style, { left: `${left - origin.left}px`, top: `${top - origin.top}px`, height: `${height}px` });
  }
  if (!running) say($("go"), inside ? "Generate from cursor" : "Generate");
}

function placeCursor(place) { putCursor(place); moved(); }

/** What the cursor is at has changed. */
function moved() { paint(); inspectCursor(); }

function wireEditor() {
  let touched = false;
  prompt.addEventListener("input", () => { doc = edited(doc, prompt.value, prompt.selectionEnd); readCursor(); onEdit(); moved(); });
  prompt.addEventListener("focus", () => { if (!running) putCursor(spot); });
  document.addEventListener("selectionchange", () => { if (document.activeElement === prompt && !running) { readCursor(); moved(); } });
  prompt.addEventListener("pointerdown", event => { touched = event.pointerType === "touch"; });
  // A tap on a token shows it instead of calling up the keyboard.
  prompt.addEventListener("mousedown", event => { if (touched && phone.matches && tokenUnder(paper, doc, event) >= 0) event.preventDefault(); });
  prompt.addEventListener("click", event => {
    const number = touched && phone.matches ? tokenUnder(paper, doc, event) : -1;
    if (number < 0 || running) return;
    placeCursor(tokensOf(doc)[number].start);
    openSheet(prompt);
  });
  addEventListener("resize", paint);
  for (const kind of ["wheel", "touchmove"]) addEventListener(kind, () => { following = false; }, { passive: true });
}

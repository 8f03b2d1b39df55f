/* One text that both write. The textarea holds it; the paper behind shows who wrote what, and how sure the model was. */

let doc = [];           // the segments of the text
let following = false;  // whether the page scrolls along with a stream

const prompt = () => $("prompt");
const cursor = () => atEnd() ? textOf(doc).length : prompt().selectionEnd;
const atEnd = () => prompt().selectionEnd >= prompt().value.length;

/** Show a text, with the cursor at a place, by default its end; false leaves the cursor. */
function show(segments, place = null) {
  doc = segments;
  const box = prompt(), text = textOf(segments);
  if (box.value !== text) box.value = text;
  if (place !== false) box.setSelectionRange(place ?? text.length, place ?? text.length);
  paint();
}

/** Show a text that grows; a selection that the person made stays. */
function grow(segments) {
  const box = prompt(), text = textOf(segments);
  doc = segments;
  if (text.startsWith(box.value)) box.setRangeText(text.slice(box.value.length), box.value.length, box.value.length, "preserve");
  else box.value = text;
  paint();
  if (following) $("paper").caret.scrollIntoView({ block: "nearest" });
}

const heatOf = logprob => { const p = Math.exp(logprob); return p >= 0.9 ? 1 : p >= 0.6 ? 2 : p >= 0.3 ? 3 : p >= 0.1 ? 4 : 5; };

// Ranges are painted on one text node: elements around words would change where a browser breaks lines.
const paints = Object.fromEntries(["model", "tail", "h2", "h3", "h4", "h5", "picked"].map((name, priority) => {
  const paint = globalThis.Highlight ? Object.assign(new Highlight(), { priority }) : new Set();
  globalThis.CSS?.highlights?.set(name, paint);
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
  const here = cursor(), inside = !running && !atEnd(), paper = $("paper"), mark = $("mark");
  draw(paper, doc, { from: inside ? here : Infinity, picked: inside ? tokenAt(tokensOf(doc), here) : -1, writing: Boolean(running?.inText) });
  mark.hidden = !inside;
  if (inside) {
    const { left, top, height } = rectsOf(paper, here, here + 1)[0], origin = paper.getBoundingClientRect();
    Object.assign(mark.style, { left: `${left - origin.left}px`, top: `${top - origin.top}px`, height: `${height}px` });
  }
  if (!running) say($("go"), inside ? "Generate from cursor" : "Generate");
}

function placeCursor(place) { prompt().setSelectionRange(place, place); moved(); }

/** What the cursor is at has changed. */
function moved() { paint(); inspectCursor(); }

function wireEditor() {
  const box = prompt();
  let touched = false;
  box.addEventListener("input", () => { doc = edited(doc, box.value, box.selectionEnd); onEdit(); moved(); });
  document.addEventListener("selectionchange", () => { if (document.activeElement === box && !running) moved(); });
  box.addEventListener("pointerdown", event => { touched = event.pointerType === "touch"; });
  // A tap on a token shows it instead of calling up the keyboard.
  box.addEventListener("mousedown", event => { if (touched && phone.matches && tokenUnder($("paper"), doc, event) >= 0) event.preventDefault(); });
  box.addEventListener("click", event => {
    const number = touched && phone.matches ? tokenUnder($("paper"), doc, event) : -1;
    if (number < 0 || running) return;
    placeCursor(tokensOf(doc)[number].start);
    openSheet(box);
  });
  addEventListener("resize", paint);
  for (const kind of ["wheel", "touchmove"]) addEventListener(kind, () => { following = false; }, { passive: true });
}

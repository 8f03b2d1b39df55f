/* Every continuation is kept, as a node whose parent is the text that it continued. */

const MOST_NODES = 200;
let nodes = [];      // {parent, by, doc, base, reason, other}; base: where the continuation begins; other: a followed alternative
let current = null;  // the node that the text came from

function* chain(node) { for (let one = node; one; one = one.parent) yield one; }

/** Return the nearest node, from the current one upwards, whose text `text` begins with. */
function parentOf(text) { return [...chain(current)].find(one => text.startsWith(textOf(one.doc))) ?? null; }

function addNode(node) {
  nodes.push(node);
  while (nodes.length > MOST_NODES) {
    const kept = new Set([...chain(node), ...chain(current)]);
    const leaf = nodes.findIndex(one => !kept.has(one) && !nodes.some(other => other.parent === one));
    if (leaf < 0) break;
    nodes.splice(leaf, 1);
  }
  return node;
}

/** Keep what the person wrote as a node of its own, unless a node has it already. */
function commit() {
  const text = textOf(doc), known = nodes.find(one => textOf(one.doc) === text);
  if (known) current = known;
  else if (text && !nodes.some(one => textOf(one.doc).startsWith(text))) {
    current = addNode({ parent: parentOf(text), by: "y", doc, base: 0, reason: null, other: null });
  } else current = parentOf(text);
}

/** Return the last continuation that the text contains. */
function lastContinuation() {
  const text = textOf(doc);
  return [...chain(current)].find(one => one.by === "m" && text.length > one.base && text.startsWith(textOf(one.doc).slice(0, one.base))) ?? null;
}

/** Take the last continuation back; it stays in the tree. Returns whether there was one. */
function undo() {
  commit();
  const last = lastContinuation();
  if (!last) return false;
  current = last.parent;
  show(cut(last.doc, last.base));
  return true;
}

function go(node) { commit(); clearCards(); clearErrors(); current = node; show(node.doc); }

function label(node) {
  const begun = node.by === "m" ? node.base : node.parent ? textOf(node.parent.doc).length : 0;
  const text = textOf(node.doc).slice(begun).trim() || "(nothing)";
  return text.length > 60 ? `${text.slice(0, 57).trim()} …` : text;
}

/** Draw the tree. Only where it forks does it step to the right. */
function drawBranches() {
  const path = new Set(chain(current)), list = $("branches");
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  const children = parent => nodes.filter(one => one.parent === parent);
  const items = [];
  const put = (node, depth) => {
    const one = button(path.has(node) ? "branch path" : "branch", "", () => { if (!running) { go(node); changed("Returned"); } });
    const more = [node.other !== null && `via ${visible(node.other)}`, node.reason === "stopped" && "stopped"].filter(Boolean);
    one.append(element("span", "who", node.by === "m" ? "model" : "you"), element("span", "", label(node)), element("span", "who", more.join(", ")));
    if (node === current) one.ariaCurrent = "true";
    const item = element("li", "", "", one);
    item.style.setProperty("--depth", Math.min(depth, 6));
    items.push(item);
    const next = children(node);
    for (const child of next) put(child, depth + (next.length > 1));
  };
  for (const root of children(null)) put(root, 0);
  list.replaceChildren(...items);
  list.querySelectorAll("button")[focused]?.focus();
  $("branches-empty").hidden = nodes.length > 0;
}

/** Return the session as plain data, each segment once. */
function packNodes() {
  const segments = [...new Set([doc, ...nodes.map(one => one.doc)].flat())], place = new Map(segments.map((one, i) => [one, i]));
  return {
    segments,
    text: doc.map(one => place.get(one)),
    current: nodes.indexOf(current),
    nodes: nodes.map(one => ({ ...one, parent: nodes.indexOf(one.parent), doc: one.doc.map(part => place.get(part)) })),
  };
}

/** Check a segment that comes from outside; drop tokens that do not add up to its text. */
function checked(one) {
  if (typeof one?.text !== "string" || !["y", "m"].includes(one.by)) throw new TypeError("no segment");
  const sound = Array.isArray(one.tokens) && one.tokens.every(token => typeof token[0] === "string" && typeof token[1] === "string" && Number.isFinite(token[2]) &&
    Array.isArray(token[3]) && token[3].every(other => typeof other[0] === "string" && Number.isFinite(other[1])));
  return sound && one.tokens.map(token => token[0]).join("") === one.text ? one : { by: one.by, text: one.text };
}

/** Take over a session that `packNodes` made. Throws a TypeError where it is none, and changes nothing then. */
function unpackNodes(data) {
  const segments = data.segments.map(checked);
  const docOf = places => places.map(place => segments[place] ?? (() => { throw new TypeError("no such segment"); })());
  const made = data.nodes.slice(0, MOST_NODES).map(one => ({
    parent: null, by: one.by === "m" ? "m" : "y", doc: docOf(one.doc), base: Number(one.base) || 0,
    reason: typeof one.reason === "string" ? one.reason : null, other: typeof one.other === "string" ? one.other : null,
  }));
  data.nodes.forEach((one, i) => { if (made[i] && one.parent >= 0 && one.parent < i) made[i].parent = made[one.parent]; });
  const text = docOf(data.text);
  nodes = made;
  current = made[data.current] ?? null;
  show(text);
}

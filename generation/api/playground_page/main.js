/* Puts the parts together. */

const EXAMPLES = [
  ["Story", "Once upon a time, there was a little robot who", {}],
  ["Side by side", "The old door opened, and behind it", { n: "4", temperature: "1" }],
  ["Dialogue", "Lily saw a big dog in the park. \"What is your name?\" she asked. The dog said, \"", { stop: "\"" }],
  ["Choice", "The cat said meow. The dog said", { format: "guided_choice", pattern: " woof\n moo\n quack", temperature: "0" }],
  ["Pattern", "Tom went to the shop and bought", { format: "guided_regex", pattern: " [2-9] (red|blue|green) (balls|cars|apples)\\." }],
  ["JSON", "Lily is a girl. She is five years old. As JSON:", { format: "guided_json", pattern: '{"type": "object", "properties": {"name": {"enum": ["Lily", "Tom"]}, "age": {"type": "integer"}}, "required": ["name", "age"]}' }],
];

function drawControls() {
  const idle = !running;
  for (const name of ["undo", "retry"]) enable($(name), idle && Boolean(cards.length || lastContinuation()));
  for (const name of ["fresh", "import"]) enable($(name), idle);
  $("go").classList.toggle("stop", !idle);
  drawRows();
}

/** Everything that follows from another text: said once, drawn once, kept. */
function changed(message) {
  say($("state"), message);
  drawControls();
  moved();
  drawBranches();
  drawCode();
  keepSoon();
}

/** The person edited the text: cards and errors belong to the earlier one. */
function onEdit() {
  clearCards();
  clearErrors();
  say($("state"), "Ready");
  drawControls();
  drawCode();
  keepSoon();
}

function onModel() {
  showOffers();
  $("examples").replaceChildren(...EXAMPLES.filter(([, , { format }]) => !format || offers[format]).map(([name, text, settings]) => button("", name, () => {
    if (running) return;
    start([{ by: "y", text }], { ...FIRST, max_tokens: $("max_tokens").value, ...settings });
    if (settings.format) $("settings-fold").open = true;
    changed("Ready");
  })));
  drawCode();
  inspectCursor();
}

function retry() {
  if (!allowed($("retry"))) return;
  if (cards.length) return generate();
  const { doc: whole, base, other } = lastContinuation();
  if (undo()) generate({ from: cut(whole, base + (other ?? "").length), base, other });
}

function wire() {
  const press = (name, action) => $(name).addEventListener("click", event => { if (allowed($(name))) action(event); });
  // The second click of a double click would stop what the first one began.
  press("go", event => { if (running) { if (event.detail < 2) running.abort(); } else generate(); });
  press("undo", () => {
    const beside = cards.length > 0;
    clearCards();
    clearErrors();
    if (beside || undo()) changed("Taken back; it stays under Branches");
  });
  press("retry", retry);
  press("copy", () => copyFrom($("copy"), prompt.value));
  press("copy-code", () => copyFrom($("copy-code"), $("code").textContent));
  press("link", () => { keep(); copyFrom($("link"), location.href); });
  press("export", exportSession);
  press("import", () => $("file").click());
  press("fresh", () => { start([], {}); nodes = []; changed("A new session"); prompt.focus(); });
  press("peek", () => { if (modes.contains("sheet")) closeSheet(); else openSheet($("peek")); });
  press("close", closeSheet);
  press("edit", () => { const here = place.start; opener = null; closeSheet(); prompt.focus(); placeCursor(here); });
  press("more", deepen);
  press("before", () => step(-1));
  press("after", () => step(1));
  press("heat", () => {
    const on = modes.toggle("heat");
    $("heat").ariaPressed = String(on);
    $("scale").hidden = !on;
    $("authors").hidden = on;
    paint();
    for (const one of cards) one.show(one.doc, Boolean(running));
  });
  $("file").addEventListener("change", () => { importSession($("file").files[0]); $("file").value = ""; });
  $("settings").addEventListener("input", () => { drawRows(); drawMeter(); drawCode(); keepSoon(); });
  $("key").addEventListener("change", () => { if (!running) { clearErrors(); place = pieces = null; inspectCursor(); } });
  for (const name of Object.keys(CODE)) press(name, () => {
    language = name;
    for (const other of Object.keys(CODE)) $(other).ariaPressed = String(other === name);
    drawCode();
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") { if (running) running.abort(); else closeSheet(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); generate(); }
  });
  addEventListener("hashchange", () => { if (!running && location.hash.slice(1) !== fragment()) { recall(); changed("Ready"); } });
  addEventListener("pagehide", keep);
}

makeSettings();
wireEditor();
wire();
recall();
// On a phone the settings would push everything else out of sight.
$("settings-fold").open = $("branches-fold").open = !phone.matches;
changed("Ready");
greet();

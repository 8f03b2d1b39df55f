/* What every other part uses: elements, numbers, the clipboard. */
"use strict";

const $ = id => document.getElementById(id);
const phone = matchMedia("(max-width: 47.99rem)"), modes = document.body.classList;

/** Make an element with a class, a text and children. */
function element(tag, name = "", text = "", ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/** Make a button that does something. */
function button(name, text, action) {
  const made = element("button", name, text);
  made.addEventListener("click", action);
  return made;
}

/** Switch a button off without taking the focus from it; `allowed` is what its handler asks. */
function enable(one, on) { one.ariaDisabled = String(!on); }
function allowed(one) { return one.ariaDisabled !== "true"; }

/** Set a text only where it differs, so that nothing is announced or drawn twice. */
function say(one, text) { if (one.textContent !== text) one.textContent = text; }

const percent = share => share > 0 && share < 0.0005 ? "<0.1 %" : `${(share * 100).toFixed(1)} %`;

/** Show a token so that its white space can be seen. */
function visible(name) {
  if (name.startsWith("bytes:")) return name.slice(6).replaceAll("\\x", " ").trim();
  return name.replace(/^ +| +$/g, spaces => "␣".repeat(spaces.length)).replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "␀";
}

/** Return a function that runs `action` once, `wait_ms` after the last call. */
function later(action, wait_ms) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(action, wait_ms); };
}

/** Copy a text. Browsers offer the clipboard's interface only on https, so plain http needs the old command. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement, area = element("textarea", "aside");
    area.value = text;
    area.ariaHidden = "true";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus?.({ preventScroll: true });
    return done;
  }
}

/** Copy a text and say so on the button that was pressed, whose width stays. */
async function copyFrom(one, text) {
  const label = one.dataset.label ??= one.textContent;
  one.style.minWidth = `${one.offsetWidth}px`;
  say(one, await copyText(text) ? "Copied" : "Not copied");
  setTimeout(() => say(one, label), 1500);
}

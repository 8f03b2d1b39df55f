/* A text as a list of segments, each written by the person ("y") or the model ("m"). Nothing here changes in place.

   A model's segment is what one request returned. Its tokens are [text, name, logprob, [[name, logprob], ...]]; their texts
   add up to the segment's. A segment that was cut or edited inside a token has no `tokens`: they belong to another text. */

const EMPTY = [];

function textOf(segments) { return segments.map(one => one.text).join(""); }

/** Return segments without empty ones, and with neighbours by the person joined. */
function tidy(segments) {
  const result = [];
  for (const one of segments) {
    const last = result.at(-1);
    if (!one.text && !one.tokens?.length) continue;
    if (last && last.by === one.by && !last.tokens && !one.tokens) result[result.length - 1] = { by: one.by, text: last.text + one.text };
    else result.push(one);
  }
  return result;
}

/** Return the first `end` characters. A token that is cut keeps its text and loses its probabilities. */
function cut(segments, end) {
  const result = [];
  for (const one of segments) {
    if (end <= 0) break;
    if (one.text.length <= end) result.push(one);
    else {
      const kept = [];
      let length = 0;
      for (const token of one.tokens ?? EMPTY) {
        if (length >= end || length + token[0].length > end) break;
        kept.push(token);
        length += token[0].length;
      }
      while (kept.at(-1)?.[0] === "") kept.pop();  // parts of a character that is cut off
      if (kept.length) result.push({ by: one.by, text: one.text.slice(0, length), tokens: kept });
      if (length < end) result.push({ by: one.by, text: one.text.slice(length, end) });
    }
    end -= one.text.length;
  }
  return tidy(result);
}

/** Return what follows the first `start` characters, without probabilities: what precedes it may have changed. */
function restOf(segments, start) {
  return segments.map(({ by, text }) => {
    const part = { by, text: text.slice(Math.max(0, start)) };
    start -= text.length;
    return part;
  });
}

/** Return the segments of `text`, which the person made of `segments` by one edit that ended at `cursor`. */
function edited(segments, text, cursor) {
  const before = textOf(segments);
  if (before === text) return segments;
  const most = Math.min(before.length, text.length);
  let same = 0, tail = 0;
  while (same < most && before[same] === text[same]) same++;
  while (tail < most - same && tail < text.length - cursor && before.at(-1 - tail) === text.at(-1 - tail)) tail++;
  const typed = { by: "y", text: text.slice(same, text.length - tail) };
  return tidy([...cut(segments, same), typed, ...restOf(segments, before.length - tail)]);
}

/** List the tokens with the segment they are in, their number there, and where they start in the whole text. */
function tokensOf(segments) {
  const result = [];
  let start = 0;
  for (const segment of segments) {
    let place = start;
    (segment.tokens ?? EMPTY).forEach((token, number) => {
      result.push({ segment, number, token, start: place, end: place + token[0].length });
      place += token[0].length;
    });
    start += segment.text.length;
  }
  return result;
}

/** Return the index, among `tokens`, of the one that the cursor is before or in; -1 if there is none. */
function tokenAt(tokens, cursor) { return tokens.findIndex(one => one.start <= cursor && cursor < one.end); }

/** Gathers one choice of a stream. Offsets count characters, not UTF-16 units. */
class Continuation {
  constructor() { this.characters = []; this.tokens = []; this.reason = null; }
  add(choice) {
    this.characters.push(...choice.text);
    const report = choice.logprobs;
    (report?.tokens ?? EMPTY).forEach((name, i) => {
      const top = Object.entries(report.top_logprobs[i] ?? {}).sort((a, b) => b[1] - a[1]);
      this.tokens.push({ offset: report.text_offset[i], name, logprob: report.token_logprobs[i], top });
    });
    if (choice.finish_reason) this.reason = choice.finish_reason;
  }
  segment() {
    const text = this.characters.join("");
    const tokens = this.tokens.map(({ offset, name, logprob, top }, i) =>
      [this.characters.slice(i ? offset : 0, this.tokens[i + 1]?.offset).join(""), name, logprob, top]);
    return tokens.length ? { by: "m", text, tokens } : { by: "m", text };
  }
}

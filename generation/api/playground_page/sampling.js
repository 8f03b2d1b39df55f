/* What the sampling rules make of a distribution: the rules of the server, in its order.

   The API reports the likeliest tokens only. The others count as bins of estimated probability, on a power law that falls
   from the least likely reported one and adds up to what the reported ones leave. */

/** Estimate the tokens that are not reported, as bins of [how many, logprob of each].
    `lowest` bounds their probabilities, `known` tokens are likelier, `mass` is what they hold together. */
function tail(lowest, known, mass, others) {
  if (others <= 0 || mass <= 1e-9) return [];
  const bins = [];
  for (let first = 1; first <= others; first *= 2) {
    const count = Math.min(first, others - first + 1);
    bins.push([count, Math.log((known + first + (count - 1) / 2) / known)]);
  }
  const total = slope => bins.reduce((sum, [count, distance]) => sum + count * lowest * Math.exp(-slope * distance), 0);
  let low = 0, high = 200;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (total(middle) > mass) low = middle; else high = middle;
  }
  const correction = Math.log(mass / total(high));
  return bins.map(([count, distance]) => [count, Math.log(lowest) - high * distance + correction]);
}

/** Apply the rules.
    known: [[name, logprob], ...]; bins: see `tail`; rules: the request's fields; counts: uses of each token so far, by name.
    Returns, for each known token, its share and the rule that cut it off, and the share of all others. */
function shape(known, bins, rules, counts = {}) {
  const penalty = name => counts[name] ? counts[name] * rules.frequency_penalty + rules.presence_penalty : 0;
  const items = [
    ...known.map(([name, logprob], row) => ({ row, count: 1, score: logprob - penalty(name), cut: "" })),
    ...bins.map(([count, score]) => ({ row: -1, count, score, cut: "" })),
  ].sort((a, b) => b.score - a.score);
  if (!items.length) return { rows: [], others: 0 };
  const greedy = rules.temperature === 0;
  let rank = 0, edge = 0;
  for (const one of items) {
    one.left = one.count;
    if (greedy) one.left = one === items[0] ? 1 : 0;
    else if (rules.top_k > 0) {
      if (rank >= rules.top_k && one.score < edge) one.left = 0;  // ties with the last that is kept are kept
      else if (one.row < 0) one.left = Math.max(0, Math.min(one.count, rules.top_k - rank));
      if (rank < rules.top_k) edge = one.score;
    }
    if (!one.left) one.cut = greedy ? "temperature 0" : "top-k";
    rank += one.count;
  }
  for (const one of items) one.each = greedy ? Number(one === items[0]) : Math.exp((one.score - items[0].score) / rules.temperature);
  const total = items.reduce((sum, one) => sum + one.left * one.each, 0);
  let before = 0;
  for (const one of items) {
    if (one.cut) continue;
    const mass = one.left * one.each / total;
    if (rules.top_p < 1 && before >= rules.top_p) { one.left = 0; one.cut = "top-p"; }
    else if (rules.top_p < 1 && one.row < 0) one.left = Math.min(one.left, Math.ceil((rules.top_p - before) / (one.each / total)));
    before += mass;
    if (!one.cut && one.each < rules.min_p) { one.left = 0; one.cut = "min-p"; }
  }
  const sum = items.reduce((all, one) => all + one.left * one.each, 0);
  const rows = Array(known.length);
  let others = 0;
  for (const one of items) {
    const share = one.left * one.each / sum;
    if (one.row < 0) others += share; else rows[one.row] = { share, cut: one.cut };
  }
  return { rows, others };
}

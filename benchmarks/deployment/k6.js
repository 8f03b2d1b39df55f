// Puts load on a deployment with k6: each of CLIENTS clients sends one request after the other.
//   k6 run -e BASE_URL=https://my-app.azurewebsites.net/api -e FUNCTION_KEY=... benchmarks/deployment/k6.js
// CLIENTS (8), DURATION (2m) and TOKENS (50) change the load. docs/operations.md says what to do with the figures.
import { check, fail } from "k6";
import http from "k6/http";
import { Counter } from "k6/metrics";

const base = (__ENV.BASE_URL || "http://127.0.0.1:7071/api").replace(/\/$/, "");
const tokens = Number(__ENV.TOKENS || 50);
const generated = new Counter("generated_tokens");

export const options = {
  vus: Number(__ENV.CLIENTS || 8),
  duration: __ENV.DURATION || "2m",
  thresholds: { http_req_failed: ["rate<0.01"], http_req_duration: ["p(95)<30000"] },
};

// A deployment that does not serve is no deployment to measure. What it serves is the first line of the figures.
export function setup() {
  const health = http.get(`${base}/health`);
  if (http.get(`${base}/ready`).status !== 200) {
    fail(`${base} does not serve: ${health.body}`);
  }
  const { model, revision } = health.json();
  return { model: `${model.name} (${model.precision}), revision ${revision}` };
}

export default function () {
  // Each prompt differs, so no answer begins with what the prefix cache has kept.
  const prompt = `Once upon a time, number ${__VU}.${__ITER}`;
  const body = { prompt, max_new_tokens: tokens, ignore_eos: true };
  const headers = {
    "content-type": "application/json",
    "x-functions-key": __ENV.FUNCTION_KEY || "",
    authorization: `Bearer ${__ENV.API_KEY || ""}`,
  };
  const answer = http.post(`${base}/generate`, JSON.stringify(body), { headers, timeout: "240s" });
  if (check(answer, { "answered 200": (one) => one.status === 200 })) {
    generated.add(answer.json("usage.completion_tokens"));
  }
}

export function handleSummary(data) {
  const { metrics } = data;
  const rate = (metric) => (metric ? metric.values.rate : 0);
  const lines = [
    data.setup_data.model,
    `clients: ${options.vus}`,
    `tokens/s: ${rate(metrics.generated_tokens).toFixed(1)}`,
    `requests/s: ${rate(metrics.iterations).toFixed(2)}`,
    `failed: ${(100 * rate(metrics.http_req_failed)).toFixed(2)} %`,
    `95 % of the calls within ${(metrics.http_req_duration.values["p(95)"] / 1000).toFixed(2)} s`,
  ];
  return { stdout: `${lines.join("\n")}\n` };
}

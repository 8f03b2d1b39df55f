// Text as it is generated, with fetch: in Node 18 or later, and, with a writer of your own, in a browser.
const base = process.env.BASE_URL ?? "http://127.0.0.1:7071/api";
const headers = {
  "content-type": "application/json",
  "x-functions-key": process.env.FUNCTION_KEY ?? "", // a function key
  authorization: `Bearer ${process.env.API_KEY ?? ""}`, // or one of the server's API_KEYS
};

async function* generate(body, signal) {
  const response = await fetch(`${base}/generate`, {
    method: "POST",
    headers,
    body: JSON.stringify({ ...body, stream: true }),
    signal, // aborting it stops the work on the server too
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  let rest = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + piece).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue; // a comment, or the end
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Error(data.error.message);
      yield data.text;
    }
  }
}

try {
  for await (const text of generate({ prompt: "Once upon a time", max_new_tokens: 20, temperature: 0.8, seed: 1 })) {
    process.stdout.write(text);
  }
  process.stdout.write("\n");
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

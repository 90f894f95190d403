// Hangs up in the middle of an answer, and asks until it may not any more.
const ask = (path, body, signal) =>
  fetch(`https://inference.local${path}`, {
    ...{ method: "POST", headers: { "anthropic-version": "2023-06-01" }, signal },
    body: JSON.stringify({ model: "m", messages: [], ...body }),
  });
const abort = new AbortController();
const streamed = await ask("/v1/messages", { stream: true }, abort.signal);
await streamed.body.getReader().read();
abort.abort();
let status = 200;
// What costs nothing: that the connection is gone may be known a little later.
for (let n = 0; status === 200 && n < 100; n++) {
  const response = await ask("/v1/messages/count_tokens", {});
  status = response.status;
  await response.text();
}
process.stdout.write(JSON.stringify([streamed.status, status]));

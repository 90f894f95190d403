// Asks those whose keys are signed with or issued, and then until it may not any more.
const said = [];
const body = JSON.stringify({ model: "m", messages: [] });
for (const path of ["/model/anthropic.claude-3:0/converse?a=b%20c", "/v1/chat/completions", "/v1/chat/completions"]) {
  const response = await fetch(`https://inference.local${path}`, { method: "POST", body });
  said.push({ status: response.status, body: await response.json() });
}
// What no model reads or writes counts for nothing.
const headers = { "anthropic-version": "2023-06-01" };
await (await fetch("https://inference.local/v1/messages/count_tokens", { method: "POST", headers, body })).text();
await (await fetch("https://inference.local/v1/models", { headers })).text();
for (let n = 0; n < 3; n++) {
  const response = await fetch("https://inference.local/v1/messages", {
    method: "POST",
    body,
  });
  said.push({ status: response.status, body: await response.json() });
}
process.stdout.write(JSON.stringify(said));

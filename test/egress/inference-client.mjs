// Asks models from inside a sandbox, and says what it was told.
import { connect } from "node:net";

const ask = async (url, { method = "POST", body, headers = {} } = {}) => {
  try {
    const response = await fetch(url, {
      ...{ method, headers: { "content-type": "application/json", ...headers } },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    let parsed = text;
    try {
      parsed = JSON.parse(text);
    } catch {}
    return { status: response.status, body: parsed, headers: Object.fromEntries(response.headers) };
  } catch (error) {
    return { error: String(error.cause?.code ?? error.message) };
  }
};

const secure = "https://inference.local";
const plain = "http://inference.local";
const stolen = { authorization: "Bearer stolen", "x-api-key": "stolen", cookie: "a=b", "x-other": "y" };
const message = { model: "whatever", messages: [], big: 1 };

const streamed = async () => {
  const response = await fetch(`${secure}/v1/messages`, {
    ...{ method: "POST", headers: { "anthropic-version": "2023-06-01" } },
    body: JSON.stringify({ ...message, stream: true }),
  });
  const reader = response.body.getReader();
  const first = Buffer.from((await reader.read()).value).toString();
  await ask(`${plain}/v1/models/release`, { method: "GET" });
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) rest += Buffer.from(part.value);
  return { type: response.headers.get("content-type"), first, rest };
};

const refused = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, "inference.local");
    socket.on("error", (error) => resolve(error.code));
    socket.on("close", () => resolve("closed"));
    socket.write("GET / HTTP/1.1\r\nHost: inference.local\r\n\r\n");
  });

const said = {
  anthropic: await ask(`${secure}/v1/messages?beta=true`, {
    body: message,
    headers: { ...stolen, "anthropic-version": "2023-06-01" },
  }),
  clear: await ask(`${plain}/v1/messages/count_tokens`, { body: message }),
  streamed: await streamed(),
  fallback: await ask(`${secure}/v1/chat/completions`, { body: { ...message, stream: true }, headers: stolen }),
  embeddings: await ask(`${secure}/v1/embeddings`, { body: message }),
  models: await ask(`${secure}/v1/models`, { method: "GET" }),
  bedrock: await ask(`${secure}/model/a.model/invoke`, { body: message }),
  unknown: await ask(`${secure}/v1/files`, { body: message }),
  other: await ask(`${secure}/v1/messages`, { body: "[1]" }),
  large: await ask(`${secure}/v1/messages`, { body: JSON.stringify({ text: "x".repeat(11 * 1024 * 1024) }) }),
  silent: await ask(`${secure}/v1/responses`, { body: { ...message, silent: true } }),
  cut: await ask(`${secure}/v1/responses`, { body: { ...message, cut: true } }),
  port: await refused(8080),
};
process.stdout.write(JSON.stringify(said));

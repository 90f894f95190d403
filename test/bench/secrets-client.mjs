// Runs inside the sandboxes of secrets-world.ts: a line says `HOST requests|first COUNT CONNECTIONS PATH`, one answers with microseconds.
import { once } from "node:events";
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";

/** Where no secret is bound as much that is none, which the leak guard would keep back. */
const tokens = { "api.example.test": process.env.TOKEN, "good.example.test": `ghp_${"y".repeat(36)}` };
const agents = new Map();

/** One request; resolves with the microseconds until its first byte. */
async function ask(agent, host, path) {
  const began = performance.now();
  const asked = request({ host, path, agent, headers: { authorization: `Bearer ${tokens[host]}` } });
  asked.end();
  const [response] = await once(asked, "response");
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
  let first;
  response.on("data", () => {
    first ??= performance.now();
  });
  await once(response, "end");
  return (first - began) * 1000;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [host, what, count, connections, path] = line.split(" ");
  const agent = agents.get(connections) ?? new Agent({ keepAlive: true, maxSockets: Number(connections) });
  agents.set(connections, agent);
  const began = performance.now();
  const firsts = [];
  let left = Number(count);
  const work = async () => {
    while (left-- > 0) firsts.push(await ask(agent, host, path));
  };
  await Promise.all(Array.from({ length: Number(connections) }, work));
  const took = ((performance.now() - began) * 1000) / Number(count);
  firsts.sort((a, b) => a - b);
  console.log(what === "first" ? firsts[firsts.length >> 1] : took);
}

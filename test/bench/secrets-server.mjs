// The server of secrets-world.ts: secrets-server.mjs FOLDER ADDRESS
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createSecureContext } from "node:tls";

const [, , folder, address] = process.argv;
const large = Buffer.alloc(32 * 1024 * 1024, "some words that are no secret. ");
const key = readFileSync(`${folder}/server.key`);
const contexts = new Map();
for (const host of ["api.example.test", "good.example.test"])
  contexts.set(host, createSecureContext({ key, cert: readFileSync(`${folder}/${host}.pem`) }));
createServer({ SNICallback: (name, done) => done(null, contexts.get(name)) }, (request, response) => {
  if (request.url === "/large") response.end(large);
  else if (request.url === "/stream") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("data: first\n\n");
    setImmediate(() => response.end("data: last\n\n"));
  } else response.end('{"a":"small answer"}');
}).listen(443, address, () => console.log("ready"));

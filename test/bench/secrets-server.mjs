// The server of secrets-world.ts: secrets-server.mjs FOLDER ADDRESS
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [, , folder, address] = process.argv;
const large = Buffer.alloc(32 * 1024 * 1024, "some words that are no secret. ");
const options = { cert: readFileSync(`${folder}/server.pem`), key: readFileSync(`${folder}/server.key`) };
createServer(options, (request, response) => {
  if (request.url === "/large") response.end(large);
  else if (request.url === "/stream") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("data: first\n\n");
    setImmediate(() => response.end("data: last\n\n"));
  } else response.end('{"a":"small answer"}');
}).listen(443, address, () => console.log("ready"));

// Runs inside the second sandbox of inspected.ts: what a program sees that insists on a proxy.
import { once } from "node:events";
import { get as httpsGet } from "node:https";
import { connect as connectTcp } from "node:net";

const api = "api.example.test";
const status = (text) => text.split("\r\n", 1)[0];
const get = (path, ...fields) => [`GET ${path} HTTP/1.1`, `Host: ${api}`, ...fields, "", ""].join("\r\n");

/** What a proxy answers to the bytes, up to its end or until it has said so much. */
async function proxied(parts, enough = Number.POSITIVE_INFINITY) {
  const { hostname, port } = new URL(process.env.HTTP_PROXY);
  const socket = connectTcp(Number(port), hostname);
  let got = Buffer.alloc(0);
  socket.on("error", () => {});
  for (const part of parts) {
    socket.write(part);
    const [data] = await Promise.race([once(socket, "data"), once(socket, "close").then(() => [null])]);
    if (data === null || typeof data === "boolean") return got.toString("latin1");
    got = Buffer.concat([got, data]);
  }
  if (got.length < enough) {
    socket.on("data", (part) => {
      got = Buffer.concat([got, part]);
    });
    await once(socket, "close");
  }
  socket.destroy();
  return got.toString("latin1");
}
const socksTo = (host, port) =>
  Buffer.concat([Buffer.from([5, 1, 0, 3, host.length]), Buffer.from(host), Buffer.from([port >> 8, port & 255])]);
const socksHello = Buffer.from([5, 1, 0]);
const results = {
  forward: status(await proxied([`GET http://${api}/plain HTTP/1.1\r\nHost: ${api}\r\n\r\n`])),
  "forward refused": status(await proxied([`GET http://${api}/none HTTP/1.1\r\nHost: ${api}\r\n\r\n`])),
  "forward elsewhere": status(
    await proxied(["GET http://nowhere.example.test/ HTTP/1.1\r\nHost: nowhere.example.test\r\n\r\n"]),
  ),
  connect: (
    await proxied([`CONNECT ${api}:80 HTTP/1.1\r\nHost: ${api}:80\r\n\r\n`, get("/plain", "Connection: close")])
  ).match(/HTTP\/1\.1 \d+/g),
  "connect refused": status(
    await proxied(["CONNECT other.example.test:22 HTTP/1.1\r\nHost: other.example.test:22\r\n\r\n"]),
  ),
  "connect to loopback": status(await proxied(["CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"])),
  "no proxy request": status(await proxied([get("/plain")])),
  socks: [...Buffer.from(await proxied([socksHello, socksTo(api, 80)], 4), "latin1")].slice(0, 4),
  "socks refused": [...Buffer.from(await proxied([socksHello, socksTo("other.example.test", 22)], 4), "latin1")].slice(
    0,
    4,
  ),
  "socks bind": [
    ...Buffer.from(await proxied([socksHello, Buffer.from([5, 2, 0, 1, 1, 2, 3, 4, 0, 80])], 4), "latin1"),
  ].slice(0, 4),
};
// Node goes by the variables (NODE_USE_ENV_PROXY), through CONNECT, and its TLS ends in the same place.
results.node = await new Promise((resolve) => {
  httpsGet(`https://${api}/allowed/a`, (response) => resolve(response.statusCode)).on("error", (error) =>
    resolve(error.code),
  );
});
console.log(JSON.stringify(results));
process.exit();

// One stream that does not end of every kind, through the sandbox's network. Says which have ended, and how, as they do; a line
// on standard input asks which go on: each is named when more of it has come.
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { createInterface } from "node:readline";
import tls from "node:tls";

const host = "api.example.test";
const live = new Set();
const asked = new Set();
let expected = 0;
let begun = 0;

function say(text) {
  process.stdout.write(`${text}\n`);
}

/** @param make calls back with what the stream is read from */
function add(name, make) {
  expected++;
  let isBegun = false;
  const ended = (how) => {
    if (live.delete(name)) say(`${name}: ${how}`);
  };
  make((stream) => {
    stream.on("data", () => {
      if (!isBegun) {
        isBegun = true;
        live.add(name);
        if (++begun === expected) say("begun");
      }
      if (asked.delete(name)) say(`${name}: goes on`);
    });
    stream.on("error", () => ended("error"));
    stream.on("end", () => ended("end"));
    stream.on("close", () => ended("close"));
  });
}

const get = (from, path) => (take) => from.get({ host, path, agent: false }, take).on("error", () => {});
for (const [scheme, from] of [
  ["http", http],
  ["https", https],
]) {
  add(`${scheme} events`, get(from, "/events"));
  add(`${scheme} download`, get(from, "/large/1"));
}
const session = http2.connect(`https://${host}:8443`);
session.on("error", () => {});
for (const [name, path] of [
  ["h2 events", "/events"],
  ["h2 download", "/large/2"],
])
  add(name, (take) => take(session.request({ ":path": path })));
const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
for (const [name, from, path] of [
  ["ws", http, "/ws/a"],
  ["wss", https, "/ws/b"],
])
  add(name, (take) => {
    const headers = { ...upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
    const request = from.request({ host, path, agent: false, headers });
    request.on("upgrade", (_, socket) => take(socket));
    request.on("error", () => {});
    request.end();
  });
add("tcp", (take) => take(net.connect(7, host)));
add("tls: skip", (take) => take(tls.connect({ host, port: 9443, servername: host, rejectUnauthorized: false })));

const proxy = new URL(process.env.HTTPS_PROXY);
const ask = (first) => {
  const socket = net.connect(Number(proxy.port), proxy.hostname);
  socket.on("error", () => {});
  socket.write(first);
  return socket;
};
const connectTo = (port) => ask(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
add("CONNECT, tcp", (take) => {
  const socket = connectTo(7);
  socket.once("data", () => take(socket));
});
add("CONNECT, https", (take) => {
  const socket = connectTo(443);
  socket.once("data", () => {
    const secure = tls.connect({ socket, servername: host });
    take(secure);
    secure.write(`GET /events HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  });
});
add("absolute form", (take) => take(ask(`GET http://${host}/events HTTP/1.1\r\nHost: ${host}\r\n\r\n`)));
add("SOCKS, tcp", (take) => {
  const socket = ask(Buffer.of(5, 1, 0));
  socket.once("data", () => {
    socket.write(Buffer.concat([Buffer.of(5, 1, 0, 3, host.length), Buffer.from(host), Buffer.of(0, 7)]));
    socket.once("data", () => take(socket));
  });
});

createInterface({ input: process.stdin }).on("line", () => {
  for (const name of live) asked.add(name);
});

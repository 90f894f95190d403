// Runs inside the sandbox of tls.ts: what a program sees of TLS that is not as it should be. Knows of no proxy.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import { connect } from "node:tls";

const host = "api.example.test";
const [, , folder, inspected, skipped, ...ports] = process.argv;
const read = (name) => readFileSync(`${folder}/${name}`);
const results = {};

/** The answer to a request of HTTP/1.1, or the error. */
function ask(port, options = {}) {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: "/", agent: false, ...options }, (response) => {
      const certificate = response.socket.getPeerCertificate().issuer.CN;
      let text = "";
      response.on("data", (part) => {
        text += part;
      });
      response.on("end", () => resolve({ status: response.statusCode, text, issuer: certificate }));
    });
    asked.on("error", (error) => resolve({ error: error.code ?? error.message }));
    asked.end();
  });
}

/** The same over HTTP/2, by a client that speaks nothing else. */
function ask2(port) {
  return new Promise((resolve) => {
    const session = connectHttp2(`https://${host}:${port}`);
    session.on("error", (error) => resolve({ error: error.code }));
    const stream = session.request({ ":path": "/" });
    const answer = { text: "" };
    stream.on("response", (fields) => {
      answer.status = fields[":status"];
    });
    stream.on("data", (part) => {
      answer.text += part;
    });
    stream.on("error", (error) => resolve({ error: error.code }));
    stream.on("close", () => {
      session.destroy();
      resolve(answer);
    });
  });
}

/** A connection by hand: how its handshake ends, and what is answered to some words. */
async function speak(options, words) {
  const socket = connect({ host, port: inspected, ...options });
  let text = "";
  socket.on("data", (part) => {
    text += part.toString("latin1");
  });
  try {
    await once(socket, "secureConnect");
  } catch (error) {
    return { error: error.code };
  }
  socket.on("error", () => {});
  const { alpnProtocol: protocol } = socket;
  socket.write(words);
  await once(socket, "close");
  return { protocol, status: text.split("\r\n", 1)[0] };
}

/** What a client's first message is answered with: the first byte is the kind of the record. */
async function begin(port, hello) {
  const socket = connectTcp(Number(port), host);
  socket.on("error", () => {});
  socket.write(hello);
  const [answer] = await Promise.race([once(socket, "data"), once(socket, "close").then(() => [""])]);
  socket.destroy();
  return answer[0];
}

for (const [i, name] of ["expired", "named otherwise", "no TLS", "certificate", "certificate, 1.2"].entries())
  results[name] = await ask(ports[i]);
results["certificate, h2"] = await ask2(ports[5]);
results["h2 alone"] = await ask2(inspected);
const get = `GET / HTTP/1.1\r\nHost: ${host}${inspected === "443" ? "" : `:${inspected}`}\r\nConnection: close\r\n\r\n`;
results["unknown protocol"] = await speak({ servername: host, ALPNProtocols: ["holdfast/1"] }, get);
results["no name"] = await speak({}, get);
results["another name"] = await speak({ servername: "other.example.test", checkServerIdentity: () => {} }, get);
results["no name, skipped"] = await speak({ port: skipped }, get);
results["another name, skipped"] = await speak({ port: skipped, servername: "other.example.test" }, get);
results["a server that renegotiates"] = [await ask(ports[6]), await ask(ports[6])];

// A second handshake, which TLS 1.2 has.
const twice = connect({ host, port: inspected, servername: host, maxVersion: "TLSv1.2" });
await once(twice, "secureConnect");
results["a client that renegotiates"] = await new Promise((resolve) => {
  twice.on("error", (error) => resolve(error.code));
  twice.renegotiate({}, (error) => resolve(error?.code ?? "renegotiated"));
});
twice.destroy();

results["CONNECT within"] = await speak(
  { servername: host },
  `CONNECT other.example.test:443 HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
);

// An own certificate and a pinned one, past an endpoint that is not inspected.
const own = { cert: read("client.pem"), key: read("client.key"), ca: read("servers.pem") };
results.skipped = await ask(skipped, own);
results.pinned = await ask(inspected, { ca: own.ca });

// TLS begun once more within TLS.
const outer = connect({ host, port: inspected, servername: host });
await once(outer, "secureConnect");
const inner = connect({ socket: outer, servername: "other.example.test" });
results["TLS within"] = await once(inner, "secureConnect").then(
  () => "secured",
  (error) => error.code,
);
outer.destroy();

const hello = read("hello.bin");
const hidden = read("hidden.bin");
results["hello within"] = await speak({ servername: host }, hello);
results.hello = [await begin(inspected, hello), await begin(skipped, hello)];
results["hidden name"] = [await begin(inspected, hidden), await begin(skipped, hidden)];
console.log(JSON.stringify(results));

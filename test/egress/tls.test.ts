// TLS that is not as it should be, on either side of an inspected endpoint: real programs, real servers.
import { spawnSync } from "node:child_process";
import { missingForWorld } from "./world.ts";
import { testsOf } from "./world-tests.ts";

const hasOpenssl = spawnSync("openssl", ["version"], { stdio: "ignore" }).error === undefined;
const { found, holds, inThatWorld } = testsOf("tls.ts", hasOpenssl ? missingForWorld() : "there is no openssl");

interface Answer {
  readonly status?: number;
  readonly text?: string;
}
const alert = { error: "ERR_SSL_TLSV1_ALERT_ACCESS_DENIED" };

inThatWorld("A server that the host does not trust is a 502 that says why", (t) => {
  const why: Readonly<Record<string, RegExp>> = {
    expired: /cannot be reached: this host does not trust the server's certificate: certificate has expired/,
    "named otherwise":
      /does not trust the server's certificate: Hostname\/IP does not match .*DNS:other\.example\.test/,
    "no TLS": /cannot be reached: the server does not speak TLS"/,
  };
  for (const [name, words] of Object.entries(why)) {
    const answer = found[name] as Answer;
    t.is(answer.status, 502, name);
    t.regex(answer.text ?? "", words);
  }
});

inThatWorld(
  "A server that asks for a client's certificate is a 502 that names `tls: skip`, in HTTP/1.1 and HTTP/2",
  (t) => {
    for (const name of ["certificate", "certificate, 1.2", "certificate, h2"]) {
      const answer = found[name] as Answer;
      t.is(answer.status, 502, name);
      t.regex(answer.text ?? "", /the server asks for a client's certificate, .*`tls: skip` lets it through/);
    }
  },
);

holds("With `tls: skip` the client's certificate and the server's are their own", {
  skipped: { status: 200, text: "a client", issuer: "holdfast servers" },
  pinned: { error: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" },
});

inThatWorld(
  "A client that trusts another authority alone is named with `tls: skip`, whether it says so or just leaves",
  (t) => {
    const { alerting, left, details } = found as {
      alerting: { said: string; denials: readonly object[] };
      left: readonly object[];
      details: string[];
    };
    t.is(alerting.said, "CERTIFICATE_VERIFY_FAILED");
    t.like(alerting.denials[0], { count: 1, grant: "tls: skip" });
    t.like(left[0], { grant: "tls: skip" });
    t.deepEqual(details.sort(), [
      "the client does not trust the certificate authority of this sandbox",
      "the client left after the TLS handshake, without a request: it may pin another certificate",
      "the client left during the TLS handshake: it may pin another certificate",
    ]);
  },
);

inThatWorld("A client of HTTP/2 alone is told in it what its server does not speak", (t) => {
  const answer = found["h2 alone"] as Answer;
  t.is(answer.status, 502);
  t.regex(answer.text ?? "", /the server does not speak h2, as its client does/);
});

holds("A client that offers unknown protocols is answered as by a server that knows none", {
  "unknown protocol": { protocol: false, status: "HTTP/1.1 200 OK" },
});

holds("Without a name (SNI) the granted one is served where TLS ends, and nothing passes where it does not", {
  "no name": { status: "HTTP/1.1 200 OK" },
  "no name, skipped": alert,
});

holds("Another name than the one that was resolved is refused by an alert", {
  "another name": alert,
  "another name, skipped": alert,
});

holds("A name that may be hidden is refused where TLS does not end, and heard by nobody where it does", {
  hello: [0x16, 0x16],
  "hidden name": [0x16, 0x15],
});

holds("Neither TLS nor CONNECT is carried within an inspected connection, and both are told at once", {
  "TLS within": "ERR_SSL_WRONG_VERSION_NUMBER",
  "hello within": { status: "HTTP/1.1 400 Bad Request" },
  "CONNECT within": { status: "HTTP/1.1 400 Bad Request" },
});

inThatWorld(
  "A server that wants a second handshake gets none and is a 502, and its next connection is carried",
  (t) => {
    const [first, next] = found["a server that renegotiates"] as readonly [Answer, Answer];
    t.is(first.status, 502);
    t.like(next, { status: 200, text: "served" });
    t.regex(String(found["renegotiator"]), /no renegotiation/);
  },
);

holds("A client that wants a second handshake gets none", { "a client that renegotiates": "ERR_SSL_NO_RENEGOTIATION" });

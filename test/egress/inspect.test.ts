// A real program in a real sandbox that knows of no proxy, against real servers with certificates of their own authority,
// which the launcher's host trusts and the sandbox does not.
import { isDeepStrictEqual } from "node:util";
import { testsOf } from "./world-tests.ts";

const { found, holds, inThatWorld } = testsOf("inspected.ts");
interface Told {
  readonly detail: string;
  readonly next_steps: readonly string[];
}
const badRequest = "HTTP/1.1 400 Bad Request";

holds("A request that a rule allows is carried, over TLS and without, with its query, its body and its trailers", {
  allowed: { status: 200, body: "GET /allowed/a?b=c 0" },
  plain: { status: 200, body: "GET /plain 0" },
  head: { status: 200, body: "" },
  upload: { status: 200, body: "POST /upload 300000" },
  chunked: { status: 200, body: "POST /upload 7" },
  trailers: { status: 200, body: "body", trailers: { "x-end": "yes" } },
  large: 4_000_000,
  "large, as fast as it comes": [4_000_000],
  "large, after its first part": 4_000_000,
  "byte by byte": "HTTP/1.1 200 OK",
  "own absolute form": "HTTP/1.1 200 OK",
  "own absolute form, again": "HTTP/1.1 200 OK",
  continued: ["HTTP/1.1 100", "HTTP/1.1 200"],
});

holds("What no rule allows, and what one denies, is answered with what was missing", {
  refused: {
    status: 403,
    body: {
      error: "policy_denied",
      policy: "one",
      method: "GET",
      path: "/other",
      host: "api.example.test",
      port: 443,
      rule_missing: { type: "rest_allow", method: "GET", path: "/other" },
      next_steps: ["add to the endpoint's rules: - allow: { method: GET, path: /other }"],
    },
  },
  denied: { status: 403, body: { error: "policy_denied", rule: "GET /allowed/secret" } },
  method: { status: 403, body: { method: "DELETE" } },
});

inThatWorld(
  "A program that an inspected endpoint is not granted to is told so in HTTP, and in anything else by a reset",
  (t) => {
    const {
      tls,
      plain,
      "HTTP/2 without TLS": http2,
      ...others
    } = found["another program's"] as Readonly<Record<string, { status: number; body: Told }>>;
    for (const answer of [tls, plain, http2]) {
      t.is(answer?.status, 403);
      t.like(answer?.body, { error: "policy_denied", policy: "two", host: "other.example.test" });
      t.regex(answer?.body.detail ?? "", /is granted to \/usr\/bin\/false, not to .*node$/);
      t.regex(
        answer?.body.next_steps[0] ?? "",
        /^run with --allow other\.example\.test:(?:80|443) --allow-binary .*node$/,
      );
    }
    const reset = "ECONNRESET";
    t.deepEqual<unknown, unknown>(others, {
      h2: 403,
      silent: reset,
      "other words": reset,
    });
  },
);

holds("In audit mode a request that a rule denies goes on", { audited: { status: 200, body: "GET /audited/x 0" } });

holds("A path is judged and sent in its one form, and refused where it has none", {
  canonical: { status: 200, body: "GET /allowed/a/c 0" },
  climbing: { status: 400, body: { error: "malformed_request" } },
});

holds("A server that cannot be proved, and an address that is never dialled, are said to the client", {
  untrusted: {
    status: 502,
    body: {
      error: "upstream_unreachable",
      detail:
        "other.example.test:444 cannot be reached: this host does not trust the server's certificate: unable to verify the first certificate",
    },
  },
  private: { status: 403, body: { error: "ssrf_denied" } },
});

holds("An answer that two readers could take for two things is the server's fault, not the client's", {
  odd: { status: 502, body: { error: "upstream_malformed" } },
});

holds("An answer that is cut off is cut off for the client too", { cut: { status: 200, error: "ECONNRESET" } });

holds("Requests on one connection are each judged, in order, whether they wait for each other or not", {
  "kept alive": [200, 200, 403, 200],
  pipelined: ["HTTP/1.1 200", "GET /allowed/1", "HTTP/1.1 403", "HTTP/1.1 200", "GET /allowed/2"],
});

holds("What two readers could take for two things is refused", {
  smuggled: {
    "two lengths": badRequest,
    "length and chunks": badRequest,
    "folded field": badRequest,
    "space before colon": badRequest,
    "bare line feed": badRequest,
    "bad chunk": badRequest,
    "another authority": "HTTP/1.1 403 Forbidden by policy",
    "absolute form": badRequest,
    "absolute form of another scheme": badRequest,
    "length named by Connection": badRequest,
    "many fields": "HTTP/1.1 431 Request Header Fields Too Large",
    "no HTTP": badRequest,
    "another method": "HTTP/1.1 403 Forbidden by policy",
    "another method, to CGI": "HTTP/1.1 403 Forbidden by policy",
    "another target": badRequest,
    "a message's method": badRequest,
  },
});

holds("HTTP/2 without TLS is refused, and told so in it", {
  "without TLS": [1, 2].map(() => ({ status: 403, body: { error: "unsupported_l7_protocol" } })),
});

holds("No client changes to HTTP/2 without TLS", { "upgrade to h2c": "HTTP/1.1 200 OK" });

holds("A WebSocket is carried, its text messages by the rule for them", {
  webSocket: {
    text: ["HTTP/1.1 101 Switching Protocols", 1, "hi"],
    "text refused": ["HTTP/1.1 101 Switching Protocols", 8, 1008],
    binary: ["HTTP/1.1 101 Switching Protocols", 2, "hi"],
  },
});

holds("Events come as they are sent", { events: "data: first\n\n" });

holds("HTTP/2 is carried stream by stream, with trailers, where the server speaks it", {
  h2: {
    protocol: "h2",
    streams: [1, 2, 3].map((n) => ({ status: 200, text: `h2 /allowed/${n}`, trailers: "0" })),
    refused: { status: 403 },
    "refused, gRPC": {
      status: 200,
      trailers:
        "7 no rule allows POST /other at api.example.test; add to the endpoint's rules: - allow: { method: POST, path: /other }",
    },
    upload: { status: 200, length: 200_000, trailers: "0" },
    "another authority": { status: 403 },
    "another target": { status: 400 },
  },
});

holds("Requests of HTTP/2 whose server answers before it has read them leave no trace", {
  "answered early": { 200: 300 },
});

inThatWorld("A server of HTTP/2 may send much before it hears of it, so that a long way does not make it slow", (t) => {
  const { ofStream, ofAll } = found["windows"] as Readonly<Record<string, number>>;
  t.is(ofStream, 1 << 20);
  t.true((ofAll ?? 0) >= 8 << 20, `${ofAll}`);
});

holds("What a server of HTTP/2 had not looked at when it ended its session goes over one other session", {
  leaving: ["session 1", ...Array<string>(3).fill("session 2")].map((text) => ({ status: 200, text })),
});

holds("A new policy ends what it does not allow", { "new policy": ["event", "cut"] });

holds("The explicit proxy decides alike: CONNECT, absolute form and SOCKS 5", {
  proxy: {
    forward: "HTTP/1.1 200 OK",
    "forward refused": "HTTP/1.1 403 Forbidden by policy",
    "forward elsewhere": "HTTP/1.1 403 Forbidden by policy",
    connect: ["HTTP/1.1 200", "HTTP/1.1 200"],
    "connect refused": "HTTP/1.1 403 Forbidden by policy",
    "connect to loopback": "HTTP/1.1 403 Forbidden by policy",
    "no proxy request": "HTTP/1.1 400 Bad Request",
    socks: [5, 0, 5, 0],
    "socks refused": [5, 0, 5, 2],
    "socks bind": [5, 0, 5, 7],
    node: 200,
  },
});

inThatWorld(
  "The sandbox trusts its own authority and what the host trusts, in one file and in OpenSSL's folder",
  (t) => {
    const { folder, ...trusts } = found["trusts"] as Readonly<Record<string, unknown>>;
    t.deepEqual(trusts, { own: true, host: true });
    if (folder === null) t.log("skipped the folder: there is no openssl");
    else t.is(folder, "/etc/holdfast/ca.pem: OK");
  },
);

inThatWorld(
  "Programs that look for authorities in different places trust the sandbox's own, by variables and without them",
  (t) => {
    const programs = found["programs"] as Readonly<Record<string, string>>;
    t.truthy(programs["python3"]);
    const wanted: Readonly<Record<string, RegExp>> = { openssl: /Verification: OK/, git: /a{40}\trefs\/heads\/client/ };
    for (const [name, said] of Object.entries(programs))
      t.regex(said, wanted[name.split(" ")[0] ?? ""] ?? /GET \/allowed\/client 0/, name);
  },
);

inThatWorld("Without namespaces programs see the same, and trust the same by their variables", (t) => {
  const { programs, ...seen } = (found["alone"] ?? {}) as Readonly<Record<string, unknown>>;
  if (programs === undefined) {
    t.log("skipped: this kernel's Landlock is too old for the mode");
    t.pass();
    return;
  }
  t.deepEqual(
    Object.keys(seen).filter((name) => !isDeepStrictEqual(seen[name], found[name])),
    [],
  );
  const wanted: Readonly<Record<string, RegExp>> = { openssl: /Verification: OK/, git: /a{40}\trefs\/heads\/client/ };
  for (const [name, said] of Object.entries(programs as Readonly<Record<string, string>>))
    t.regex(said, wanted[name] ?? /GET \/allowed\/client 0/, name);
});

inThatWorld(
  "Each request is one record, without its query; each refusal is named with the rule that would allow it",
  (t) => {
    const lines = found["lines"] as readonly Record<string, unknown>[];
    const first = lines.filter(({ type, path }) => type === "request" && path === "/allowed/a");
    t.like(first[0], {
      method: "GET",
      host: "api.example.test",
      port: 443,
      allowed: true,
      policy: "one",
      rule: "GET /allowed/**",
    });
    t.false(JSON.stringify(lines).includes("b=c"));
    const denials = found["denials"] as readonly { subject: string; grant?: string }[];
    const named = denials.find(({ subject }) => subject.startsWith("GET /other at api.example.test:443 (by "));
    t.is(named?.grant, "- allow: { method: GET, path: /other }");
  },
);

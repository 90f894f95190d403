import { checksum } from "../../lib/secrets/placeholder.ts";
import { testsOf } from "./world-tests.ts";

interface Came {
  readonly url: string;
  readonly authorization?: string;
  readonly [field: string]: unknown;
}
interface Said {
  readonly status: number;
  readonly body: { readonly error: string; readonly detail: string };
}

const { found, holds, inThatWorld } = testsOf<
  Readonly<Record<string, unknown>> & {
    readonly environment: Readonly<Record<string, string>>;
    readonly came: Readonly<Record<string, readonly Came[]>>;
    readonly lines: readonly Readonly<Record<string, unknown>>[];
    readonly secrets: {
      readonly token: string;
      readonly narrow: string;
      readonly others: string;
      readonly injected: string;
    };
    readonly found: Readonly<Record<string, readonly string[]>>;
    readonly otherSession: string;
    readonly http2: readonly Said[];
    readonly kept: readonly number[];
    readonly receipt: {
      readonly injected: {
        readonly items: readonly { credential: string; host: string; port: number; count: number }[];
      };
      readonly refused: { readonly items: readonly { kind: string; subject: string }[] };
    };
    readonly named: readonly { readonly subject: string }[];
  }
>("credentialed.ts");

inThatWorld(
  "A program's placeholder has the prefix, the length and the checksum of the secret, and another value in each session",
  (t) => {
    const { environment, secrets, otherSession } = found;
    const { TOKEN = "", OTHERS = "", NARROW = "", BROKEN = "", MISSING = "" } = environment;
    t.regex(TOKEN, /^ghp_[A-Za-z0-9]{36}$/);
    t.is(checksum(TOKEN.slice(4, -6)), TOKEN.slice(-6));
    t.regex(OTHERS, /^sk-ant-api03-[A-Za-z0-9_-]+$/);
    t.is(OTHERS.length, secrets.others.length);
    t.is(NARROW.length, secrets.narrow.length);
    t.regex(BROKEN, /^glpat-/);
    t.regex(MISSING, /^npm_/);
    t.regex(otherSession, /^ghp_/);
    t.not(otherSession, TOKEN);
  },
);

inThatWorld(
  "Where it is bound, a placeholder becomes the secret: in headers, Basic, query and path, however it is spelled",
  (t) => {
    const { came, secrets } = found;
    const { token, narrow } = secrets;
    const only = (path: string): Came => came[path]?.[0] ?? { url: "nothing came" };
    t.is(only("header").authorization, `Bearer ${token}`);
    t.is(only("basic").authorization, `Basic ${Buffer.from(`user:${token}`).toString("base64")}`);
    t.like(only("twice"), { "x-one": token, "x-two": `a ${token} b ${token}` });
    t.is(only("query").url, `/query?a=1&key=${token}&b=2`);
    t.is(only("query-encoded").url, `/query-encoded?key=${token}`);
    t.is(only("path").url, `/path/${token}/x`);
    t.is(only("path-encoded").url, `/path-encoded/${token}/x`);
    t.is(only("header-encoded")["referer"], `https://x/?k=${token}`);
    t.is(only("openshell").authorization, `Bearer ${token}`);
    t.is(only("alias").authorization, `Bearer ${token}`);
    t.is(only("none").authorization, "Bearer something else");
    t.is(only("clear").authorization, `Bearer ${token}`);
    t.is(only("only").authorization, `Bearer ${narrow}`);
    t.is(only("only-query").url, `/only/query?k=${encodeURIComponent(narrow)}`);
  },
);

inThatWorld("Over HTTP/2 it becomes the secret as well, in a head of several frames too", (t) => {
  const { http2, came, secrets } = found;
  const { token } = secrets;
  t.deepEqual(
    http2.map(({ status }) => status),
    [200, 403, 200, 200, 200, 403, 403],
  );
  t.like(came["h2"]?.[0], {
    ":path": `/h2/${token}?k=${token}`,
    authorization: `Bearer ${token}`,
    cookie: `a=${token}; b=c`,
  });
  t.is(came["h2"]?.[2]?.["x-token"], token);
});

inThatWorld("What is put into one request is not in the next on its connection", (t) => {
  t.deepEqual(found.kept, [200, 200, 200]);
  const { token } = found.secrets;
  t.deepEqual(
    found.came["kept"]?.map(({ authorization }) => authorization),
    [`Bearer ${token}`, "Bearer x", `Bearer ${token}`],
  );
});

const mismatch = { status: 403, body: { error: "credential_endpoint_mismatch" } };
const unavailable = { status: 500, body: { error: "credential_unavailable" } };

holds("A placeholder that heads to another path, host, port, scheme or from another program is refused", {
  narrow: { status: 200 },
  narrowPath: mismatch,
  narrowUp: mismatch,
  otherHost: mismatch,
  otherHostBasic: mismatch,
  otherHostQuery: mismatch,
  otherHostReferer: mismatch,
  otherPort: mismatch,
  clear: mismatch,
  boundClear: mismatch,
  otherProgram: mismatch,
});

holds("A placeholder in a body that nobody looks into is refused as well where it is not for that place", {
  otherHostBody: mismatch,
  otherHostEscaped: mismatch,
  otherHostForm: mismatch,
  otherProgramBody: mismatch,
  otherPathBody: mismatch,
  // Its head has gone on when its beginning comes.
  streamElsewhere: 403,
});

holds("A secret that cannot be had is a 500 that says which, and nothing of the host", {
  unknown: unavailable,
  broken: { status: 500, body: { error: "credential_unavailable", detail: "the credential broken cannot be had" } },
  missing: { status: 500, body: { error: "credential_unavailable", detail: "the credential missing cannot be had" } },
});

inThatWorld(
  "What a program sends in the place of a credential that is injected is replaced, in that place alone",
  (t) => {
    const { came, secrets } = found;
    const { injected } = secrets;
    const of = (path: string): Came | undefined => came["inject"]?.find(({ url }) => url.startsWith(path));
    const own = { authorization: "Bearer of its own", "x-api-key": "own, another", x_api_key: "third" };
    t.like(of("/inject/bearer"), { ...own, authorization: `Bearer ${injected}` });
    t.like(of("/inject/basic"), {
      ...own,
      authorization: `Basic ${Buffer.from(`me:${injected}`).toString("base64")}`,
    });
    t.like(of("/inject/header"), { ...own, "x-api-key": `Token ${injected}`, x_api_key: undefined });
    t.like(of("/inject/query"), { ...own, url: `/inject/query?a=1&b=2&key=${encodeURIComponent(injected)}` });
    t.like(of("/inject/none"), own);
    t.is(came[`bot${encodeURIComponent(injected)}`]?.[0]?.url, `/bot${encodeURIComponent(injected)}/send?x=1`);
  },
);

inThatWorld("A secret that its server says is taken out of the answer, which keeps its length", (t) => {
  const { environment } = found;
  const { TOKEN = "" } = environment;
  const of = (
    name: string,
  ): { readonly status: number; readonly body: string; readonly headers: Readonly<Record<string, string>> } =>
    found[name] as never;
  const echo = of("echo");
  t.is(echo.headers["x-echo"], `Bearer ${TOKEN}`);
  t.is(echo.body, [`Bearer ${TOKEN}`, `Bearer%20${TOKEN}`, `{"said":"Bearer ${TOKEN}"}`, "identity"].join("\n"));
  t.regex(of("echoBasic").body, /^Basic dXNlcjoA{50}/);
  t.regex(of("echoChunks").body, new RegExp(`^Bearer gh[p*].*${TOKEN.slice(3)}Bearer%20`));
  t.is(of("echoNarrow").status, 200);
  t.is(of("echoLater").status, 200);
  t.like(of("echoCompressed"), { status: 502 });
  t.is(of("echoClose").body, echo.body.replace(/identity$/, ""));
  t.regex(String(found.http2[2]?.body), /^Bearer gh[p*]\S+ identity$/);
});

interface Body {
  readonly body: string;
  readonly length: string | null;
}

inThatWorld("Where an endpoint asks for it, placeholders in bodies become secrets, escaped as they are there", (t) => {
  const bodies = found["bodies"] as Readonly<Record<string, Body>>;
  const { token, narrow } = found.secrets;
  const whole = (body: string): Body => ({ body, length: String(body.length) });
  t.deepEqual(bodies["json"], whole(JSON.stringify({ key: token, quoted: narrow })));
  t.deepEqual(bodies["escaped"], whole(JSON.stringify({ key: token, quoted: narrow })));
  t.deepEqual(bodies["form"], whole(`a=1&key=${encodeURIComponent(narrow)}&b=${token}`));
  t.deepEqual(bodies["text"], whole(token));
  t.deepEqual(bodies["continue"], whole(`"${token}"`));
  t.deepEqual(bodies["pieces"], { body: JSON.stringify({ key: token, escaped: token }), length: null });
  t.deepEqual(bodies["long"], { body: JSON.stringify({ x: `x${token}` }), length: null });
  t.deepEqual(bodies["h2"], { body: JSON.stringify([`${token}${narrow}`]), length: null });
});

inThatWorld("A body that is not asked for, compressed or of another type goes on as it is", (t) => {
  const bodies = found["bodies"] as Readonly<Record<string, Body>>;
  const { TOKEN = "" } = found.environment;
  t.is(bodies["binary"]?.body, TOKEN);
  t.is(bodies["gzip"]?.body, `"${TOKEN}"`);
  t.is(bodies["/no-body"]?.body, `"${TOKEN}"`);
});

inThatWorld("A body with a placeholder that is not for its place does not come to the server", (t) => {
  t.like(found, { bodyMismatch: mismatch, bodyUnknown: unavailable, bodyBroken: unavailable, streamMismatch: 403 });
  t.is(found.http2[6]?.status, 403);
  const bodies = found["bodies"] as Readonly<Record<string, Body>>;
  for (const name of ["mismatch", "unknown", "broken", "stream-mismatch", "h2-mismatch"])
    t.is(bodies[name], undefined, name);
});

inThatWorld(
  "Where an endpoint asks for it, placeholders in text messages become secrets, and one that may not ends the WebSocket",
  (t) => {
    const { token, narrow } = found.secrets;
    const { TOKEN } = found.environment;
    t.deepEqual(found["texts"], { code: 1000, answers: 5 });
    t.deepEqual(found["said"], [
      "1 hello",
      `1 ${token}`,
      `1 ${JSON.stringify({ t: narrow })}`,
      `1 x${token}`,
      `2 ${TOKEN}`,
    ]);
    t.deepEqual(found["textMismatch"], { code: 1008, answers: 0 });
    t.is(found.came["ws"]?.[0]?.["sec-websocket-extensions"], undefined);
  },
);

inThatWorld("A secret that a program sends by itself does not go on, and is recorded without it", (t) => {
  t.deepEqual(found["thief"], Array(3).fill([403, "secret_in_request"]));
  t.is(found.came["stolen"], undefined);
  const leaks = found.lines.filter(({ type }) => type === "leak.found");
  t.deepEqual(
    leaks.map(({ what, form, where, action, path }) => [what, form, where, action, path]),
    [
      ["token", "plain", "head", "block", "/stolen"],
      ["token", "plain", "head", "block", "/stolen/[redacted]"],
      ["token", "base64", "body", "block", "/stolen"],
    ],
  );
  const refused = found.lines.filter(({ type, reason }) => type === "request" && reason === "leak");
  t.deepEqual(
    refused.map(({ rule, policy }) => [rule, policy]),
    Array(3).fill(["leak_guard.requests: block", "api"]),
  );
});

inThatWorld("No request that was refused came to a server", (t) => {
  t.is(found.came["x"], undefined);
  t.is(found.came["unknown"], undefined);
});

inThatWorld("Each use is recorded by name, and each refusal is a record of its own with what is wrong", (t) => {
  const { lines } = found;
  const of = (kind: string, wanted: string): Readonly<Record<string, unknown>> =>
    lines.find(({ type, path }) => type === kind && path === wanted) ?? {};
  t.like(of("request", "/header"), { credentials: ["token"], allowed: true, host: "api.example.test", method: "GET" });
  t.is(of("request", "/none")["credentials"], undefined);
  t.like(of("credential.used", "/body/json"), { credentials: ["token", "narrow-body"], host: "api.example.test" });
  t.like(of("credential.used", "/ws/talk"), { credentials: ["token"] });
  const refused = lines.filter(({ type }) => type === "credential.refused");
  t.true(refused.some(({ credential, host }) => credential === "token" && host === "other.example.test"));
  t.regex(String(refused.find(({ credential }) => credential === "broken")?.["detail"]), /holds a line end/);
});

inThatWorld("No secret, in any form, is in what the program sees, in records or in denials", (t) => {
  t.deepEqual(found.found, { token: [], narrow: [], injected: [], others: [] });
});

inThatWorld(
  "A receipt names what was injected into heads, bodies and messages, and the names that were refused",
  (t) => {
    const { injected, refused } = found.receipt;
    const at = (port: number): string[] =>
      injected.items.filter((each) => each.port === port).map(({ credential }) => credential);
    const names = ["basic", "bearer", "header", "narrow", "narrow-body", "path", "query", "token"];
    t.deepEqual([...new Set([...at(443), ...at(8443)])].sort(), names);
    t.deepEqual(at(8080), ["clear"]);
    t.true(injected.items.every(({ host, count }) => host === "api.example.test" && count > 0));
    const name = { kind: "name", subject: "told-by-a-name.example.test" };
    t.is(refused.items.filter(({ kind, subject }) => kind === name.kind && subject === name.subject).length, 1);
    t.is(found.lines.filter(({ type, name: said }) => type === "name.refused" && said === name.subject).length, 1);
    t.true(found.named.some(({ subject }) => subject === name.subject));
  },
);

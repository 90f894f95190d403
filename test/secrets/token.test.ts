import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { GoogleSource, RefreshTokenSource } from "../../lib/policy/token-source.ts";
import { membersOf } from "../../lib/secrets/json-text.ts";
import { Secret } from "../../lib/secrets/secret.ts";
import { secretsInUse } from "../../lib/secrets/secret-search.ts";
import { SecretError } from "../../lib/secrets/sources.ts";
import type { TokenFetch } from "../../lib/secrets/token.ts";

process.env["HOLDFAST_TEST_REFRESH"] = "the kept/refresh+token";
const source: RefreshTokenSource = {
  ...{ kind: "oauth2_refresh_token", url: "https://issuer.example/token", clientId: "me", scopes: ["a", "b"] },
  ...{ clientAuth: "body", refreshToken: { kind: "env", name: "HOLDFAST_TEST_REFRESH" }, refreshBeforeMs: 300_000 },
};

/** An issuer that gives one answer after the other, and what it was asked. */
function issuer(...answers: readonly (readonly [status: number, body: object | string])[]): {
  readonly fetch: TokenFetch;
  readonly asked: string[];
  readonly bodies: Buffer[];
} {
  const asked: string[] = [];
  const bodies: Buffer[] = [];
  return {
    asked,
    bodies,
    fetch: async ({ body }) => {
      const [status, said] = answers[asked.length] ?? [500, ""];
      asked.push(body.toString());
      bodies.push(body);
      return { status, body: Buffer.from(typeof said === "string" ? said : JSON.stringify(said)) };
    },
  };
}

test("Whoever waits for a token waits for the same; the request is wiped, and what an issuer rotates is shown the next time", async (t) => {
  const { fetch, asked, bodies } = issuer(
    [200, { access_token: "first one", token_type: "Bearer", expires_in: 3600, refresh_token: "second/refresh" }],
    [200, { access_token: "second one", expires_in: "3600" }],
    [200, { access_token: "third one" }],
  );
  const secret = new Secret("x", source, () => fetch);
  await Promise.all([secret.refresh(), secret.refresh()]);
  t.is(secret.bytes?.toString(), "first one");
  t.true(secret.isFresh);
  const first = secret.bytes;
  await secret.refresh();
  t.is(secret.bytes?.toString(), "second one");
  t.is(first?.toString(), "\0".repeat(9));
  await secret.refresh();
  const by = (token: string): string => `grant_type=refresh_token&refresh_token=${token}&scope=a%20b&client_id=me`;
  t.deepEqual(asked, [by("the%20kept%2Frefresh%2Btoken"), by("second%2Frefresh"), by("second%2Frefresh")]);
  t.true(bodies.every((body) => body.every((byte) => byte === 0)));
  secret.wipe();
  t.is(secret.bytes, null);
});

test("A token is kept while it is good though its issuer gives no other, and no longer", async (t) => {
  const { fetch } = issuer(
    [200, { access_token: "a good one", expires_in: 3600 }],
    [503, ""],
    [200, { access_token: "a short one", expires_in: 0.001 }],
    [400, { error: "invalid_grant", error_description: "the kept/refresh+token" }],
  );
  const secret = new Secret("x", source, () => fetch);
  await secret.refresh();
  await secret.refresh();
  t.is(secret.bytes?.toString(), "a good one");
  t.true(secret.isFresh);
  await secret.refresh();
  await new Promise((resolve) => setTimeout(resolve, 2));
  t.false(secret.isFresh);
  await t.throwsAsync(secret.refresh(), {
    instanceOf: SecretError,
    message: "issuer.example gives no token: it answers 400, invalid_grant",
  });
  t.is(secret.bytes, null);
});

for (const [title, status, body, message] of [
  ["no JSON", 200, "<html>", /no object of JSON/],
  ["no token", 200, { token_type: "bearer" }, /without a token/],
  ["a token that has to be proved", 200, { access_token: "sesame", token_type: "DPoP" }, /no bearer token/],
  ["a token with a line end", 200, { access_token: "ses\name" }, /holds a line end/],
  ["a token beyond ASCII", 200, String.raw`{"access_token":"ses\u00e9"}`, /is not ASCII/],
  ["an empty token", 200, { access_token: "" }, /is empty/],
  ["a token that has ended", 200, { access_token: "sesame", expires_in: 0 }, /has ended already/],
  ["a long token", 200, { access_token: "sesame".repeat(1000) }, /longer than/],
  ["a redirect", 302, { access_token: "sesame" }, /it answers 302$/],
  ["what was sent to it as its error", 401, { error: "the kept/refresh+token" }, /it answers 401$/],
] as const) {
  test(`No token is taken from an issuer that answers with ${title}`, async (t) => {
    const { fetch } = issuer([status, body]);
    const secret = new Secret("x", source, () => fetch);
    const error = await t.throwsAsync(secret.refresh(), { instanceOf: SecretError, message });
    t.notRegex(error?.message ?? "", /ses.?am|kept/);
    t.is(secret.bytes, null);
  });
}

test("Without a way out no token is asked for", async (t) => {
  await t.throwsAsync(new Secret("x", source).refresh(), { message: "no token can be asked for here" });
});

test("A service account's statement is signed by its key, and a file that is none is refused", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-token-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "key.json");
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const google: GoogleSource = {
    ...{ kind: "google_service_account_jwt", url: "https://oauth2.example/token", refreshBeforeMs: 0 },
    ...{ key: { kind: "file", path }, scopes: ["one", "two"], subject: "her@example" },
  };
  const { fetch, asked } = issuer([200, { access_token: "issued", expires_in: 60 }]);
  const refresh = (): Promise<void> => new Secret("x", google, () => fetch).refresh();
  writeFileSync(path, pem);
  await t.throwsAsync(refresh(), { message: /is it JSON of Google's/ });
  writeFileSync(path, JSON.stringify({ client_email: "robot@example", private_key: "sesame" }));
  await t.throwsAsync(refresh(), { message: "the private key is no PEM that can be read, or is encrypted" });
  const account = { type: "service_account", private_key_id: "k1", private_key: pem, client_email: "robot@example" };
  writeFileSync(path, JSON.stringify({ ...account, nested: { list: [1, { a: "}" }] }, none: null }, null, 2));
  await refresh();
  const assertion = new URLSearchParams(asked[0]).get("assertion") ?? "";
  const [header = "", claims = "", signature = ""] = assertion.split(".");
  const own = createPublicKey(publicKey.export({ type: "spki", format: "pem" }));
  t.true(verify("RSA-SHA256", Buffer.from(`${header}.${claims}`), own, Buffer.from(signature, "base64url")));
  t.deepEqual(JSON.parse(Buffer.from(header, "base64url").toString()), { alg: "RS256", typ: "JWT", kid: "k1" });
  const said = JSON.parse(Buffer.from(claims, "base64url").toString());
  t.like(said, { iss: "robot@example", sub: "her@example", scope: "one two", aud: google.url });
  t.is(said.exp - said.iat, 3600);
});

test("What an issuer is asked with is looked for in what leaves until the session ends, whatever the issuer says", async (t) => {
  process.env["HOLDFAST_TEST_CLIENT"] = "the client's own secret";
  process.env["HOLDFAST_TEST_FIRST"] = "the first/refresh+token";
  const { fetch } = issuer(
    [200, { access_token: "a token of its own", refresh_token: "another/refresh/token" }],
    [401, { error: "invalid_client" }],
  );
  const withSecret: RefreshTokenSource = {
    ...{ ...source, refreshToken: { kind: "env", name: "HOLDFAST_TEST_FIRST" } },
    clientSecret: { kind: "env", name: "HOLDFAST_TEST_CLIENT" },
  };
  const secret = new Secret("x", withSecret, () => fetch);
  const clean = (text: string): string => secretsInUse.redact(text);
  const said = ["the client's own secret", "the first/refresh+token", "a token of its own", "another/refresh/token"];
  await secret.refresh();
  await secret.refresh();
  t.deepEqual(
    said.map(clean),
    said.map(() => "[redacted]"),
  );
  t.is(clean(Buffer.from("the client's own secret").toString("hex")), "[redacted]");
  secret.wipe();
  t.deepEqual(said.map(clean), said);
});

test("Of two sessions that ask with the same, one's end does not forget it for the other", async (t) => {
  process.env["HOLDFAST_TEST_SHARED"] = "the shared/refresh+token";
  const shared: RefreshTokenSource = { ...source, refreshToken: { kind: "env", name: "HOLDFAST_TEST_SHARED" } };
  const session = async (): Promise<Secret> => {
    const secret = new Secret("x", shared, () => issuer([200, { access_token: "some token" }]).fetch);
    await secret.refresh();
    return secret;
  };
  const [one, other] = [await session(), await session()];
  one.wipe();
  t.is(secretsInUse.redact("the shared/refresh+token"), "[redacted]");
  other.wipe();
  t.is(secretsInUse.redact("the shared/refresh+token"), "the shared/refresh+token");
});

test("A session that ends while its issuer is asked leaves nothing behind", async (t) => {
  process.env["HOLDFAST_TEST_ENDED"] = "the ended/refresh+token";
  const ended: RefreshTokenSource = { ...source, refreshToken: { kind: "env", name: "HOLDFAST_TEST_ENDED" } };
  let answer: (said: Awaited<ReturnType<TokenFetch>>) => void = () => {};
  const asked = Promise.withResolvers<string>();
  const fetch: TokenFetch = ({ body }) => {
    asked.resolve(body.toString());
    return new Promise((resolve) => {
      answer = resolve;
    });
  };
  const secret = new Secret("x", ended, () => fetch);
  const refreshed = secret.refresh();
  t.regex(await asked.promise, /refresh_token=the%20ended/);
  secret.wipe();
  answer({ status: 200, body: Buffer.from('{"access_token":"a late token"}') });
  await refreshed;
  t.is(secret.bytes, null);
  t.deepEqual(
    ["the ended/refresh+token", "a late token"].map((text) => secretsInUse.redact(text)),
    ["the ended/refresh+token", "a late token"],
  );
});

/** As some writers of JSON escape characters. */
const inNumbers = (text: string): string =>
  text.replaceAll("+", "\\u002B").replaceAll("/", "\\u002f").replaceAll("=", "\\u003d").replaceAll("\\n", "\\u000a");

for (const [title, type] of [
  ["PKCS #8", "pkcs8"],
  ["PKCS #1", "pkcs1"],
] as const) {
  test(`Each line of a private key is found (${title}), however the file is spelled, and its name is not`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-token-"));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const pem = generateKeyPairSync("rsa", { modulusLength: 2048 })
      .privateKey.export({ type, format: "pem" })
      .toString();
    const account = JSON.stringify({ client_email: "robot@example", private_key: pem }, null, 2);
    for (const [name, content] of [
      ["key.json", account],
      ["escaped.json", account.replaceAll("/", "\\/")],
      ["numbers.json", inNumbers(account)],
      ["key.pem", pem],
      ["dos.pem", pem.replaceAll("\n", "\r\n")],
    ] as const) {
      const path = join(folder, name);
      writeFileSync(path, content);
      const kept = { kind: "file", path } as const;
      const common = { url: "https://issuer.example/token", refreshBeforeMs: 0 };
      const secret = new Secret(
        "x",
        name.endsWith("json")
          ? { ...common, kind: "google_service_account_jwt", key: kept, scopes: [] }
          : { ...common, kind: "github_app", appId: "1", privateKey: kept, repositories: [], permissions: {} },
        () => issuer([201, { access_token: "issued to it", token: "issued to it" }]).fetch,
      );
      await secret.refresh();
      // Its last line may be too short to tell.
      const lines = pem.split("\n").slice(1, -3);
      t.true(lines.length > 20, name);
      const spell: Readonly<Record<string, (line: string) => string>> = {
        "escaped.json": (line) => line.replaceAll("/", "\\/"),
        "numbers.json": inNumbers,
      };
      const spelled = lines.map((line) => spell[name]?.(line) ?? line);
      for (const text of [pem, account, content, lines.join(""), JSON.stringify(account)]) {
        const clean = secretsInUse.redact(text);
        for (const line of lines)
          t.false(clean.includes(line.replaceAll("/", text.includes("\\/") ? "\\/" : "/")), name);
        t.is(
          secretsInUse.redact(text.replace(/-----(?:BEGIN|END)[^-]*-----/g, "")).match(/[A-Za-z0-9+/]{20,}/),
          null,
          name,
        );
      }
      for (const [form, text] of [
        ["base64", Buffer.from(content).toString("base64")],
        ["hex", Buffer.from(content).toString("hex")],
        ["reversed", [...content].reverse().join("")],
        // A plus at its end parts it from what stands beside it.
        ["plain", spelled[lines.findIndex((line) => /^[^+].*[^+]$/.test(line))] ?? ""],
      ] as const) {
        const { found } = secretsInUse.find(Buffer.from(text));
        t.deepEqual([...new Set(found.map((each) => `${each.name}: ${each.form}`))], [`x: ${form}`], name);
        t.true(found.length >= (form === "plain" ? 1 : lines.length), `${name} ${form} ${found.length}`);
      }
      t.deepEqual(secretsInUse.find(Buffer.from("robot@example -----BEGIN PRIVATE KEY-----")).found, []);
      secret.wipe();
      t.is(secretsInUse.redact(pem), pem);
    }
  });
}

test("Keys of AWS's that a role's are asked with are known, and their id is not", async (t) => {
  process.env["HOLDFAST_TEST_ID"] = "AKIAIOSFODNN7EXAMPLE";
  process.env["HOLDFAST_TEST_KEY"] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  process.env["HOLDFAST_TEST_SESSION"] = "a session of AWS's";
  const secret = new Secret(
    "x",
    {
      ...{ kind: "aws_sts_assume_role", url: "https://sts.example/", refreshBeforeMs: 0, region: "eu-central-1" },
      ...{ roleArn: "arn:aws:iam::1:role/r", sessionName: "s", durationSeconds: 900 },
      accessKeyId: { kind: "env", name: "HOLDFAST_TEST_ID" },
      secretAccessKey: { kind: "env", name: "HOLDFAST_TEST_KEY" },
      sessionToken: { kind: "env", name: "HOLDFAST_TEST_SESSION" },
    },
    () => issuer([403, "<Error><Code>AccessDenied</Code></Error>"]).fetch,
  );
  await t.throwsAsync(secret.refresh(), { message: "sts.example gives no token: it answers 403, AccessDenied" });
  t.is(secretsInUse.redact("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "[redacted]");
  t.is(secretsInUse.redact("a session of AWS's"), "[redacted]");
  t.is(secretsInUse.redact("0".repeat(64)), "0".repeat(64));
  t.is(secretsInUse.redact("AKIAIOSFODNN7EXAMPLE"), "AKIAIOSFODNN7EXAMPLE");
  secret.wipe();
});

test("Members of an object are read as JSON.parse reads them, and what is no object is none", (t) => {
  const object = {
    a: 'x"\\\n\t/',
    "b c": 12,
    d: -1.5e3,
    e: [1, "]", { f: "g" }],
    h: { a: "other" },
    i: true,
    j: null,
    k: "",
  };
  for (const text of [JSON.stringify(object), JSON.stringify(object, null, "\t")]) {
    const members = membersOf(Buffer.from(text));
    t.deepEqual(Object.fromEntries([...(members ?? [])].map(([name, value]) => [name, value.toString().trim()])), {
      ...{ a: 'x"\\\n\t/', "b c": "12", d: "-1500", k: "" },
    });
  }
  t.is(membersOf(Buffer.from(String.raw`{"a":"\u0041\/"}`))?.get("a")?.toString(), "A/");
  t.is(membersOf(Buffer.from(`{"a":"1","a":"2"}`))?.get("a")?.toString(), "2");
  for (const text of [
    "",
    "[]",
    '"a"',
    "{",
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":"b',
    '{"a":"b\\',
    "{a:1}",
    '{"a":1 "b":2}',
    '{"a":}',
  ])
    t.is(membersOf(Buffer.from(text)), undefined, text);
});

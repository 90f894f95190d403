import test from "ava";
import { placeholderLike, placeholderOf } from "../../lib/secrets/placeholder.ts";

const json = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const token = (claims: object, signature: number): string =>
  `${json({ alg: "RS256", kid: "the-issuers-own" })}.${json(claims)}.${"s-_9".repeat(signature)}`;

const shapes: Readonly<Record<string, readonly [secret: string, shape: RegExp]>> = {
  "a UUID": [
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/,
  ],
  hexadecimal: ["0123456789abcdef0123456789abcdef", /^[0-9a-f]{32}$/],
  "capital hexadecimal": ["0123456789ABCDEF0123456789ABCDEF01234567", /^[0-9A-F]{40}$/],
  digits: ["01234567890123456789012345678901", /^[0-9]{32}$/],
  "a word that is hexadecimal": ["deadbeef", /^[0-9A-Za-z]{16}$/],
  "a fine-grained token of GitHub's": [
    `github_pat_${"A1".repeat(11)}_${"b".repeat(59)}`,
    /^github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}$/,
  ],
  "SendGrid's": [`SG.${"a".repeat(22)}.${"b".repeat(43)}`, /^SG\.[\w-]{22}\.[\w-]{43}$/],
  "whatever else": ["pass.word/of-somebody_else", /^[0-9A-Za-z]{26}$/],
  "no JSON token": ["eyJ.short.x", /^[0-9A-Za-z]{16}$/],
};

for (const [title, [secret, shape]] of Object.entries(shapes)) {
  test(`A placeholder looks like what it stands for: ${title}`, (t) => {
    const [one, other] = [placeholderLike(Buffer.from(secret)), placeholderLike(Buffer.from(secret))];
    t.regex(one, shape);
    t.not(one, other);
    t.not(one, secret);
  });
}

test("A placeholder is as long as its secret, however long that is, and each format has its own length", (t) => {
  for (const length of [16, 128, 129, 257, 4094]) {
    t.is(placeholderLike(Buffer.alloc(length, "x!")).length, length);
    t.is(placeholderLike(Buffer.from(`sk-proj-${"x".repeat(length)}`)).length, length + 8);
  }
  t.regex(placeholderOf("openai"), /^sk-proj-[\w-]{156}$/);
  t.regex(placeholderOf("anthropic"), /^sk-ant-api03-[\w-]{95}$/);
  t.regex(placeholderOf("slack"), /^xoxb-\d{12}-\d{13}-[A-Za-z0-9]{25}$/);
});

test("One for a JSON token is as long, can be read, is good for long, and says nothing of the real one", (t) => {
  for (const [user, signature] of [
    ["her", 11],
    ["him@example.com", 86],
    ["x".repeat(200), 12],
    ["xx".repeat(31), 13],
  ] as const) {
    const secret = token({ sub: user, iss: "https://issuer.example", exp: 1 }, signature);
    const made = placeholderLike(Buffer.from(secret));
    t.is(made.length, secret.length);
    t.regex(made, /^[\w-]+\.[\w-]+\.[\w-]{43,}$/);
    const [head, claims] = made.split(".").map((part) => Buffer.from(part, "base64url").toString());
    t.deepEqual(JSON.parse(head ?? ""), { alg: "HS256", typ: "JWT" });
    const { exp, jti, ...rest } = JSON.parse(claims ?? "") as { exp: number; jti: string };
    t.true(exp > Date.now() / 1000 && jti.length >= 16);
    t.deepEqual(rest, {});
  }
});

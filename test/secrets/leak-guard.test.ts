import { execFileSync } from "node:child_process";
import { join } from "node:path";
import test from "ava";
import { defaultLeakGuard, type LeakGuardSettings } from "../../lib/policy/leak-guard.ts";
import { LeakGuard } from "../../lib/secrets/leak-guard.ts";
import { checksum } from "../../lib/secrets/placeholder.ts";
import { SecretSearch } from "../../lib/secrets/secret-search.ts";

const secret = 'n4rrow/se"cret+with=odd&characters%.';
const bytes = Buffer.from(secret, "latin1");

function guard(
  settings: Partial<LeakGuardSettings> = {},
  isPlaceholder: (token: string) => boolean = () => false,
): LeakGuard {
  return new LeakGuard(
    { ...defaultLeakGuard, ...settings },
    isPlaceholder,
    new SecretSearch(() => [
      ["the key", bytes],
      ["a short one", Buffer.from("short")],
    ]),
  );
}

const encodeHex = (text: string): string => Buffer.from(text, "latin1").toString("hex");

const forms: readonly (readonly [form: string, text: string])[] = [
  ["plain", `KEY=${secret}`],
  ["percent-encoded", `?k=${encodeURIComponent(secret)}`],
  ["in JSON", JSON.stringify({ key: secret })],
  ["hex", encodeHex(secret)],
  ["hex", encodeHex(secret).toUpperCase()],
  ["reversed", [...secret].reverse().join("")],
  ...["", "a", "ab"].map((before): [string, string] => [
    "base64",
    Buffer.from(`${before}${secret} and more`, "latin1").toString("base64"),
  ]),
  ["in pieces", [...secret].join(" ")],
  ["in pieces", [...secret].join("\n")],
  ["in pieces", `"${secret.slice(0, 12)}" + "${secret.slice(12)}"`],
  ["in JSON", JSON.stringify({ key: `${secret.slice(0, 12)}\r\n\t${secret.slice(12)}` })],
  ["in JSON", JSON.stringify({ said: JSON.stringify({ key: `${secret.slice(0, 12)}\n${secret.slice(12)}` }) })],
  ["in pieces", [...bytes].map((byte) => `\\x${byte.toString(16)}`).join("")],
  ["hex", encodeHex(secret).replace(/..(?=.)/g, "$&:")],
  [
    "base64",
    JSON.stringify(
      Buffer.from(`${"x".repeat(50)}${secret} y`, "latin1")
        .toString("base64")
        .replace(/.{60}/g, "$&\n"),
    ),
  ],
  ["plain", `C:\\${secret}`],
  ["in HTML", `<td>${secret.replace(/[&"]/g, (letter) => (letter === "&" ? "&amp;" : "&quot;"))}</td>`],
  ["in HTML", [...bytes].map((byte) => `&#${byte};`).join("")],
  ["in HTML", [...bytes].map((byte) => `&#x${byte.toString(16)};`).join("")],
  ["decimal", JSON.stringify(bytes)],
  ["decimal", `[${[...bytes].join(" ")}]`],
  ["octal", [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")],
  ["hex", `{ ${[...bytes].map((byte) => `0x${byte.toString(16)}`).join(", ")} }`],
  ["base32", "NY2HE4TPO4XXGZJCMNZGK5BLO5UXI2B5N5SGIJTDNBQXEYLDORSXE4ZFFY======"],
  ["rot13", secret.replace(/[a-z]/g, (letter) => String.fromCharCode(((letter.charCodeAt(0) - 84) % 26) + 97))],
  ["reversed", [...encodeHex(secret)].reverse().join("")],
  ["reversed", [...bytes.toString("base64")].reverse().join("")],
  ...["", "a", "ab"].map((before): [string, string] => [
    "base64",
    Buffer.from(`key ${Buffer.from(`${before}${secret}`).toString("base64")}\n`).toString("base64"),
  ]),
  ...["-", "_", ".", "/", "*"].map((by): [string, string] => ["in pieces", [...secret].join(by)]),
];

for (const [index, [form, text]] of forms.entries()) {
  test(`A known secret is found ${form} (${index}), named, and taken out`, (t) => {
    const { text: clean, leaks } = guard().check(`before ${text} after`);
    t.like(leaks[0], { what: "the key", form, action: "redact" });
    t.regex(clean ?? "", /^before .*\[redacted\].* after$/s);
    t.deepEqual(guard().check(clean ?? "").leaks, []);
    t.is(guard({ action: "block" }).check(text).text, null);
    t.is(guard({ action: "warn" }).check(text).text, text);
  });
}

test("Two of them beside each other are both taken out, and what is none is left alone", (t) => {
  const { text, leaks } = guard().check(`${secret}${secret} short and ${secret.slice(0, -1)}`);
  t.is(text, `[redacted][redacted] short and ${secret.slice(0, -1)}`);
  t.is(leaks.length, 2);
  t.deepEqual(guard().check("nothing").leaks, []);
});

const body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5";
const real = `ghp_${body}${checksum(body)}`;

test("What looks like a key is warned of or taken out, but for what is none by its checksum or stands for one", (t) => {
  t.like(guard().check(`token ${real}.`), {
    text: `token ${real}.`,
    leaks: [{ what: "a GitHub token", action: "warn" }],
  });
  t.is(guard({ tokens: "redact" }).check(`token ${real}.`).text, "token [redacted].");
  t.is(guard({ tokens: "block" }).check(real).text, null);
  t.deepEqual(guard().check(`ghp_${body}000000`).leaks, []);
  t.deepEqual(guard({}, (token) => token === real).check(real).leaks, []);
  const key = `-----BEGIN OPENSSH PRIVATE KEY-----\n${"A".repeat(300)}\n-----END OPENSSH PRIVATE KEY-----`;
  t.is(guard({ tokens: "redact" }).check(`a\n${key}\nb`).text, "a\n[redacted]\nb");
});

const inBase64 = (text: string): string => Buffer.from(text, "latin1").toString("base64");
const keyBlock = `-----BEGIN RSA PRIVATE KEY-----\n${"Ab+/".repeat(100)}\n-----END RSA PRIVATE KEY-----\n`;

const encodedTokens: readonly (readonly [form: string, what: string, text: string])[] = [
  ...["", "a", "ab", "abc"].map((before): [string, string, string] => [
    "base64",
    "a GitHub token",
    inBase64(`${before}=${real}\n`),
  ]),
  ["base64", "a GitHub token", inBase64(`${"x".repeat(40)} ${real} y`).replace(/.{60}/g, "$&\n")],
  ["base64", "a private key", inBase64(keyBlock).replace(/.{76}/g, "$&\r\n")],
  ["percent-encoded", "a GitHub token", [...real].map((letter) => `%${encodeHex(letter)}`).join("")],
  ["percent-encoded", "a private key", encodeURIComponent(keyBlock)],
  ["hex", "a GitHub token", encodeHex(`key ${real}`)],
  ["hex", "a GitHub token", encodeHex(real).toUpperCase()],
  ["reversed", "a GitHub token", [...real].reverse().join("")],
  ["base64", "an AWS key's id", inBase64(`id = AKIA${"ABCDEFGHIJKLMNOP"}\n`)],
  [
    "base64",
    "a signed JSON token",
    inBase64(
      `v:${["alg", "sub", "x"].map((name) => Buffer.from(`{"${name}":"${"e".repeat(30)}"}`).toString("base64url")).join(".")}`,
    ),
  ],
];

for (const [index, [form, what, text]] of encodedTokens.entries()) {
  test(`What looks like a key is found ${form} as well (${index})`, (t) => {
    t.like(guard().check(`before ${text} after`).leaks, [{ what, form, action: "warn" }]);
    const { text: clean } = guard({ tokens: "redact" }).check(`before ${text} after`);
    t.regex(clean ?? "", /^before .*\[redacted\].* after$/s);
    t.deepEqual(guard({ tokens: "redact" }).check(clean ?? "").leaks, []);
    t.is(guard({ tokens: "block" }).check(text).text, null);
  });
}

test("What stands for a key is none in another form either, and a long text in base64 is nothing by itself", (t) => {
  t.deepEqual(guard({}, (token) => token === real).check(inBase64(`key ${real}`)).leaks, []);
  const text = Array.from({ length: 20_000 }, (_, at) => String.fromCharCode((at * 7919) % 251)).join("");
  t.deepEqual(guard().check(inBase64(text)).leaks, []);
});

test("Where no memory can be locked for what is looked for, that is said, with what to do", (t) => {
  if (process.getuid?.() === 0) {
    t.log("skipped: root may lock what it likes");
    t.pass();
    return;
  }
  const script = `
    const { SecretSearch } = await import(${JSON.stringify(join(import.meta.dirname, "../../lib/secrets/secret-search.ts"))});
    const known = () => [["a", Buffer.from("known-to-this-process")]];
    new SecretSearch(known, false).find(Buffer.from("x"));
    try { new SecretSearch(known).find(Buffer.from("x")); } catch ({ code, hint }) { console.log(code, hint); }`;
  const said = execFileSync("prlimit", ["--memlock=8192:8192", process.execPath, "--input-type=module", "-e", script]);
  t.regex(said.toString(), /^ERR_HOLDFAST_CREDENTIAL Raise RLIMIT_MEMLOCK/);
});

test("In a file a secret is found wherever it lies, across the pieces that it is read in", (t) => {
  const size = 256 * 1024;
  for (const at of [0, size - 5, 2 * size - 1, 2 * size + 100]) {
    const file = Buffer.alloc(3 * size, "x");
    bytes.copy(file, at);
    const scan = guard().scan();
    for (let from = 0; from < file.length; from += 64 * 1024) scan.push(file.subarray(from, from + 64 * 1024));
    t.deepEqual(scan.end(), [{ what: "the key", form: "plain", action: "redact" }], `at ${at}`);
  }
});

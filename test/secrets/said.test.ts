// What holdfast says itself, in whatever words: a known secret is in none of it, however a sandbox brings it there.
import test from "ava";
import { Audit, type AuditEvent } from "../../lib/audit/audit.ts";
import { failureAnswer, refusalAnswer } from "../../lib/egress/answer.ts";
import { FailedConnections } from "../../lib/egress/failed-connections.ts";
import { UnlistedConnections } from "../../lib/egress/unlisted.ts";
import { secretsInUse } from "../../lib/secrets/secret-search.ts";
import { Redactor } from "../../lib/worker/credentials.ts";
import { finds } from "./secret-search.ts";

const secret = "a-secret-of-the-launcher-0123456789";
secretsInUse.add(() => [["key", Buffer.from(secret)]]);
const forms = [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString("base64"),
  Buffer.from(secret).toString("hex"),
  [...secret].reverse().join(""),
  [...secret].join(" "),
];

for (const [index, form] of forms.entries()) {
  test(`A secret is in no record, denial, draft, log or answer: in form ${index}`, (t) => {
    const lines: string[] = [];
    const followed: AuditEvent[] = [];
    const audit = new Audit({ write: (line) => void lines.push(line), close: () => {} });
    audit.follow("s", (event) => followed.push(event));
    const request = { method: "GET", path: `/x/${form}/y` };
    audit.append({ type: "request", sandbox: "s", port: 443, ...request, nested: [{ host: `${form}.example.com` }] });
    t.like(JSON.parse(lines[0] ?? ""), { type: "request", port: 443, method: "GET" });
    t.regex(String(followed[0]?.["path"]), /^\/x\/\[redacted\](?:k=)?\/y$/);

    const denials = new FailedConnections();
    const verdict = {
      allowed: false,
      policy: null,
      rule: null,
      reason: "rule",
      detail: `no rule for ${form}`,
    } as const;
    denials.add(`GET ${request.path}`, { ...verdict, remedy: `path: ${form}` });

    const unlisted = new UnlistedConnections();
    unlisted.add({ program: "/usr/bin/curl", host: "api.example.com", port: 443, isOpaque: false, request });
    t.regex(unlisted.log().connections[0]?.request?.path ?? "", /^\/x\/\*(?:k=)?\/y$/);

    const answers = [
      refusalAnswer({ host: "h", port: 443, program: "/p", request }, { ...verdict, remedy: form }),
      failureAnswer(502, "upstream_unreachable", `no ${form}`),
    ].map(({ body }) => body);
    for (const body of answers) t.notThrows(() => JSON.parse(body));
    const log = new Redactor().redact(`{"name": "${form}"}`);
    const said = [
      ...lines,
      JSON.stringify(followed),
      JSON.stringify([denials.take(), unlisted.log()]),
      ...answers,
      log,
    ].join("\n");
    t.deepEqual(finds(said, secret), []);
  });
}

test("In a record a secret in pieces over its fields leaves a record", (t) => {
  const lines: string[] = [];
  const audit = new Audit({ write: (line) => void lines.push(line), close: () => {} });
  audit.append({ type: "x", sandbox: "s", list: [secret.slice(0, 12), secret.slice(12)] });
  t.like(JSON.parse(lines[0] ?? ""), { type: "x", sandbox: "s" });
  t.deepEqual(finds(lines.join().replace(/[",]/g, ""), secret), []);
});

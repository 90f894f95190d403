import test from "ava";
import { Audit } from "../../lib/audit/audit.ts";
import type { Verdict } from "../../lib/egress/flow.ts";
import { type FlowDetail, FlowRecords, type FlowSubject } from "../../lib/egress/flow-records.ts";

type Noted = readonly [FlowSubject, Verdict, FlowDetail];

const verdict: Verdict = { allowed: true, policy: "one", rule: "GET /**", detail: "GET / is allowed" };
const request = { method: "GET", path: "/" };
const flow = { program: { path: "/usr/bin/one", sha256: "a" }, host: "one.test", port: 443 };

test("Each request is a record of its own, and says what is its own", (t) => {
  const lines: Record<string, unknown>[] = [];
  const records = new FlowRecords(
    "box",
    new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} }),
  );
  const usual: Noted = [flow, verdict, { request }];
  const other: readonly Noted[] = [
    usual,
    [{ ...flow, program: { path: "/usr/bin/other", sha256: "a" } }, verdict, { request }],
    [{ ...flow, program: { path: "/usr/bin/one", sha256: "b" } }, verdict, { request }],
    [{ ...flow, program: null }, verdict, { request }],
    [{ ...flow, host: "other.test" }, verdict, { request }],
    [{ ...flow, port: 80 }, verdict, { request }],
    [flow, { ...verdict, rule: "GET /" }, { request }],
    [flow, verdict, { request: { ...request, path: "/other" } }],
    [flow, verdict, { request, credentials: ["key"] }],
    [flow, verdict, {}],
  ];
  const noted: readonly Noted[] = [
    ...other.flatMap((each): Noted[] => [usual, each]),
    [flow, verdict, { request, credentials: ["key"] }],
    [flow, verdict, { request, credentials: ["key"] }],
    [flow, verdict, { request, credentials: ["lock"] }],
    [flow, verdict, { request, credentials: ["lock", "key"] }],
  ];
  for (const [subject, each, detail] of noted) records.note(subject, each, detail);
  t.deepEqual(
    lines.map(({ time, sequence, ...event }) => event),
    noted.map(([{ program, host, port }, each, { request: asked, credentials }]) => ({
      ...{ type: asked === undefined ? "connection" : "request", sandbox: "box" },
      ...{ program: program?.path ?? null, sha256: program?.sha256 ?? null, host, port },
      ...asked,
      ...(credentials === undefined ? {} : { credentials }),
      ...each,
    })),
  );
  t.deepEqual(
    lines.map(({ sequence }) => sequence),
    noted.map((_, index) => index + 1),
  );
});

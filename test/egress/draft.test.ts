import test from "ava";
import fc from "fast-check";
import { decide, NetworkDecision } from "../../lib/egress/decide.ts";
import { draftPolicy } from "../../lib/egress/draft.ts";
import type { Unlisted } from "../../lib/egress/unlisted.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { parsePolicy } from "../../lib/policy/load.ts";
import { sound } from "../policy/policy-text.ts";

const curl = "/usr/bin/curl";
const log = (text: string): NetworkDecision => new NetworkDecision({ ...sound(text), networkMode: "log" });
const everything = new NetworkDecision({ ...defaultPolicy, networkMode: "log" });
const bare = "holdfast: 1\nversion: 1\n";

function one(host: string, port: number, more: Partial<Unlisted> = {}): Unlisted {
  return { program: curl, host, port, count: 1, isOpaque: false, ...more };
}

function draft(connections: readonly Unlisted[], text: string = bare): ReturnType<typeof draftPolicy> {
  return draftPolicy({ text, flags: {} }, { connections, isCut: false });
}

function requestOf({
  alsoMethods,
  ...own
}: {
  method: string;
  path: string;
  alsoMethods: readonly string[] | undefined;
}): NonNullable<Unlisted["request"]> {
  return { ...own, ...(alsoMethods === undefined ? {} : { alsoMethods }) };
}

/** What the draft says of a connection of a program. */
function permits(text: string, { program, doubt, host, port, request }: Unlisted): boolean {
  const flow = { program: { path: program ?? "", ...(doubt === undefined ? {} : { doubt }) }, host, port };
  return decide(new NetworkDecision(sound(text)), request === undefined ? flow : { ...flow, request }).allowed;
}

test("In log mode what no entry grants is permitted, for names and addresses alone, and says what was missing", (t) => {
  const asked = (host: string): unknown => decide(everything, { program: { path: curl }, host, port: 443 });
  t.like(asked("api.example.com"), { allowed: true, unlisted: true, reason: "host", policy: "--net log" });
  t.like(asked("2606:4700::1"), { allowed: true, unlisted: true });
  t.like(decide(everything, { program: null, host: "a.example.com", port: 1 }), { allowed: true, unlisted: true });
  // As an entry of a policy these would be more than one host.
  for (const host of ["*.example.com", "**.example.com", "*", "a b", "a'.example.com", "0x7f.1", "fe80::1%eth0"]) {
    t.like(asked(host), { allowed: false, reason: "host" }, host);
    t.false(everything.knows(host), host);
  }
});

test("In log mode addresses are as they are without it, and a flag is named that would help", (t) => {
  const to = (host: string, address: string): unknown => {
    const connection = everything.connect({ path: curl }, host, 80);
    return "grant" in connection ? everything.address(connection.grant, address) : null;
  };
  t.like(to("a.example.com", "93.184.216.34"), { allowed: true });
  t.like(to("a.example.com", "10.0.0.1"), { allowed: false, remedy: "--allow a.example.com:80" });
  t.like(to("10.0.0.1", "10.0.0.1"), { allowed: false, remedy: "--allow 10.0.0.1:80" });
  t.like(to("host.holdfast.internal", "127.0.0.1"), { allowed: false, remedy: "--allow host.holdfast.internal:80" });
  for (const address of ["127.0.0.1", "169.254.169.254", "::1"])
    t.like(to("a.example.com", address), { allowed: false, remedy: undefined });
});

const pin = "a".repeat(64);
const inspected = `holdfast: 1
version: 1
network_policies: # who may go where

  # of ours
  one:
    endpoints:
      - host: api.example.com
        port: 443
        path: /v1/**
        protocol: rest
        enforcement: enforce
        rules: [{ allow: { method: GET, path: /v1/zen } }]
        deny_rules: [{ method: "*", path: /v1/secret }]
    binaries: [{ path: ${curl} }]
  two:
    endpoints: [{ host: pinned.example.com, port: 443 }]
    binaries: [{ path: ${curl}, sha256: ${pin} }]
limits: { processes: 7 }
`;

test("In log mode what a policy refuses by name stays refused", (t) => {
  const decision = log(inspected);
  const asked = (host: string, path?: string): unknown =>
    decide(decision, {
      ...{ program: { path: curl }, host, port: 443 },
      ...(path === undefined ? {} : { request: { method: "POST", path } }),
    });
  t.like(asked("pinned.example.com"), { allowed: false, reason: "identity" });
  t.like(asked("api.example.com", "/v1/secret"), { allowed: false, reason: "deny-rule" });
  t.like(asked("api.example.com", "/v1/x"), { allowed: true, unlisted: true, reason: "rule" });
  t.like(asked("api.example.com", "/v2"), { allowed: true, unlisted: true, reason: "path" });
});

test("A draft is a policy without a fault, and permits what was connected to and nothing else", (t) => {
  const host = fc.constantFrom("a.example.com", "b.example.com", "93.184.216.34", "2606:4700::1111");
  const program = fc.constantFrom(
    curl,
    "/usr/bin/python3.11",
    "/opt/a b/x",
    "/opt/[x]/y",
    "/opt/*/y",
    "/opt/yes",
    null,
  );
  const request = fc.record({
    method: fc.constantFrom("GET", "POST"),
    path: fc.constantFrom("/", "/a", "/a*b", "/x/y%20z", "/{a}"),
    alsoMethods: fc.constantFrom(undefined, undefined, ["DELETE"], ["put", "PATCH"], ["*"]),
  });
  const connection = fc
    .record({
      ...{ program, host, port: fc.constantFrom(80, 443, 5432), count: fc.nat(5), isOpaque: fc.boolean() },
      doubt: fc.constantFrom(undefined, undefined, undefined, "writable" as const, "deleted" as const),
      unreached: fc.constantFrom(undefined, "no such name\nnetwork_policies: {}"),
      request: fc.option(request, { nil: undefined, freq: 4 }),
    })
    .map(
      ({ doubt, unreached, request: asked, ...rest }): Unlisted => ({
        ...rest,
        ...(doubt === undefined ? {} : { doubt }),
        ...(unreached === undefined ? {} : { unreached }),
        ...(asked === undefined ? {} : { request: requestOf(asked), isOpaque: false }),
      }),
    );
  fc.assert(
    fc.property(fc.array(connection, { maxLength: 12 }), fc.constantFrom(bare, inspected), (connections, text) => {
      const { text: written, permitted, leftOut } = draft(connections, text);
      const { policy, problems } = parsePolicy(written);
      t.deepEqual([policy === null, problems], [false, []], written);
      t.is(permitted.length + leftOut.length, connections.length);
      for (const each of permitted) t.true(permits(written, each), JSON.stringify(each));
      for (const { connection: each, why } of leftOut) t.true(why.length > 0, JSON.stringify(each));
      t.false(permits(written, one("c.example.com", 80)));
      t.false(permits(written, one("a.example.com", 81)));
      t.is(policy?.limits.processes, text === bare ? defaultPolicy.limits.processes : 7);
    }),
    { numRuns: 60 },
  );
  t.pass();
});

test("A draft is added to the policy that held, whose words stay", (t) => {
  const { text, isWhole } = draft([one("new.example.com", 5432)], inspected);
  t.true(isWhole);
  t.true(text.includes("network_policies: # who may go where\n\n  # of ours\n  # A draft of"));
  t.true(text.includes("      - { host: new.example.com, port: 5432 } # 1 connection\n"));
  t.true(text.endsWith("limits: { processes: 7 }\n"));
  for (const old of inspected.trim().split("\n")) t.true(text.includes(`${old}\n`), old);
  t.is(draft([one("b.example.com", 1)], text).text.match(/A draft of/g)?.length, 1);
  t.is(draft([], inspected).text, inspected, "with nothing new it is that policy");
  for (const empty of ["network_policies: {}", "network_policies:", "network_policies: # none"])
    t.true(
      permits(
        draft([one("a.example.com", 1)], `${bare}${empty}\nlimits: { processes: 7 }\n`).text,
        one("a.example.com", 1),
      ),
    );
  const flow =
    "{ holdfast: 1, network_policies: { one: { endpoints: [{ host: a.example.com, port: 1 }], binaries: [] } } }";
  t.like(draft([one("b.example.com", 1)], flow), { isWhole: false });
});

test("Requests that were permitted by the log alone are rules under the settings of their endpoint", (t) => {
  const [endpoint] = sound(inspected).networkPolicies["one"]?.endpoints ?? [];
  if (endpoint === undefined) throw new Error("no endpoint");
  const asked = (path: string, more: Partial<Unlisted> = {}): Unlisted =>
    one("api.example.com", 443, { request: { method: "POST", path }, ...more });
  const connections = [asked("/v1/a*", { endpoint }), asked("/v1/b", { endpoint }), asked("/v2")];
  const { text, leftOut } = draft(connections, inspected);
  t.deepEqual(leftOut, []);
  for (const each of connections) t.true(permits(text, each), each.request?.path);
  t.true(permits(text, { ...asked("/v1/zen"), request: { method: "GET", path: "/v1/zen" } }), "what it granted before");
  for (const path of ["/v1/ab", "/v1/c", "/v2/x", "/v1/secret"]) t.false(permits(text, asked(path)), path);
});

test("A request that names a second method is drafted with a rule for each, and every method is none", (t) => {
  const asked = (method: string, ...alsoMethods: string[]): Unlisted =>
    one("api.example.com", 443, { request: { method, path: "/v2", alsoMethods } });
  const connections = [asked("POST", "delete"), asked("POST", "*"), asked("*")];
  const { text, leftOut, permitted } = draft(connections, inspected);
  t.deepEqual(permitted, connections.slice(0, 1));
  t.deepEqual(
    leftOut.map(({ why }) => why),
    Array.from({ length: 2 }, () => "a rule for this method would be one for every method"),
  );
  t.true(permits(text, asked("POST", "delete")));
  t.true(permits(text, asked("DELETE")));
  t.false(permits(text, asked("PUT")));
});

test("A program that no entry can name is permitted with every program, and said by name", (t) => {
  const built = one("a.example.com", 1, { program: "/work/built", doubt: "writable" });
  const foreign = one("a.example.com", 1, { doubt: "foreign-code" });
  const connections = [built, foreign, one("b.example.com", 1), one("b.example.com", 2, { doubt: "deleted" })];
  const { text, leftOut } = draft(connections, inspected);
  t.deepEqual(
    leftOut.map(({ connection }) => connection),
    connections.slice(3),
  );
  t.regex(text, /# Not in it: b\.example\.com:2 by \/usr\/bin\/curl: the program was deleted/);
  t.regex(text, /# 2 connections by \/work\/built, which the sandbox can write, by \/usr\/bin\/curl, with code that/);
  const { networkPolicies } = sound(text);
  t.deepEqual(networkPolicies["every-program"]?.binaries, [{ path: "/**" }]);
  t.deepEqual(
    networkPolicies["every-program"]?.endpoints.map(({ host }) => host),
    ["a.example.com"],
  );
  t.deepEqual(
    networkPolicies["curl"]?.endpoints.map(({ host }) => host),
    ["b.example.com"],
  );
});

test("What passes no check of TLS is permitted by protocol tcp, for all programs at that place", (t) => {
  const connections = [
    one("a.example.com", 443),
    one("a.example.com", 443, { program: "/usr/bin/chrome", isOpaque: true }),
  ];
  const { text, leftOut } = draft(connections);
  t.deepEqual(leftOut, []);
  t.is(text.match(/protocol: tcp/g)?.length, 2);
  t.like(draft([one("93.184.216.34", 443, { isOpaque: true })]), { permitted: [] });
});

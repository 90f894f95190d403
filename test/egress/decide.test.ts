import test from "ava";
import { refusalAnswer } from "../../lib/egress/answer.ts";
import { decide, NetworkDecision } from "../../lib/egress/decide.ts";
import type { Program, Request, Verdict } from "../../lib/egress/flow.ts";
import { parsePolicy } from "../../lib/policy/load.ts";

function decisionOf(network: string, head = "version: 1"): NetworkDecision {
  const text = `${head}\nnetwork_policies:\n${network.replace(/^/gm, "  ")}\n`;
  const { policy, problems } = parsePolicy(Buffer.from(text), "test.yaml");
  if (policy === null) throw new Error(problems.map(({ line, message }) => `${line}: ${message}`).join("\n"));
  return new NetworkDecision(policy);
}

const curl: Program = { path: "/usr/bin/curl" };

function asked(
  decision: NetworkDecision,
  host: string,
  port = 443,
  request?: Request,
  program: Program | null = curl,
): Verdict {
  return decide(decision, { program, host, port, ...(request === undefined ? {} : { request }) });
}

function endpoint(lines: string, binaries = "[{ path: /usr/bin/curl }]"): string {
  return `one:\n  endpoints:\n    - ${lines.trim().replace(/\n/g, "\n      ")}\n  binaries: ${binaries}`;
}

const github = decisionOf(
  endpoint("host: api.github.com\nport: 443\nprotocol: rest\nenforcement: enforce\naccess: read-only"),
);

test("What no rule names is refused, with what is missing and what would allow it", (t) => {
  t.like(asked(github, "example.com"), {
    allowed: false,
    reason: "host",
    policy: null,
    remedy: "--allow example.com:443",
  });
  t.like(asked(github, "api.github.com", 80), { allowed: false, reason: "port", remedy: "--allow api.github.com:80" });
  for (const host of ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "2130706433", "a b.example"])
    t.is(asked(github, host, 80).remedy, undefined, host);
  const wget = asked(github, "api.github.com", 443, undefined, { path: "/usr/bin/wget" });
  t.like(wget, { allowed: false, reason: "program", policy: "one" });
  t.regex(wget.detail, /granted to \/usr\/bin\/curl, not to \/usr\/bin\/wget/);
  t.like(asked(github, "api.github.com"), { allowed: true, policy: "one" });
});

test("A program that cannot be told, or whose path proves nothing, is granted nothing", (t) => {
  t.like(asked(github, "api.github.com", 443, undefined, null), { allowed: false, reason: "identity" });
  for (const doubt of ["writable", "deleted", "foreign-code", "changed"] as const) {
    t.like(asked(github, "api.github.com", 443, undefined, { ...curl, doubt, firstSeen: "" }), {
      allowed: false,
      reason: "identity",
    });
  }
});

test("Where every program is granted it does not matter who could have written it", (t) => {
  const decision = decisionOf(
    'any: {endpoints: [{host: a.example, port: 1}], binaries: [{path: "/**"}]}\n' +
      'folder: {endpoints: [{host: b.example, port: 1}], binaries: [{path: "/work/**"}]}\n' +
      'sole: {endpoints: [{host: c.example, port: 1}], binaries: [{path: "/work/tool"}]}',
  );
  const says = (host: string, program: Program | null): Verdict => asked(decision, host, 1, undefined, program);
  const built: Program = { path: "/work/tool", doubt: "writable" };
  t.like(says("a.example", built), { allowed: true, policy: "any" });
  t.like(says("a.example", { ...curl, doubt: "foreign-code" }), { allowed: true });
  t.like(says("a.example", { ...curl, doubt: "changed", firstSeen: "" }), { allowed: true });
  // What cannot be told at all is not in the record either.
  t.like(says("a.example", { ...curl, doubt: "deleted" }), { allowed: false, reason: "identity" });
  t.like(says("a.example", null), { allowed: false, reason: "identity" });
  for (const host of ["b.example", "c.example"]) t.like(says(host, built), { allowed: false, reason: "identity" });
});

test("A pin holds by content alone; without one a program has to stay what was first seen", (t) => {
  const [own, other] = ["a".repeat(64), "b".repeat(64)];
  const decision = decisionOf(
    `pinned: {endpoints: [{host: p.example, port: 1}], binaries: [{path: /usr/bin/*, sha256: "${own.toUpperCase()}"}]}\n` +
      "free: {endpoints: [{host: f.example, port: 1}], binaries: [{path: /usr/bin/curl}]}",
    "holdfast: 1",
  );
  const says = (host: string, program: Program): Verdict => asked(decision, host, 1, undefined, program);
  t.like(says("p.example", { ...curl, sha256: own }), { allowed: true });
  t.like(says("p.example", { ...curl, sha256: own, doubt: "changed", firstSeen: other }), { allowed: true });
  t.like(says("p.example", { ...curl, sha256: own, doubt: "foreign-code" }), { allowed: false, reason: "identity" });
  t.like(says("p.example", { ...curl, sha256: other }), {
    allowed: false,
    reason: "identity",
    expectedSha256: own,
    detail: `/usr/bin/curl is not the program that the policy pinned: its SHA-256 is ${other}, not ${own}`,
  });
  t.like(says("p.example", curl), { allowed: false, reason: "identity", expectedSha256: own });
  t.like(says("p.example", { path: "/opt/curl", sha256: own }), { allowed: false, reason: "program" });
  t.like(says("f.example", { ...curl, sha256: own }), { allowed: true });
  t.like(says("f.example", { ...curl, sha256: own, doubt: "changed", firstSeen: other }), {
    allowed: false,
    reason: "identity",
    expectedSha256: other,
  });
});

test("read-only is GET, HEAD and OPTIONS on every path; read-write adds POST, PUT and PATCH but no DELETE", (t) => {
  const write = decisionOf(
    endpoint("host: h.example\nport: 443\nprotocol: rest\nenforcement: enforce\naccess: read-write"),
  );
  const full = decisionOf(endpoint("host: h.example\nport: 443\nprotocol: rest\nenforcement: enforce\naccess: full"));
  const methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"];
  const allowed = (decision: NetworkDecision, host: string): string[] =>
    methods.filter((method) => asked(decision, host, 443, { method, path: "/a/b" }).allowed);
  t.deepEqual(allowed(github, "api.github.com"), methods.slice(0, 3));
  t.deepEqual(allowed(write, "h.example"), methods.slice(0, 6));
  t.deepEqual(allowed(full, "h.example"), methods);
});

test("A rule on GET is one on HEAD, to allow and to deny; methods are compared without case", (t) => {
  const decision = decisionOf(
    endpoint(
      "host: h.example\nport: 443\nprotocol: rest\nenforcement: enforce\nrules:\n  - allow: { method: get, path: /a/** }\n  - allow: { method: HEAD, path: /h }\ndeny_rules:\n  - { method: GET, path: /a/secret }",
    ),
  );
  const is = (method: string, path: string): boolean => asked(decision, "h.example", 443, { method, path }).allowed;
  t.true(is("GET", "/a/x"));
  t.true(is("HEAD", "/a/x"));
  t.false(is("GET", "/h"));
  t.true(is("HEAD", "/h"));
  t.false(is("HEAD", "/a/secret"));
  t.false(is("POST", "/a/x"));
  t.true(is("get", "/a/x"));
  t.false(is("get", "/a/secret"));
  t.false(is("head", "/a/secret"));
});

test("A host that is named exactly is refused on a cluster's port before it is looked up", (t) => {
  const isAllowed = (host: string): boolean =>
    asked(decisionOf(endpoint(`host: "${host}"\nport: 6443`)), "a.h.example", 6443).allowed;
  t.false(isAllowed("a.h.example"));
  t.true(isAllowed("*.h.example"));
});

test("A request whose fields name another method needs a rule for each of them", (t) => {
  const decision = decisionOf(
    endpoint(
      "host: h.example\nport: 443\nprotocol: rest\nenforcement: enforce\nrules:\n  - allow: { method: POST, path: /a }\n  - allow: { method: PUT, path: /a }\n  - allow: { method: '*', path: /b }\ndeny_rules:\n  - { method: DELETE, path: /b }",
    ),
  );
  const is = (path: string, ...alsoMethods: string[]): boolean =>
    asked(decision, "h.example", 443, { method: "POST", path, alsoMethods }).allowed;
  t.true(is("/a", "put"));
  t.false(is("/a", "DELETE"));
  t.false(is("/a", "PUT", "DELETE"));
  t.true(is("/b", "PUT"));
  t.false(is("/b", "delete"));
  // What is said of it names that one.
  const request = { method: "POST", path: "/a", alsoMethods: ["DELETE"] };
  const verdict = asked(decision, "h.example", 443, request);
  t.like(verdict, {
    method: "DELETE",
    detail: "no rule allows DELETE /a at h.example (named by a field of the POST)",
    remedy: "- allow: { method: DELETE, path: /a }",
  });
  const answer = refusalAnswer({ host: "h.example", port: 443, program: "/usr/bin/curl", request }, verdict);
  t.like(JSON.parse(answer.body), { method: "DELETE", rule: "DELETE /a", rule_missing: { method: "DELETE" } });
});

test("One deny anywhere wins, one allow anywhere is enough, over all entries that the program has", (t) => {
  const decision = decisionOf(
    [
      "a:",
      "  endpoints:",
      "    - { host: h.example, port: 443, protocol: rest, enforcement: enforce, rules: [{ allow: { method: GET, path: /x } }] }",
      "  binaries: [{ path: /usr/bin/curl }]",
      "b:",
      "  endpoints:",
      "    - { host: h.example, port: 443, protocol: rest, enforcement: enforce, access: full, deny_rules: [{ method: DELETE, path: '**' }] }",
      "  binaries: [{ path: /usr/bin/curl }]",
      "c:",
      "  endpoints:",
      "    - { host: h.example, port: 443, protocol: rest, enforcement: enforce, access: full, deny_rules: [{ method: POST, path: '**' }] }",
      "  binaries: [{ path: /usr/bin/wget }]",
    ].join("\n"),
  );
  t.like(asked(decision, "h.example", 443, { method: "DELETE", path: "/x" }), {
    allowed: false,
    reason: "deny-rule",
    policy: "b",
  });
  t.like(asked(decision, "h.example", 443, { method: "POST", path: "/y" }), { allowed: true, policy: "b" });
  t.like(asked(decision, "h.example", 443, { method: "POST", path: "/y" }, { path: "/usr/bin/wget" }), {
    allowed: false,
  });
});

test("Without enforcement a refusal is recorded and carried", (t) => {
  const decision = decisionOf(endpoint("host: h.example\nport: 443\nprotocol: rest\naccess: read-only"));
  t.like(asked(decision, "h.example", 443, { method: "POST", path: "/" }), { allowed: true, reason: "rule" });
  t.is(asked(decision, "h.example", 443, { method: "GET", path: "/" }).reason, undefined);
});

test("A path beyond the endpoint's is refused; of several endpoints the most specific one's settings count", (t) => {
  const decision = decisionOf(
    [
      "one:",
      "  endpoints:",
      "    - { host: h.example, port: 443, path: /v1/**, protocol: rest, enforcement: enforce, access: full }",
      "    - { host: h.example, port: 443, path: /v1/logs/**, protocol: rest, enforcement: audit, rules: [{ allow: { method: GET, path: /none } }] }",
      "  binaries: [{ path: /usr/bin/curl }]",
    ].join("\n"),
  );
  t.like(asked(decision, "h.example", 443, { method: "GET", path: "/v2/x" }), { allowed: false, reason: "path" });
  t.like(asked(decision, "h.example", 443, { method: "POST", path: "/v1/x" }), { allowed: true });
  t.like(asked(decision, "h.example", 443, { method: "POST", path: "/v1/logs/x" }), { allowed: true });
});

test("To allow, every value of a parameter and every reading of it must match; to deny any one", (t) => {
  const decision = decisionOf(
    endpoint(
      [
        "host: h.example",
        "port: 443",
        "protocol: rest",
        "enforcement: enforce",
        "rules:",
        "  - allow: { method: GET, path: /s, query: { kind: 'public*', v: { any: ['1.*', '2'] } } }",
        "  - allow: { method: POST, path: '**' }",
        "deny_rules:",
        "  - { method: POST, path: '**', query: { force: 'true' } }",
      ].join("\n"),
    ),
  );
  const is = (method: string, query: string): boolean =>
    asked(decision, "h.example", 443, { method, path: "/s", query }).allowed;
  t.true(is("GET", "kind=public&v=1.2"));
  t.true(is("GET", "v=2&kind=publicly&other=x"));
  t.false(is("GET", "kind=public"));
  t.false(is("GET", "kind=public&v=1.2.3"));
  t.false(is("GET", "kind=public&kind=private&v=2"));
  t.false(is("GET", "kind=pub%6Cic&v=%32+"));
  t.true(is("GET", "kind=pub%6Cic&v=%32"));
  t.true(is("POST", "force=false"));
  t.false(is("POST", "force=false&force=true"));
  t.false(is("POST", "f%6frce=tru%65"));
  // Some servers take a semicolon for an ampersand: both readings must be allowed, and neither be denied.
  t.false(is("POST", "a=b;force=true"));
  t.true(is("POST", "a=b;force=false"));
  t.false(is("GET", "kind=public;kind=private&v=2"));
  t.false(is("GET", "a=b;kind=public&v=2"));
  t.true(is("GET", "kind=public;x=1&v=2"));
});

test("Hosts match by label: a star is one, two stars one or more, a name without a star itself", (t) => {
  const host = (pattern: string): NetworkDecision => decisionOf(endpoint(`host: "${pattern}"\nport: 443`));
  const is = (pattern: string, name: string): boolean => asked(host(pattern), name).allowed;
  t.true(is("*.x.example.com", "a.x.example.com"));
  t.false(is("*.x.example.com", "x.example.com"));
  t.false(is("*.x.example.com", "a.b.x.example.com"));
  t.true(is("**.example.com", "a.b.example.com"));
  t.true(is("**.example.com", "a.example.com"));
  t.false(is("**.example.com", "example.com"));
  t.false(is("**.example.com", "a.example.com.evil.net"));
  t.true(is("*-api.example.com", "eu-api.example.com"));
  t.false(is("*-api.example.com", "a.b-api.example.com"));
  t.true(is("API.Example.com", "api.example.com"));
  t.false(is("api.example.com", "api.example.com."));
  t.true(is("*.s3.*.amazonaws.com", "b.s3.us-east-1.amazonaws.com"));
  t.false(is("*.s3.*.amazonaws.com", "b.s3.dualstack.us-east-1.amazonaws.com"));
});

test("Programs are granted by exact path or glob; an empty list grants nobody", (t) => {
  const of = (binaries: string): NetworkDecision => decisionOf(endpoint("host: h.example\nport: 443", binaries));
  const is = (binaries: string, path: string): boolean =>
    asked(of(binaries), "h.example", 443, undefined, { path }).allowed;
  t.true(is("[{ path: /usr/bin/* }]", "/usr/bin/curl"));
  t.false(is("[{ path: /usr/bin/* }]", "/usr/bin/x/y"));
  t.true(is("[{ path: /opt/** }]", "/opt/a/b"));
  t.false(is("[]", "/usr/bin/curl"));
});

test("An endpoint without a host grants by address alone: any name that can be looked up, on its port", (t) => {
  const decision = decisionOf(endpoint("port: 5432\nallowed_ips: [10.1.0.0/16]"));
  const connection = decision.connect(curl, "db.internal", 5432);
  t.true("grant" in connection);
  if (!("grant" in connection)) return;
  t.true(decision.address(connection.grant, "10.1.2.3").allowed);
  t.like(decision.address(connection.grant, "10.2.0.1"), { allowed: false, reason: "address" });
  t.like(decision.address(connection.grant, "93.184.216.34"), { allowed: false, reason: "address" });
  t.like(asked(decision, "db.internal", 5432), {
    allowed: true,
    detail: "/usr/bin/curl may connect to what is in allowed_ips (tunnel)",
  });
  t.true(asked(decision, "10.1.2.3", 5432).allowed);
  t.like(asked(decision, "10.2.0.1", 5432), { allowed: false, reason: "address" });
  t.like(asked(decision, "10.1.2.3", 5433), { reason: "host", remedy: "--allow 10.1.2.3:5433" });
  t.is(asked(decision, "db.internal", 5432, undefined, { path: "/usr/bin/wget" }).reason, "program");
  t.true(decision.knows("db"));
  for (const name of ["a b.internal", "*.internal", "db\0.internal", "2130706433", "db.internal."]) {
    t.false(decision.knows(name), name);
    t.is(asked(decision, name, 5432).reason, "host", name);
  }
});

test("How bytes are carried follows from the endpoint", (t) => {
  const carry = (lines: string): string => {
    const connection = decisionOf(endpoint(`host: h.example\nport: 443\n${lines}`)).connect(curl, "h.example", 443);
    return "grant" in connection ? connection.grant.carry : "refused";
  };
  t.is(carry("protocol: tcp"), "tcp");
  t.is(carry("tls: skip"), "tunnel");
  t.is(carry(""), "tunnel");
  t.is(carry("protocol: rest\naccess: full\nenforcement: enforce"), "inspect");
  t.is(carry("protocol: websocket\naccess: full\nenforcement: enforce"), "inspect");
});

test("The cost of a decision does not grow with the number of rules", (t) => {
  const rules = (count: number): NetworkDecision =>
    decisionOf(
      endpoint(
        `host: h.example\nport: 443\nprotocol: rest\nenforcement: enforce\nrules:\n${Array.from(
          { length: count },
          (_, index) => `  - allow: { method: GET, path: "/repos/*/r${count - index}/**/x" }`,
        ).join("\n")}`,
      ),
    );
  const tried = (decision: NetworkDecision): number => {
    // Counted, not timed: how many rules' paths are looked at.
    const connection = decision.connect(curl, "h.example", 443);
    if (!("grant" in connection) || connection.grant.requests === null) throw new Error("not inspected");
    let count = 0;
    const request = {
      get method() {
        count++;
        return "GET";
      },
      path: "/repos/a/r1/a/x",
    };
    t.true(connection.grant.requests.allow.find(request, () => ({ usual: new Map(), all: [] }), "allow") !== undefined);
    return count;
  };
  t.is(tried(rules(10)), tried(rules(1000)));
});

import test, { type ExecutionContext } from "ava";
import { allowedNetwork } from "../../lib/cli/run-network.ts";
import { noRunOptions } from "../../lib/cli/run-options.ts";
import { decide, NetworkDecision } from "../../lib/egress/decide.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { sound } from "../policy/policy-text.ts";

type Asked = readonly [method: string, path: string];

/** A policy with flags on top, and what it says of requests to a host. */
async function withFlags(allow: readonly string[], base: Policy = defaultPolicy): Promise<NetworkDecision> {
  const added = await allowedNetwork({ ...noRunOptions(), allow: [...allow] }, base);
  return new NetworkDecision({ networkPolicies: { ...base.networkPolicies, ...added } });
}

function allows(decision: NetworkDecision, [method, path]: Asked, host = "api.example.com", port = 443): boolean {
  return decide(decision, { program: { path: "/usr/bin/curl" }, host, port, request: { method, path } }).allowed;
}

function holds(t: ExecutionContext, decision: NetworkDecision, expected: Readonly<Record<string, boolean>>): void {
  for (const [asked, allowed] of Object.entries(expected)) {
    const [method = "", path = ""] = asked.split(" ");
    t.is(allows(decision, [method, path]), allowed, asked);
  }
}

test("--allow HOST/PATH permits every method at that path, and no other path", async (t) => {
  const decision = await withFlags(["api.example.com/zen"]);
  holds(t, decision, {
    "GET /zen": true,
    "DELETE /zen": true,
    "GET /zen/": false,
    "GET /zen/x": false,
    "GET /": false,
  });
  t.false(allows(decision, ["GET", "/zen"], "api.example.com", 80));
  const { remedy } = decide(decision, {
    ...{ program: { path: "/usr/bin/curl" }, host: "api.example.com", port: 443 },
    request: { method: "GET", path: "/a'b" },
  });
  t.is(remedy, "--allow 'api.example.com:443/a'\\''b'");
});

test("A path that ends in /** is a folder with all below it, and /** alone everything", async (t) => {
  const folder = await withFlags(["API.example.com/repos/**"]);
  holds(t, folder, { "GET /repos": true, "GET /repos/": true, "PUT /repos/a/b": true, "GET /reposx": false });
  holds(t, await withFlags(["api.example.com/**"]), { "GET /": true, "POST /a/b": true });
  holds(t, await withFlags(["api.example.com/a/*/c"]), { "GET /a/b/c": true, "GET /a/b/b/c": false });
});

test("A path is read in the form that requests are judged in", async (t) => {
  holds(t, await withFlags(["api.example.com/%7Eme/./x/../y"]), { "GET /~me/y": true });
});

const inspected = sound(`holdfast: 1
version: 1
network_policies:
  one:
    endpoints:
      - host: "*.example.com"
        port: 443
        protocol: rest
        enforcement: enforce
        rules: [{ allow: { method: GET, path: /zen } }]
        deny_rules: [{ method: "*", path: /secret }]
      - { host: api.example.com, port: 80 }
    binaries: [{ path: /usr/bin/curl }]
`);

test("What a flag permits is added to what the policy reads there, and takes no refusal away", async (t) => {
  holds(t, await withFlags([], inspected), { "GET /zen": true, "GET /x": false, "GET /secret": false });
  const part = await withFlags(["api.example.com/x"], inspected);
  holds(t, part, { "GET /zen": true, "POST /x": true, "GET /y": false, "GET /secret": false });
  const whole = await withFlags(["api.example.com"], inspected);
  holds(t, whole, { "GET /zen": true, "POST /anything": true, "GET /secret": false });
});

test("A path where everything is granted unread would take that away, and is refused", async (t) => {
  await t.throwsAsync(withFlags(["api.example.com:80/x"], inspected), { message: /passes what is said .* on unread/ });
  await t.throwsAsync(withFlags(["api.example.com/x", "*.example.com"]), { message: /the other everything/ });
  await t.notThrowsAsync(withFlags(["api.example.com/x", "*.example.com:80"]));
});

test("What can be no host or no port is refused, with what it is", async (t) => {
  for (const [word, message] of [
    ["api.example.com:0", /"0" is no port$/],
    ["api.example.com:65536/x", /"65536" is no port$/],
    ["[2606:2800:220:1::34]:", /"" is no port$/],
    ["api.example.com:443-445", /"443-445" is no port$/],
    ["api.example.com:80:81", /not HOST, HOST:PORT or HOST:PORT\/PATH$/],
    ["api.example.com:6443", /^--allow api.example.com:6443: port 6443 is a cluster's own and never dialled$/],
    ["{a,b}.example.com", /is not a host's name and matches nothing$/],
    ["a..example.com", /is not a host's name and matches nothing$/],
    ["bücher.example:80", /is asked for in ASCII \(xn--bcher-kva\.example\): so written it matches nothing$/],
  ] as const)
    await t.throwsAsync(withFlags([word]), { message }, word);
  t.true(allows(await withFlags(["xn--bcher-kva.example"]), ["GET", "/"], "xn--bcher-kva.example"));
  t.true(allows(await withFlags(["[2606:2800:0220:1:0::34]:80"]), ["GET", "/"], "2606:2800:220:1::34", 80));
});

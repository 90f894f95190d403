import { readdirSync, readFileSync } from "node:fs";
import test from "ava";
import { parsePolicy } from "../../lib/policy/load.ts";
import { formatProblem } from "../../lib/policy/problem.ts";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { networkRefusal } from "../../lib/policy/refusal.ts";
import { errors, sound, warnings, withEndpoint } from "./policy-text.ts";

const own = new URL("files/", import.meta.url);

test("The usual shape of OpenShell's policies loads, with all that it says", (t) => {
  const policy = sound(readFileSync(new URL("load-agent-box.yaml", own), "utf8"));
  t.is(policy.dialect, "openshell");
  t.deepEqual(policy.process, { runAsUser: "sandbox", runAsGroup: 2000, mappedFiles: "any" });
  t.true(policy.filesystem.includeWorkdir);
  t.deepEqual(policy.filesystem.readWrite.slice(0, 3), [
    { path: "/sandbox", line: 7, column: 16 },
    { path: "/tmp", line: 7, column: 26 },
    { path: "/dev/null", line: 7, column: 32 },
  ]);
  const forge = policy.networkPolicies["forge"];
  t.is(policy.networkPolicies["model"]?.name, "model-api");
  t.is(forge?.name, "forge");
  t.deepEqual(forge?.binaries, [{ path: "/usr/bin/git" }, { path: "/opt/forge/**" }]);
  t.deepEqual(forge?.endpoints[1]?.ports, [80, 443]);
  t.is(forge?.endpoints[1]?.enforcement, "audit");
  t.deepEqual(forge?.endpoints[0]?.rules[0]?.query, { service: { any: ["git-upload-pack"] } });
  t.deepEqual(forge?.endpoints[0]?.denyRules[0]?.path, "/private/**");
});

test("Every protocol loads with its own fields, and its name is taken in lower case", (t) => {
  const policy = sound(readFileSync(new URL("load-protocols.yaml", own), "utf8"));
  const endpoints = policy.networkPolicies["all"]?.endpoints ?? [];
  t.deepEqual(
    endpoints.map((endpoint) => endpoint.protocol),
    ["sql", "tcp", "", "json-rpc", "mcp", "graphql", "websocket", "rest"],
  );
  t.is(endpoints[3]?.jsonRpcMaxBodyBytes, 1024);
  t.is(endpoints[4]?.jsonRpcMaxBodyBytes, 4096);
  t.deepEqual(endpoints[4]?.denyRules[0]?.params, { name: { any: ["drop_table"] } });
  t.deepEqual(endpoints[5]?.graphqlPersistedQueries, {
    "1f2e": { operationType: "query", operationName: "Who", fields: ["me"] },
  });
  t.is(endpoints[7]?.credentialProvider, "cloud");
  t.is(policy.networkMiddlewares["redact"]?.onError, "fail_closed");
  t.deepEqual(policy.networkMiddlewares["redact"]?.config, { mode: "redact" });
  t.is(policy.networkMiddlewares["guard"]?.order, -5);
});

test("What OpenShell has no words for is the default preset's", (t) => {
  const policy = sound("version: 1\n");
  t.deepEqual(policy.protectedNames.names, protectedNameList);
  t.true((policy.limits.processes ?? 0) > 0);
  t.deepEqual(policy.workspace, { mode: "direct", access: "read-write" });
});

test("Without filesystem_policy the paths of OpenShell's own default are granted, where they exist", (t) => {
  const { filesystem } = sound("version: 1\n");
  t.true(filesystem.includeWorkdir);
  t.true([...filesystem.readOnly, ...filesystem.readWrite].every((grant) => grant.optional));
  t.true(filesystem.readOnly.some((grant) => grant.path === "/usr"));
  t.regex(warnings("version: 1\n")[0] ?? "", /^1:1: warning: filesystem_policy is absent/);
});

test("include_workdir left out of a written map means false, with a warning", (t) => {
  const text = "version: 1\nfilesystem_policy: {read_only: [/usr]}\n";
  t.false(sound(text).filesystem.includeWorkdir);
  t.deepEqual(warnings(text), [
    "2:20: warning: filesystem_policy has no include_workdir, which means false here: the working directory is not granted (write include_workdir: true)",
  ]);
});

test("An empty section counts as an empty map, as in OpenShell's parser", (t) => {
  const policy = sound("version: 1\nfilesystem_policy:\nlandlock:\nprocess:\nnetwork_policies:\n");
  t.deepEqual(policy.filesystem, { includeWorkdir: false, readOnly: [], readWrite: [] });
  t.deepEqual(policy.networkPolicies, {});
});

test("Beside network policies OpenShell's baseline is granted as well", (t) => {
  const { filesystem } = sound(withEndpoint("host: a.example.com, port: 443"));
  t.deepEqual(
    filesystem.readOnly.map((grant) => grant.path),
    ["/usr", "/lib", "/etc", "/app", "/var/log", "/proc", "/dev/urandom"],
  );
  t.true([...filesystem.readOnly, ...filesystem.readWrite].every((grant) => grant.optional === true));
});

const loads: readonly (readonly [string, string, readonly string[]])[] = [
  [
    "a misspelt compatibility, which means best_effort",
    "version: 1\nfilesystem_policy: {include_workdir: true}\nlandlock: {compatibility: hard_requirment}\n",
    [
      '3:27: warning: landlock.compatibility is "hard_requirment", which means best_effort, as any unknown word does (did you mean "hard_requirement"?)',
    ],
  ],
  [
    "a misspelt access preset, which is ignored",
    withEndpoint("host: a.example.com, port: 443, access: readonly"),
    [
      '6:50: warning: network_policies.api.endpoints[0].access is "readonly", which is ignored, as any unknown preset is (did you mean "read-only"?)',
    ],
  ],
  [
    "tls: terminate",
    withEndpoint("host: a.example.com, port: 443, tls: terminate"),
    [
      "6:47: warning: network_policies.api.endpoints[0].tls: terminate is deprecated and has no effect (leave it out, or write skip to pass the bytes on)",
    ],
  ],
  [
    "port beside ports",
    withEndpoint("host: a.example.com, port: 443, ports: [80]"),
    ["6:31: warning: network_policies.api.endpoints[0] has port and ports (ports counts)"],
  ],
  [
    "rules that nobody enforces",
    withEndpoint("host: a.example.com, port: 443, protocol: rest, access: full"),
    [
      "6:42: warning: network_policies.api.endpoints[0] has no enforcement, so that its rules are logged and nothing is refused (write enforcement: enforce)",
    ],
  ],
  [
    "a path glob that matches only folders",
    withEndpoint(
      'host: a.example.com, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {path: "/**/"}}]',
    ),
    [
      '6:103: warning: network_policies.api.endpoints[0].rules[0].allow.path: "/**/" matches only paths that end in "/" (write "/**")',
    ],
  ],
  ...(
    [
      ["/s%65cret", "matches nothing: %65 is compared as e"],
      ["/caf%c3%a9", "matches nothing: %c3 is compared as %C3"],
      ["/café", 'matches nothing: "é" is compared as %C3%A9'],
      ["/an admin/**", 'matches nothing: " " is compared as %20'],
      ["/a%2Fb", "matches nothing: %2F is refused without allow_encoded_slash"],
      ["/a%00", "matches nothing: no path holds %00"],
      ["/a//b", "matches nothing: slashes are joined before a path is compared"],
      ["/a/../b", "matches nothing: dots are resolved before a path is compared"],
      ["/a;v=1", 'matches nothing: what follows a ";" is cut before a path is compared'],
      ["a/b", "matches nothing: a path begins with a slash"],
      ["*", "matches nothing: a path begins with a slash"],
      ["/a?b=1", 'holds no query: "?" stands for one character of a path, and `query` is for the rest'],
    ] as const
  ).map(
    ([path, doubt]) =>
      [
        `a denied path that no request has, ${path}`,
        withEndpoint(
          `host: a.example.com, port: 443, protocol: rest, enforcement: enforce, access: full, deny_rules: [{path: "${path}"}]`,
        ),
        [`6:114: warning: network_policies.api.endpoints[0].deny_rules[0].path: "${path}" ${doubt}`],
      ] as const,
  ),
  [
    "a port that is never dialled",
    withEndpoint("host: a.example.com, ports: [443, 6443]"),
    ["6:31: warning: network_policies.api.endpoints[0]: port 6443 is a cluster's own and never dialled"],
  ],
  [
    "a path of an endpoint that no request has",
    withEndpoint('host: a.example.com, port: 443, protocol: rest, enforcement: enforce, access: full, path: "/a//b"'),
    [
      '6:100: warning: network_policies.api.endpoints[0].path: "/a//b" matches nothing: slashes are joined before a path is compared',
    ],
  ],
  [
    "an entry without binaries, which nobody may use",
    "version: 1\nfilesystem_policy: {include_workdir: true}\nnetwork_policies: {a: {endpoints: [{host: h.example.com, port: 1}]}}\n",
    [
      "3:20: warning: network_policies.a has no binaries, so that no program may use it (OpenShell's documents say any program, its rules say none)",
    ],
  ],
  [
    "wide address ranges",
    withEndpoint("host: a.example.com, port: 443, allowed_ips: [10.0.0.0/8]"),
    [
      '6:56: warning: network_policies.api.endpoints[0].allowed_ips: "10.0.0.0/8" is wider than /16 (name the networks that are meant)',
    ],
  ],
  [
    "a host that is a URL",
    withEndpoint('host: "https://a.example.com", port: 443'),
    [
      '6:16: warning: network_policies.api.endpoints[0].host is "https://a.example.com", which is a URL: a host is a name alone, and this one matches nothing',
    ],
  ],
  [
    "a host that is an address in octal",
    withEndpoint('host: "0177.0.0.1", port: 443'),
    [
      '6:16: warning: network_policies.api.endpoints[0].host is "0177.0.0.1", which is another spelling of an address and leads nowhere',
    ],
  ],
  [
    "another version",
    "version: 7\nfilesystem_policy: {include_workdir: true}\n",
    ["1:10: warning: version is 7; OpenShell's documents know only 1"],
  ],
];

for (const [title, text, expected] of loads) {
  test(`Loads with a warning, as OpenShell does: ${title}`, (t) => {
    t.deepEqual(errors(text), []);
    t.deepEqual(warnings(text), expected);
  });
}

test("A cluster's port of public addresses alone is no reason for a warning", (t) => {
  t.deepEqual(warnings(withEndpoint('host: "*.example.com", port: 6443')), []);
});

test("A path that requests can have is no reason for a warning", (t) => {
  for (const path of ["/.well-known/x", "/caf%C3%A9", "/v?/x", "/a%2*", "/a%2Fb", "**/x", "**", "/a:b@c", "/a[; ]b"]) {
    const rest = "host: a.example.com, port: 443, protocol: rest, enforcement: enforce, allow_encoded_slash: true";
    t.deepEqual(warnings(withEndpoint(`${rest}, rules: [{allow: {path: "${path}"}}]`)), [], path);
  }
});

const refused: readonly (readonly [string, string, RegExp])[] = [
  [
    "a number in another notation as an id",
    "version: 1\nfilesystem_policy: {}\nprocess: {run_as_user: 1e3}\n",
    /^3:24: .*, not "1e3"$/,
  ],
  ["no version", "filesystem_policy: {}\n", /^1:1: version is missing/],
  [
    "holdfast's own sections",
    "version: 1\nlimits: {memory: 1G}\n",
    /^2:1: limits is not one of OpenShell's keys \(begin the file with "holdfast: 1"/,
  ],
  [
    "the inference section of early versions",
    "version: 1\ninference: {}\n",
    /^2:1: inference is not one of OpenShell's keys/,
  ],
  ["a provider profile", "version: 1\nid: forge\n", /^2:1: unknown key "id" \(this looks like a provider profile/],
  [
    "mapped_files, which is holdfast's own",
    "version: 1\nprocess: {mapped_files: any}\n",
    /^2:11: unknown key "mapped_files" in process/,
  ],
  [
    "a pin, which is holdfast's own",
    withEndpoint("host: a.example.com, port: 443").replace(
      "/usr/bin/curl}",
      `/usr/bin/curl, sha256: "${"a".repeat(64)}"}`,
    ),
    /^7:38: unknown key "sha256" in network_policies\.api\.binaries\[0\] \(known: path, harness\)/,
  ],
  [
    "internal marks",
    withEndpoint("host: a.example.com, port: 1, advisor_proposed: true"),
    /^6:40: advisor_proposed is a mark of OpenShell's own/,
  ],
  ["an endpoint without a port", withEndpoint("host: a.example.com"), /^6:9: .* needs a port/],
  ["an endpoint with an empty list of ports", withEndpoint("host: a.example.com, ports: []"), /^6:9: .* needs a port/],
  ["an endpoint without a host", withEndpoint("port: 443"), /^6:9: .* needs a host, or allowed_ips/],
  [
    "a port that is not one",
    withEndpoint("host: a.example.com, port: 65536"),
    /^6:37: .*port must be a whole number from 0 to 65535/,
  ],
  ["a port in quotes", withEndpoint('host: a.example.com, port: "443"'), /^6:37: .*port must be a whole number/],
  ["every host", withEndpoint('host: "*", port: 443'), /would match every host/],
  ["a whole top-level domain", withEndpoint('host: "*.com", port: 443'), /would match a whole top-level domain/],
  ["a star within a middle label", withEndpoint('host: "a.us-*.example.com", port: 443'), /must be a whole label/],
  ["** in the middle", withEndpoint('host: "a.**.example.com", port: 443'), /"\*\*" must be the whole first label/],
  ["** beside letters", withEndpoint('host: "a**.example.com", port: 443'), /"\*\*" must be the whole first label/],
  [
    "rules and access",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, access: full, rules: [{allow: {}}]"),
    /rules and access exclude each other/,
  ],
  [
    "empty rules",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: []"),
    /rules is empty, which would refuse everything/,
  ],
  [
    "empty deny_rules",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, access: full, deny_rules: []"),
    /deny_rules is empty/,
  ],
  [
    "nothing allowed",
    withEndpoint("host: a.example.com, port: 1, protocol: rest"),
    /protocol rest has nothing that it allows/,
  ],
  [
    "deny_rules without a protocol",
    withEndpoint("host: a.example.com, port: 1, deny_rules: [{method: GET}]"),
    /without a protocol there is no deny_rules/,
  ],
  [
    "a rule without allow",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: [{method: GET}]"),
    /unknown key "method" in .*rules\[0\]/,
  ],
  [
    "an unknown key in a rule",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: [{allow: {methd: GET}}]"),
    /unknown key "methd" .*did you mean "method"/,
  ],
  [
    "enforced sql",
    withEndpoint("host: a.example.com, port: 1, protocol: sql, access: full, enforcement: enforce"),
    /protocol sql cannot be enforced/,
  ],
  [
    "access on mcp",
    withEndpoint("host: a.example.com, port: 1, protocol: mcp, access: full"),
    /protocol mcp has no access presets/,
  ],
  ["tcp to an address", withEndpoint("host: 10.1.2.3, port: 1, protocol: tcp"), /protocol tcp needs a DNS host/],
  [
    "tcp with a path",
    withEndpoint("host: a.example.com, port: 1, protocol: tcp, path: /x"),
    /protocol tcp is not inspected and cannot have path/,
  ],
  [
    "loopback",
    withEndpoint("host: a.example.com, port: 1, allowed_ips: [127.0.0.0/8]"),
    /meets 127\.0\.0\.0\/8, which is never reached/,
  ],
  ["every address", withEndpoint('host: a.example.com, port: 1, allowed_ips: ["0.0.0.0/0"]'), /which is never reached/],
  [
    "IPv6 link-local in a wider range",
    withEndpoint('host: a.example.com, port: 1, allowed_ips: ["fe00::/7"]'),
    /meets fe80::\/10/,
  ],
  [
    "what is no range",
    withEndpoint("host: a.example.com, port: 1, allowed_ips: [10.0.0.0/33]"),
    /is not an address or a range/,
  ],
  [
    "signing without a service",
    withEndpoint("host: a.example.com, port: 1, credential_signing: sigv4"),
    /needs signing_service/,
  ],
  [
    "an operation type of its own",
    withEndpoint('host: a.example.com, port: 1, protocol: graphql, rules: [{allow: {operation_type: "*"}}]'),
    /operation_type is "\*" \(one of query, mutation, subscription\)/,
  ],
  [
    "an empty any",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: [{allow: {query: {a: {any: []}}}}]"),
    /any is empty/,
  ],
  [
    "a matcher with an unknown key",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: [{allow: {query: {a: {all: [x]}}}}]"),
    /unknown key "all"/,
  ],
  [
    "a number as a matcher",
    withEndpoint("host: a.example.com, port: 1, protocol: rest, rules: [{allow: {query: {a: 1}}}]"),
    /must be a string, not the number 1/,
  ],
  [
    "tool arguments",
    withEndpoint(
      "host: a.example.com, port: 1, protocol: mcp, rules: [{allow: {method: tools/call, params: {arguments: {path: x}}}}]",
    ),
    /params\.arguments\.path: tool arguments cannot be matched/,
  ],
  [
    "an MCP method glob",
    withEndpoint('host: a.example.com, port: 1, protocol: mcp, rules: [{allow: {method: "res*"}}]'),
    /MCP methods have globs only under "tools\/"/,
  ],
  [
    "all tool calls beside one tool",
    withEndpoint(
      "host: a.example.com, port: 1, protocol: mcp, rules: [{allow: {method: tools/call, tool: x}}, {allow: {method: tools/*}}]",
    ),
    /allows every tool call/,
  ],
  [
    "tool patterns without strict names",
    withEndpoint(
      "host: a.example.com, port: 1, protocol: mcp, mcp: {strict_tool_names: false}, rules: [{allow: {method: tools/call, tool: a*}}]",
    ),
    /need mcp\.strict_tool_names/,
  ],
  [
    "a JSON-RPC method glob",
    withEndpoint("host: a.example.com, port: 1, protocol: json-rpc, rules: [{allow: {method: a.*}}]"),
    /JSON-RPC methods are exact/,
  ],
  [
    "a message rule beside GraphQL rules",
    withEndpoint(
      "host: a.example.com, port: 1, protocol: websocket, rules: [{allow: {method: WEBSOCKET_TEXT}}, {allow: {operation_type: query}}]",
    ),
    /WEBSOCKET_TEXT cannot stand beside GraphQL rules/,
  ],
  [
    "a reserved name",
    "version: 1\nnetwork_policies: {_provider_x: {}}\n",
    /names that begin with _provider_ are reserved/,
  ],
  [
    "two middlewares of one order",
    "version: 1\nnetwork_middlewares:\n  a: {middleware: m, endpoints: {include: [x.example]}}\n  b: {middleware: m, endpoints: {include: [x.example]}}\n",
    /^4:6: .*has the order 0, as "a" does/,
  ],
  [
    "a middleware without a selector",
    "version: 1\nnetwork_middlewares: {a: {middleware: m}}\n",
    /network_middlewares\.a\.endpoints is missing/,
  ],
  [
    "a brace in a selector",
    'version: 1\nnetwork_middlewares: {a: {middleware: m, endpoints: {include: ["{a,b}.example"]}}}\n',
    /holds a brace/,
  ],
];

for (const [title, text, expected] of refused) {
  test(`Refused as OpenShell does: ${title}`, (t) => {
    t.true(
      errors(text).some((error) => expected.test(error)),
      errors(text).join("\n"),
    );
  });
}

const left = "host: a.example.com, port: 443, protocol: rest, access: full, enforcement: enforce";
const pairs: readonly (readonly [string, string, string, boolean])[] = [
  ["the same but for its rules", left, left.replace("full", "read-only"), true],
  ["plain L4 beside inspected", left, "host: a.example.com, port: 443", true],
  ["another port", left, "host: a.example.com, port: 444, tls: skip", true],
  ["another host", left, "host: b.example.com, port: 443, tls: skip", true],
  ["tls over a wildcard", left, 'host: "*.example.com", port: 443, tls: skip', false],
  ["tcp or not", left, "host: A.example.com, port: 443, protocol: tcp", false],
  [
    "enforcement",
    left,
    left.replace("enforce}", "audit}").replace("enforcement: enforce", "enforcement: audit"),
    false,
  ],
  ["protocols told apart by path", `${left}, path: /a`, `${left.replace("rest", "graphql")}, path: /b`, true],
  ["protocols on one path", `${left}, path: /v?`, `${left.replace("rest", "graphql")}, path: /v1`, false],
  ["paths of disjoint classes", `${left}, path: "/v[12]"`, `${left.replace("rest", "graphql")}, path: "/v[34]"`, true],
  ["tls, left empty in one", `${left}, tls: ""`, "host: a.example.com, port: 443, tls: skip", false],
  ["a more specific path", left, `${left.replace("rest", "graphql")}, path: /graphql`, true],
  [
    "** beside a deep host",
    left.replace("a.example.com", '"**.example.com"'),
    "host: x.y.example.com, port: 443, tls: skip",
    false,
  ],
  [
    "* beside a deep host",
    left.replace("a.example.com", '"*.example.com"'),
    "host: x.y.example.com, port: 443, tls: skip",
    true,
  ],
];

for (const [title, first, second, agrees] of pairs) {
  test(`Overlapping endpoints that ${agrees ? "agree" : "differ"}: ${title}`, (t) => {
    const binaries = "binaries: [{path: /a}]";
    const text = `version: 1\nnetwork_policies:\n  one: {endpoints: [{${first}}], ${binaries}}\n  two: {endpoints: [{${second}}], ${binaries}}\n`;
    const found = errors(text);
    t.deepEqual(found.length === 0, agrees, found.join("\n"));
    if (!agrees)
      t.regex(found[0] ?? "", /^4:21: this endpoint of "two" and that of "one" on line 3 overlap on port 443/);
  });
}

const sharedFolder = new URL("../../../shared/openshell-policies/", import.meta.url);
const reasons: Readonly<Record<string, RegExp>> = {
  "reject-jsonrpc-params-matcher.yaml": /JSON-RPC rules do not support params matchers/,
  "reject-jsonrpc-unknown-options.yaml": /unknown key "on_parse_error"/,
  "reject-mcp-bad-option-type.yaml": /mcp\.max_body_bytes must be a whole number/,
  "reject-middleware-failclosed-over-tls-skip.yaml": /fails closed and can cover "\*\.example\.com"/,
  "reject-middleware-on-endpoint.yaml": /unknown key "middleware"/,
  "reject-overlapping-endpoints-ambiguous.yaml": /differ in tls, allowed_ips/,
  "reject-port-70000.yaml": /port must be a whole number from 0 to 65535/,
  "reject-tcp-credential-binding.yaml": /protocol tcp .* cannot have credential_binding/,
  "reject-tcp-hostless-allowed-ips.yaml": /protocol tcp needs a DNS host/,
  "reject-unknown-protocol.yaml": /protocol must be .*not "invalid-protocol"/,
  "reject-unknown-top-level-key.yaml": /unknown key "bogus_field"/,
};

function sharedFiles(): readonly string[] {
  try {
    return readdirSync(sharedFolder).filter((name) => name.endsWith(".yaml"));
  } catch {
    return [];
  }
}

const files = sharedFiles();
if (files.length === 0)
  test.skip("Every policy file of OpenShell's is judged as OpenShell does (../shared is not here)", () => undefined);
for (const name of files) {
  const verdict = name.startsWith("load-") ? "loads" : "is refused for its own reason";
  test(`OpenShell's ${name} ${verdict}`, (t) => {
    const { policy, problems } = parsePolicy(readFileSync(new URL(name, sharedFolder)), name);
    const told = problems.filter((problem) => problem.severity === "error").map(formatProblem);
    t.is(policy !== null, name.startsWith("load-"), told.join("\n"));
    if (policy !== null) {
      // What loads is enforced, or refused for what is not there yet.
      t.regex(networkRefusal(policy)?.message ?? "", /^$|: protocol \w+ is not read yet|: network_middlewares /);
      return;
    }
    const reason = reasons[name] ?? /version is missing/;
    t.true(
      told.some((error) => reason.test(error)),
      told.join("\n"),
    );
  });
}

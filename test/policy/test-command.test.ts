import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { folder, holdfast } from "../e2e/holdfast.ts";

const pin = "a".repeat(64);
const policy = `holdfast: 1
version: 1
network_policies:
  github:
    endpoints:
      - { host: api.github.com, port: 443, protocol: rest, enforcement: enforce, access: read-only }
      - { host: registry.example.com, port: 443, protocol: rest, enforcement: enforce, access: read-only, allow_encoded_slash: true }
      - { host: tunnel.example.com, port: 443 }
    binaries: [{ path: /usr/bin/curl }]
  pinned:
    endpoints: [{ host: p.example.com, port: 1 }]
    binaries: [{ path: /usr/bin/psql, sha256: ${pin} }]
`;

for (const [args, status, says] of [
  [["--to", "api.github.com:443", "--binary", "/usr/bin/curl"], 0, /^allowed by "github"/],
  [["--to", "api.github.com:443", "--binary", "/usr/bin/curl", "--request", "GET /zen"], 0, /^allowed by "github"/],
  [["--to", "api.github.com:443", "--binary", "/usr/bin/curl", "--request", "POST /zen"], 1, /missing: rule/],
  // What the proxy answers with 400 is refused here too.
  [
    ["--to", "api.github.com:443", "--binary", "/usr/bin/curl", "--request", "GET /a%2fb"],
    1,
    /^refused by "github": the path holds an encoded slash .*\n {2}missing: malformed/,
  ],
  [["--to", "registry.example.com:443", "--binary", "/usr/bin/curl", "--request", "GET /@a%2fb"], 0, /%2Fb is allowed/],
  [
    ["--to", "tunnel.example.com:443", "--binary", "/usr/bin/curl", "--request", "GET /a%2fb"],
    0,
    /nothing is inspected/,
  ],
  [["--to", "example.com:443", "--binary", "/usr/bin/curl", "--request", "GET /a%2fb"], 1, /no endpoint names/],
  [["--to", "api.github.com:443", "--binary", "/usr/bin/wget"], 1, /missing: program\n {2}would allow it: --allow/],
  [["--to", "api.github.com:443"], 1, /missing: identity/],
  [["--to", "example.com:443", "--binary", "/usr/bin/curl"], 1, /no endpoint names example\.com/],
  [["--to", "p.example.com:1", "--binary", "/usr/bin/psql", "--sha256", pin], 0, /^allowed by "pinned"/],
  [
    ["--to", "p.example.com:1", "--binary", "/usr/bin/psql"],
    1,
    /pinned: its SHA-256 is not known, not a{64}\n {2}missing: identity/,
  ],
  [["--to", "p.example.com:1", "--sha256", "abc"], 125, /not 64 hexadecimal digits/],
  [["--to", "example.com"], 125, /not HOST:PORT/],
  [["--to", "example.com:70000"], 125, /not HOST:PORT/],
  [["--to", "example.com:1", "--request", "GET"], 125, /not a method and a path/],
  [["--to", "example.com:1", "--binary", "curl"], 125, /not an absolute path/],
] as const) {
  test(`policy test ${args.join(" ")}`, (t) => {
    const file = join(folder(t), "p.yaml");
    writeFileSync(file, policy);
    const ran = spawnSync(holdfast, ["policy", "test", file, ...args], { encoding: "utf8", timeout: 60_000 });
    t.is(ran.status, status, ran.stderr);
    t.regex(ran.stdout + ran.stderr, says);
  });
}

test("A policy that nothing runs under gives no verdict, and policy check says so", (t) => {
  const file = join(folder(t), "p.yaml");
  writeFileSync(file, policy.replace("protocol: rest", "protocol: graphql"));
  const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(holdfast, ["policy", ...args], { encoding: "utf8", timeout: 60_000 });
  const tested = run("test", file, "--to", "api.github.com:443", "--binary", "/usr/bin/curl");
  t.like(tested, { status: 125, stdout: "" });
  t.regex(tested.stderr, /protocol graphql is not read yet.*ERR_HOLDFAST_NETWORK_UNSUPPORTED/s);
  const checked = run("check", file);
  t.is(checked.status, 0);
  t.regex(checked.stderr, /p\.yaml:4:3: warning: nothing runs under it: the network rule "github" cannot be enforced/);
});

test("policy test prints the verdict as JSON", (t) => {
  const file = join(folder(t), "p.yaml");
  writeFileSync(file, policy);
  const args = ["policy", "test", file, "--to", "example.com:443", "--binary", "/usr/bin/curl", "--json"];
  const ran = spawnSync(holdfast, args, { encoding: "utf8", timeout: 60_000 });
  t.like(JSON.parse(ran.stdout), { allowed: false, reason: "host", remedy: "--allow example.com:443" });
});

import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { errors, sound, warnings } from "./policy-text.ts";

const everything = `holdfast: 1
version: 1
filesystem_policy:
  include_workdir: false
  read_only: [/usr, //srv/data/./sets/, /usr]
  read_write: [/scratch]
landlock:
  compatibility: hard_requirement
process:
  run_as_user: 1234
  run_as_group: sandbox
  mapped_files: executable-only
limits:
  processes: 64
  memory: 512M
  cpu-time: 5m
  wall-time: 2h
  open-files: none
  file-size: 1G
  tmp-size: 64K
  output: 1048576
environment:
  pass: [TERM, LC_*]
  set: {GREETING: "hello, world"}
protected_names: [.git/hooks, deploy/]
requires: [seccomp, landlock-filesystem]
workspace: {mode: fresh, access: read-only, mount_at: /workspace}
tools: [bash, read]
extract:
  - "*.csv"
  - {glob: out/**, max_files: 10, max_bytes: 5M, max_depth: 0, types: [.MD, tar.gz]}
dns:
  servers: [9.9.9.9, "[2620:fe::fe]:5353"]
  split: [{domains: [Corp.Example.], servers: ["10.0.0.53:54", 2001:db8::53]}]
upstream_proxy:
  url: http://proxy.example:3128
  credentials: {env: PROXY_LOGIN}
  no_proxy: [.Corp.example, 10.0.0.0/8, "Git.Example.:8443", 192.0.2.1, "192.0.2.1:80", "::1", "[::1]", "[2001:DB8::1]:443", "*.a:1"]
  resolve: proxy
`;

test("Every key of the dialect is read", (t) => {
  const policy = sound(everything);
  t.deepEqual(policy, {
    source: "p.yaml",
    dialect: "holdfast",
    filesystem: {
      includeWorkdir: false,
      readOnly: [
        { path: "/usr", line: 5, column: 15 },
        { path: "/srv/data/sets", line: 5, column: 21 },
      ],
      readWrite: [{ path: "/scratch", line: 6, column: 16 }],
    },
    compatibility: "hard_requirement",
    process: { runAsUser: 1234, runAsGroup: "sandbox", mappedFiles: "executable-only" },
    networkPolicies: {},
    networkMiddlewares: {},
    limits: {
      processes: 64,
      memoryBytes: 512 * 1024 ** 2,
      cpuTimeMs: 300_000,
      wallTimeMs: 7_200_000,
      fileSizeBytes: 1024 ** 3,
      tmpSizeBytes: 65_536,
      outputBytes: 1_048_576,
    },
    environment: { pass: ["TERM", "LC_*"], set: { GREETING: "hello, world" } },
    protectedNames: { names: [".git/hooks", "deploy"] },
    requires: ["seccomp", "landlock-filesystem"],
    requiresAt: { seccomp: { line: 26, column: 12 }, "landlock-filesystem": { line: 26, column: 21 } },
    workspace: { mode: "fresh", access: "read-only", mountAt: "/workspace" },
    tools: ["bash", "read"],
    extract: [
      { glob: "*.csv" },
      { glob: "out/**", maxFiles: 10, maxBytes: 5 * 1024 ** 2, types: ["md", "tar.gz"], maxDepth: 0 },
    ],
    dns: {
      servers: ["9.9.9.9", "[2620:fe::fe]:5353"],
      split: [{ domains: ["corp.example"], servers: ["10.0.0.53:54", "2001:db8::53"] }],
    },
    upstreamProxy: {
      url: "http://proxy.example:3128/",
      credentials: { env: "PROXY_LOGIN" },
      noProxy: [
        ...[".corp.example", "10.0.0.0/8", "git.example:8443", "192.0.2.1", "192.0.2.1:80", "::1", "::1"],
        ...["[2001:db8::1]:443", "*.a:1"],
      ],
      resolve: "proxy",
    },
  });
});

test("What a policy leaves out is the default preset's", (t) => {
  t.deepEqual(sound("holdfast: 1\n"), { ...defaultPolicy, source: "p.yaml" });
  const limited = sound("holdfast: 1\nlimits: {memory: 1G}\n");
  t.deepEqual(limited.limits, { ...defaultPolicy.limits, memoryBytes: 1024 ** 3 });
  t.deepEqual(sound("holdfast: 1\nenvironment: {set: {A: b}}\n").environment.pass, defaultPolicy.environment.pass);
  t.true(sound("holdfast: 1\nfilesystem_policy: {read_only: [/usr]}\n").filesystem.includeWorkdir);
});

test("A policy and everything in it is frozen", (t) => {
  const unfrozen: string[] = [];
  const visit = (value: unknown, path: string): void => {
    if (typeof value !== "object" || value === null) return;
    if (!Object.isFrozen(value)) unfrozen.push(path);
    for (const [key, inner] of Object.entries(value)) visit(inner, `${path}.${key}`);
  };
  const network = "network_policies:\n  a: {endpoints: [{host: h.example.com, port: 1}], binaries: [{path: /a}]}\n";
  visit(sound(everything + network), "policy");
  visit(defaultPolicy, "default");
  t.deepEqual(unfrozen, []);
});

test("none takes a limit of the default preset away", (t) => {
  t.false("processes" in sound("holdfast: 1\nlimits: {processes: none}\n").limits);
  t.true("processes" in defaultPolicy.limits);
});

test("Protected names can be added to and granted one by one", (t) => {
  const { names } = sound("holdfast: 1\nprotected_names: {add: [ci/deploy.sh], grant: [.vscode]}\n").protectedNames;
  t.true(names.includes("ci/deploy.sh"));
  t.true(names.includes(".git/hooks"));
  t.false(names.includes(".vscode"));
  t.deepEqual(sound("holdfast: 1\nprotected_names: []\n").protectedNames.names, []);
});

test("A secret by its name is passed with a warning", (t) => {
  t.deepEqual(warnings("holdfast: 1\nenvironment: {pass: [GITHUB_TOKEN, KEYBOARD]}\n"), [
    "2:22: warning: environment.pass[0]: GITHUB_TOKEN looks like a secret, and the sandbox will hold it",
  ]);
});

const refusals: readonly (readonly [string, string, readonly string[]])[] = [
  ["a misspelt key of the policy", "limts: {}", ['2:1: unknown key "limts" (did you mean "limits"?)']],
  [
    "a misspelt key of a section",
    "filesystem_policy: {read_onyl: []}",
    ['2:21: unknown key "read_onyl" in filesystem_policy (did you mean "read_only"?)'],
  ],
  [
    "a misspelt word",
    "landlock: {compatibility: best-effort}",
    [
      '2:27: landlock.compatibility must be best_effort or hard_requirement, not "best-effort" (did you mean "best_effort"?)',
    ],
  ],
  ["a misspelt limit", "limits: {cpu_tiem: 1s}", ['2:10: unknown key "cpu_tiem" in limits (did you mean "cpu-time"?)']],
  [
    "a misspelt wall",
    "requires: [landlock]",
    [
      "2:12: requires[0] must be user-namespace, mount-namespace, pid-namespace, network-namespace, ipc-namespace, " +
        "uts-namespace, landlock-filesystem, landlock-network, landlock-scope, seccomp, no-new-privs, capabilities, " +
        'cgroup-memory or cgroup-processes, not "landlock" (did you mean "landlock-filesystem"?)',
    ],
  ],
  [
    "a misspelt tool",
    "tools: [bash, globb]",
    ['2:15: tools[1] must be bash, read, write, edit, glob or grep, not "globb" (did you mean "glob"?)'],
  ],
  ["no tool at all", "tools: []", ["2:8: tools names no tool (some of bash, read, write, edit, glob, grep)"]],
  [
    "a relative path",
    "filesystem_policy: {read_only: [data]}",
    ['2:33: filesystem_policy.read_only[0] must be an absolute path, not "data" (write it from the root: /…/data)'],
  ],
  [
    "a path from the home folder",
    "filesystem_policy: {read_only: [~/data]}",
    [
      '2:33: filesystem_policy.read_only[0] must be an absolute path, not "~/data" (write your home folder out; ~ is not expanded)',
    ],
  ],
  [
    "a path with ..",
    "filesystem_policy: {read_write: [/srv/../etc]}",
    ['2:34: filesystem_policy.read_write[0] must not contain "..": "/srv/../etc" (write the path that it leads to)'],
  ],
  [
    "the whole file system writable",
    "filesystem_policy: {read_write: [///]}",
    ['2:34: filesystem_policy.read_write[0] is "/": the whole file system cannot be writable (name the folders)'],
  ],
  [
    "a path that is readable and writable",
    "filesystem_policy: {read_only: [/a/], read_write: [/a]}",
    ['2:33: "/a" is in read_only and in read_write (keep it in one of them)'],
  ],
  [
    "the user root",
    "process: {run_as_user: root, run_as_group: 0}",
    [
      '2:24: process.run_as_user is root: a sandbox never runs as root, inside or outside (must be "sandbox" or a number from 1 to 4294967294)',
      '2:44: process.run_as_group is root: a sandbox never runs as root, inside or outside (must be "sandbox" or a number from 1 to 4294967294)',
    ],
  ],
  [
    "a user by name, and the uid that means no change",
    "process: {run_as_user: nobody, run_as_group: 4294967295}",
    [
      '2:24: process.run_as_user must be "sandbox" or a number from 1 to 4294967294, not "nobody"',
      '2:46: process.run_as_group must be "sandbox" or a number from 1 to 4294967294, not "4294967295"',
    ],
  ],
  [
    "a number where a string belongs",
    "environment: {set: {JOBS: 4}}",
    ['2:27: environment.set.JOBS must be a string, not the number 4 (write "4" in quotes)'],
  ],
  [
    "a string where a flag belongs",
    "filesystem_policy: {include_workdir: yes}",
    ['2:38: filesystem_policy.include_workdir must be true or false, not "yes"'],
  ],
  [
    "every variable of the caller",
    'environment: {pass: ["*"]}',
    ['2:22: environment.pass[0] is "*": passing every variable would pass every secret (name the variables)'],
  ],
  [
    "the worker's own key, by name, by prefix and set",
    "environment: {pass: [ANTHROPIC_ENVIRONMENT_KEY, ANTHROPIC_*], set: {ANTHROPIC_WORK_SECRET: x}}",
    [
      "2:22: environment.pass[0]: ANTHROPIC_ENVIRONMENT_KEY is the worker's own and never enters a sandbox (name the others)",
      "2:49: environment.pass[1]: ANTHROPIC_ENVIRONMENT_KEY is the worker's own and never enters a sandbox (name the others)",
      "2:69: environment.set: ANTHROPIC_WORK_SECRET is the worker's own and never enters a sandbox",
    ],
  ],
  [
    "what is not a variable's name",
    'environment: {pass: ["A-B", "*A"], set: {"A=B": x}}',
    [
      '2:22: environment.pass[0] is not a variable\'s name: "A-B" (letters, digits, _ and one * at the end)',
      '2:29: environment.pass[1] is not a variable\'s name: "*A" (letters, digits, _ and one * at the end)',
      '2:42: environment.set: not a variable\'s name: "A=B" (letters, digits and _)',
    ],
  ],
  [
    "protected names that are not in the workspace",
    'protected_names: {add: [/etc, a/../b, "*.sh", ""], grant: [.vscod]}',
    [
      '2:25: protected_names.add[0] must be relative to the workspace, not "/etc"',
      '2:31: protected_names.add[1] must not contain "..": "a/../b"',
      '2:39: protected_names.add[2] is a name, not a pattern: "*.sh"',
      "2:47: protected_names.add[3] is empty",
      '2:60: protected_names.grant: ".vscod" is not protected (did you mean ".vscode"?)',
    ],
  ],
  [
    "a workspace over the system's folders",
    "workspace: {mode: shared, mount_at: /usr/src}",
    [
      '2:19: workspace.mode must be direct, overlay or fresh, not "shared"',
      '2:37: workspace.mount_at is "/usr/src", which would hide /usr (a path such as /workspace)',
    ],
  ],
  [
    "extract rules that leave the workspace or bound nothing",
    "extract: [../x, {glob: a, max_files: 0, max_bytes: 1.5M}, {max_files: 1}, {glob: a, max_depth: -1, types: ['*.md', text/html], type: md}]",
    [
      '2:11: extract[0] must not contain "..": "../x"',
      "2:38: extract[1].max_files must be a whole number from 1 to 1000000, not the number 0",
      '2:52: extract[1].max_bytes: "1.5M" is not a size: fractions are not accepted (write 1536K)',
      "2:59: extract[2].glob is missing",
      "2:96: extract[3].max_depth must be a whole number from 0 to 63, not the number -1",
      '2:108: extract[3].types[0] is the ending of a file\'s name, not "*.md" (such as md or tar.gz; text for any text)',
      '2:116: extract[3].types[1] is the ending of a file\'s name, not "text/html" (such as md or tar.gz; text for any text)',
      '2:128: unknown key "type" in extract[3] (did you mean "types"?)',
    ],
  ],
  [
    "name servers by name, and domains that are none",
    'dns: {server: [a], servers: [dns.example, 9.9.9.9:0, "::1:53%x"], split: [{domains: ["*.a", b], servers: []}, {domains: [B]}]}',
    [
      '2:7: unknown key "server" in dns (did you mean "servers"?)',
      '2:30: dns.servers[0] is not a name server\'s address: "dns.example" (for example 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53)',
      '2:43: dns.servers[1] is not a name server\'s address: "9.9.9.9:0" (for example 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53)',
      '2:54: dns.servers[2] is not a name server\'s address: "::1:53%x" (for example 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53)',
      "2:67: dns.split names b twice",
      '2:86: dns.split[0].domains[0] is not a domain: "*.a" (a name stands for itself and all below it: corp.example)',
      "2:97: dns.split[0].servers is empty",
      "2:111: dns.split[1].servers is missing",
    ],
  ],
  [
    "an upstream proxy whose credentials would be seen",
    "environment: {pass: [LOGIN_*]}\nupstream_proxy: {url: ftp://proxy, credentials: {env: LOGIN_A}, no_proxy: [a b, 'a:0', '*:1', '10.0.0.0/8:1', '[::1', '::1:443x'], resolve: her}",
    [
      "3:1: upstream_proxy.credentials: LOGIN_A is passed into the sandbox (take it out of environment)",
      "3:23: upstream_proxy.url is not a proxy's address (http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT)",
      ...["3:76 0 a b", "3:81 1 a:0", "3:88 2 *:1", "3:95 3 10.0.0.0/8:1", "3:111 4 [::1", "3:119 5 ::1:443x"].map(
        (one) =>
          one.replace(
            /^(\S+) (\d) (.*)$/,
            '$1: upstream_proxy.no_proxy[$2] is no host: "$3" (a host, a domain such as corp.example or .corp.example, an address, each with :PORT or without, or a range)',
          ),
      ),
      '3:141: upstream_proxy.resolve must be here or proxy, not "her" (did you mean "here"?)',
    ],
  ],
  [
    "credentials in the policy itself, of which nothing is shown",
    "upstream_proxy: {url: 'http://me:hunter2@proxy:1', credentials: {env: 'me:hunter2'}}",
    [
      "2:23: upstream_proxy.url holds credentials (name where they are kept with upstream_proxy.credentials)",
      "2:71: upstream_proxy.credentials.env is not a variable's name (the variable of the launcher that holds USER:PASSWORD)",
    ],
  ],
  [
    "credentials in a file that the sandbox reads",
    "filesystem_policy: {read_only: [/etc/proxy]}\nupstream_proxy: {url: 'http://proxy:1', credentials: {file: /etc/proxy/login}}",
    ["3:1: upstream_proxy.credentials: /etc/proxy/login can be read in the sandbox, by /etc/proxy (keep it elsewhere)"],
  ],
  ["another version", "version: 2", ["2:10: version must be 1, not 2"]],
  ["a key without a value", "limits:", ["2:8: limits must be a map, not nothing (write {} or remove the key)"]],
  [
    "an endpoint with port and ports",
    "network_policies: {a: {endpoints: [{host: h.example.com, port: 1, ports: [2]}], binaries: [{path: /a}]}}",
    ["2:58: network_policies.a.endpoints[0] has port and ports (write ports alone)"],
  ],
  [
    "pins that are no SHA-256, and a pin by another name",
    `network_policies:
  a:
    endpoints: [{host: h.example.com, port: 1}]
    binaries:
      - {path: /a, sha256: abc}
      - {path: /b, sha256: ${"1".repeat(64)}}
      - {path: /c, sha265: "${"a".repeat(64)}"}`,
    [
      '6:28: network_policies.a.binaries[0].sha256 must be 64 hexadecimal digits in quotes, not "abc" (sha256sum prints them)',
      "7:28: network_policies.a.binaries[1].sha256 must be 64 hexadecimal digits in quotes (sha256sum prints them)",
      '8:20: unknown key "sha265" in network_policies.a.binaries[2] (did you mean "sha256"?)',
    ],
  ],
  [
    "an access preset that OpenShell would ignore",
    "network_policies: {a: {endpoints: [{host: h.example.com, port: 1, protocol: rest, enforcement: enforce, access: readonly}], binaries: [{path: /a}]}}",
    [
      '2:113: network_policies.a.endpoints[0].access must be read-only, read-write or full, not "readonly" (did you mean "read-only"?)',
    ],
  ],
];

for (const [title, text, expected] of refusals) {
  test(`Refused in a policy of holdfast's own: ${title}`, (t) => {
    t.deepEqual(errors(`holdfast: 1\n${text}\n`), expected);
  });
}

test("The marker is the first key, and 1", (t) => {
  t.deepEqual(errors("limits: {}\nholdfast: 1\n"), ['2:1: "holdfast: 1" must be the first key of the policy']);
  t.deepEqual(errors("holdfast: 2\n"), ["1:11: holdfast: 1 is the only format that this version reads, not 2"]);
  t.deepEqual(errors('holdfast: "1"\n'), ["1:11: holdfast: 1 is the only format that this version reads, not 1"]);
});

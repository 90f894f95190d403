import test from "ava";
import { errors, sound } from "./policy-text.ts";

const network = `holdfast: 1
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
  raw:
    endpoints: [{ host: raw.example.com, port: 443 }]
    binaries: [{ path: /usr/bin/curl }]
`;

test("A credential's every field is read", (t) => {
  const { credentials } = sound(`${network}credentials:
  one: { source: { env: KEY }, env: KEY_INSIDE, format: github, network_policy: api }
  two:
    source: { command: [/usr/bin/pass, show, x], ttl: 1h, timeout: 3s }
    endpoints: [{ host: API.example.com, ports: [443, 8443], path: /v1/** }, { host: api.example.com, port: 443, scheme: http }]
    binaries: [{ path: /usr/bin/curl }]
    inject: { as: header, name: X-Api-Key, prefix: "Token " }
  three: { source: { file: /run/secrets/three }, network_policy: api, inject: { as: basic, username: me } }
  four: { source: { systemd: four }, network_policy: api, inject: { as: path, template: "/bot{}/" } }
`);
  t.like(credentials, {
    one: {
      line: 10,
      column: 3,
      source: { kind: "env", name: "KEY" },
      env: "KEY_INSIDE",
      format: "github",
      networkPolicy: "api",
    },
    two: {
      source: { kind: "command", argv: ["/usr/bin/pass", "show", "x"], ttlMs: 3_600_000, timeoutMs: 3000 },
      endpoints: [
        { host: "api.example.com", ports: [443, 8443], path: "/v1/**", scheme: "https" },
        { host: "api.example.com", ports: [443], path: "", scheme: "http" },
      ],
      binaries: [{ path: "/usr/bin/curl" }],
      inject: { as: "header", name: "x-api-key", prefix: "Token " },
    },
    three: { source: { kind: "file", path: "/run/secrets/three" }, inject: { as: "basic", username: "me" } },
    four: { source: { kind: "systemd", name: "four" }, inject: { as: "path", template: "/bot{}/" } },
  });
});

const usable = "source: { env: KEY }, env: INSIDE, network_policy: api";

const bad: readonly (readonly [string, string, readonly string[]])[] = [
  [
    "an unknown key",
    "x: { sorce: { env: KEY }, env: INSIDE, network_policy: api }",
    ['10:8: unknown key "sorce" in credentials.x (did you mean "source"?)'],
  ],
  [
    "a source of no kind",
    "x: { source: {}, env: INSIDE, network_policy: api }",
    [
      "10:16: credentials.x.source names no place (one of {env: NAME}, {file: PATH}, {systemd: NAME}, {command: [PROGRAM, …]})",
    ],
  ],
  [
    "a source of two kinds",
    "x: { source: { env: KEY, file: /x }, env: INSIDE, network_policy: api }",
    [
      "10:16: credentials.x.source names 2 places (one of {env: NAME}, {file: PATH}, {systemd: NAME}, {command: [PROGRAM, …]})",
    ],
  ],
  [
    "the secret itself for its variable's name, which is not repeated",
    'x: { source: { env: "sk-secret" }, env: INSIDE, network_policy: api }',
    ["10:23: credentials.x.source.env is not a variable's name (letters, digits and _)"],
  ],
  [
    "a command found by PATH",
    "x: { source: { command: [pass, show] }, env: INSIDE, network_policy: api }",
    ["10:27: credentials.x.source.command must begin with a program's absolute path"],
  ],
  [
    "a time for what has none",
    "x: { source: { file: /srv/key, ttl: 5m }, env: INSIDE, network_policy: api }",
    ["10:34: credentials.x.source.ttl is for a command alone (a file is read anew when it changes)"],
  ],
  [
    "an entry that there is not",
    "x: { source: { env: KEY }, env: INSIDE, network_policy: apj }",
    ['10:3: credentials.x.network_policy: there is no entry "apj" (did you mean "api"?)'],
  ],
  [
    "an entry whose requests nobody reads",
    "x: { source: { env: KEY }, env: INSIDE, network_policy: raw }",
    ["10:3: credentials.x: no endpoint of raw is inspected (give one protocol: rest)"],
  ],
  [
    "an endpoint that no entry leads to",
    "x: { source: { env: KEY }, env: INSIDE, endpoints: [{ host: b.example.com }], binaries: [{ path: /** }] }",
    [
      "10:3: credentials.x: no inspected endpoint of network_policies leads to b.example.com:443 (add one with protocol: rest)",
    ],
  ],
  [
    "no programs",
    "x: { source: { env: KEY }, env: INSIDE, endpoints: [{ host: api.example.com }] }",
    ['10:3: credentials.x.binaries is missing (the programs that may use it; "/**" is every one)'],
  ],
  [
    "no place",
    "x: { source: { env: KEY }, env: INSIDE }",
    ["10:3: credentials.x is bound to nothing (name an entry by network_policy, or endpoints and binaries)"],
  ],
  [
    "nobody who uses it",
    "x: { source: { env: KEY }, network_policy: api }",
    ["10:3: credentials.x is used by nobody (give it env, the variable of its placeholder, or inject)"],
  ],
  [
    "one variable for two",
    `x: { ${usable} }\n  y: { ${usable} }`,
    ["11:35: credentials.y.env is INSIDE, as that of x is"],
  ],
  [
    "a file that is granted",
    "x: { source: { file: /usr/share/key }, env: INSIDE, network_policy: api }",
    ["10:3: credentials.x: /usr/share/key can be read in the sandbox, by /usr (keep it elsewhere)"],
  ],
  [
    "a variable that is passed",
    `x: { ${usable} }\nenvironment: { pass: [KEY] }`,
    ["10:3: credentials.x: KEY is passed into the sandbox (take it out of environment)"],
  ],
  [
    "a form that there is not",
    `x: { ${usable}, format: gihub }`,
    [
      '10:72: credentials.x.format must be generic, openshell, anthropic, aws, github, gitlab, npm, openai or slack, not "gihub" (did you mean "github"?)',
    ],
  ],
  [
    "a field of another injection",
    `x: { ${usable}, inject: { as: bearer, name: x } }`,
    ["10:86: credentials.x.inject: bearer has no name"],
  ],
  [
    "a field that frames the message",
    `x: { ${usable}, inject: { as: header, name: Content-Length } }`,
    ['10:92: credentials.x.inject.name is no field that can be set: "Content-Length" (for example X-Api-Key)'],
  ],
  [
    "a template without a place",
    `x: { ${usable}, inject: { as: path, template: /bot } }`,
    [
      '10:94: credentials.x.inject.template must be a path with one {} that ends its segment: "/bot" (for example /bot{}/)',
    ],
  ],
];

for (const [title, text, expected] of bad) {
  test(`Refused at its place: ${title}`, (t) => {
    t.deepEqual(errors(`${network}credentials:\n  ${text}\n`), expected);
  });
}

import test from "ava";
import { Bindings, isBound } from "../../lib/egress/bindings.ts";
import type { Program } from "../../lib/egress/flow.ts";
import { networkRefusal } from "../../lib/policy/refusal.ts";
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

test("A token's every field is read, with what is usual where there is none", (t) => {
  const { credentials } = sound(`${network}credentials:
  one:
    source:
      oauth2_refresh_token:
        { token_url: https://a.example/t, client_id: me, client_secret: { env: S }, refresh_token: { file: /run/r }, scopes: [x], client_auth: basic, refresh_before: 1m, max_lifetime: 10m }
    network_policy: api
    inject: { as: bearer }
  two: { source: { oauth2_client_credentials: { token_url: https://a.example/t, client_id: me, client_secret: { env: S }, audience: y } }, env: TWO, network_policy: api }
  three: { source: { google_service_account_jwt: { key: { file: /run/k }, scopes: [z], subject: her@example.com } }, network_policy: api, inject: { as: bearer } }
  four: { source: { github_app: { app_id: "1", installation_id: 2, private_key: { systemd: app }, repositories: [r], permissions: { contents: read } } }, env: FOUR, network_policy: api }
`);
  t.deepEqual(
    Object.values(credentials ?? {}).map(({ source }) => source),
    [
      {
        ...{
          kind: "oauth2_refresh_token",
          url: "https://a.example/t",
          clientId: "me",
          clientAuth: "basic",
          scopes: ["x"],
        },
        ...{ refreshToken: { kind: "file", path: "/run/r" }, clientSecret: { kind: "env", name: "S" } },
        ...{ refreshBeforeMs: 60_000, mostMs: 600_000 },
      },
      {
        ...{
          kind: "oauth2_client_credentials",
          url: "https://a.example/t",
          clientId: "me",
          clientAuth: "body",
          scopes: [],
        },
        ...{ clientSecret: { kind: "env", name: "S" }, audience: "y", refreshBeforeMs: 300_000 },
      },
      {
        ...{ kind: "google_service_account_jwt", url: "https://oauth2.googleapis.com/token", scopes: ["z"] },
        ...{ key: { kind: "file", path: "/run/k" }, subject: "her@example.com", refreshBeforeMs: 300_000 },
      },
      {
        ...{ kind: "github_app", url: "https://api.github.com/app/installations/2/access_tokens", appId: "1" },
        ...{ privateKey: { kind: "systemd", name: "app" }, repositories: ["r"], permissions: { contents: "read" } },
        refreshBeforeMs: 300_000,
      },
    ],
  );
});

const signed = `holdfast: 1
network_policies:
  s3:
    endpoints: [{ host: "*.s3.eu-west-1.amazonaws.com", port: 443, protocol: rest, enforcement: enforce, access: full, credential_signing: sigv4, signing_service: s3 }]
    binaries: [{ path: /usr/bin/aws }]
`;

test("Keys of AWS's are bound to an endpoint that asks for signatures", (t) => {
  const { credentials } = sound(`${signed}credentials:
  one: { source: { aws_keys: { access_key_id: { env: ID }, secret_access_key: { file: /run/s } } }, env: AWS_ACCESS_KEY_ID, network_policy: s3 }
  two:
    source:
      aws_sts_assume_role:
        { role_arn: "arn:aws:iam::123456789012:role/a/reader", region: eu-west-1, duration: 15m, access_key_id: { env: ID }, secret_access_key: { env: S }, session_token: { env: T } }
    network_policy: s3
`);
  const keys = { accessKeyId: { kind: "env", name: "ID" } } as const;
  t.deepEqual(credentials?.["one"]?.source, {
    ...{ kind: "aws_keys", ...keys, secretAccessKey: { kind: "file", path: "/run/s" } },
  });
  t.deepEqual(credentials?.["two"]?.source, {
    ...{ kind: "aws_sts_assume_role", url: "https://sts.eu-west-1.amazonaws.com/", region: "eu-west-1", ...keys },
    ...{ secretAccessKey: { kind: "env", name: "S" }, sessionToken: { kind: "env", name: "T" } },
    ...{ roleArn: "arn:aws:iam::123456789012:role/a/reader", sessionName: "holdfast", durationSeconds: 900 },
    refreshBeforeMs: 300_000,
  });
});

const keys = "source: { aws_keys: { access_key_id: { env: ID }, secret_access_key: { env: S } } }";

for (const [title, text, expected] of [
  [
    "another name, and what is put in",
    `x: { ${keys}, env: KEY, inject: { as: bearer }, network_policy: s3 }`,
    [
      "7:98: credentials.x.env must end with ACCESS_KEY_ID (the secret's is named after it)",
      "7:103: credentials.x: keys of AWS's sign requests, and are put into none",
    ],
  ],
  [
    "a role that is none",
    "x: { source: { aws_sts_assume_role: { role_arn: reader, access_key_id: { env: ID }, secret_access_key: { env: S } } }, network_policy: s3 }",
    [
      '7:51: credentials.x.source.aws_sts_assume_role.role_arn is no role\'s ARN: "reader" (for example arn:aws:iam::123456789012:role/reader)',
    ],
  ],
] as const) {
  test(`Keys of AWS's are refused at their place: ${title}`, (t) => {
    t.deepEqual(errors(`${signed}credentials:\n  ${text}\n`), expected);
  });
}

test("Keys of AWS's that nothing asks to sign with are refused", (t) => {
  t.deepEqual(errors(`${network}credentials:\n  x: { ${keys}, network_policy: api }\n`), [
    "10:3: credentials.x: no endpoint that it is bound to is signed (give one credential_signing: sigv4 and signing_service)",
  ]);
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
    [
      "10:3: credentials.x is bound to nothing (name an entry by network_policy, or endpoints and binaries, or let endpoints name it by credential_binding)",
    ],
  ],
  [
    "programs without a place",
    "x: { source: { env: KEY }, env: INSIDE, binaries: [{ path: /** }] }",
    [
      "10:43: credentials.x has binaries without endpoints (name an entry by network_policy, or endpoints and binaries, or let endpoints name it by credential_binding)",
    ],
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
    "a token's issuer in clear text",
    "x: { source: { oauth2_client_credentials: { token_url: http://a.example/t, client_id: me, client_secret: { env: S } } }, env: X, network_policy: api }",
    ['10:58: credentials.x.source.oauth2_client_credentials.token_url must be an https URL, not "http://a.example/t"'],
  ],
  [
    "a token's issuer with a secret in it, which is not repeated",
    "x: { source: { oauth2_client_credentials: { token_url: https://me:sesame@a.example/t, client_id: me, client_secret: { env: S } } }, env: X, network_policy: api }",
    [
      "10:58: credentials.x.source.oauth2_client_credentials.token_url holds credentials or a query (secrets are named by their sources)",
    ],
  ],
  [
    "a token and a place",
    "x: { source: { file: /run/k, google_service_account_jwt: { key: { file: /run/k }, scopes: [z] } }, env: X, network_policy: api }",
    ["10:18: credentials.x.source names google_service_account_jwt and file (a credential has one source)"],
  ],
  [
    "a wrong spelling in a token, and what it lacks",
    "x: { source: { github_app: { app_id: '1', instalation_id: 2 } }, env: X, network_policy: api }",
    [
      "10:30: credentials.x.source.github_app.private_key is missing",
      '10:45: unknown key "instalation_id" in credentials.x.source.github_app (did you mean "installation_id"?)',
    ],
  ],
  [
    "what a token is made of where the sandbox reads it",
    "x: { source: { google_service_account_jwt: { key: { file: /usr/share/k }, scopes: [z] } }, env: X, network_policy: api }",
    ["10:3: credentials.x: /usr/share/k can be read in the sandbox, by /usr (keep it elsewhere)"],
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

const binding = (first: string, second = ""): string => `holdfast: 1
network_policies:
  one:
    endpoints: [{ host: a.example.com, port: 443${first}, credential_binding: { provider: x } }, { host: b.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
  two:
    endpoints: [{ host: c.example.com, port: 8443, path: /v1/**, protocol: rest, enforcement: enforce, access: full, credential_binding: { provider: x } }]
    binaries: [{ path: /usr/bin/git }]
credentials:
  x: { source: { env: KEY }, env: INSIDE${second} }
`;
const program = (path: string): Program => ({ path, sha256: "aa" }) as Program;
const rest = ", protocol: rest, enforcement: enforce, access: full";

test("A credential that says of no place is for the endpoints that name it, each with its own programs", (t) => {
  const bindings = new Bindings(sound(binding(rest)));
  const at = (path: string, host: string, port = 443): readonly string[] =>
    bindings.of(program(path), host, port).map(({ name }) => name);
  t.deepEqual(at("/usr/bin/curl", "a.example.com"), ["x"]);
  t.deepEqual(at("/usr/bin/git", "c.example.com", 8443), ["x"]);
  t.deepEqual(at("/usr/bin/git", "a.example.com"), []);
  t.deepEqual(at("/usr/bin/curl", "b.example.com"), []);
  t.deepEqual(at("/usr/bin/curl", "c.example.com", 8443), []);
  const [only] = bindings.of(program("/usr/bin/git"), "c.example.com", 8443);
  t.true(only !== undefined && isBound(only, "https", "/v1/x") && !isBound(only, "https", "/v2/x"));
  t.deepEqual(bindings.namesAt("a.example.com", 443), ["x"]);
  t.is(networkRefusal(sound(binding(rest))), null);
});

test("A credential that endpoints name may not name its own, and one that nobody inspects is refused", (t) => {
  t.deepEqual(errors(binding(rest, ", network_policy: one")), [
    "4:17: credential_binding: credentials.x says itself what it is for (take one of the two out)",
  ]);
  t.regex(
    networkRefusal(sound(binding(rest).replace("provider: x } }, {", "provider: y } }, {")))?.message ?? "",
    /there is no credential "y" for credential_binding/,
  );
});

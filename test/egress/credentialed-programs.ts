// The scenario of credentialed-programs.test.ts: real clients with placeholders, and servers that check the real secret.
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { addresses } from "./world.ts";

const closers: (() => unknown)[] = [];
const [workdir, outside] = [
  mkdtempSync(join(tmpdir(), "holdfast-programs-")),
  mkdtempSync(join(tmpdir(), "holdfast-kept-")),
];
chmodSync(workdir, 0o777);
for (const folder of [workdir, outside]) closers.push(() => rmSync(folder, { recursive: true, force: true }));

const node = process.execPath;
const modules = join(import.meta.dirname, "..", "..", "node_modules");
const secrets = {
  forge: "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",
  registry: "npm_0123456789abcdefghijklmnopqrst0000aa",
  model: `sk-ant-api03-${"Ab9_".repeat(23)}-AA`,
} as const;
for (const [name, secret] of Object.entries(secrets)) process.env[`HOLDFAST_TEST_${name.toUpperCase()}`] = secret;

const api = "https://api.example.test";
const policy = sound(`${runnable(dirname(node), modules)}network_policies:
  api:
    endpoints: [{ host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: "/usr/**" }, { path: "${node}" }]
credentials:
  forge: { source: { env: HOLDFAST_TEST_FORGE }, env: GITHUB_TOKEN, network_policy: api }
  registry: { source: { env: HOLDFAST_TEST_REGISTRY }, env: NPM_TOKEN, network_policy: api }
  model: { source: { env: HOLDFAST_TEST_MODEL }, env: ANTHROPIC_API_KEY, network_policy: api }
`);

/** Which secret a request brings, and how. */
function broughtBy({ headers }: IncomingMessage): string {
  const { authorization = "", "x-api-key": key = "" } = headers;
  const login = authorization.startsWith("Basic ") ? Buffer.from(authorization.slice(6), "base64").toString() : "";
  const said = [`${key}`, authorization, login].join("\n");
  return Object.entries(secrets).find(([, secret]) => said.includes(secret))?.[0] ?? "none";
}

const line = (text: string): string => `${(text.length + 4).toString(16).padStart(4, "0")}${text}`;

function onRequest(request: IncomingMessage, response: ServerResponse): void {
  const { url = "", method } = request;
  const brought = broughtBy(request);
  const wanted = url.startsWith("/npm/") ? "registry" : url.startsWith("/v1/") ? "model" : "forge";
  if (brought !== wanted) {
    response.writeHead(401, { "WWW-Authenticate": 'Basic realm="x"' }).end("no");
    return;
  }
  const json = (value: object): void =>
    void response.setHeader("Content-Type", "application/json").end(JSON.stringify(value));
  if (url.startsWith("/x.git/info/refs")) {
    response.setHeader("Content-Type", "application/x-git-upload-pack-advertisement");
    response.end(
      `${line("# service=git-upload-pack\n")}0000${line(`${"a".repeat(40)} refs/heads/mine\0agent=test\n`)}0000`,
    );
  } else if (url.startsWith("/pypi/simple/")) {
    response.setHeader("Content-Type", "text/html");
    response.end('<a href="tiny-1.2.3-py3-none-any.whl">tiny-1.2.3-py3-none-any.whl</a>');
  } else if (url === "/npm/tiny" && method === "GET")
    json({ name: "tiny", "dist-tags": { latest: "4.5.6" }, versions: { "4.5.6": { name: "tiny", version: "4.5.6" } } });
  else if (url.startsWith("/npm/")) json({ ok: true });
  else if (url === "/v1/messages") {
    request.resume().on("end", () => {
      response.setHeader("Content-Type", "text/event-stream");
      const events = [
        {
          type: "message_start",
          message: {
            id: "m",
            type: "message",
            role: "assistant",
            content: [],
            model: "x",
            stop_reason: null,
            stop_sequence: null,
            usage: { input_tokens: 1, output_tokens: 1 },
          },
        },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
        { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "hello from the model" } },
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 5 } },
        { type: "message_stop" },
      ];
      for (const event of events) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
      response.end();
    });
  } else response.end(`${method} ${url} as ${brought}`);
}

const sdk = `
import { Anthropic } from "${join(modules, "@anthropic-ai/sdk/index.mjs")}";
const client = new Anthropic({ baseURL: "${api}" });
const stream = client.messages.stream({ model: "x", max_tokens: 9, messages: [{ role: "user", content: "hi" }] });
console.log(await stream.finalText());`;

/** By name: what is run, and the program without which it is skipped. */
const programs: Readonly<Record<string, readonly [needs: string, script: string]>> = {
  curl: [
    "/usr/bin/curl",
    `curl -sS -u "me:$GITHUB_TOKEN" ${api}/basic; curl -sS -H "Authorization: token $GITHUB_TOKEN" ${api}/token`,
  ],
  git: [
    "/usr/bin/git",
    `GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 git ls-remote "https://me:$GITHUB_TOKEN@api.example.test/x.git"`,
  ],
  pip: [
    "/usr/bin/python3",
    `PIP_CONFIG_FILE=/dev/null /usr/bin/python3 -m pip index versions tiny --disable-pip-version-check --no-cache-dir --index-url "https://me:$GITHUB_TOKEN@api.example.test/pypi/simple" 2>/dev/null`,
  ],
  npm: [
    "/usr/bin/npm",
    `mkdir "$TMPDIR/mine" && cd "$TMPDIR/mine" && printf '//api.example.test/npm/:_authToken=\${NPM_TOKEN}\n' > .npmrc && printf '{"name":"mine","version":"1.0.0"}' > package.json && export npm_config_cache="$TMPDIR/npm" npm_config_userconfig="$TMPDIR/mine/.npmrc" npm_config_update_notifier=false && /usr/bin/npm --registry ${api}/npm/ view tiny version && /usr/bin/npm --registry ${api}/npm/ publish 2>/dev/null`,
  ],
  "the Anthropic SDK": [node, `exec ${node} sdk.mjs`],
};

try {
  const authority = new Authority("the servers", 3_600_000);
  writeFileSync(join(outside, "trust.pem"), authority.certificate);
  process.env["SSL_CERT_FILE"] = join(outside, "trust.pem");
  const server = createServer(
    { SNICallback: (name, done) => done(null, authority.contextFor(name)) },
    onRequest,
  ).listen(443, addresses.api);
  await once(server, "listening");
  closers.push(() => server.close());
  mkdirSync(join(workdir, "tmp"));
  chmodSync(join(workdir, "tmp"), 0o777);
  writeFileSync(join(workdir, "sdk.mjs"), sdk);
  const sandbox = await Sandbox.create({ workdir, policy });
  closers.push(() => sandbox.dispose());
  const said: Record<string, string | null> = {};
  for (const [name, [needs, script]] of Object.entries(programs)) {
    const ran = existsSync(needs) ? await sandbox.exec("/bin/bash", ["-c", script], { timeout: 60_000 }) : null;
    said[name] = ran && `${ran.stdout}${ran.stderr}`;
  }
  const { stdout: reachable } = await sandbox.exec("/bin/bash", [
    "-c",
    'env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; cat $(find "$PWD" "$TMPDIR" "$HOME" -type f 2>/dev/null) /dev/null',
  ]);
  const found = await searchSandbox(sandbox, Object.values(secrets), { said, reachable });
  process.stdout.write(JSON.stringify({ said, found, reachable: reachable.length }));
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);

// The scenario of inference.test.ts, run where the servers' addresses are this namespace's own.
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { addresses, listening } from "./world.ts";

interface Aws4 {
  sign(request: object, keys: typeof aws): { readonly headers: Readonly<Record<string, string>> };
}
const aws4: Aws4 = createRequire(import.meta.url)("aws4");

const closers: (() => unknown)[] = [];
const workdir = mkdtempSync(join(tmpdir(), "holdfast-inference-"));
chmodSync(workdir, 0o777);
const outside = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
closers.push(() => rmSync(workdir, { recursive: true, force: true }));
closers.push(() => rmSync(outside, { recursive: true, force: true }));

const secrets = {
  anthropic: "sk-ant-api03-real-key-that-nobody-inside-may-see-AA",
  openai: "sk-proj-another-real-key-that-nobody-inside-may-see",
};
process.env["HOLDFAST_TEST_ANTHROPIC"] = secrets.anthropic;
writeFileSync(join(outside, "openai"), `${secrets.openai}\n`);

const node = process.execPath;
const aws = {
  accessKeyId: "AKIAREALKEYOFTHEROUTE",
  secretAccessKey: "real/secret+key/of/the/route/that/nobody/sees",
  sessionToken: "IQoJb3JpZ2luX2VjREALTOKEN//////////wEaCmV1LWNlbnRyYWw=",
};
const [clientSecret, issued] = ["the-secret-of-the-oauth-client", "issued-for-the-route/with+odd=characters"];
Object.assign(process.env, { HOLDFAST_TEST_CLIENT: clientSecret, HOLDFAST_TEST_AWS_ID: aws.accessKeyId });
Object.assign(process.env, { HOLDFAST_TEST_AWS_KEY: aws.secretAccessKey, HOLDFAST_TEST_AWS_TOKEN: aws.sessionToken });
const others = `
    signed:
      family: bedrock
      url: http://api.example.test:8084
      region: eu-central-1
      price: { input: 0, output: 0 }
      key:
        aws_keys:
          access_key_id: { env: HOLDFAST_TEST_AWS_ID }
          secret_access_key: { env: HOLDFAST_TEST_AWS_KEY }
          session_token: { env: HOLDFAST_TEST_AWS_TOKEN }
    issued:
      family: openai
      url: http://api.example.test:8084
      price: { input: 0, output: 0 }
      key:
        oauth2_client_credentials:
          token_url: https://api.example.test/token
          client_id: me
          client_secret: { env: HOLDFAST_TEST_CLIENT }`;
const role = {
  accessKeyId: "ASIAKEYOFTHEROLE1234",
  secretAccessKey: "role/secret+key/that/nobody/inside/may/ever/see",
  sessionToken: "IQoJb3JpZ2luX2VjROLETOKEN//////////wEaCmV1LWNlbnRyYWw=",
};
const assuming = `
    assumed:
      family: bedrock
      url: http://api.example.test:8084
      region: eu-central-1
      key:
        aws_sts_assume_role:
          role_arn: arn:aws:iam::123456789012:role/models
          token_url: https://api.example.test/sts
          access_key_id: { env: HOLDFAST_TEST_AWS_ID }
          secret_access_key: { env: HOLDFAST_TEST_AWS_KEY }
          session_token: { env: HOLDFAST_TEST_AWS_TOKEN }`;
const policyText = (budget: string, more = ""): string => `${runnable(dirname(node))}inference:
  routes:${more}
    main:
      family: anthropic
      url: https://api.example.test
      key: { env: HOLDFAST_TEST_ANTHROPIC }
      model: the-real-model
      price: { input: 2, output: 10 }
    busy: { family: openai, url: "http://api.example.test:8081/base/v1", key: { file: ${join(outside, "openai")} }, price: { input: 0, output: 0 } }
    gone: { family: openai, url: "http://127.0.0.1:8083", price: { input: 0, output: 0 } }
    local: { family: openai, url: "http://127.0.0.1:8082/v1", model: local-model, timeout: 2s, price: { input: 0, output: 0 } }
  budget: ${budget}
`;

/** What came to the servers. */
const came: unknown[] = [];
/** Ends a stream that waits for it. */
let release = (): void => {};

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of request) text += part;
  return text;
}

function note(server: string, request: IncomingMessage, text: string): Record<string, unknown> {
  const body = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
  came.push({ server, method: request.method, url: request.url, headers: request.headers, body });
  return body;
}

async function onAnthropic(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const text = await textOf(request);
  if (request.url === "/token") {
    const isClient = new URLSearchParams(text).get("client_secret") === clientSecret;
    const said = isClient ? { access_token: issued, token_type: "Bearer", expires_in: 3600 } : { error: "invalid" };
    return void response
      .writeHead(isClient ? 200 : 400, { "Content-Type": "application/json" })
      .end(JSON.stringify(said));
  }
  if (request.url === "/sts") {
    came.push({ server: "sts", url: request.url, headers: {}, body: Object.fromEntries(new URLSearchParams(text)) });
    return void response.end(`<AssumeRoleResponse><AssumeRoleResult><Credentials>
<AccessKeyId>${role.accessKeyId}</AccessKeyId><SecretAccessKey>${role.secretAccessKey}</SecretAccessKey>
<SessionToken>${role.sessionToken}</SessionToken><Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>`);
  }
  const body = note("anthropic", request, text);
  const key = String(request.headers["x-api-key"]);
  if (key !== secrets.anthropic) return void response.writeHead(401).end("{}");
  if (body["stream"] === true) {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write('event: message_start\ndata: {"message":{"usage":{"input_tokens":10,"output_tokens":1}}}\n\n');
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    response.end('event: message_delta\ndata: {"usage":{"output_tokens":7}}\n\n');
    return;
  }
  response.writeHead(200, { "Content-Type": "application/json", "Set-Cookie": "a=b", "X-Echo": `it was ${key}` });
  response.end(JSON.stringify({ model: body["model"], echo: key, usage: { input_tokens: 100, output_tokens: 20 } }));
}

async function onBusy(request: IncomingMessage, response: ServerResponse): Promise<void> {
  note("busy", request, await textOf(request));
  response.writeHead(529).end("overloaded");
}

async function onLocal(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = note("local", request, await textOf(request));
  if (body["silent"] === true) return;
  if (body["cut"] === true) {
    response.writeHead(200, { "Content-Length": 100 });
    response.write("half", () => response.destroy());
    return;
  }
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ model: body["model"], options: body["stream_options"], url: request.url }));
}

/** Bedrock, which proves signatures, and a server that wants a token; both repeat what they were shown. */
async function onProving(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method, url: path, headers } = request;
  const body = await textOf(request);
  const said = headers.authorization ?? "";
  const names = /SignedHeaders=(\S+),/.exec(said)?.[1]?.split(";") ?? [];
  const own = Object.fromEntries(names.map((name) => [name, headers[name]]));
  const keys = said.includes(role.accessKeyId) ? role : aws;
  const remade = aws4.sign(
    {
      ...{ host: headers.host, path, method, headers: own, body, region: "eu-central-1", service: "bedrock" },
      extraHeadersToIgnore: { "content-length": true, "content-type": true },
    },
    keys,
  );
  const isSigned = (remade.headers["Authorization"] ?? remade.headers["authorization"]) === said;
  came.push({
    server: keys === role ? "role" : "proving",
    method,
    url: path,
    headers,
    body: JSON.parse(body),
    isSigned,
    names,
  });
  response.writeHead(isSigned || said === `Bearer ${issued}` ? 200 : 403, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ isSigned, echo: headers["x-amz-security-token"] ?? said }));
}

const lines: Record<string, unknown>[] = [];
const audit = new Audit({
  write: (line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    lines.push(record);
    // The client has had the stream's first event when it asks for this.
    if (record["path"] === "/v1/models/release") release();
  },
  close: () => {},
});
const authority = new Authority("the test's servers", 3_600_000);
const trusted = join(outside, "host-trust.pem");
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const certified = {
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, authority.contextFor(name)),
};
const servers = [
  createHttpsServer(certified, (request, response) => void onAnthropic(request, response)).listen(443, addresses.api),
  createHttpServer((request, response) => void onBusy(request, response)).listen(8081, addresses.api),
  createHttpServer((request, response) => void onLocal(request, response)).listen(8082, "127.0.0.1"),
  createHttpServer((request, response) => void onProving(request, response)).listen(8084, addresses.api),
];
await listening(servers);
closers.push(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

const everySecret = [
  ...Object.values(secrets),
  role.secretAccessKey,
  role.sessionToken,
  aws.secretAccessKey,
  aws.sessionToken,
  clientSecret,
  issued,
];

async function run(
  budget: string,
  script: string,
  more = "",
): Promise<{ said: unknown; found: readonly string[]; unreached: readonly string[] }> {
  copyFileSync(join(import.meta.dirname, script), join(workdir, script));
  await using sandbox = await Sandbox.create({ workdir, policy: sound(policyText(budget, more)), audit });
  const { stdout, stderr } = await sandbox.exec(node, [join(workdir, script)], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  const found = await searchSandbox(sandbox, everySecret, { stdout, stderr, lines });
  const unreached = sandbox.takeUnreached().map(({ subject, detail }) => `${subject}: ${detail}`);
  return { said: JSON.parse(stdout.toString()), found, unreached };
}

try {
  const { said, found, unreached } = await run("{ tokens: 100000 }", "inference-client.mjs");
  const limited = await run("{ cost: 0.0003, requests: 50 }", "inference-budget-client.mjs", others);
  const assumed = await run("{ tokens: 100000 }", "inference-assumed-client.mjs", assuming);
  const hungUp = await run("{ tokens: 30 }", "inference-cut-client.mjs");
  const all = [...found, ...limited.found, ...assumed.found, ...hungUp.found];
  process.stdout.write(
    JSON.stringify({
      ...(said as object),
      limited: limited.said,
      assumed: assumed.said,
      hungUp: hungUp.said,
      unreached,
      came,
      lines,
      found: all,
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);

// The scenario of sdks.test.ts: libraries with placeholders, and servers that check the real secrets and what they sign.
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { type Answered, bedrock, isPayload, openai, S3 } from "./sdk-servers.ts";
import { isSigned, type Keys } from "./signatures.ts";
import { addresses, listening } from "./world.ts";

const closers: (() => unknown)[] = [];
const [workdir, outside] = [
  mkdtempSync(join(tmpdir(), "holdfast-sdks-")),
  mkdtempSync(join(tmpdir(), "holdfast-outside-")),
];
chmodSync(workdir, 0o777);
for (const folder of [workdir, outside]) closers.push(() => rmSync(folder, { recursive: true, force: true }));

const keys: Keys = {
  ...{ accessKeyId: "ASIAREALKEYSID234567", secretAccessKey: "the/real+secret/access+key/0123456789abc" },
  sessionToken: "the/real+session//token==",
};
const [openAiKey, bedrockKey] = ["sk-proj-a-real-key-that-nobody-inside-may-see", "ABSK-the-real-key-of-the-models"];
const kept = {
  ...{ ID: keys.accessKeyId, KEY: keys.secretAccessKey, SESSION: keys.sessionToken },
  ...{ OPENAI: openAiKey, BEDROCK: bedrockKey },
};
for (const [name, value] of Object.entries(kept)) process.env[`HOLDFAST_TEST_${name}`] = value;

const node = process.execPath;
const modules = join(import.meta.dirname, "..", "..", "node_modules");
const signs = (port: number, service: string): string =>
  `{ host: api.example.test, port: ${port}, protocol: rest, enforcement: enforce, access: full, credential_signing: sigv4, signing_service: ${service}, signing_region: eu-west-1 }`;
const policyText = `${runnable(dirname(node), modules)}network_policies:
  aws:
    endpoints: [${signs(443, "s3")}, ${signs(8443, "bedrock")}]
    binaries: [{ path: "${node}" }]
  models:
    endpoints: [{ host: other.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: "${node}" }]
environment: { set: { AWS_REGION: eu-west-1 } }
credentials:
  aws: { source: { aws_keys: { access_key_id: { env: HOLDFAST_TEST_ID }, secret_access_key: { env: HOLDFAST_TEST_KEY }, session_token: { env: HOLDFAST_TEST_SESSION } } }, env: AWS_ACCESS_KEY_ID, network_policy: aws }
  openai: { source: { env: HOLDFAST_TEST_OPENAI }, env: OPENAI_API_KEY, network_policy: models }
inference:
  routes:
    gpt: { family: openai, url: "https://other.example.test", key: { env: HOLDFAST_TEST_OPENAI } }
    nova: { family: bedrock, url: "https://other.example.test", key: { env: HOLDFAST_TEST_BEDROCK } }
`;

/** By which version of HTTP each server was asked. */
const versions: Record<string, string[]> = {};
/** What was wrong with a request. */
const faults: object[] = [];
const s3 = new S3();

type Server = (request: Http2ServerRequest, body: Buffer) => Answered;

const signedBy =
  (name: string, scope: string, next: Server): Server =>
  (request, body) => {
    const checked = isSigned(request, body, [keys]);
    const isGood = checked.isGood && checked.hasToken && checked.isNow && checked.scope === scope;
    if (isGood && isPayload(request, body)) return next(request, body);
    faults.push({ name, method: request.method, url: request.url, ...checked });
    return { status: 403, parts: ["<Error><Code>SignatureDoesNotMatch</Code></Error>"] };
  };

const models: Server = (request, body) => {
  const isOpenAi = request.url.startsWith("/v1/");
  const wanted = `Bearer ${isOpenAi ? openAiKey : bedrockKey}`;
  if (request.headers.authorization !== wanted) return { status: 401, parts: ["{}"] };
  return isOpenAi ? openai(request, body) : bedrock(request, body);
};

function serve(name: string, answerTo: Server) {
  return async (request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    versions[name] = [...new Set([...(versions[name] ?? []), request.httpVersion])];
    const { status = 200, headers = {}, parts: said } = answerTo(request, Buffer.concat(parts));
    response.writeHead(status, { ...headers });
    for (const part of said) response.write(part as string);
    response.end();
  };
}

const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const authority = new Authority("the test's servers", 3_600_000);
writeFileSync(join(outside, "trust.pem"), authority.certificate);
process.env["SSL_CERT_FILE"] = join(outside, "trust.pem");
const options = {
  allowHTTP1: true,
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, authority.contextFor(name)),
};
const servers = [
  createSecureServer(
    options,
    serve(
      "s3",
      signedBy("s3", "eu-west-1/s3", (...asked) => s3.answer(...asked)),
    ),
  ).listen(443, addresses.api),
  createSecureServer(options, serve("bedrock", signedBy("bedrock", "eu-west-1/bedrock", bedrock))).listen(
    8443,
    addresses.api,
  ),
  createSecureServer(options, serve("models", models)).listen(443, addresses.other),
];
closers.push(await listening(servers));

try {
  copyFileSync(join(import.meta.dirname, "sdk-client.mjs"), join(workdir, "client.mjs"));
  const sandbox = await Sandbox.create({ workdir, policy: sound(policyText), audit });
  closers.push(() => sandbox.dispose());
  // Where its imports are looked for.
  await sandbox.exec("ln", ["-s", modules, "node_modules"]);
  const { stdout, stderr } = await sandbox.exec(node, [join(workdir, "client.mjs")], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  copyFileSync(join(import.meta.dirname, "sdk-refused-client.mjs"), join(workdir, "refused.mjs"));
  const asked = await sandbox.exec(node, [join(workdir, "refused.mjs")], { timeout: 60_000, input: openAiKey });
  if (asked.stdout.length === 0) throw new Error(`the refused client failed: ${asked.stderr}`);
  const { results, environment } = JSON.parse(stdout.toString());
  const secrets = [openAiKey, bedrockKey, keys.secretAccessKey, keys.sessionToken ?? ""];
  const found = await searchSandbox(sandbox, secrets, { stdout, stderr, lines, asked });
  const used = [...new Set(lines.flatMap(({ credentials }) => (Array.isArray(credentials) ? credentials : [])))];
  process.stdout.write(
    JSON.stringify({
      results,
      refused: JSON.parse(asked.stdout.toString()),
      environment,
      versions,
      faults,
      found,
      used,
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);

// The scenario of signed.test.ts, run where the servers' addresses are this namespace's own.
import { chmodSync, copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { areChunksSigned, isSigned, type Keys } from "./signatures.ts";
import { addresses, listening } from "./world.ts";

const closers: (() => unknown)[] = [];
const workdir = mkdtempSync(join(tmpdir(), "holdfast-signed-"));
chmodSync(workdir, 0o777);
const outside = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
for (const folder of [workdir, outside]) closers.push(() => rmSync(folder, { recursive: true, force: true }));

const kept: Keys = { accessKeyId: "AKIAREALKEYSID234567", secretAccessKey: "the/real+secret/access+key/0123456789abc" };
const ending: Keys = { ...kept, accessKeyId: "ASIAREALKEYSID234567", sessionToken: "the/real+session//token==" };
const role: Keys = {
  ...{ accessKeyId: "ASIAROLESKEYSID23456", secretAccessKey: "the/roles+secret/access+key/0123456789ab" },
  sessionToken: "the/roles+session//token==",
};
const real = [kept, ending, role];
for (const [name, value] of Object.entries({ ...kept, ending: ending.accessKeyId, token: ending.sessionToken ?? "" }))
  process.env[`HOLDFAST_TEST_${name.toUpperCase()}`] = value;

const node = process.execPath;
const signed = (path: string, service: string, mode: string): string =>
  `      - { host: api.example.test, ports: [443, 8443], path: ${path}, protocol: rest, enforcement: enforce, access: full, credential_signing: "${mode}", signing_service: ${service}${service === "s3" ? ", signing_region: eu-west-1" : ""} }`;
const secret = "secret_access_key: { env: HOLDFAST_TEST_SECRETACCESSKEY }";
const keys = `access_key_id: { env: HOLDFAST_TEST_ACCESSKEYID }, ${secret}`;
const token = "session_token: { env: HOLDFAST_TEST_TOKEN }";
const bound = (path: string): string =>
  `endpoints: [{ host: api.example.test, ports: [443, 8443], path: ${path} }], binaries: [{ path: "${node}" }]`;
const policyText = `${runnable(dirname(node))}network_policies:
  api:
    endpoints:
${signed("/s3/**", "s3", "sigv4")}
${signed("/bedrock/**", "bedrock", "sigv4")}
${signed("/body/**", "s3", "sigv4:body")}
${signed("/nobody/**", "s3", "sigv4:no_body")}
${signed("/role/**", "execute-api", "sigv4")}
${signed("/lost/**", "s3", "sigv4")}
      - { host: api.example.test, port: 443, path: /plain/**, protocol: rest, enforcement: enforce, access: full }
      - { host: other.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }
    binaries: [{ path: "${node}" }, { path: "/usr/bin/python3*" }]
credentials:
  kept: { source: { aws_keys: { ${keys} } }, env: AWS_ACCESS_KEY_ID, endpoints: [${["/s3/**", "/body/**", "/nobody/**"].map((path) => `{ host: api.example.test, ports: [443, 8443], path: ${path} }`).join(", ")}], binaries: [{ path: "${node}" }, { path: "/usr/bin/python3*" }] }
  ending: { source: { aws_keys: { access_key_id: { env: HOLDFAST_TEST_ENDING }, ${secret}, ${token} } }, ${bound("/bedrock/**")} }
  role: { source: { aws_sts_assume_role: { role_arn: "arn:aws:iam::123456789012:role/reader", external_id: x, token_url: "https://other.example.test/sts", access_key_id: { env: HOLDFAST_TEST_ENDING }, ${secret}, ${token} } }, ${bound("/role/**")} }
  lost: { source: { aws_keys: { access_key_id: { env: HOLDFAST_TEST_NOWHERE }, ${secret} } }, ${bound("/lost/**")} }
`;

const awsCli = `
export HOME=$TMPDIR AWS_EC2_METADATA_DISABLED=true AWS_DEFAULT_REGION=eu-west-1 AWS_PAGER=
printf 'what is put' > $TMPDIR/put
aws() { /usr/bin/aws --endpoint-url https://api.example.test "$@"; }
aws s3api put-object --bucket s3 --key "aws/a key+(1)" --body $TMPDIR/put --metadata a=b &&
aws s3api get-object --bucket s3 --key aws/get $TMPDIR/got`;

/** What came to the servers, by path without its query: whether it is signed, and by which keys. */
const came: Record<string, object[]> = {};

async function onApi(
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const { url = "", headers } = request;
  const word = headers["x-amz-content-sha256"];
  const path = url.split("?")[0] ?? "";
  const isStreamed = String(word).startsWith("STREAMING-AWS4");
  const seen = {
    url,
    word,
    version: request.httpVersion,
    ...isSigned(request, body, real),
    ...(isStreamed ? { chunks: areChunksSigned(request, body, kept) } : {}),
  };
  came[path] = [...(came[path] ?? []), { ...seen, size: body.length, length: headers["content-length"] }];
  // Clients of S3 want XML, or nothing.
  response.end(path.startsWith("/s3/aws/") ? "" : "ok");
}

async function onSts(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  came["sts"] = [
    ...(came["sts"] ?? []),
    { ...Object.fromEntries(new URLSearchParams(body.toString())), ...isSigned(request, body, real) },
  ];
  response.end(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>${role.accessKeyId}</AccessKeyId>
<SecretAccessKey>${role.secretAccessKey}</SecretAccessKey><SessionToken>${role.sessionToken}</SessionToken>
<Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`);
}

const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const authority = new Authority("the test's servers", 3_600_000);
const trusted = join(outside, "host-trust.pem");
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const certified = {
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, authority.contextFor(name)),
};
const servers = [
  createServer(certified, (request, response) => void onApi(request, response)).listen(443, addresses.api),
  // What is cut off is answered by nobody.
  createSecureServer(certified, (request, response) => void onApi(request, response).catch(() => {})).listen(
    8443,
    addresses.api,
  ),
  createServer(certified, (request, response) => void onSts(request, response)).listen(443, addresses.other),
];
closers.push(await listening(servers));

try {
  copyFileSync(join(import.meta.dirname, "signed-client.mjs"), join(workdir, "client.mjs"));
  const sandbox = await Sandbox.create({ workdir, policy: sound(policyText), audit });
  closers.push(() => sandbox.dispose());
  const { stdout, stderr, denials } = await sandbox.exec(node, [join(workdir, "client.mjs")], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  // A client as people use it, where there is one: by the bucket "s3" its paths are those above.
  const aws = existsSync("/usr/bin/aws") ? await sandbox.exec("sh", ["-c", awsCli], { timeout: 60_000 }) : null;
  const secrets = real.flatMap(({ secretAccessKey, sessionToken }) => [
    secretAccessKey,
    ...(sessionToken ? [sessionToken] : []),
  ]);
  const said = { stdout, stderr, aws: `${aws?.stdout}${aws?.stderr}`, lines, denials };
  const found = await searchSandbox(sandbox, secrets, said);
  process.stdout.write(
    JSON.stringify({
      ...JSON.parse(stdout.toString()),
      came,
      lines,
      found,
      aws: aws && { status: aws.exitCode, said: `${aws.stderr}` },
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);

// The scenario of issued.test.ts, run where the servers' addresses are this namespace's own.
import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { addresses, listening } from "./world.ts";

const closers: (() => unknown)[] = [];
const workdir = mkdtempSync(join(tmpdir(), "holdfast-issued-"));
chmodSync(workdir, 0o777);
const outside = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
for (const folder of [workdir, outside]) closers.push(() => rmSync(folder, { recursive: true, force: true }));

const keys = {
  google: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  github: generateKeyPairSync("rsa", { modulusLength: 2048 }),
};
const pemOf = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();
const googleFile = join(outside, "account.json");
const account = {
  client_email: "robot@example.test",
  private_key_id: "k1",
  private_key: pemOf(keys.google.privateKey),
};
writeFileSync(googleFile, JSON.stringify(account));
const githubFile = join(outside, "app.pem");
writeFileSync(githubFile, pemOf(keys.github.privateKey));

const secrets = {
  client: "the client's secret: 100% & more",
  refresh: "kept-refresh-token-1//x+y",
  issued: {
    refresh: "ya29.issued-for-a-refresh-token",
    client: "issued-for-a-client/with+odd=characters",
    google: "ya29.issued-for-a-service-account",
    github: "ghs_issuedForAnInstallation0123456789abcd",
  },
} as const;
process.env["HOLDFAST_TEST_CLIENT"] = secrets.client;
process.env["HOLDFAST_TEST_REFRESH"] = secrets.refresh;

const node = process.execPath;
const issuer = "https://other.example.test";
const bound = (path: string): string =>
  `inject: { as: bearer }, endpoints: [{ host: api.example.test, path: ${path} }], binaries: [{ path: "${node}" }]`;
const client = "client_id: me, client_secret: { env: HOLDFAST_TEST_CLIENT }";
const policyText = `${runnable(dirname(node))}network_policies:
  api:
    endpoints: [{ host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: "${node}" }]
credentials:
  refresh:
    source: { oauth2_refresh_token: { token_url: "${issuer}/refresh", ${client}, refresh_token: { env: HOLDFAST_TEST_REFRESH } } }
    ${bound("/refresh").replaceAll(", e", "\n    e").replaceAll(", b", "\n    b")}
  client: { source: { oauth2_client_credentials: { token_url: "${issuer}/client", ${client}, client_auth: basic, scopes: [a, b], audience: x } }, ${bound("/client")} }
  google: { source: { google_service_account_jwt: { token_url: "${issuer}/google", key: { file: ${googleFile} }, scopes: [cloud] } }, ${bound("/google")} }
  github: { source: { github_app: { api_url: "${issuer}/api/", app_id: "42", installation_id: 7, private_key: { file: ${githubFile} }, repositories: [one], permissions: { contents: read } } }, env: GITHUB_TOKEN, endpoints: [{ host: api.example.test, path: /github }], binaries: [{ path: "${node}" }] }
  refused: { source: { oauth2_client_credentials: { token_url: "${issuer}/refused", ${client} } }, ${bound("/refused")} }
  endless: { source: { oauth2_client_credentials: { token_url: "${issuer}/endless", ${client} } }, ${bound("/endless")} }
  strange: { source: { oauth2_client_credentials: { token_url: "https://api.example.test:8443/", ${client} } }, ${bound("/strange")} }
  link: { source: { oauth2_client_credentials: { token_url: "https://metadata.example.test/", ${client} } }, ${bound("/link")} }
`;

/** What issuers were asked, by path: what a statement says is checked and written out. */
const asked: Record<string, unknown[]> = {};
/** What came to the server, by path. */
const came: Record<string, unknown[]> = {};

function statement(jwt: string, key: KeyObject): object {
  const [header = "", claims = "", signature = ""] = jwt.split(".");
  const own = createPublicKey(key.export({ type: "spki", format: "pem" }));
  const isSigned = verify("RSA-SHA256", Buffer.from(`${header}.${claims}`), own, Buffer.from(signature, "base64url"));
  const { iat, exp, ...said } = JSON.parse(Buffer.from(claims, "base64url").toString());
  return { isSigned, lives: exp - iat, ...said };
}

async function onIssuer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = "";
  for await (const part of request) body += part;
  const { url = "", headers } = request;
  const form = Object.fromEntries(new URLSearchParams(body));
  const say = (status: number, said: object): void => {
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(said));
  };
  const note = (what: unknown): void => {
    asked[url] = [...(asked[url] ?? []), what];
  };
  const common = { token_type: "Bearer", expires_in: 3600 };
  if (url === "/refresh") {
    note(form);
    say(200, { access_token: secrets.issued.refresh, ...common });
  } else if (url === "/client") {
    note({ ...form, login: Buffer.from((headers.authorization ?? "").slice(6), "base64").toString() });
    say(200, { access_token: secrets.issued.client, ...common });
  } else if (url === "/google") {
    note({ grant: form["grant_type"], ...statement(form["assertion"] ?? "", keys.google.publicKey) });
    say(200, { access_token: secrets.issued.google, ...common });
  } else if (url === "/api/app/installations/7/access_tokens") {
    const jwt = (headers.authorization ?? "").replace("Bearer ", "");
    note({ ...JSON.parse(body), accept: headers.accept, ...statement(jwt, keys.github.publicKey) });
    say(201, { token: secrets.issued.github, expires_at: new Date(Date.now() + 3_600_000).toISOString() });
  } else if (url === "/refused") say(401, { error: "invalid_client", error_description: body });
  else if (url === "/endless") {
    response.on("error", () => {});
    const more = (): void => {
      while (!response.destroyed && response.write("x".repeat(16_384)));
    };
    response.on("drain", more);
    more();
  }
}

const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const authority = new Authority("the test's servers", 3_600_000);
const trusted = join(outside, "host-trust.pem");
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const certifiedBy = (own: Authority): object => ({
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, own.contextFor(name)),
});
const stranger = new Authority("nobody's", 3_600_000);
const servers = [
  createServer(certifiedBy(authority), ({ url = "", headers }, response) => {
    came[url] = [...(came[url] ?? []), headers.authorization];
    response.end(headers.authorization);
  }).listen(443, addresses.api),
  createServer(certifiedBy(authority), (request, response) => void onIssuer(request, response)).listen(
    443,
    addresses.other,
  ),
  createServer(certifiedBy(stranger), (_, response) => response.end("{}")).listen(8443, addresses.api),
];
closers.push(await listening(servers));

try {
  copyFileSync(join(import.meta.dirname, "issued-client.mjs"), join(workdir, "client.mjs"));
  const sandbox = await Sandbox.create({ workdir, policy: sound(policyText), audit });
  closers.push(() => sandbox.dispose());
  const { stdout, stderr, denials } = await sandbox.exec(node, [join(workdir, "client.mjs")], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  const all = [secrets.client, secrets.refresh, ...Object.values(secrets.issued)];
  const found = await searchSandbox(sandbox, all, { stdout, stderr, lines, denials });
  process.stdout.write(JSON.stringify({ ...JSON.parse(stdout.toString()), asked, came, lines, secrets, found }));
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);

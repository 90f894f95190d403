import { createHash } from "node:crypto";
import type { SecretSource } from "../policy/credentials.ts";
import type { AssumeRoleSource, GithubAppSource, GoogleSource, TokenSource } from "../policy/token-source.ts";
import { awsKeysIn, awsSecretsIn, credentialsIn, joinAwsKeys, readAwsKeys } from "./aws-keys.ts";
import { membersOf } from "./json-text.ts";
import { signedJwt } from "./jwt.ts";
import { keyLinesIn } from "./key-lines.ts";
import { encodeBase64, percentEncoded } from "./secret-text.ts";
import { signRequest, timeOf } from "./sigv4.ts";
import { checkDocument, checkSecret, locked, longestSecret, readSource, SecretError } from "./sources.ts";

/** A request to an issuer; its secrets are wiped when it has been sent. */
export interface TokenRequest {
  /** The credential that it is for. */
  readonly name: string;
  readonly url: string;
  readonly contentType: string;
  /** A field that proves who asks. */
  readonly proof?: { readonly name: string; readonly value: Buffer };
  /** Lines. */
  readonly fields?: readonly string[];
  readonly body: Buffer;
}

export interface TokenAnswer {
  readonly status: number;
  /** Wiped by whoever asked. */
  readonly body: Buffer;
}

/** How an issuer is asked. Throws a SecretError. */
export type TokenFetch = (request: TokenRequest) => Promise<TokenAnswer>;

/**
 * Takes over what was read of what is kept, and wipes it at its time.
 *
 * @param parts what of it is secret by itself: views of it
 */
export type Keep = (source: SecretSource | TokenSource, whole: Buffer, parts: readonly Buffer[]) => void;

export interface Token {
  /** In locked memory; the caller wipes it. */
  readonly bytes: Buffer;
  /** When it is to be asked for anew. */
  readonly freshMs: number;
  /** When it ends. */
  readonly goodMs: number;
  /** What is to be shown the next time instead of what is kept (RFC 6749 section 6), in locked memory. */
  readonly rotated?: Buffer;
}

/** RFC 6749 section 5.1: an issuer that does not say how long has said it elsewhere. */
const usualLifetimeMs = 300_000;
/** How far clocks may be apart. */
const skewSeconds = 60;
const jwtSeconds = 540;
const form = "application/x-www-form-urlencoded";

/**
 * Asks an issuer for a token.
 *
 * @param rotated what it gave instead of the kept refresh token
 * @throws SecretError
 */
export async function issueToken(
  name: string,
  source: TokenSource,
  fetch: TokenFetch,
  keep: Keep,
  rotated: Buffer | null,
): Promise<Token> {
  const wiped: Buffer[] = [];
  /** For this request alone. */
  const own = (bytes: Buffer): Buffer => {
    wiped.push(bytes);
    return bytes;
  };
  try {
    const request = await requestFor(source, rotated, keep, own);
    own(request.body);
    if (request.proof !== undefined) own(request.proof.value);
    const { status, body } = await fetch({ name, url: source.url, ...request });
    own(body);
    if (source.kind === "aws_sts_assume_role") return roleKeys(source, status, body, own);
    const members = membersOf(body);
    for (const member of members?.values() ?? []) own(member);
    if (status !== 200 && status !== 201) throw new SecretError(refusal(source, status, members?.get("error")));
    if (members === undefined) throw new SecretError(`${hostOf(source)} answers with no object of JSON`);
    return tokenIn(source, members);
  } finally {
    for (const bytes of wiped) bytes.fill(0);
  }
}

type Request = Omit<TokenRequest, "name" | "url">;
type Own = (bytes: Buffer) => Buffer;

async function requestFor(source: TokenSource, rotated: Buffer | null, keep: Keep, own: Own): Promise<Request> {
  switch (source.kind) {
    case "oauth2_refresh_token":
    case "oauth2_client_credentials": {
      const isRefresh = source.kind === "oauth2_refresh_token";
      const fields: [string, string | Buffer][] = [["grant_type", isRefresh ? "refresh_token" : "client_credentials"]];
      if (isRefresh) fields.push(["refresh_token", rotated ?? (await kept(source.refreshToken, keep))]);
      else if (source.audience !== undefined) fields.push(["audience", source.audience]);
      if (source.scopes.length > 0) fields.push(["scope", source.scopes.join(" ")]);
      const secret = source.clientSecret === undefined ? undefined : await kept(source.clientSecret, keep);
      if (secret !== undefined && source.clientAuth === "basic") {
        const login = own(
          Buffer.concat([Buffer.from(`${encodeURIComponent(source.clientId)}:`), own(percentEncoded(secret))]),
        );
        const authorization = Buffer.concat([Buffer.from("Basic "), own(encodeBase64(login))]);
        return { contentType: form, proof: { name: "Authorization", value: authorization }, body: formOf(fields, own) };
      }
      fields.push(["client_id", source.clientId]);
      if (secret !== undefined) fields.push(["client_secret", secret]);
      return { contentType: form, body: formOf(fields, own) };
    }
    case "google_service_account_jwt": {
      const assertion = own(googleAssertion(source, await keptKey(source.key, keep), own));
      const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
      return {
        contentType: form,
        body: formOf(
          [
            ["grant_type", grant],
            ["assertion", assertion],
          ],
          own,
        ),
      };
    }
    case "github_app":
      return await githubRequest(source, keep, own);
    case "aws_sts_assume_role":
      return await assumeRoleRequest(source, keep, own);
  }
}

function googleAssertion({ url, scopes, subject }: GoogleSource, file: Buffer, own: Own): Buffer {
  const members = membersOf(file);
  for (const member of members?.values() ?? []) own(member);
  const [key, email] = [members?.get("private_key"), members?.get("client_email")?.toString()];
  if (key === undefined || email === undefined)
    throw new SecretError(
      "the service account's key file has no private_key and client_email: is it JSON of Google's?",
    );
  const kid = members?.get("private_key_id")?.toString();
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: email, scope: scopes.join(" "), aud: url, iat: now, exp: now + 3600 };
  return signedJwt(kid === undefined ? {} : { kid }, subject === undefined ? claims : { ...claims, sub: subject }, key);
}

async function githubRequest(
  { appId, privateKey, repositories, permissions }: GithubAppSource,
  keep: Keep,
  own: Own,
): Promise<Request> {
  const now = Math.floor(Date.now() / 1000);
  const key = await keptKey(privateKey, keep);
  const jwt = own(signedJwt({}, { iss: appId, iat: now - skewSeconds, exp: now + jwtSeconds }, key));
  const asked = {
    ...(repositories.length === 0 ? {} : { repositories }),
    ...(Object.keys(permissions).length === 0 ? {} : { permissions }),
  };
  return {
    contentType: "application/json",
    proof: { name: "Authorization", value: Buffer.concat([Buffer.from("Bearer "), jwt]) },
    fields: ["Accept: application/vnd.github+json", "X-GitHub-Api-Version: 2022-11-28"],
    body: Buffer.from(JSON.stringify(asked)),
  };
}

/** Signed as any request to AWS. */
async function assumeRoleRequest(source: AssumeRoleSource, keep: Keep, own: Own): Promise<Request> {
  const { url, region, roleArn, sessionName, externalId, durationSeconds } = source;
  const fields: [string, string][] = [
    ["Action", "AssumeRole"],
    ["Version", "2011-06-15"],
    ["RoleArn", roleArn],
    ["RoleSessionName", sessionName],
    ["DurationSeconds", String(durationSeconds)],
  ];
  if (externalId !== undefined) fields.push(["ExternalId", externalId]);
  const body = formOf(fields, own);
  const joined = await readAwsKeys(source);
  keep(source, joined, awsSecretsIn(joined));
  const keys = awsKeysIn(joined);
  const { host, pathname } = new URL(url);
  const time = timeOf();
  const { authorization } = signRequest(
    keys,
    { region, service: "sts", time },
    {
      ...{ method: "POST", path: pathname, query: "", payload: createHash("sha256").update(body).digest("hex") },
      fields: [
        ["content-type", form],
        ["host", host],
        ["x-amz-date", time],
        ...(keys.token === null ? [] : [["x-amz-security-token", keys.token] as const]),
      ],
    },
  );
  return {
    ...{ contentType: form, body, fields: [`X-Amz-Date: ${time}`, `Authorization: ${authorization}`] },
    ...(keys.token === null ? {} : { proof: { name: "X-Amz-Security-Token", value: Buffer.from(keys.token) } }),
  };
}

function roleKeys(source: AssumeRoleSource, status: number, body: Buffer, own: Own): Token {
  const code = status === 200 ? null : (/<Code>([A-Za-z]{1,64})<\/Code>/.exec(body.toString("latin1"))?.[1] ?? "");
  if (code !== null) throw new SecretError(refusal(source, status, Buffer.from(code)));
  const found = credentialsIn(body);
  for (const part of found?.parts ?? []) own(part);
  if (found === undefined) throw new SecretError(`${hostOf(source)} answers without keys`);
  return aged(source, joinAwsKeys(found.parts), Date.parse(found.expiration) - Date.now() || 0);
}

async function kept(source: SecretSource, keep: Keep): Promise<Buffer> {
  const bytes = await readKept(source, checkSecret);
  keep(source, bytes, [bytes]);
  return bytes;
}

/** PEM, or JSON that holds it. */
async function keptKey(source: SecretSource, keep: Keep): Promise<Buffer> {
  const bytes = await readKept(source, checkDocument);
  keep(source, bytes, keyLinesIn(bytes));
  return bytes;
}

async function readKept(source: SecretSource, check: typeof checkSecret): Promise<Buffer> {
  const found = await readSource(source, undefined, check);
  if (found === undefined) throw new SecretError("the kept secret cannot be read");
  return found.bytes;
}

function formOf(fields: readonly (readonly [string, string | Buffer])[], own: Own): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value], index) => [
      Buffer.from(`${index === 0 ? "" : "&"}${name}=`),
      typeof value === "string" ? Buffer.from(encodeURIComponent(value)) : own(percentEncoded(value)),
    ]),
  );
}

function tokenIn(source: TokenSource, members: ReadonlyMap<string, Buffer>): Token {
  const what = `the token of ${hostOf(source)}`;
  const kind = members.get("token_type")?.toString().toLowerCase() ?? "bearer";
  // What it is then would have to be proved with every request.
  if (kind !== "bearer") throw new SecretError(`${what} is no bearer token`);
  const found = members.get(source.kind === "github_app" ? "token" : "access_token");
  if (found === undefined) throw new SecretError(`${hostOf(source)} answers without a token`);
  const rotated = source.kind === "oauth2_refresh_token" ? members.get("refresh_token") : undefined;
  return {
    ...aged(source, inLocked(found, what), lifetimeOf(members)),
    ...(rotated === undefined ? {} : { rotated: inLocked(rotated, `the refresh token of ${hostOf(source)}`) }),
  };
}

function aged(source: TokenSource, bytes: Buffer, lifetimeMs: number): Token {
  const goodMs = Math.min(lifetimeMs, source.mostMs ?? Number.POSITIVE_INFINITY);
  if (goodMs > 0) return { bytes, goodMs, freshMs: Math.max(goodMs - source.refreshBeforeMs, goodMs / 2) };
  bytes.fill(0);
  throw new SecretError(`the token of ${hostOf(source)} has ended already: is this host's clock right?`);
}

function lifetimeOf(members: ReadonlyMap<string, Buffer>): number {
  const until = members.get("expires_at")?.toString();
  if (until !== undefined) return Date.parse(until) - Date.now() || 0;
  const seconds = Number(members.get("expires_in")?.toString() ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds * 1000 : usualLifetimeMs;
}

function inLocked(found: Buffer, what: string): Buffer {
  if (found.length > longestSecret) throw new SecretError(`${what} is longer than ${longestSecret} bytes`);
  const bytes = locked(found.length + 2);
  found.copy(bytes);
  return checkSecret(bytes, found.length, what);
}

/** RFC 6749 section 5.2; other words may be anything, what was sent too. */
const known: ReadonlySet<string> = new Set([
  "invalid_request",
  "invalid_client",
  "invalid_grant",
  "unauthorized_client",
  "unsupported_grant_type",
  "invalid_scope",
  // STS.
  "AccessDenied",
  "ExpiredToken",
  "InvalidClientTokenId",
  "SignatureDoesNotMatch",
  "MalformedPolicyDocument",
  "ValidationError",
]);

function refusal(source: TokenSource, status: number, error: Buffer | undefined): string {
  const word = error?.toString("latin1", 0, 64) ?? "";
  return `${hostOf(source)} gives no token: it answers ${status}${known.has(word) ? `, ${word}` : ""}`;
}

function hostOf({ url }: TokenSource): string {
  return new URL(url).host;
}

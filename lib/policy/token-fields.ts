import { quote } from "./problem.ts";
import { dictionary, integer, list, mapped, type Reader, type Section, section, text, word } from "./reader.ts";
import { duration, keptIn, secretSource, sourceFields, sourceKinds } from "./source-fields.ts";
import type { AwsKeysFrom, AwsKeysSource, CredentialSource, TokenSource } from "./token-source.ts";

const defaultRefreshBeforeMs = 300_000;
const hour = 3_600_000;
const day = 24 * hour;

/** Whom a token is asked of. Secrets are on their way there: never in clear text. */
const issuer: Reader<string> = mapped(
  text,
  (written, at, what, { problems }) => {
    const parsed = URL.canParse(written) ? new URL(written) : undefined;
    if (parsed !== undefined && (parsed.username !== "" || parsed.password !== "" || parsed.search !== "")) {
      // Not quoted: it holds what nobody should read in a log.
      problems.error(at, `${what} holds credentials or a query`, "secrets are named by their sources");
      return undefined;
    }
    if (parsed?.protocol !== "https:" || parsed.hash !== "") {
      problems.error(at, `${what} must be an https URL, not ${quote(written)}`);
      return undefined;
    }
    return parsed.href;
  },
  { type: "string", pattern: "^https://" },
);

/** What stands in a request as it is. */
const plain: Reader<string> = mapped(text, (written, at, what, { problems }) => {
  if (/^[\x20-\x7e]{1,512}$/.test(written)) return written;
  problems.error(at, `${what} must be printable ASCII, and not empty`);
  return undefined;
});

/** GitHub's ids are numbers, and its clients' are not. */
const identifier: Reader<string> = mapped(text, (written, at, what, { problems }) => {
  if (/^[A-Za-z0-9._-]{1,64}$/.test(written)) return written;
  problems.error(at, `${what} is no app's id: ${quote(written)}`, "in quotes, where it is a number");
  return undefined;
});

const scopes = list(plain, { most: 64 });
const client_auth = word(["body", "basic"]);
const permissions = dictionary(word(["read", "write", "admin"]));
const every = { refresh_before: duration(0, day), max_lifetime: duration(1000, day) };

function frozen(words: readonly string[] = []): readonly string[] {
  return Object.freeze([...words]);
}

function lives({ values }: Section<typeof every>): { readonly refreshBeforeMs: number; readonly mostMs?: number } {
  return {
    refreshBeforeMs: values.refresh_before ?? defaultRefreshBeforeMs,
    ...(values.max_lifetime === undefined ? {} : { mostMs: values.max_lifetime }),
  };
}

const refreshToken = mapped(
  section(
    {
      token_url: issuer,
      client_id: plain,
      client_secret: secretSource,
      refresh_token: secretSource,
      scopes,
      client_auth,
      ...every,
    },
    { required: ["token_url", "client_id", "refresh_token"] },
  ),
  (found): TokenSource | undefined => {
    const { token_url, client_id, client_secret, refresh_token } = found.values;
    if (token_url === undefined || client_id === undefined || refresh_token === undefined) return undefined;
    return Object.freeze({
      ...{ kind: "oauth2_refresh_token", url: token_url, clientId: client_id, refreshToken: refresh_token },
      ...(client_secret === undefined ? {} : { clientSecret: client_secret }),
      ...{ scopes: frozen(found.values.scopes), clientAuth: found.values.client_auth ?? "body", ...lives(found) },
    });
  },
);

const clientCredentials = mapped(
  section(
    {
      token_url: issuer,
      client_id: plain,
      client_secret: secretSource,
      audience: plain,
      scopes,
      client_auth,
      ...every,
    },
    { required: ["token_url", "client_id", "client_secret"] },
  ),
  (found): TokenSource | undefined => {
    const { token_url, client_id, client_secret, audience } = found.values;
    if (token_url === undefined || client_id === undefined || client_secret === undefined) return undefined;
    return Object.freeze({
      ...{ kind: "oauth2_client_credentials", url: token_url, clientId: client_id, clientSecret: client_secret },
      ...(audience === undefined ? {} : { audience }),
      ...{ scopes: frozen(found.values.scopes), clientAuth: found.values.client_auth ?? "body", ...lives(found) },
    });
  },
);

const google = mapped(
  section({ key: secretSource, scopes, subject: plain, token_url: issuer, ...every }, { required: ["key", "scopes"] }),
  (found): TokenSource | undefined => {
    const { key, subject, token_url } = found.values;
    if (key === undefined || found.values.scopes === undefined) return undefined;
    return Object.freeze({
      ...{ kind: "google_service_account_jwt", url: token_url ?? "https://oauth2.googleapis.com/token", key },
      ...(subject === undefined ? {} : { subject }),
      ...{ scopes: frozen(found.values.scopes), ...lives(found) },
    });
  },
);

const githubApp = mapped(
  section(
    {
      ...{ app_id: identifier, installation_id: integer(1, Number.MAX_SAFE_INTEGER), private_key: secretSource },
      ...{ api_url: issuer, repositories: list(plain, { most: 500 }), permissions, ...every },
    },
    { required: ["app_id", "installation_id", "private_key"] },
  ),
  (found): TokenSource | undefined => {
    const { app_id, installation_id, private_key, api_url, repositories } = found.values;
    if (app_id === undefined || installation_id === undefined || private_key === undefined) return undefined;
    const base = (api_url ?? "https://api.github.com/").replace(/\/$/, "");
    return Object.freeze({
      ...{ kind: "github_app", url: `${base}/app/installations/${installation_id}/access_tokens`, appId: app_id },
      ...{ privateKey: private_key, repositories: frozen(repositories), ...lives(found) },
      permissions: Object.freeze(
        Object.fromEntries([...(found.values.permissions ?? [])].map(([name, { value }]) => [name, value])),
      ),
    });
  },
);

const keysFields = { access_key_id: secretSource, secret_access_key: secretSource, session_token: secretSource };

function keysFrom({ values }: Section<typeof keysFields>): AwsKeysFrom | undefined {
  const { access_key_id, secret_access_key, session_token } = values;
  if (access_key_id === undefined || secret_access_key === undefined) return undefined;
  const own = { accessKeyId: access_key_id, secretAccessKey: secret_access_key };
  return session_token === undefined ? own : { ...own, sessionToken: session_token };
}

const keysRequired = ["access_key_id", "secret_access_key"];

const awsKeys = mapped(section(keysFields, { required: keysRequired }), (found): AwsKeysSource | undefined => {
  const from = keysFrom(found);
  return from && Object.freeze({ kind: "aws_keys", ...from });
});

export const region: Reader<string> = mapped(text, (written, at, what, { problems }) => {
  if (/^[a-z]{2}(?:-[a-z]+)+-[0-9]+$/.test(written)) return written;
  problems.error(at, `${what} is no region: ${quote(written)}`, "for example eu-central-1");
  return undefined;
});

const roleArn = mapped(text, (written, at, what, { problems }) => {
  if (/^arn:[a-z-]+:iam::[0-9]{12}:role\/[\w+=,.@/-]{1,576}$/.test(written)) return written;
  problems.error(
    at,
    `${what} is no role's ARN: ${quote(written)}`,
    "for example arn:aws:iam::123456789012:role/reader",
  );
  return undefined;
});

const sessionName = mapped(text, (written, at, what, { problems }) => {
  if (/^[\w+=,.@-]{2,64}$/.test(written)) return written;
  problems.error(at, `${what} is no session's name: ${quote(written)}`, "2 to 64 letters, digits and =,.@-");
  return undefined;
});

const assumeRole = mapped(
  section(
    {
      ...{ role_arn: roleArn, session_name: sessionName, external_id: plain, region, token_url: issuer },
      ...{ duration: duration(900_000, day), ...keysFields, ...every },
    },
    { required: ["role_arn", ...keysRequired] },
  ),
  (found): TokenSource | undefined => {
    const { role_arn, session_name, external_id, region: written, token_url } = found.values;
    const from = keysFrom(found);
    if (role_arn === undefined || from === undefined) return undefined;
    const own = written ?? "us-east-1";
    return Object.freeze({
      ...{ kind: "aws_sts_assume_role", url: token_url ?? `https://sts.${own}.amazonaws.com/`, ...from },
      ...{ roleArn: role_arn, sessionName: session_name ?? "holdfast", region: own },
      ...(external_id === undefined ? {} : { externalId: external_id }),
      ...{ durationSeconds: Math.floor((found.values.duration ?? hour) / 1000), ...lives(found) },
    });
  },
);

/** By the words of OpenShell's profiles (openshell.md 1.12), GitHub's apps and AWS's keys. */
const tokenFields = {
  oauth2_refresh_token: refreshToken,
  oauth2_client_credentials: clientCredentials,
  google_service_account_jwt: google,
  github_app: githubApp,
  aws_keys: awsKeys,
  aws_sts_assume_role: assumeRole,
};

const tokenKinds = Object.keys(tokenFields) as readonly (keyof typeof tokenFields)[];

/** Where a secret is kept, or whom a token is asked of. */
export const credentialSource: Reader<CredentialSource> = mapped(
  section({ ...sourceFields, ...tokenFields }),
  (found, at, what, context) => {
    const [token, another] = tokenKinds.filter((kind) => found.has(kind));
    if (token === undefined) return keptIn(found, at, what, context);
    const other = another ?? sourceKinds.find((kind) => found.has(kind));
    if (other !== undefined)
      context.problems.error(found.place(other), `${what} names ${token} and ${other}`, "a credential has one source");
    return found.values[token];
  },
);

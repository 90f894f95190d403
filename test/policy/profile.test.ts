import test from "ava";
import { parse } from "yaml";
import { parsePolicy } from "../../lib/policy/load.ts";
import { policyOfProfile } from "../../lib/policy/profile.ts";

const endpoints =
  "endpoints: [{ host: api.example.com, port: 443, protocol: rest, access: full, enforcement: enforce }]";
const binaries = "binaries: [/usr/bin/curl]";

function made(
  credentials: string,
  given: Readonly<Record<string, string>> = {},
  own = endpoints,
): ReturnType<typeof policyOfProfile> {
  const text = `id: mine\ndisplay_name: Mine\ncategory: data\ncredentials:\n  - ${credentials}\n${own}\n${binaries}\n`;
  return policyOfProfile(Buffer.from(text), "profile.yaml", new Map(Object.entries(given)));
}

/** The credentials of the policy that comes of it, which is sound. */
function credentials(...asked: Parameters<typeof made>): unknown {
  const { text, problems } = made(...asked);
  if (text === null) throw new Error(JSON.stringify(problems));
  if (parsePolicy(text).policy === null) throw new Error(text);
  return parse(text).credentials;
}

const errors = (...asked: Parameters<typeof made>): readonly string[] => {
  const { text, problems } = made(...asked);
  if (text !== null) throw new Error(text);
  return problems.map(
    ({ line, column, message, hint }) => `${line}:${column}: ${message}${hint === undefined ? "" : ` (${hint})`}`,
  );
};

const common = { network_policy: "mine" };

test("A profile becomes an entry of network_policies, and a credential for each of its variables", (t) => {
  const { text } = made("{ name: token, env_vars: [TOKEN, ALIAS], required: true, auth_style: bearer }");
  t.like(parse(text ?? ""), {
    holdfast: 1,
    network_policies: {
      mine: { endpoints: [{ host: "api.example.com", port: 443 }], binaries: [{ path: "/usr/bin/curl" }] },
    },
    credentials: {
      token: { source: { env: "TOKEN" }, env: "TOKEN", ...common },
      "token-2": { source: { env: "TOKEN" }, env: "ALIAS", ...common },
    },
  });
});

test("A credential without a variable is put in where its profile says", (t) => {
  const inject = (style: string): unknown => (credentials(`{ name: key, ${style} }`) as { key: object }).key;
  const source = { env: "KEY" };
  t.deepEqual(inject("auth_style: basic"), { source, ...common, inject: { as: "basic" } });
  t.deepEqual(inject("auth_style: header, header_name: X-Api-Key"), {
    source,
    ...common,
    inject: { as: "header", name: "X-Api-Key" },
  });
  t.deepEqual(inject("auth_style: query, query_param: key"), {
    source,
    ...common,
    inject: { as: "query", name: "key" },
  });
  t.deepEqual(inject('auth_style: path, path_template: "/bot{}/"'), {
    source,
    ...common,
    inject: { as: "path", template: "/bot{}/" },
  });
});

test("Each strategy becomes a source, with what its profile leaves open", (t) => {
  const of = (refresh: string, given: Readonly<Record<string, string>>): unknown =>
    (credentials(`{ name: t, env_vars: [T], refresh: { ${refresh} } }`, given) as { t: { source: object } }).t.source;
  const url = "token_url: https://a.example/t, scopes: [x], refresh_before_seconds: 60, max_lifetime_seconds: 600";
  const life = { token_url: "https://a.example/t", scopes: ["x"], refresh_before: "60s", max_lifetime: "600s" };
  t.deepEqual(of("strategy: static", {}), { env: "T" });
  t.deepEqual(of("strategy: external", { T: "file:/run/t" }), { file: "/run/t" });
  t.deepEqual(of(`strategy: oauth2_refresh_token, ${url}`, { client_id: "me", refresh_token: "systemd:r" }), {
    oauth2_refresh_token: { ...life, client_id: "me", refresh_token: { systemd: "r" } },
  });
  t.deepEqual(of(`strategy: oauth2_client_credentials, ${url}, material: [{ name: client_id }]`, { client_id: "me" }), {
    oauth2_client_credentials: { ...life, client_id: "me", client_secret: { env: "CLIENT_SECRET" } },
  });
  t.deepEqual(of(`strategy: google_service_account_jwt, ${url}`, { key: "file:/run/k", subject: "her@example.com" }), {
    google_service_account_jwt: { ...life, key: { file: "/run/k" }, subject: "her@example.com" },
  });
});

const signedEndpoints = endpoints.replace("access", "credential_signing: sigv4, signing_service: s3, access");
const siblings =
  "\n  - { name: secret_access_key, env_vars: [AWS_SECRET_ACCESS_KEY] }\n  - { name: session_token, env_vars: [AWS_SESSION_TOKEN] }";

test("The keys of AWS's that a profile names one by one are one source, kept or of a role", (t) => {
  const kept = credentials(
    `{ name: access_key_id, env_vars: [AWS_ACCESS_KEY_ID] }${siblings}`,
    { access_key_id: "file:/run/id" },
    signedEndpoints,
  );
  t.deepEqual(kept, {
    access_key_id: {
      source: { aws_keys: { access_key_id: { file: "/run/id" }, secret_access_key: { env: "SECRET_ACCESS_KEY" } } },
      ...common,
      env: "AWS_ACCESS_KEY_ID",
    },
  });
  const outputs =
    "additional_outputs: [{ output: secret_access_key, credential: secret_access_key }, { output: session_token, credential: session_token }]";
  const arn = "arn:aws:iam::123456789012:role/reader";
  const role = credentials(
    `{ name: access_key_id, env_vars: [AWS_ACCESS_KEY_ID], refresh: { strategy: aws_sts_assume_role, ${outputs} } }${siblings}`,
    { role_arn: arn, aws_region: "eu-west-1", aws_session_token: "env:T" },
    signedEndpoints,
  );
  const keys = { access_key_id: { env: "AWS_ACCESS_KEY_ID" }, secret_access_key: { env: "AWS_SECRET_ACCESS_KEY" } };
  t.deepEqual(role, {
    access_key_id: {
      source: { aws_sts_assume_role: { role_arn: arn, region: "eu-west-1", ...keys, session_token: { env: "T" } } },
      ...common,
      env: "AWS_ACCESS_KEY_ID",
    },
  });
});

test("What is wrong with a profile, or left open by it, is said at its place", (t) => {
  t.deepEqual(errors("{ nam: x }"), ['5:7: unknown key "nam" in credentials[0] (did you mean "name"?)']);
  t.deepEqual(errors("{ name: x, refresh: { strategy: oauth2_client_credential } }"), [
    '5:37: credentials[0].refresh.strategy must be static, external, oauth2_refresh_token, oauth2_client_credentials, google_service_account_jwt or aws_sts_assume_role, not "oauth2_client_credential" (did you mean "oauth2_client_credentials"?)',
  ]);
  t.deepEqual(errors("{ name: x, refresh: { strategy: oauth2_client_credentials, token_url: https://a.example/t } }"), [
    "5:5: the profile leaves client_id open (--set client_id=VALUE)",
  ]);
  t.deepEqual(errors("{ name: x, token_grant: {} }"), [
    "5:16: x: grants by SPIFFE are not there (name another source)",
  ]);
  t.deepEqual(errors("{ name: x }", { x: "sesame" }), [
    "1:1: x is a secret: say where it is kept (--set x=file:/PATH)",
  ]);
  t.deepEqual(errors("{ name: x }", { y: "z" }), ['1:1: the profile asks for no "y"']);
});

test("Of a profile without endpoints the credentials alone are printed, and how they are bound", (t) => {
  const { text, problems } = made("{ name: key, env_vars: [KEY] }", {}, "");
  t.deepEqual(parse(text ?? ""), { holdfast: 1, credentials: { key: { source: { env: "KEY" }, env: "KEY" } } });
  t.deepEqual(
    problems.map(({ severity, message, hint }) => [severity, message, hint]),
    [
      [
        "warning",
        "the profile has no endpoints: what is printed is bound to none",
        "take it into a policy whose endpoint has credential_binding: {provider: key}",
      ],
    ],
  );
});

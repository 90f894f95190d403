import { type Node, readDocument, writeDocument } from "./document.ts";
import { parsePolicy } from "./load.ts";
import type { PolicyProblem } from "./policy.ts";
import { Problems, quote } from "./problem.ts";
import { flag, integer, list, type Read, type Reader, section, text, word } from "./reader.ts";

/** What is passed on, or passed over. */
const anything: Reader<Node> = { schema: {}, read: (node) => node };

const strategies = [
  "static",
  "external",
  "oauth2_refresh_token",
  "oauth2_client_credentials",
  "google_service_account_jwt",
  "aws_sts_assume_role",
] as const;

const refreshShape = section(
  {
    ...{ strategy: word(strategies), token_url: text, scopes: list(text), material: list(anything) },
    ...{ refresh_before_seconds: integer(0, 86_400), max_lifetime_seconds: integer(1, 86_400) },
    additional_outputs: list(section({ output: text, credential: text }, { required: ["output", "credential"] })),
  },
  { required: ["strategy"] },
);

const credentialShape = section(
  {
    ...{ name: text, description: text, env_vars: list(text), required: flag, refresh: refreshShape },
    auth_style: word(["basic", "bearer", "header", "query", "path"], { omitted: true }),
    ...{ header_name: text, query_param: text, path_template: text, token_grant: anything },
  },
  { required: ["name"] },
);

/** A provider profile of OpenShell's (openshell.md 1.12). */
const profileShape = section(
  {
    ...{ id: text, resource_version: anything, annotations: anything, display_name: text, description: text },
    ...{ category: text, inference_capable: flag, discovery: anything, credentials: list(credentialShape) },
    ...{ endpoints: list(anything), binaries: list(text) },
  },
  { required: ["id"] },
);

type ProfileCredential = Read<typeof credentialShape>;
type Refresh = Read<typeof refreshShape>["values"];

export interface ProfilePolicy {
  /** A policy of holdfast's own, of the profile's network and credentials; null where there are errors. */
  readonly text: string | null;
  readonly problems: readonly PolicyProblem[];
}

/**
 * Makes a policy of a provider profile. Pure.
 *
 * @param given what the profile leaves to whoever uses it: of a secret where it is kept (`env:NAME`, `file:/PATH`,
 *   `systemd:NAME`), of anything else its value
 */
export function policyOfProfile(content: Uint8Array, file: string, given: ReadonlyMap<string, string>): ProfilePolicy {
  const problems = new Problems(file);
  const root = readDocument(content, problems);
  const found = root && profileShape.read(root, "", { dialect: "holdfast", problems });
  if (found === undefined || problems.failed) return { text: null, problems: problems.list() };
  const { id = "", credentials = [], endpoints = [], binaries = [] } = found.values;
  const material = new Material(given, problems);
  const made: Record<string, unknown> = {};
  const outputs = credentials.flatMap(({ values }) => values.refresh?.values.additional_outputs ?? []);
  const isSigned = endpoints.some(
    (node) => node.kind === "map" && node.entries.some(({ key }) => key === "credential_signing"),
  );
  for (const credential of credentials) {
    const { name = "", env_vars: variables = [], token_grant } = credential.values;
    if (token_grant !== undefined)
      problems.error(credential.place("token_grant"), `${name}: grants by SPIFFE are not there`, "name another source");
    const isKeys = isSigned && credential.values.refresh === undefined;
    // What another one brings along.
    if (outputs.some((output) => output.values.credential === name)) continue;
    if (isKeys && (name === "secret_access_key" || name === "session_token")) continue;
    const source = isKeys && name === "access_key_id" ? material.keys("") : sourceOf(credential, material);
    const common = endpoints.length === 0 ? { source } : { source, network_policy: id };
    if (variables.length === 0) made[name] = { ...common, inject: injectionOf(credential) };
    for (const [index, env] of variables.entries())
      made[index === 0 ? name : `${name}-${index + 1}`] = { ...common, env };
  }
  material.refuseUnused(found.at);
  if (problems.failed) return { text: null, problems: problems.list() };
  if (endpoints.length === 0) {
    const [first = ""] = Object.keys(made);
    problems.warning(
      found.at,
      "the profile has no endpoints: what is printed is bound to none",
      `take it into a policy whose endpoint has credential_binding: {provider: ${first}}`,
    );
    return { text: writeDocument({ holdfast: 1, credentials: made }), problems: problems.list() };
  }
  const policy = {
    holdfast: 1,
    network_policies: { [id]: { endpoints: endpoints.map(plain), binaries: binaries.map((path) => ({ path })) } },
    ...(Object.keys(made).length === 0 ? {} : { credentials: made }),
  };
  const written = writeDocument(policy);
  const parsed = parsePolicy(written, `the policy of ${file}`);
  return { text: parsed.policy === null ? null : written, problems: [...problems.list(), ...parsed.problems] };
}

/** What is said beside the profile. */
class Material {
  readonly #given: ReadonlyMap<string, string>;
  readonly #used = new Set<string>();
  readonly #problems: Problems;

  constructor(given: ReadonlyMap<string, string>, problems: Problems) {
    this.#given = given;
    this.#problems = problems;
  }

  value(name: string): string | undefined {
    this.#used.add(name);
    return this.#given.get(name);
  }

  needed(name: string, at: ProfileCredential["at"]): string {
    const value = this.value(name);
    if (value === undefined) this.#problems.error(at, `the profile leaves ${name} open`, `--set ${name}=VALUE`);
    return value ?? "";
  }

  /** Where a secret is kept: by itself, in the variable of its name. */
  source(name: string): object {
    const written = this.value(name) ?? `env:${name.toUpperCase().replace(/\W/g, "_")}`;
    const [, kind, place] = /^(env|file|systemd):(.+)$/.exec(written) ?? [];
    if (kind !== undefined) return { [kind]: place };
    // Not quoted: it may be the secret itself.
    this.#problems.error(
      { line: 1, column: 1 },
      `${name} is a secret: say where it is kept`,
      `--set ${name}=file:/PATH`,
    );
    return {};
  }

  keys(prefix: string): object {
    const names = ["access_key_id", "secret_access_key"];
    const own = Object.fromEntries(names.map((name) => [name, this.source(`${prefix}${name}`)]));
    const token = this.#given.has(`${prefix}session_token`);
    const all = token ? { ...own, session_token: this.source(`${prefix}session_token`) } : own;
    return prefix === "" ? { aws_keys: all } : all;
  }

  refuseUnused(at: ProfileCredential["at"]): void {
    for (const name of this.#given.keys())
      if (!this.#used.has(name)) this.#problems.error(at, `the profile asks for no ${quote(name)}`);
  }
}

function sourceOf(credential: ProfileCredential, material: Material): object {
  const { name = "", env_vars: variables = [], refresh } = credential.values;
  const { strategy = "static", ...rest } = refresh?.values ?? {};
  const life = lifeOf(rest);
  const { token_url, scopes } = rest;
  const where = { ...(token_url === undefined ? {} : { token_url }), ...(scopes === undefined ? {} : { scopes }) };
  const need = (field: string): string => material.needed(field, credential.at);
  const optional = (field: string, from = field): object => {
    const value = material.value(from);
    return value === undefined ? {} : { [field]: value };
  };
  switch (strategy) {
    case "static":
    case "external":
      return material.source(variables[0] ?? name);
    case "oauth2_refresh_token": {
      const [client_id, refresh_token] = [need("client_id"), material.source("refresh_token")];
      const secret =
        material.value("client_secret") === undefined ? {} : { client_secret: material.source("client_secret") };
      return { [strategy]: { ...where, client_id, refresh_token, ...secret, ...life } };
    }
    case "oauth2_client_credentials":
      return {
        [strategy]: {
          ...where,
          client_id: need("client_id"),
          client_secret: material.source("client_secret"),
          ...life,
        },
      };
    case "google_service_account_jwt":
      // The key file has client_email and private_key, which profiles name one by one.
      return { [strategy]: { ...where, key: material.source("key"), ...optional("subject"), ...life } };
    case "aws_sts_assume_role": {
      const own = { role_arn: need("role_arn"), ...optional("session_name"), ...optional("external_id") };
      return { [strategy]: { ...own, ...optional("region", "aws_region"), ...material.keys("aws_"), ...life } };
    }
  }
}

function lifeOf({ refresh_before_seconds: before, max_lifetime_seconds: most }: Omit<Refresh, "strategy">): object {
  return {
    ...(before === undefined ? {} : { refresh_before: `${before}s` }),
    ...(most === undefined ? {} : { max_lifetime: `${most}s` }),
  };
}

function injectionOf({ values }: ProfileCredential): object {
  const { auth_style: as = "bearer", header_name, query_param, path_template } = values;
  if (as === "header") return { as, name: header_name ?? "" };
  if (as === "query") return { as, name: query_param ?? "" };
  return as === "path" ? { as, template: path_template ?? "" } : { as };
}

function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "list") return node.items.map(plain);
  return Object.fromEntries(node.entries.map(({ key, value }) => [key, plain(value)]));
}

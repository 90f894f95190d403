import {
  boundBy,
  type Credential,
  type CredentialEndpoint,
  type CredentialInjection,
  placeholderFormats,
} from "./credentials.ts";
import { neverPassed } from "./environment.ts";
import { hostFault } from "./host-pattern.ts";
import { binary } from "./network-fields.ts";
import { quote } from "./problem.ts";
import {
  type Context,
  dictionary,
  integer,
  list,
  mapped,
  type Placed,
  type Reader,
  type Section,
  section,
  text,
  word,
} from "./reader.ts";
import { variable } from "./source-fields.ts";
import { credentialSource } from "./token-fields.ts";
import { isAws } from "./token-source.ts";

const endpointShape = section(
  {
    host: text,
    port: integer(1, 65_535),
    ports: list(integer(1, 65_535)),
    path: text,
    scheme: word(["https", "http"]),
  },
  { required: ["host"] },
);

const endpoint: Reader<CredentialEndpoint> = mapped(endpointShape, (found, _at, what, { problems }) => {
  const { values } = found;
  const host = (values.host ?? "").toLowerCase();
  const path = values.path ?? "";
  const fault = host === "" ? "is empty" : hostFault(host);
  if (fault !== undefined && !found.isBroken("host"))
    problems.error(found.valuePlace("host"), `${what}.host: ${fault}`, "a host, or a pattern such as *.example.com");
  if (path !== "" && path !== "**" && !path.startsWith("/"))
    problems.error(found.valuePlace("path"), `${what}.path must start with "/" or be "**", not ${quote(path)}`);
  if (found.has("port") && found.has("ports"))
    problems.error(found.place("port"), `${what} has port and ports`, "write ports alone");
  const scheme = values.scheme ?? "https";
  const usual = scheme === "http" ? 80 : 443;
  const ports = values.ports ?? [values.port ?? usual];
  return Object.freeze({ host, ports: Object.freeze([...ports]), path, scheme });
});

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Fields that say how a message is framed or for whom it is. */
const notInjected = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];

const injectShape = section(
  {
    as: word(["bearer", "basic", "header", "query", "path"]),
    username: text,
    name: text,
    prefix: text,
    template: text,
  },
  { required: ["as"] },
);

const injectFields: Readonly<
  Record<CredentialInjection["as"], readonly ("username" | "name" | "prefix" | "template")[]>
> = {
  bearer: [],
  basic: ["username"],
  header: ["name", "prefix"],
  query: ["name"],
  path: ["template"],
};

const inject: Reader<CredentialInjection> = mapped(injectShape, (found, at, what, { problems }) => {
  const { as: kind, username, name = "", prefix = "", template = "" } = found.values;
  if (kind === undefined) return undefined;
  const own = injectFields[kind];
  for (const field of ["username", "name", "prefix", "template"] as const) {
    if (found.has(field) && !own.includes(field))
      problems.error(
        found.place(field),
        `${what}: ${kind} has no ${field}`,
        own.length === 0 ? undefined : `it has ${own.join(", ")}`,
      );
  }
  const missing = own.find((field) => (field === "name" || field === "template") && !found.has(field));
  if (missing !== undefined) problems.error(at, `${what}.${missing} is missing: ${kind} needs it`);
  const refuse = (field: "username" | "name" | "prefix" | "template", why: string, hint?: string): void =>
    problems.error(found.valuePlace(field), `${what}.${field} ${why}`, hint);
  switch (kind) {
    case "bearer":
      return Object.freeze({ as: kind });
    case "basic":
      if (username !== undefined && !/^[\x20-\x39\x3b-\x7e]*$/.test(username))
        refuse("username", "holds a colon or no ASCII");
      return Object.freeze({ as: kind, ...(username === undefined ? {} : { username }) });
    case "header":
      if (found.has("name") && (!token.test(name) || notInjected.includes(name.toLowerCase())))
        refuse("name", `is no field that can be set: ${quote(name)}`, "for example X-Api-Key");
      if (!/^(?:[\x21-\x7e][\x20-\x7e]*)?$/.test(prefix)) refuse("prefix", "holds what no header can");
      return Object.freeze({ as: kind, name: name.toLowerCase(), prefix });
    case "query":
      if (found.has("name") && !/^[A-Za-z0-9._~-]+$/.test(name))
        refuse("name", `is no parameter's name: ${quote(name)}`);
      return Object.freeze({ as: kind, name });
    case "path":
      if (found.has("template") && !/^\/[^{}?#%\s]*\{\}(?:\/[^{}?#%\s]*)?$/.test(template))
        refuse(
          "template",
          `must be a path with one {} that ends its segment: ${quote(template)}`,
          "for example /bot{}/",
        );
      return Object.freeze({ as: kind, template });
  }
});

const credentialFields = {
  source: credentialSource,
  env: variable,
  format: word(placeholderFormats),
  network_policy: text,
  endpoints: list(endpoint, { most: 64 }),
  binaries: list(binary),
  inject,
};

const credentialShape = section(credentialFields, { required: ["source"] });
const shapes = dictionary(credentialShape);

const mostCredentials = 64;

export const credentialsSection: Reader<Readonly<Record<string, Credential>>> = mapped(
  shapes,
  (found, at, what, context) => {
    const { problems } = context;
    if (found.size > mostCredentials)
      problems.error(at, `${what} has ${found.size} entries; ${mostCredentials} are the most`);
    const made: Record<string, Credential> = {};
    const variables = new Map<string, string>();
    for (const [name, entry] of found) {
      if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name)) {
        problems.error(entry.at, `${what}: not a credential's name: ${quote(name)}`, "letters, digits, _ . and -");
        continue;
      }
      const credential = build(entry, `${what}.${name}`, context);
      if (credential === undefined) continue;
      const other = credential.env === undefined ? undefined : variables.get(credential.env);
      if (other !== undefined)
        problems.error(
          entry.value.valuePlace("env"),
          `${what}.${name}.env is ${credential.env}, as that of ${other} is`,
        );
      if (credential.env !== undefined) variables.set(credential.env, name);
      Object.defineProperty(made, name, { value: credential, enumerable: true });
    }
    return Object.freeze(made);
  },
);

function build(
  { value: found, at }: Placed<Section<typeof credentialFields>>,
  what: string,
  { problems }: Context,
): Credential | undefined {
  const { values } = found;
  if (values.source === undefined) return undefined;
  const signs = isAws(values.source);
  if (signs && found.has("inject"))
    problems.error(found.place("inject"), `${what}: keys of AWS's sign requests, and are put into none`);
  if (signs && found.has("format"))
    problems.error(found.place("format"), `${what}.format is always that of AWS's keys`);
  if (signs && values.env !== undefined && !values.env.endsWith("ACCESS_KEY_ID"))
    problems.error(
      found.valuePlace("env"),
      `${what}.env must end with ACCESS_KEY_ID`,
      "the secret's is named after it",
    );
  if (!signs && !found.has("env") && !found.has("inject"))
    problems.error(at, `${what} is used by nobody`, "give it env, the variable of its placeholder, or inject");
  if (values.env !== undefined && neverPassed.includes(values.env))
    problems.error(
      found.valuePlace("env"),
      `${what}.env: ${values.env} is the worker's own and never enters a sandbox`,
    );
  if (found.has("format") && !found.has("env"))
    problems.error(found.place("format"), `${what}.format is for a placeholder, and there is no env`);
  if (found.has("network_policy")) {
    for (const key of ["endpoints", "binaries"] as const)
      if (found.has(key))
        problems.error(found.place(key), `${what} has network_policy and ${key}`, "an entry brings its own");
  } else if ((values.endpoints ?? []).length === 0) {
    // Then endpoints have to bind it (checkCredentials).
    if (found.has("endpoints") && !found.isBroken("endpoints"))
      problems.error(at, `${what} is bound to nothing`, boundBy);
    if (found.has("binaries") && !found.isBroken("endpoints"))
      problems.error(found.place("binaries"), `${what} has binaries without endpoints`, boundBy);
  } else if (!found.has("binaries"))
    problems.error(at, `${what}.binaries is missing`, 'the programs that may use it; "/**" is every one');
  return Object.freeze({
    line: at.line,
    column: at.column,
    source: values.source,
    ...(values.env === undefined ? {} : { env: values.env }),
    ...(values.format === undefined ? {} : { format: values.format }),
    ...(values.network_policy === undefined ? {} : { networkPolicy: values.network_policy }),
    endpoints: Object.freeze([...(values.endpoints ?? [])]),
    binaries: Object.freeze([...(values.binaries ?? [])]),
    ...(values.inject === undefined ? {} : { inject: values.inject }),
  });
}

import { regionIn } from "./aws-region.ts";
import { sourceFault } from "./credentials.ts";
import {
  type Inference,
  type InferenceBudget,
  type InferenceRoute,
  inferenceFamilies,
  inferenceHost,
} from "./inference.ts";
import type { Policy } from "./policy.ts";
import { quote } from "./problem.ts";
import { type Context, dictionary, integer, mapped, type Reader, section, text, word } from "./reader.ts";
import { duration } from "./source-fields.ts";
import { credentialSource, region } from "./token-fields.ts";
import { isAws, keptBy } from "./token-source.ts";

const defaultTimeoutMs = 60_000;
const mostRoutes = 16;
const most = 1_000_000_000;

const amount: Reader<number> = {
  schema: { type: "number", exclusiveMinimum: 0, maximum: most },
  read(node, what, { problems }) {
    if (node.kind === "scalar" && typeof node.value === "number" && node.value > 0 && node.value <= most)
      return node.value;
    problems.error(node.at, `${what} must be a number above 0`);
    return undefined;
  },
};

const free: Reader<number> = {
  schema: { type: "number", minimum: 0, maximum: most },
  read: (node, what, context) => (node.kind === "scalar" && node.value === 0 ? 0 : amount.read(node, what, context)),
};

const url = mapped(
  text,
  (written, at, what, { problems }) => {
    const parsed = URL.canParse(written) ? new URL(written) : undefined;
    if (parsed !== undefined && (parsed.username !== "" || parsed.password !== "")) {
      // Not quoted: it holds what nobody should read in a log.
      problems.error(at, `${what} holds credentials`, "say where they are kept with key");
      return undefined;
    }
    const isPlain = parsed !== undefined && parsed.hostname !== "" && parsed.search === "" && parsed.hash === "";
    if (!isPlain || !["http:", "https:"].includes(parsed.protocol)) {
      problems.error(at, `${what} is no server's address: ${quote(written)}`, "for example https://api.anthropic.com");
      return undefined;
    }
    if (parsed.hostname === inferenceHost) {
      problems.error(at, `${what}: ${inferenceHost} is the name inside, and leads nowhere`);
      return undefined;
    }
    // Clients write /v1 themselves, and many write it here too.
    return parsed.href.replace(/\/+$/, "").replace(/\/v1$/, "");
  },
  { type: "string", pattern: "^https?://" },
);

const model = mapped(text, (written, at, what, { problems }) => {
  if (/^[\x21-\x7e]{1,256}$/.test(written)) return written;
  problems.error(at, `${what} is no model's name: ${quote(written)}`);
  return undefined;
});

const priceShape = section({ input: free, output: free }, { required: ["input", "output"] });

const routeShape = section(
  {
    family: word(inferenceFamilies),
    url,
    key: credentialSource,
    region,
    model,
    timeout: duration(1000, 3_600_000),
    price: priceShape,
  },
  { required: ["family", "url"] },
);

const budgetShape = section({ requests: integer(1, most), tokens: integer(1, most), cost: amount });

const shape = section({ routes: dictionary(routeShape), budget: budgetShape }, { required: ["routes"] });

export const inferenceSection: Reader<Inference> = mapped(shape, (found, at, what, { problems }) => {
  const { routes = new Map(), budget } = found.values;
  if (found.has("routes") && !found.isBroken("routes") && routes.size === 0)
    problems.error(at, `${what}.routes names no route`);
  if (routes.size > mostRoutes)
    problems.error(at, `${what}.routes has ${routes.size} entries; ${mostRoutes} are the most`);
  const made: InferenceRoute[] = [];
  for (const [name, { value, at: place }] of routes) {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name)) {
      problems.error(place, `${what}.routes: not a route's name: ${quote(name)}`, "letters, digits, _ . and -");
      continue;
    }
    const { family, url: base, key, region: said, model: own, timeout, price } = value.values;
    if (family === undefined || base === undefined) continue;
    const isSigned = isAws(key);
    const signedFor = isSigned ? (said ?? regionIn(new URL(base).hostname)) : undefined;
    const which = `${what}.routes.${name}`;
    if (isSigned && family !== "bedrock")
      problems.error(value.place("key"), `${which}.key is of AWS's, by which requests to Bedrock alone are signed`);
    if (isSigned && signedFor === undefined)
      problems.error(place, `${which}: its host names no region of AWS's`, "for example region: eu-central-1");
    if (!isSigned && said !== undefined && !value.isBroken("key"))
      problems.error(value.place("region"), `${which}.region is for a key of AWS's`);
    made.push(
      Object.freeze({
        ...{ line: place.line, column: place.column, name, family, url: base, timeoutMs: timeout ?? defaultTimeoutMs },
        ...(key === undefined ? {} : { key }),
        ...(signedFor === undefined ? {} : { region: signedFor }),
        ...(own === undefined ? {} : { model: own }),
        ...(price?.values.input === undefined || price.values.output === undefined
          ? {}
          : { price: Object.freeze({ input: price.values.input, output: price.values.output }) }),
      }),
    );
  }
  if (budget?.values.cost !== undefined && made.some(({ price }) => price === undefined))
    problems.error(
      budget.valuePlace("cost"),
      `${what}.budget.cost cannot be held: ${made.find(({ price }) => price === undefined)?.name} has no price`,
      "give each route price: {input, output}, of a million tokens; a server of your own may cost 0",
    );
  return Object.freeze({
    routes: Object.freeze(made),
    budget: Object.freeze({ ...(budget?.values as InferenceBudget) }),
  });
});

/** No key of a route may be where the sandbox reads it. */
export function checkInference(policy: Policy, { problems }: Context): void {
  for (const route of policy.inference?.routes ?? []) {
    for (const kept of route.key === undefined ? [] : keptBy(route.key)) {
      const fault = sourceFault(kept, policy);
      const what = `inference.routes.${route.name}.key`;
      if (fault !== undefined) problems.error(route, `${what}: ${fault.message}`, fault.hint);
    }
  }
}

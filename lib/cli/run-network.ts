import { anyProgram, type NetworkPolicy } from "../policy/network.ts";
import type { RunOptions } from "./run-options.ts";
import { usageError } from "./usage.ts";

const httpsPort = 443;

/** `HOST[:PORT]`; an IPv6 address stands in brackets. */
function destination(word: string): { readonly host: string; readonly port: number } {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[^:/[\]\s]+)(?::(\d{1,5}))?(\/.*)?$/.exec(word);
  const [, host = "", port, path] = match ?? [];
  if (match === null || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) {
    throw usageError(
      `--allow ${word}: not HOST or HOST:PORT`,
      "For example --allow api.github.com or --allow db.example.com:5432.",
    );
  }
  if (path !== undefined) {
    throw usageError(
      `--allow ${word}: requests are not inspected in this version, so a path cannot be granted`,
      `Write --allow ${word.slice(0, -path.length)} to permit whatever is said on the connection.`,
    );
  }
  return { host: host.replace(/^\[|\]$/g, "").toLowerCase(), port: Number(port ?? httpsPort) };
}

/** What `--allow` and `--allow-binary` grant, through the reader that policy files go through. */
export async function allowedNetwork(options: RunOptions): Promise<Readonly<Record<string, NetworkPolicy>>> {
  if (options.allow.length === 0) {
    if (options.allowBinary.length === 0) return {};
    throw usageError(
      "--allow-binary grants nothing by itself",
      "Say with --allow HOST[:PORT] where it may connect to.",
    );
  }
  for (const path of options.allowBinary) {
    if (!path.startsWith("/"))
      throw usageError(`--allow-binary ${path}: not an absolute path`, "For example --allow-binary /usr/bin/curl.");
  }
  const { parsePolicy } = await import("../policy/load.ts");
  const binaries = (options.allowBinary.length > 0 ? options.allowBinary : [anyProgram]).map((path) => ({ path }));
  const entries = options.allow.map(
    (word) => [`--allow ${word}`, { endpoints: [destination(word)], binaries }] as const,
  );
  const file = { holdfast: 1, version: 1, network_policies: Object.fromEntries(entries) };
  const { policy, problems } = parsePolicy(Buffer.from(JSON.stringify(file)), "--allow");
  const [first] = problems.filter(({ severity }) => severity === "error");
  if (policy === null || first !== undefined) {
    throw usageError(
      `--allow: ${first?.message ?? "not understood"}`,
      first?.hint ?? "For example --allow api.github.com.",
    );
  }
  return policy.networkPolicies;
}

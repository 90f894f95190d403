import { isPassed } from "../policy/environment.ts";
import type { UpstreamProxySettings } from "../policy/policy.ts";
import { quote } from "../policy/problem.ts";
import { usageError } from "./usage.ts";

/**
 * `--upstream-proxy`, through the reader that policy files go through.
 *
 * @param word a URL, or `env`: what the launcher's own HTTPS_PROXY or ALL_PROXY and NO_PROXY say
 * @param passed names of variables that the sandbox is given, as a policy has them
 * @param warn is told what of the environment means nothing
 */
export async function upstreamProxy(
  word: string,
  passed: readonly string[],
  warn: (message: string) => void,
): Promise<UpstreamProxySettings> {
  const { parsePolicy } = await import("../policy/load.ts");
  const settings = word === "env" ? await fromEnvironment(process.env, warn) : { url: word };
  const file = { holdfast: 1, version: 1, upstream_proxy: settings };
  const { policy, problems } = parsePolicy(Buffer.from(JSON.stringify(file)), "--upstream-proxy");
  const [first] = problems.filter(({ severity }) => severity === "error");
  if (policy?.upstreamProxy === undefined) {
    throw usageError(
      `--upstream-proxy: ${first?.message ?? "not understood"}`,
      first?.hint ?? "For example --upstream-proxy http://proxy.example.com:3128.",
    );
  }
  const { credentials } = policy.upstreamProxy;
  if (credentials !== undefined && "env" in credentials && isPassed(passed, credentials.env)) {
    throw usageError(
      `--upstream-proxy env: ${credentials.env} holds credentials, and the policy passes it into the sandbox`,
      "Take it out of environment.pass: nothing in the sandbox needs to know of a proxy.",
    );
  }
  return policy.upstreamProxy;
}

/** The credentials stay where they are: the variable is named, not read. */
async function fromEnvironment(env: NodeJS.ProcessEnv, warn: (message: string) => void): Promise<object> {
  const name = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].find((each) => (env[each] ?? "") !== "");
  if (name === undefined) {
    throw usageError(
      "--upstream-proxy env: neither HTTPS_PROXY nor ALL_PROXY is set",
      "Set one, or write --upstream-proxy URL.",
    );
  }
  const text = env[name] ?? "";
  const written = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(written) ? new URL(written) : undefined;
  const hasCredentials = url !== undefined && (url.username !== "" || url.password !== "");
  if (url !== undefined) {
    url.username = "";
    url.password = "";
  }
  const { readDirect } = await import("../policy/upstream.ts");
  const entries = (env["NO_PROXY"] ?? env["no_proxy"] ?? "").split(/[\s,]+/).filter((entry) => entry !== "");
  const direct = entries.filter((entry) => readDirect(entry) !== undefined);
  const vain = entries.filter((entry) => !direct.includes(entry));
  if (vain.length > 0)
    warn(`NO_PROXY has ${vain.map(quote).join(", ")}, which no host matches: it is left out, as by other programs`);
  return {
    // socks5h is curl's word for names that the proxy resolves.
    url: url?.href.replace(/^socks5h:/, "socks5:") ?? "",
    ...(url?.protocol === "socks5h:" ? { resolve: "proxy" } : {}),
    ...(hasCredentials ? { credentials: { env: name } } : {}),
    no_proxy: direct,
  };
}

import { suggest } from "../policy/spelling.ts";
import { type Published, publishedPort } from "./run-publish.ts";
import { usageError } from "./usage.ts";

/** What `holdfast run` was asked for. */
export interface RunOptions {
  policy: string | undefined;
  preset: string | undefined;
  workdir: string | undefined;
  name: string | undefined;
  mode: string | undefined;
  read: string[];
  write: string[];
  allow: string[];
  allowBinary: string[];
  net: string | undefined;
  netDraft: string | undefined;
  publish: Published[];
  upstreamProxy: string | undefined;
  env: string[];
  timeout: string | undefined;
  limits: string[];
  overlay: boolean;
  apply: boolean;
  yes: boolean;
  diff: string | undefined;
  receipt: string | undefined;
  receiptKey: string | undefined;
  json: boolean;
  proxyEnv: boolean;
  quiet: boolean;
  statusFd: number | undefined;
  traceDenials: boolean;
  help: boolean;
  command: string[];
}

const valued = [
  "policy",
  "preset",
  "workdir",
  "name",
  "mode",
  "read",
  "write",
  "allow",
  "allow-binary",
  "net",
  "net-draft",
  "publish",
  "upstream-proxy",
  "env",
  "timeout",
  "limit",
  "diff",
  "receipt",
  "receipt-key",
  "status-fd",
] as const;
const flags = ["overlay", "proxy-env", "apply", "yes", "json", "quiet", "trace-denials", "help"] as const;

export const runUsage = `Usage: holdfast run [options] -- CMD ARG…

Runs a command behind kernel walls: it sees the system's folders, the working folder, a home and a /tmp of its own,
and no network but what is allowed. Without --policy the preset "default" applies.

  --policy FILE         a policy file (see: holdfast policy check, holdfast policy explain)
  --preset NAME         default, read-only, build or agent
  --workdir DIR         the folder that is writable inside (default: the current one)
  --name NAME           what the sandbox is called, for holdfast extract and kill-network (made up when absent)
  --mode MODE           namespaces, or landlock where a host refuses those (by itself when absent)
  --read PATH           also readable; may be repeated
  --write PATH          also writable; may be repeated
  --allow HOST[:PORT][/PATH]
                        connections to it (port 443 where none is given), with a path requests for that alone, as in
                        api.github.com/repos/**; may be repeated
  --allow-binary PATH   with --allow: by this program alone; may be repeated
  --net MODE            off: none whatever the policy says; policy (the default): what is granted; log: everything, and
                        at the end a policy that grants it
  --net-draft FILE      with --net log: where that policy is written; standard error when absent
  --proxy-env           also offer a proxy, by HTTP_PROXY and its like, to programs that insist on one
  --upstream-proxy URL  out through http://, https:// or socks5://HOST:PORT; env: as HTTPS_PROXY and NO_PROXY say
  --publish [HP:]PORT   a server's port inside, reached at port HP of the host's loopback; may be repeated
  --env NAME[=VALUE]    pass a variable on, or set it; may be repeated
  --timeout D           end it after 500ms, 30s, 5m, …: exit 124
  --limit NAME=VALUE    processes, memory, cpu-time, wall-time, open-files, file-size, tmp-size, output
  --overlay             keep writes in a private layer and show at the end what would change
  --apply               with --overlay: carry the changes over when the command succeeded; at a terminal one by one
  --yes                 with --apply: all of them, unasked
  --diff FILE           with --overlay: write the changes as a patch
  --receipt FILE        a signed statement of what ran, was refused and left, and that the sandbox is gone
  --receipt-key FILE    what it is signed with (holdfast receipt keygen)
  --trace-denials       name refused files as well (every open is looked at: slower)
  --status-fd N         the truth as JSON lines on descriptor N
  --json                what holdfast says is JSON
  --quiet               of a command that ran holdfast says nothing; the exit status remains

Exit status: the command's own; 128+N when a signal N ended it; 127 and 126 when it was not found or not executable;
124 on the time limit, 137 on another limit; 125 when holdfast itself refused or failed.`;

/** Nothing asked for yet. */
export function noRunOptions(): RunOptions {
  return {
    policy: undefined,
    preset: undefined,
    workdir: undefined,
    name: undefined,
    mode: undefined,
    read: [],
    write: [],
    allow: [],
    allowBinary: [],
    net: undefined,
    netDraft: undefined,
    publish: [],
    upstreamProxy: undefined,
    env: [],
    timeout: undefined,
    limits: [],
    overlay: false,
    apply: false,
    yes: false,
    diff: undefined,
    receipt: undefined,
    receiptKey: undefined,
    json: false,
    proxyEnv: false,
    quiet: false,
    statusFd: undefined,
    traceDenials: false,
    help: false,
    command: [],
  };
}

/**
 * Reads the arguments after `run`. Everything after `--`, or from the first word that is no option, is the command's.
 *
 * @param options what was understood before a mistake is in them: how to tell of it
 */
export function parseRunOptions(args: readonly string[], options: RunOptions): void {
  let at = 0;
  for (; at < args.length; at++) {
    const word = args[at] ?? "";
    if (word === "--") {
      at++;
      break;
    }
    if (word === "-h") {
      options.help = true;
      continue;
    }
    if (!word.startsWith("--")) {
      if (word.startsWith("-") && word !== "-")
        throw usageError(`unknown option ${word}`, "Options are written in full: holdfast run --help lists them.");
      break;
    }
    const equals = word.indexOf("=");
    const name = word.slice(2, equals < 0 ? undefined : equals);
    if (flags.some((flag) => flag === name)) {
      if (equals >= 0) throw usageError(`--${name} takes no value`, `Write --${name} alone.`);
      setFlag(options, name);
      continue;
    }
    if (!valued.some((option) => option === name)) {
      const near = suggest(name, [...valued, ...flags]);
      throw usageError(
        `unknown option --${name}`,
        near === undefined
          ? "holdfast run --help lists them."
          : `Did you mean --${near.replace(/^did you mean "?|"?\??$/g, "")}?`,
      );
    }
    const value = equals >= 0 ? word.slice(equals + 1) : args[++at];
    if (value === undefined) throw usageError(`--${name} needs a value`, `Write --${name} VALUE.`);
    setValue(options, name, value);
  }
  options.command = args.slice(at);
  if (options.policy !== undefined && options.preset !== undefined) {
    throw usageError("--policy and --preset cannot both be given", "A policy file says everything; take one away.");
  }
  if (options.yes && !options.apply) throw usageError("--yes: there is nothing to agree to", "Write --apply --yes.");
  if (options.receiptKey !== undefined && options.receipt === undefined)
    throw usageError("--receipt-key: there is no receipt to sign", "Name its file with --receipt FILE.");
  checkNet(options);
  if ((options.apply || options.diff !== undefined) && !options.overlay) options.overlay = true;
}

/** What is asked of the network must be one thing. */
function checkNet({ net, netDraft, allow, quiet, statusFd }: RunOptions): void {
  if (net !== undefined && !["off", "policy", "log"].includes(net))
    throw usageError(`--net ${net}: there is no such mode`, "Write --net off, --net policy or --net log.");
  if (net === "off" && allow.length > 0)
    throw usageError(`--net off and --allow ${allow[0]} exclude each other`, "Take one of them away.");
  if (netDraft !== undefined && net !== "log")
    throw usageError("--net-draft: there is a draft with --net log alone", "Write --net log --net-draft FILE.");
  if (net === "log" && quiet && netDraft === undefined && statusFd === undefined)
    throw usageError(
      "--net log --quiet: the draft would be said to nobody",
      "Name a file for it with --net-draft FILE.",
    );
}

function setFlag(options: RunOptions, name: string): void {
  if (name === "overlay") options.overlay = true;
  if (name === "apply") options.apply = true;
  if (name === "yes") options.yes = true;
  if (name === "json") options.json = true;
  if (name === "proxy-env") options.proxyEnv = true;
  if (name === "quiet") options.quiet = true;
  if (name === "trace-denials") options.traceDenials = true;
  if (name === "help") options.help = true;
}

function setValue(options: RunOptions, name: string, value: string): void {
  switch (name) {
    case "policy":
      options.policy = value;
      break;
    case "preset":
      options.preset = value;
      break;
    case "workdir":
      options.workdir = value;
      break;
    case "name":
      options.name = value;
      break;
    case "mode":
      options.mode = value;
      break;
    case "read":
      options.read.push(value);
      break;
    case "write":
      options.write.push(value);
      break;
    case "allow":
      options.allow.push(value);
      break;
    case "allow-binary":
      options.allowBinary.push(value);
      break;
    case "upstream-proxy":
      options.upstreamProxy = value;
      break;
    case "net":
      options.net = value;
      break;
    case "net-draft":
      options.netDraft = value;
      break;
    case "publish":
      options.publish.push(publishedPort(value, options.publish));
      break;
    case "env":
      options.env.push(value);
      break;
    case "timeout":
      options.timeout = value;
      break;
    case "limit":
      options.limits.push(value);
      break;
    case "receipt":
      options.receipt = value;
      break;
    case "receipt-key":
      options.receiptKey = value;
      break;
    case "diff":
      options.diff = value;
      break;
    default:
      if (!/^\d+$/.test(value))
        throw usageError(
          `--status-fd takes a descriptor's number, not ${value}`,
          "For example --status-fd 3 3>status.json",
        );
      options.statusFd = Number(value);
  }
}

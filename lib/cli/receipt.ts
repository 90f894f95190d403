import { Command } from "commander";
import { checkReceipt, compareFiles, type Receipt } from "../audit/receipt-check.ts";
import { defaultKeyFile, keyId, makeKey, publicKeyFile, readPublicKey } from "../audit/receipt-key.ts";
import { HoldfastError } from "../errors.ts";
import { readBounded } from "../policy/bounded-file.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { paint, reportError } from "./report.ts";

/** `holdfast receipt`: the signed statements that sandboxes leave. */
export function receiptCommand(): Command {
  const command = new Command("receipt").description("make the key that receipts are signed with, and check receipts");
  command
    .command("keygen")
    .description("make an Ed25519 key, readable by this user alone, and its public half beside it")
    .option("--key <file>", "where it goes; the default is where run and worker look for it", defaultKeyFile())
    .option("--json", "print JSON")
    .action(({ key, json = false }: { key: string; json?: boolean }) => {
      process.exitCode = attempt(json, () => {
        const made = { key, ...makeKey(key) };
        if (json) process.stdout.write(`${JSON.stringify(made)}\n`);
        else process.stdout.write(`key    ${key}\npublic ${made.publicKeyFile}\nkeyid  ${made.keyid}\n`);
        return 0;
      });
    });
  command
    .command("verify")
    .description("check a receipt offline: exit status 1 where it is not what the key signed")
    .argument("<file>", "the receipt")
    .option("--key <file>", "the public key, in PEM; by default this user's own", publicKeyFile(defaultKeyFile()))
    .option("--files <dir>", "also compare the files that left with those in this folder")
    .option("--json", "print JSON")
    .action((file: string, options: VerifyOptions) => {
      process.exitCode = attempt(options.json === true, () => verify(file, options));
    });
  return command;
}

interface VerifyOptions {
  readonly key: string;
  readonly files?: string;
  readonly json?: boolean;
}

function attempt(json: boolean, act: () => number): number {
  try {
    return act();
  } catch (error) {
    return reportError(error, json);
  }
}

const largestReceipt = 256 * 1024 * 1024;

function verify(file: string, { key: keyFile, files, json = false }: VerifyOptions): number {
  const key = readPublicKey(keyFile);
  const receipt = checkReceipt(read(file), key);
  const differences = files === undefined ? [] : compareFiles(receipt, files);
  if (json) {
    const { predicate } = receipt;
    process.stdout.write(`${JSON.stringify({ valid: true, keyid: keyId(key), differences, predicate })}\n`);
  } else {
    process.stdout.write(`${paint("green", "valid")}: signed by ${keyId(key).slice(0, 16)}\n${summary(receipt)}`);
    for (const one of differences) process.stdout.write(`${paint("red", "differs")} ${one}\n`);
  }
  return differences.length === 0 ? 0 : 1;
}

function read(file: string): string {
  let why: string;
  try {
    const bytes = readBounded(file, largestReceipt);
    if (bytes.length <= largestReceipt) return bytes.toString();
    why = `is too large to be one: it has more than ${largestReceipt >> 20} MiB`;
  } catch (error) {
    why = `cannot be read (${(error as NodeJS.ErrnoException).code})`;
  }
  throw new HoldfastError(`the receipt ${file} ${why}`, {
    code: "ERR_HOLDFAST_RECEIPT_FILE",
    step: "audit",
    path: file,
    hint: "Name a file that holdfast run --receipt or holdfast worker --receipts has written.",
  });
}

interface List<T> {
  readonly items: readonly (T & { readonly count: number })[];
  readonly others: number;
}

/** What people look for first; `--json` has all. */
function summary({ predicate }: Receipt): string {
  const told = predicate as unknown as {
    readonly sandbox: string;
    readonly host: { readonly name: string; readonly kernel: string };
    readonly policy: { readonly source: string; readonly sha256: string };
    readonly began: string;
    readonly ended: string;
    readonly calls: List<{ readonly file: string; readonly failed: number }>;
    readonly tools: List<{ readonly tool: string; readonly failed: number }>;
    readonly programs: List<{ readonly path: string; readonly sha256: string | null }>;
    readonly refused: List<{ readonly kind: string; readonly subject: string }>;
    readonly injected: List<{ readonly credential: string; readonly host: string; readonly port: number }>;
    readonly extracted: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
    readonly applied: readonly { readonly path: string; readonly kind: string }[];
    readonly teardown: Readonly<Record<string, boolean>>;
  };
  const lines = [
    `sandbox   ${told.sandbox} on ${told.host.name} (Linux ${told.host.kernel})`,
    `policy    ${shown(told.policy.source)} (${told.policy.sha256})`,
    `time      ${told.began} to ${told.ended}`,
    ...list("program", told.programs, ({ path, sha256 }) => `${shown(path)} ${sha256 ?? "(not read)"}`),
    ...list(
      "call",
      told.calls,
      ({ file, count, failed }) => `${count} × ${shown(file)}${failed > 0 ? `, ${failed} failed` : ""}`,
    ),
    ...list(
      "tool",
      told.tools,
      ({ tool, count, failed }) => `${count} × ${shown(tool)}${failed > 0 ? `, ${failed} failed` : ""}`,
    ),
    ...list("refused", told.refused, ({ kind, subject, count }) => `${count} × ${kind} ${shown(subject)}`),
    ...list(
      "injected",
      told.injected,
      ({ credential, host, port, count }) => `${count} × ${shown(credential)} to ${shown(host)}:${port}`,
    ),
    ...told.extracted.map(({ path, bytes, sha256 }) => `extracted ${shown(path)} (${bytes} bytes, ${sha256})`),
    ...told.applied.map(({ path, kind }) => `applied   ${kind} ${shown(path)}`),
    told.teardown["isGone"] === true
      ? "gone      its processes, folders and socket"
      : `${paint("red", "not seen to be gone")} ${JSON.stringify(told.teardown)}`,
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** Names are the session's to choose: nothing of them reaches a terminal as more than text. */
function shown(name: string): string {
  return displayPath(Buffer.from(name));
}

function list<T>(head: string, { items, others }: List<T>, show: (one: T & { count: number }) => string): string[] {
  const lines = items.map((one) => `${head.padEnd(9)} ${show(one)}`);
  return others > 0 ? [...lines, `${head.padEnd(9)} … and ${others} more`] : lines;
}

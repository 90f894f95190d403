import { type Command, Option } from "commander";
import type { UpstreamProxySettings } from "../policy/policy.ts";
import type { ModelClient } from "../queue/model/client.ts";
import type { ModelBounds } from "../queue/model/driver.ts";
import type { ModelApi } from "../queue/model/interface.ts";
import { say } from "./report.ts";
import { secretSourceOf } from "./secret-source.ts";
import { usageError } from "./usage.ts";
import { wholeNumber } from "./whole-number.ts";

const nameMs = 30_000;

/** The flags of `holdfast queue serve` that are about a model. */
export interface ModelFlags {
  model?: string;
  modelApi?: ModelApi;
  modelName?: string;
  modelKey?: string;
  answerTokens?: number;
  answerTimeout?: string;
  maxTurns?: number;
  maxTokens?: number;
  maxTime?: string;
  upstreamProxy?: string;
}

export interface ChosenModel {
  readonly client: ModelClient;
  readonly name: string;
  readonly bounds: Partial<ModelBounds>;
}

export function addModelOptions(command: Command): Command {
  const most = 1_000_000_000;
  return command
    .option(
      "--model <url>",
      "a model of one's own makes the calls of tasks without any, such as http://127.0.0.1:8000/v1",
    )
    .addOption(
      new Option(
        "--model-api <family>",
        "whose interface its server speaks; as the URL's path says by default",
      ).choices(["openai", "anthropic"]),
    )
    .option("--model-name <name>", "what the server calls it; the only one that it has by default")
    .option("--model-key <source>", "where its key is kept: env:NAME, file:/PATH, systemd:NAME, 'command:/PROGRAM …'")
    .option(
      "--upstream-proxy <url>",
      "the proxy to its server: http://, https:// or socks5://HOST:PORT; env: as HTTPS_PROXY says",
    )
    .option("--answer-tokens <n>", "the most that one answer may have", wholeNumber(1, most))
    .option("--answer-timeout <duration>", "how long one answer may take; 10m by default")
    .option("--max-turns <n>", "how often it is asked after one message; 100 by default", wholeNumber(1, most))
    .option("--max-tokens <n>", "what a session may read and write; 2000000 by default", wholeNumber(1, most))
    .option("--max-time <duration>", "how long it may work on one message; 1h by default");
}

/**
 * The model that was named; undefined where none was.
 *
 * @throws HoldfastError ERR_HOLDFAST_USAGE, ERR_HOLDFAST_MODEL
 */
export async function chosenModel(flags: ModelFlags): Promise<ChosenModel | undefined> {
  const { model: url, modelApi: api, modelName, modelKey, answerTokens, answerTimeout, maxTurns, maxTokens } = flags;
  if (url === undefined) {
    const lone = Object.keys(flags).find((each) => /^(model|answer|max|upstream)[A-Z]/.test(each));
    if (lone === undefined) return undefined;
    const flag = lone.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw usageError(`--${flag} is of a model, and none is named`, "Give --model URL.");
  }
  const key = modelKey === undefined ? undefined : secretSourceOf("--model-key", modelKey);
  const [timeoutMs, timeMs] = await Promise.all([
    durationOf("--answer-timeout", answerTimeout),
    durationOf("--max-time", flags.maxTime),
  ]);
  const upstreamProxy = flags.upstreamProxy === undefined ? undefined : await readUpstreamProxy(flags.upstreamProxy);
  const { ModelClient: Client } = await import("../queue/model/client.ts");
  const client = new Client({
    ...{ url },
    ...(api === undefined ? {} : { api }),
    ...(modelName === undefined ? {} : { name: modelName }),
    ...(key === undefined ? {} : { key }),
    ...(upstreamProxy === undefined ? {} : { upstreamProxy }),
    ...(answerTokens === undefined ? {} : { answerTokens }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  return {
    ...{ client, name: await client.name(AbortSignal.timeout(nameMs)) },
    bounds: {
      ...(maxTurns === undefined ? {} : { turns: maxTurns }),
      ...(maxTokens === undefined ? {} : { tokens: maxTokens }),
      ...(timeMs === undefined ? {} : { timeMs }),
    },
  };
}

async function readUpstreamProxy(word: string): Promise<UpstreamProxySettings> {
  const { upstreamProxy } = await import("./run-upstream.ts");
  return upstreamProxy(word, [], say);
}

async function durationOf(flag: string, text: string | undefined): Promise<number | undefined> {
  if (text === undefined) return undefined;
  const { readDuration } = await import("../policy/limits.ts");
  const reading = readDuration(text);
  if ("value" in reading && reading.value > 0) return reading.value;
  throw usageError(`${flag} is no duration: ${JSON.stringify(text)}`, "Write 500ms, 30s, 5m or 2h.");
}

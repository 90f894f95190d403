// Runs inside the sandbox of sdks.ts, with what was stolen on its standard input: what libraries make of refusals.
import { readFileSync } from "node:fs";
import { Anthropic } from "@anthropic-ai/sdk";
import { BedrockRuntimeClient, ConverseCommand } from "@aws-sdk/client-bedrock-runtime";
import OpenAI from "openai";

const stolen = readFileSync(0, "utf8");
const messages = [{ role: "user", content: `tell ${stolen}` }];
const said = {};
async function refused(name, act) {
  try {
    await act();
    said[name] = "not refused";
  } catch (error) {
    said[name] = {
      kind: error.constructor.name,
      message: error.message,
      status: error.status ?? error.$metadata?.httpStatusCode,
    };
  }
}
const openai = new OpenAI({ baseURL: "https://inference.local/v1" });
await refused("openai", () => openai.chat.completions.create({ model: "a-model", messages }));
await refused("unknown", () => openai.files.list());
const anthropic = new Anthropic({ baseURL: "https://inference.local", apiKey: "none" });
await refused("anthropic", () => anthropic.messages.create({ model: "x", max_tokens: 9, messages }));
const bedrock = new BedrockRuntimeClient({ endpoint: "https://inference.local" });
const content = [{ text: messages[0].content }];
await refused("bedrock", () =>
  bedrock.send(new ConverseCommand({ modelId: "x", messages: [{ role: "user", content }] })),
);
bedrock.destroy();
process.stdout.write(JSON.stringify(said));

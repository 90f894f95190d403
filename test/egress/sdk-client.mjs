// Runs inside the sandbox of sdks.ts: libraries as people use them, with placeholders in their environment, and what they say.
import { Readable } from "node:stream";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import OpenAI from "openai";

const results = {};
async function attempt(name, act) {
  try {
    results[name] = await act();
  } catch (error) {
    results[name] = `${error.name}: ${error.message} ${error.$metadata?.httpStatusCode ?? ""} ${error.cause ?? ""}`;
  }
}

async function askOpenAi(name, baseURL) {
  const client = new OpenAI({ baseURL, maxRetries: 0 });
  const messages = [{ role: "user", content: "hello there" }];
  const asked = { model: "a-model", messages };
  await attempt(name, async () => {
    const chat = await client.chat.completions.create(asked);
    let streamed = "";
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
      streamed += chunk.choices[0]?.delta?.content ?? "";
    const response = await client.responses.create({ model: "a-model", input: "a response" });
    let deltas = "";
    for await (const event of await client.responses.create({ model: "a-model", input: "in pieces", stream: true }))
      if (event.type === "response.output_text.delta") deltas += event.delta;
    const { data } = await client.embeddings.create({ model: "a-model", input: "x" });
    const models = [];
    for await (const { id } of client.models.list()) models.push(id);
    return {
      ...{ chat: chat.choices[0].message.content, streamed, response: response.output_text, deltas },
      ...{ embedding: data[0].embedding, models, model: (await client.models.retrieve("a-model")).id },
    };
  });
}

async function askBedrock(name, endpoint) {
  const client = new BedrockRuntimeClient({ endpoint, maxAttempts: 1 });
  const modelId = "vendor.model-v1:0";
  const messages = [{ role: "user", content: [{ text: "hello there" }] }];
  const body = JSON.stringify({ prompt: "words" });
  await attempt(name, async () => {
    const { output, usage } = await client.send(new ConverseCommand({ modelId, messages }));
    let streamed = "";
    const { stream } = await client.send(new ConverseStreamCommand({ modelId, messages }));
    for await (const { contentBlockDelta } of stream) streamed += contentBlockDelta?.delta.text ?? "";
    const invoked = await client.send(new InvokeModelCommand({ modelId, body, contentType: "application/json" }));
    const chunks = [];
    const { body: events } = await client.send(new InvokeModelWithResponseStreamCommand({ modelId, body }));
    for await (const { chunk } of events) chunks.push(JSON.parse(Buffer.from(chunk.bytes).toString()).word);
    return {
      ...{ said: output.message.content[0].text, tokens: usage.totalTokens, streamed, chunks },
      invoked: JSON.parse(Buffer.from(invoked.body).toString()).text,
    };
  });
  client.destroy();
}

async function useS3() {
  const client = new S3Client({ endpoint: "https://api.example.test", forcePathStyle: true, maxAttempts: 1 });
  const [Bucket, Key] = ["bucket", "a key+(1)é"];
  const own = { Bucket, Key };
  const read = async (key) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: key }));
    return Body.transformToString();
  };
  await attempt("s3", async () => {
    await client.send(
      new PutObjectCommand({ ...own, Body: "a body", ContentType: "text/plain", Metadata: { a: "b" } }),
    );
    const small = await read(Key);
    // A stream goes in chunks of AWS's with a checksum behind it; of so many bytes a `100 Continue` is asked for.
    const large = Buffer.alloc(3 * 1024 * 1024, "0123456789");
    const streamed = { Bucket, Key: "streamed", Body: Readable.from([large]), ContentLength: large.length };
    await client.send(new PutObjectCommand(streamed));
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts" }));
    const Parts = [];
    for (const [index, Body] of ["one, ", Readable.from(["two"])].entries()) {
      const part = { Bucket, Key: "parts", UploadId, PartNumber: index + 1, Body };
      const size = index === 0 ? {} : { ContentLength: 3 };
      const { ETag } = await client.send(new UploadPartCommand({ ...part, ...size }));
      Parts.push({ ETag, PartNumber: index + 1 });
    }
    const upload = { Bucket, Key: "parts", UploadId, MultipartUpload: { Parts } };
    await client.send(new CompleteMultipartUploadCommand(upload));
    const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: "presigned" }), { expiresIn: 60 });
    const answer = await fetch(put, { method: "PUT", body: "by a URL" });
    await answer.text();
    const get = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "presigned" }), { expiresIn: 60 });
    const { Contents } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: "" }));
    return {
      ...{
        small,
        streamed: (await read("streamed")) === large.toString(),
        parts: await read("parts"),
        putStatus: answer.status,
      },
      ...{ presigned: await (await fetch(get)).text(), listed: Contents.map((each) => each.Key) },
    };
  });
  client.destroy();
}

await askOpenAi("openai", "https://other.example.test/v1");
await askOpenAi("openaiInference", "https://inference.local/v1");
await askBedrock("bedrock", "https://api.example.test:8443");
await askBedrock("bedrockInference", "https://inference.local");
await askBedrock("bedrockClear", "http://inference.local");
await useS3();
process.stdout.write(JSON.stringify({ results, environment: process.env }));

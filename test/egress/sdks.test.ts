import { testsOf } from "./world-tests.ts";

const { found, inThatWorld } = testsOf<{
  readonly results: Readonly<Record<string, unknown>>;
  readonly refused: Readonly<
    Record<string, { readonly kind: string; readonly message: string; readonly status: number }>
  >;
  readonly environment: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, readonly string[]>>;
  readonly faults: readonly object[];
  readonly found: readonly string[];
  readonly used: readonly string[];
}>("sdks.ts");

const fromOpenAi = {
  chat: "re: hello there",
  streamed: "re: hello there",
  response: "re: a response",
  deltas: "re: in pieces",
  embedding: [0.5, 0.25],
  models: ["a-model"],
  model: "a-model",
};
const fromBedrock = {
  said: "vendor.model-v1:0 heard hello there",
  streamed: "vendor.model-v1:0 heard hello there",
  invoked: "vendor.model-v1:0 heard words",
  chunks: ["one", "two"],
  tokens: 5,
};

inThatWorld(
  "OpenAI's library asks for chats, responses, embeddings and models: with a placeholder, and without a key",
  (t) => {
    t.deepEqual(found.results["openai"], fromOpenAi);
    t.deepEqual(found.results["openaiInference"], fromOpenAi);
  },
);

inThatWorld(
  "AWS's library asks Bedrock over HTTP/2, signed anew, and at inference.local, in clear text as well",
  (t) => {
    t.deepEqual(found.results["bedrock"], fromBedrock);
    t.deepEqual(found.results["bedrockInference"], fromBedrock);
    t.deepEqual(found.results["bedrockClear"], fromBedrock);
    t.deepEqual(found.versions["bedrock"], ["2.0"]);
  },
);

inThatWorld("AWS's library puts, gets and lists objects, in chunks, parts and by URLs that were signed inside", (t) => {
  t.deepEqual(found.faults, []);
  t.deepEqual(found.results["s3"], {
    small: "a body",
    streamed: true,
    parts: "one, two",
    putStatus: 200,
    presigned: "by a URL",
    listed: ["a%20key%2B%281%29%C3%A9", "streamed", "parts", "presigned"],
  });
});

inThatWorld("What is refused at inference.local is an error of each library's own, and says why", (t) => {
  const { refused } = found;
  t.like(refused["openai"], { kind: "PermissionDeniedError", status: 403 });
  t.regex(
    refused["openai"]?.message ?? "",
    /^403 the body holds openai \(plain\), which the leak guard keeps back \(leak_guard\.requests: block\)$/,
  );
  t.like(refused["unknown"], { kind: "PermissionDeniedError" });
  t.regex(refused["unknown"]?.message ?? "", /GET \/v1\/files asks no model/);
  t.like(refused["anthropic"], { kind: "BadRequestError", status: 400 });
  t.regex(refused["anthropic"]?.message ?? "", /no route speaks Anthropic's interface: gpt speaks OpenAI's/);
  t.like(refused["bedrock"], { kind: "AccessDeniedException", status: 403 });
  t.regex(refused["bedrock"]?.message ?? "", /^the body holds openai \(plain\)/);
});

inThatWorld("Each use of a credential is recorded, and no secret is what a library sees or a record says", (t) => {
  t.deepEqual([...found.used].sort(), ["aws", "openai"]);
  t.deepEqual(found.found, []);
  t.regex(found.environment["AWS_ACCESS_KEY_ID"] ?? "", /^AKIA[A-Z2-7]{16}$/);
});

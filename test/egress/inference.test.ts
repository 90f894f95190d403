import { testsOf } from "./world-tests.ts";

interface Said {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;
}
interface Came {
  readonly server: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
  readonly isSigned?: boolean;
  readonly names?: readonly string[];
}

const { found, holds, inThatWorld } = testsOf<
  Readonly<Record<"anthropic" | "clear" | "fallback" | "bedrock", Said>> & {
    readonly streamed: { readonly type: string; readonly first: string; readonly rest: string };
    readonly unreached: readonly string[];
    readonly assumed: readonly Said[];
    readonly limited: readonly Said[];
    readonly hungUp: readonly number[];
    readonly came: readonly Came[];
    readonly lines: readonly Readonly<Record<string, unknown>>[];
    readonly found: readonly string[];
  }
>("inference-world.ts");

inThatWorld(
  "A program asks a model over TLS or in clear text, and its route's key, model and fields go on alone",
  (t) => {
    const { anthropic, clear, came } = found;
    t.like(anthropic, { status: 200, body: { model: "the-real-model" } });
    t.like(clear, { status: 200, body: { model: "the-real-model" } });
    t.is(anthropic.headers["set-cookie"], undefined);
    const [first] = came;
    t.like(first, { server: "anthropic", url: "/v1/messages?beta=true", body: { model: "the-real-model", big: 1 } });
    t.deepEqual(first?.headers, {
      host: "api.example.test",
      "accept-encoding": "identity",
      "content-type": "application/json",
      accept: "*/*",
      "anthropic-version": "2023-06-01",
      "x-api-key": "sk-ant-api03-real-key-that-nobody-inside-may-see-AA",
      "content-length": "48",
    });
    t.is(came.find(({ server }) => server === "local")?.headers["authorization"], undefined);
  },
);

inThatWorld("What a server streams comes as it is said", (t) => {
  const { type, first, rest } = found.streamed;
  t.is(type, "text/event-stream");
  t.regex(first, /^event: message_start/);
  t.regex(rest, /^event: message_delta/);
});

inThatWorld("A route that is busy or gone is passed over for the next of its family", (t) => {
  const { fallback, came } = found;
  t.like(fallback, { status: 200, body: { model: "local-model", url: "/v1/chat/completions" } });
  const busy = came.find(({ url }) => url === "/base/v1/chat/completions");
  t.like(busy, { server: "busy", body: { model: "whatever" } });
  t.is(busy?.headers["authorization"], "Bearer sk-proj-another-real-key-that-nobody-inside-may-see");
});

inThatWorld("A request of a family that no route speaks is told which do", (t) => {
  const { status, body } = found.bedrock;
  t.is(status, 400);
  t.is(body["code"], "inference_family_mismatch");
  t.is(found.bedrock.headers["x-amzn-errortype"], "ValidationException");
  t.regex(String(body["message"]), /no route speaks Bedrock's interface: main speaks Anthropic's/);
});

holds("What asks no model, is none of JSON's objects or too long goes nowhere", {
  unknown: { status: 403, body: { error: { code: "policy_denied", type: "permission_error", param: null } } },
  other: { status: 400, body: { type: "error", error: { type: "invalid_request_error", code: "malformed_request" } } },
  large: { status: 413, body: { type: "error", error: { type: "request_too_large", code: "request_too_large" } } },
  port: "ECONNRESET",
});

const noAnswer =
  "no model answers: busy answers 529; gone cannot be asked; local does not answer: its answer does not begin within 2 s";

holds("Where no route answers the program is told so, without addresses; an answer that is cut off is", {
  silent: { status: 502, body: { error: { code: "upstream_unreachable", message: noAnswer, type: "api_error" } } },
  cut: { error: "UND_ERR_SOCKET" },
});

inThatWorld("Requests to Bedrock are signed with AWS's keys, anew and as they are sent", (t) => {
  const [signed] = found.limited;
  t.like(signed, { status: 200, body: { isSigned: true } });
  const request = found.came.find(({ server }) => server === "proving");
  t.like(request, { url: "/model/anthropic.claude-3%3A0/converse?a=b%20c", isSigned: true });
  t.deepEqual(request?.names, ["host", "x-amz-date", "x-amz-security-token"]);
  t.regex(String(signed?.body["echo"]), /^\*+$/);
});

inThatWorld("A route may be signed for by the keys of a role, which are asked for once", (t) => {
  for (const said of found.assumed) {
    t.like(said, { status: 200, body: { isSigned: true } });
    t.regex(String(said.body["echo"]), /^\*+$/);
  }
  t.is(found.assumed.length, 2);
  t.is(found.came.filter(({ server, isSigned }) => server === "role" && isSigned === true).length, 2);
  const asked = found.came.filter(({ server }) => server === "sts");
  t.is(asked.length, 1);
  t.like(asked[0]?.body, { Action: "AssumeRole", RoleArn: "arn:aws:iam::123456789012:role/models" });
  const records = found.lines.filter(({ type, credential }) => type === "credential.token" && credential === "assumed");
  t.deepEqual(
    records.map(({ status }) => status),
    [200],
  );
});

inThatWorld(
  "A route's key may be a token that an issuer gives, which is shown by its bearer and asked for once",
  (t) => {
    const [, first, second] = found.limited;
    t.like(first, { status: 200 });
    t.like(second, { status: 200 });
    t.regex(String(first?.body["echo"]), /^Bearer \*+$/);
    t.is(found.lines.filter(({ credential }) => credential === "issued").length, 1);
  },
);

inThatWorld(
  "A session that has used its budget is refused, by what its answers cost; counts and lists cost nothing",
  (t) => {
    t.deepEqual(
      found.limited.slice(3).map(({ status }) => status),
      [200, 429, 429],
    );
    t.like(found.limited[4], {
      body: { type: "error", error: { type: "rate_limit_error", code: "inference_budget_exhausted" } },
    });
  },
);

inThatWorld("An answer that its reader hangs up on counts for as far as it came, which is a record", (t) => {
  t.deepEqual(found.hungUp, [200, 429]);
  const cut = found.lines.find(({ type, inputTokens, outputTokens }) => {
    return type === "inference" && inputTokens === 10 && Number(outputTokens) > 20;
  });
  t.like(cut, { route: "main", status: 200 });
});

inThatWorld("Each answer is a record with its route, model and tokens, and so is each fault", (t) => {
  const records = found.lines.filter(({ type }) => type === "inference");
  t.like(records[0], { route: "main", model: "the-real-model", status: 200, inputTokens: 100, outputTokens: 20 });
  t.true(records.some((each) => each["inputTokens"] === 10 && each["outputTokens"] === 7));
  t.true(
    found.unreached.some((line) => /^the route gone \(by \/.*\): .*127\.0\.0\.1:8083 refuses connections/.test(line)),
  );
  t.true(records.some(({ route, fault }) => route === "gone" && /8083 refuses connections/.test(String(fault))));
});

inThatWorld("No key is in what the sandbox was told nor in the records, though a server repeats it", (t) => {
  t.deepEqual(found.found, []);
  t.regex(String(found.anthropic.body["echo"]), /^\*+$/);
  t.regex(String(found.anthropic.headers["x-echo"]), /^it was \*+$/);
});

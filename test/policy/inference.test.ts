import test from "ava";
import { hasEgress, hasInspection } from "../../lib/policy/network.ts";
import { errors, sound } from "./policy-text.ts";

const inferenceOf = (text: string): string => `holdfast: 1\ninference:\n  ${text}\n`;

test("A route's every field is read, in the file's order", (t) => {
  const policy = sound(`holdfast: 1
inference:
  routes:
    second: { family: openai, url: "http://127.0.0.1:8080/base/v1/" }
    first:
      family: anthropic
      url: https://api.anthropic.com
      key: { env: MODEL_KEY }
      model: a-model
      timeout: 5m
      price: { input: 0.25, output: 1 }
  budget: { requests: 5, tokens: 1000 }
`);
  t.deepEqual(policy.inference, {
    routes: [
      { line: 4, column: 5, name: "second", family: "openai", url: "http://127.0.0.1:8080/base", timeoutMs: 60_000 },
      {
        ...{ line: 5, column: 5, name: "first", family: "anthropic", url: "https://api.anthropic.com" },
        ...{ key: { kind: "env", name: "MODEL_KEY" }, model: "a-model", timeoutMs: 300_000 },
        price: { input: 0.25, output: 1 },
      },
    ],
    budget: { requests: 5, tokens: 1000 },
  });
  t.true(hasEgress(policy));
  t.true(hasInspection(policy));
});

test("The region of requests that are signed is said, or the host's", (t) => {
  const keys = "key: { aws_keys: { access_key_id: { env: A }, secret_access_key: { env: B } } }";
  const host = "https://bedrock-runtime.us-west-2.amazonaws.com";
  const { inference } = sound(
    inferenceOf(
      `routes: { a: { family: bedrock, url: "${host}", ${keys} }, b: { family: bedrock, url: "${host}", region: eu-west-1, ${keys} } }`,
    ),
  );
  t.deepEqual(
    inference?.routes.map(({ region }) => region),
    ["us-west-2", "eu-west-1"],
  );
});

test("A key in the host's /tmp is not in the sandbox's own", (t) => {
  const text = 'routes: { a: { family: openai, url: "http://127.0.0.1", key: { file: /tmp/key } } }';
  t.notThrows(() => sound(`${inferenceOf(text)}filesystem_policy: { read_only: [/usr], read_write: [/tmp] }\n`));
});

const url = "url: https://models.example.com";
const bad: readonly (readonly [string, string, readonly string[]])[] = [
  [
    "an unknown key",
    `routes: { a: { famly: openai, ${url} } }`,
    ['3:18: unknown key "famly" in inference.routes.a (did you mean "family"?)'],
  ],
  ["no routes", "budget: { tokens: 1 }", ["3:3: inference.routes is missing"]],
  ["an empty map of routes", "routes: {}", ["3:3: inference.routes names no route"]],
  [
    "a family that nobody speaks",
    `routes: { a: { family: opnai, ${url} } }`,
    ['3:26: inference.routes.a.family must be openai, anthropic or bedrock, not "opnai" (did you mean "openai"?)'],
  ],
  [
    "an address of no server",
    "routes: { a: { family: openai, url: models.example.com } }",
    [
      '3:39: inference.routes.a.url is no server\'s address: "models.example.com" (for example https://api.anthropic.com)',
    ],
  ],
  [
    "a key in the address",
    "routes: { a: { family: openai, url: https://me:secret@models.example.com } }",
    ["3:39: inference.routes.a.url holds credentials (say where they are kept with key)"],
  ],
  [
    "the name inside",
    "routes: { a: { family: openai, url: https://inference.local } }",
    ["3:39: inference.routes.a.url: inference.local is the name inside, and leads nowhere"],
  ],
  [
    "a cost without prices",
    `routes: { a: { family: openai, ${url} } }\n  budget: { cost: 5 }`,
    [
      "4:19: inference.budget.cost cannot be held: a has no price (give each route price: {input, output}, of a million tokens; a server of your own may cost 0)",
    ],
  ],
  [
    "a budget of nothing",
    `routes: { a: { family: openai, ${url} } }\n  budget: { tokens: 0 }`,
    ["4:21: inference.budget.tokens must be a whole number from 1 to 1000000000, not the number 0"],
  ],
  [
    "a key of AWS's for whom it does not sign",
    `routes: { a: { family: openai, ${url}, region: eu-central-1, key: { aws_keys: { access_key_id: { env: A }, secret_access_key: { env: B } } } } }`,
    ["3:89: inference.routes.a.key is of AWS's, by which requests to Bedrock alone are signed"],
  ],
  [
    "a signature for no region",
    `routes: { a: { family: bedrock, ${url}, key: { aws_keys: { access_key_id: { env: A }, secret_access_key: { env: B } } } } }`,
    ["3:13: inference.routes.a: its host names no region of AWS's (for example region: eu-central-1)"],
  ],
  [
    "a region for what is not signed",
    `routes: { a: { family: bedrock, ${url}, region: eu-central-1, key: { env: A } } }`,
    ["3:68: inference.routes.a.region is for a key of AWS's"],
  ],
  [
    "a part of a key that the sandbox reads",
    `routes: { a: { family: openai, ${url}, key: { oauth2_client_credentials: { token_url: "https://x.example", client_id: me, client_secret: { file: /usr/share/key } } } } }`,
    ["3:13: inference.routes.a.key: /usr/share/key can be read in the sandbox, by /usr (keep it elsewhere)"],
  ],
  [
    "a key that the sandbox reads",
    `routes: { a: { family: openai, ${url}, key: { file: /usr/share/key } } }`,
    ["3:13: inference.routes.a.key: /usr/share/key can be read in the sandbox, by /usr (keep it elsewhere)"],
  ],
];

for (const [title, text, expected] of bad) {
  test(`Refused: ${title}`, (t) => {
    t.deepEqual(errors(inferenceOf(text)), expected);
  });
}

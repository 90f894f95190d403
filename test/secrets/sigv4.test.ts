import test from "ava";
import { awsKeysIn, credentialsIn, joinAwsKeys } from "../../lib/secrets/aws-keys.ts";
import { Secret } from "../../lib/secrets/secret.ts";
import {
  type AwsKeys,
  emptyHash,
  type SignedParts,
  signChunk,
  signRequest,
  strictPath,
} from "../../lib/secrets/sigv4.ts";

/** The "Signature Version 4 Test Suite" (docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html). */
const suite: AwsKeys = {
  id: "AKIDEXAMPLE",
  secret: Buffer.from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
  token: null,
};
const suiteScope = { region: "us-east-1", service: "service", time: "20150830T123600Z" };
const own = [
  ["host", "example.amazonaws.com"],
  ["x-amz-date", "20150830T123600Z"],
] as const;

/** docs.aws.amazon.com/AmazonS3/latest/API, sig-v4-header-based-auth.html and sigv4-streaming.html. */
const s3: AwsKeys = {
  id: "AKIAIOSFODNN7EXAMPLE",
  secret: Buffer.from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
  token: null,
};
const s3Scope = { region: "us-east-1", service: "s3", time: "20130524T000000Z" };
const bucket = [
  ["host", "examplebucket.s3.amazonaws.com"],
  ["x-amz-content-sha256", emptyHash],
  ["x-amz-date", "20130524T000000Z"],
] as const;
const get = { method: "GET", path: "/", query: "", payload: emptyHash };

for (const [title, keys, scope, parts, expected] of [
  [
    "get-vanilla",
    suite,
    suiteScope,
    { ...get, fields: own },
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-vanilla-query-order-key-case",
    suite,
    suiteScope,
    { ...get, query: "Param2=value2&Param1=value1", fields: own },
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
  [
    "post-vanilla",
    suite,
    suiteScope,
    { ...get, method: "POST", fields: own },
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  ],
  [
    "post-x-www-form-urlencoded",
    suite,
    suiteScope,
    {
      ...{ ...get, method: "POST", payload: "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e" },
      fields: [["content-type", "application/x-www-form-urlencoded"], ...own],
    },
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  ],
  [
    "S3's object by range",
    s3,
    s3Scope,
    { ...get, path: "/test.txt", fields: [...bucket, ["range", "bytes=0-9"]] },
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  ],
  [
    "S3's lifecycle, a parameter without a value",
    s3,
    s3Scope,
    { ...get, query: "lifecycle", fields: bucket },
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  ],
  [
    "S3's list",
    s3,
    s3Scope,
    { ...get, query: "max-keys=2&prefix=J", fields: bucket },
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  ],
] as const satisfies readonly (readonly [string, AwsKeys, object, SignedParts, string])[]) {
  test(`AWS's published signature comes out: ${title}`, (t) => {
    const { authorization, seed } = signRequest(keys, scope, parts);
    t.is(seed, expected);
    t.true(authorization.startsWith(`AWS4-HMAC-SHA256 Credential=${keys.id}/${scope.time.slice(0, 8)}/us-east-1/`));
  });
}

test("AWS's published signatures come out: S3's chunks, each of what came before", (t) => {
  const payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
  const { seed } = signRequest(s3, s3Scope, {
    ...{ method: "PUT", path: "/examplebucket/chunkObject.txt", query: "", payload },
    fields: [
      ["content-encoding", "aws-chunked"],
      ["content-length", "66824"],
      ["host", "s3.amazonaws.com"],
      ["x-amz-content-sha256", payload],
      ["x-amz-date", "20130524T000000Z"],
      ["x-amz-decoded-content-length", "66560"],
      ["x-amz-storage-class", "REDUCED_REDUNDANCY"],
    ],
  });
  t.is(seed, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
  const first = signChunk(s3, s3Scope, seed, Buffer.alloc(65_536, "a"));
  t.is(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
  const second = signChunk(s3, s3Scope, first, Buffer.alloc(1024, "a"));
  t.is(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
  const last = signChunk(s3, s3Scope, second, Buffer.alloc(0));
  t.is(last, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
});

test("A path is written in one way, and its slashes stay", (t) => {
  t.is(strictPath("/a:b/c%3ad/%7E(é)/x%2Fy//"), "/a%3Ab/c%3Ad/~%28%C3%A9%29/x%2Fy//");
});

test("Of a session's keys the secret one and the token are looked for in what leaves it", async (t) => {
  process.env["HOLDFAST_TEST_ID"] = "AKIAIOSFODNN7EXAMPLE";
  process.env["HOLDFAST_TEST_KEY"] = "the/secret+key";
  process.env["HOLDFAST_TEST_SESSION"] = "the session";
  const from = (name: string) => ({ kind: "env", name: `HOLDFAST_TEST_${name}` }) as const;
  const both = { accessKeyId: from("ID"), secretAccessKey: from("KEY") };
  const secret = new Secret("x", { kind: "aws_keys", ...both, sessionToken: from("SESSION") });
  t.deepEqual(secret.parts, []);
  await secret.refresh();
  t.true(secret.isFresh);
  t.deepEqual(secret.parts.map(String), ["the/secret+key", "the session"]);
  secret.wipe();
});

test("Keys are one piece of locked memory, and what STS answers is read out of it", (t) => {
  const found = credentialsIn(
    Buffer.from(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE123456789</AccessKeyId>
      <SecretAccessKey>s/e+c</SecretAccessKey><SessionToken>t//o==</SessionToken>
      <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`),
  );
  t.is(found?.expiration, "2030-01-01T00:00:00Z");
  const { id, secret, token } = awsKeysIn(joinAwsKeys(found?.parts ?? []));
  t.deepEqual([id, secret.toString(), token?.toString()], ["ASIAEXAMPLE123456789", "s/e+c", "t//o=="]);
  t.is(awsKeysIn(joinAwsKeys((found?.parts ?? []).slice(0, 2))).token, null);
  t.is(credentialsIn(Buffer.from("<AccessKeyId>x</AccessKeyId>")), undefined);
  t.throws(() => joinAwsKeys([Buffer.from("sesame"), Buffer.from("x")]), { message: /none of AWS's: capital/ });
});

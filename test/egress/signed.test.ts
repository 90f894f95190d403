import { testsOf } from "./world-tests.ts";

const { found, holds, inThatWorld } = testsOf<{
  readonly id: string;
  readonly key: string;
  readonly came: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly found: readonly string[];
  readonly http2: Readonly<Record<string, { readonly status: number; readonly body: string }>>;
  readonly hopByHop: { readonly status: number; readonly body: string };
  /** Null where there is none. */
  readonly aws: { readonly status: number; readonly said: string } | null;
}>("signed.ts");

const ok = { status: 200, body: "ok" };
const good = { isGood: true, hasToken: true, isNow: true };
const [kept, ending, role] = [
  { ...good, by: 0 },
  { ...good, by: 1 },
  { ...good, by: 2 },
];
const hashed = /^[0-9a-f]{64}$/;

inThatWorld("A program holds keys that are none, in the shape of AWS's", (t) => {
  t.regex(found.id, /^AKIA[A-Z2-7]{16}$/);
  t.regex(found.key, /^[A-Za-z0-9]{40}$/);
});

inThatWorld("What it signed with them is signed with the real ones: a hash, or none, of the body", (t) => {
  const { came } = found;
  const s3 = { ...kept, scope: "eu-west-1/s3" };
  t.like(found, { get: ok, hash: ok, unsigned: ok, presigned: ok, presignedBefore: ok, unsignedTrailer: ok });
  t.like(came["/s3/presigned-before"]?.[0], { ...s3, url: "/s3/presigned-before?x=1" });
  t.like(came["/s3/a%20b%281%29%3Ac%C3%A9/x"]?.[0], s3);
  t.like(came["/s3/hash"]?.[0], { ...s3, size: 4 });
  t.regex(String(came["/s3/hash"]?.[0]?.["names"]), /content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a/);
  t.like(came["/s3/unsigned"]?.[0], { ...s3, word: "UNSIGNED-PAYLOAD" });
  t.like(came["/s3/unsigned-trailer"]?.[0], { ...s3, word: "STREAMING-UNSIGNED-PAYLOAD-TRAILER" });
  t.like(came["/s3/presigned"]?.[0], { ...s3, url: "/s3/presigned?x=1" });
});

inThatWorld("AWS's own program puts and gets objects, with keys that are none", (t) => {
  const { aws, came } = found;
  if (aws === null) {
    t.log("skipped: there is no /usr/bin/aws");
    t.pass();
    return;
  }
  t.is(aws.status, 0, aws.said);
  const s3 = { ...kept, scope: "eu-west-1/s3" };
  t.like(came["/s3/aws/a%20key%2B%281%29"]?.[0], { ...s3, size: 11 });
  t.like(came["/s3/aws/get"]?.[0], s3);
});

inThatWorld("Chunks are signed anew as they come, with what trails them, and are as long as they were", (t) => {
  const { came } = found;
  t.like(found, { stream: ok, trailer: ok });
  const [stream] = came["/s3/stream"] ?? [];
  t.like(stream, { ...kept, chunks: true, word: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" });
  t.is(String(stream?.["size"]), String(stream?.["length"]));
  t.like(came["/s3/trailer"]?.[0], { ...kept, chunks: true, word: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" });
});

inThatWorld("A body whose hash nobody says is held until it is whole; a session's token goes along", (t) => {
  const { came } = found;
  t.like(found, { hashed: ok, hashedChunks: ok, hashedContinue: ok });
  const own = { ...ending, scope: "us-east-1/bedrock" };
  t.like(came["/bedrock/model/a.b%3A0/invoke"]?.[0], { ...own, size: 6, length: "6" });
  t.like(came["/bedrock/model/x/invoke"]?.[0], { ...own, size: 6, length: "6" });
  t.like(came["/bedrock/model/x/invoke"]?.[1], { ...own, size: 5 });
});

inThatWorld(
  "Over HTTP/2 chunks are signed anew as well, bodies are held for their hash, and what is neither is refused",
  (t) => {
    const { came, http2 } = found;
    t.like(http2, { stream: ok, trailer: ok, hashed: ok, body: ok, noBody: ok, unsigned: ok });
    const s3 = { ...kept, version: "2.0", scope: "eu-west-1/s3" };
    const [stream] = came["/s3/h2-stream"] ?? [];
    t.like(stream, { ...s3, chunks: true, word: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" });
    t.is(String(stream?.["size"]), String(stream?.["length"]));
    t.like(came["/s3/h2-trailer"]?.[0], { ...s3, chunks: true, word: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" });
    t.like(came["/bedrock/h2/invoke"]?.[0], { ...ending, version: "2.0", scope: "us-east-1/bedrock", size: 6 });
    t.regex(String(came["/body/h2"]?.[0]?.["word"]), hashed);
    t.like(came["/body/h2"]?.[0], { ...s3, size: 4 });
    t.like(came["/nobody/h2"]?.[0], { ...s3, word: "UNSIGNED-PAYLOAD", size: 4 });
    t.like(came["/s3/h2-unsigned"]?.[0], { ...s3, word: "UNSIGNED-PAYLOAD", size: 4 });
    t.like(http2, { long: { status: 413 }, badChunk: { status: 400 }, shortChunks: { status: 400 } });
    t.is(came["/bedrock/h2-long"], undefined);
  },
);

inThatWorld("An endpoint may want each body hashed, or none", (t) => {
  const { came } = found;
  t.like(found, { body: ok, noBody: ok });
  t.like(came["/body/x"]?.[0], kept);
  t.regex(String(came["/body/x"]?.[0]?.["word"]), hashed);
  t.like(came["/nobody/x"]?.[0], { ...kept, word: "UNSIGNED-PAYLOAD" });
});

inThatWorld("The keys of a role are asked for once, by a signed request", (t) => {
  const { came, lines } = found;
  t.like(found, { role: ok, again: ok });
  t.like(came["/role/x"]?.[0], { ...role, scope: "us-east-1/execute-api" });
  t.is(came["sts"]?.length, 1);
  const asked = { Action: "AssumeRole", RoleArn: "arn:aws:iam::123456789012:role/reader", ExternalId: "x" };
  t.like(came["sts"]?.[0], { ...ending, ...asked, RoleSessionName: "holdfast", DurationSeconds: "3600" });
  t.like(
    lines.find(({ type }) => type === "credential.token"),
    { credential: "role", status: 200 },
  );
});

holds("What is not to be signed goes nowhere: another host or path, a long body, broken chunks, no keys", {
  long: { status: 413 },
  lost: { status: 500 },
  elsewhere: { status: 403 },
  unsignedPath: { status: 403 },
  badChunk: { status: 400 },
  lyingChunk: { status: 400 },
  shortChunks: { status: 400 },
  unknownWord: { status: 400 },
});

inThatWorld(
  "A field of the signature that a client takes away for the next hop is refused, and nothing is sent",
  (t) => {
    t.is(found.hopByHop.status, 400);
    t.regex(found.hopByHop.body, /Connection names a field of the signature/);
  },
);

inThatWorld("Each signature is recorded by its credential's name, and no key is seen or recorded", (t) => {
  const used = found.lines
    .filter(({ type }) => type === "credential.used")
    .flatMap(({ credentials }) => credentials as readonly string[]);
  t.true(["kept", "ending", "role"].every((name) => used.includes(name)));
  t.deepEqual(found.found, []);
});

// The readers of bodies that credentials go into, and the search for secrets in what leaves.
import { ok, strictEqual } from "node:assert";
import { AwsChunks } from "../../lib/egress/aws-chunks.ts";
import { FramedStream, unframed } from "../../lib/egress/aws-framed.ts";
import { BodySwap } from "../../lib/egress/body-swap.ts";
import { HttpError } from "../../lib/egress/http-head.ts";
import { LeakFault, RequestGuard } from "../../lib/egress/leaks.ts";
import { SwapFault } from "../../lib/egress/swap.ts";
import { defaultLeakGuard } from "../../lib/policy/leak-guard.ts";
import { SecretSearch } from "../../lib/secrets/secret-search.ts";
import { boundSession } from "../secrets/bound-session.ts";
import { cut } from "./node-http.ts";
import type { Target } from "./targets.ts";

const secret = 'n4rrow-se"cret.of+one=odd&character';
const session = await boundSession(secret, { one: "ONE", other: "OTHER" });

/** What comes out of a reader, or undefined where it refuses. */
function outcome(pieces: readonly Buffer[], take: (piece: Buffer, isLast: boolean) => Buffer): string | undefined {
  try {
    const out = pieces.map((piece) => take(Buffer.from(piece), false));
    return Buffer.concat([...out, take(Buffer.alloc(0), true)]).toString("latin1");
  } catch (error) {
    if (error instanceof HttpError || error instanceof SwapFault || error instanceof LeakFault) return undefined;
    throw error;
  }
}

const keys = { id: "AKIDEXAMPLE", secret: Buffer.from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), token: null };
const scope = { time: "20130524T000000Z", region: "us-east-1", service: "s3" };
const line = (size: string): string => `${size};chunk-signature=${"0".repeat(64)}\r\n`;

const search = new SecretSearch(() => [["the key", Buffer.from(secret)]]);
const guard = new RequestGuard(defaultLeakGuard, { isPlaceholder: () => false, search, placeholders: null });

/** However a body is cut, the same comes of it. */
export const secretTargets: Readonly<Record<string, Target>> = {
  "aws-chunks": {
    run: (data) => {
      for (const hasTrailer of [false, true]) {
        const signed = (pieces: readonly Buffer[]): string | undefined => {
          const chunks = new AwsChunks(() => keys, scope, "0".repeat(64), hasTrailer);
          return outcome(pieces, (piece, isLast) => Buffer.concat(chunks.take(piece, isLast)));
        };
        const whole = signed([data]);
        strictEqual(signed(cut(data, data.length)), whole);
        if (whole !== undefined) strictEqual(whole.length, data.length);
      }
    },
    seeds: [
      `${line("3")}abc\r\n${line("0")}\r\n`,
      `${line("0A")}0123456789\r\n${line("0")}x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:${"0".repeat(64)}\r\n\r\n`,
    ],
  },
  "aws-framed": {
    run: (data) => {
      const searched = (pieces: readonly Buffer[]): string | undefined => {
        const stream = new FramedStream(
          guard.stream("body", [], () => {}),
          (each) => {
            guard.stream("body", [], () => {}).take(each, [[0, each.length]], true);
          },
        );
        // Between what is data stands what is not.
        return outcome(pieces, (piece, isLast) => {
          const half = piece.length >> 1;
          const framing = Buffer.concat([
            Buffer.from("<"),
            piece.subarray(0, half),
            Buffer.from("|"),
            piece.subarray(half),
          ]);
          const ranges = [
            [1, 1 + half],
            [2 + half, framing.length],
          ] as const;
          return stream.take(framing, ranges, isLast);
        })?.replaceAll(/[<|]/g, "");
      };
      const given = Buffer.from(data.filter((byte) => byte !== 0x3c && byte !== 0x7c));
      const whole = searched([given]);
      strictEqual(searched(cut(given, given.length)), whole);
      if (whole === undefined) return;
      strictEqual(whole, given.toString("latin1"));
      ok(!unframed(given).data.includes(secret));
    },
    seeds: [
      `${line("3")}abc\r\n${line("0")}\r\n`,
      `8\r\n${secret.slice(0, 8)}\r\n1c\r\n${secret.slice(8)}\r\n0\r\n\r\n`,
      `4\r\nabcd\r\n0\r\nx-amz-checksum-crc32:AAAAAA==`,
    ],
  },
  "json-swap": {
    run: (data) => {
      for (const escapes of ["json", "percent", "none"] as const) {
        const swapped = (pieces: readonly Buffer[], bound: readonly string[]): string | undefined => {
          const swap = new BodySwap(session, bound, escapes === "none" ? "plain" : escapes, escapes);
          return outcome(pieces, (piece, isLast) => swap.take(piece, isLast));
        };
        const whole = swapped([data], ["one", "other"]);
        strictEqual(swapped(cut(data, data.length), ["one", "other"]), whole);
        // What is bound elsewhere never comes out.
        const elsewhere = swapped(cut(data, data.length), []);
        ok(elsewhere === undefined || elsewhere === data.toString("latin1"));
      }
    },
    seeds: [
      '{"a":"openshell:resolve:env:ONE","b":"\\u006fpenshell\\u003aresolve:env:OTHER","c":"\\\\u006f\\"","d":"openshell"}',
      "a=openshell%3Aresolve%3aenv%3AONE&b=%6fpenshell%zz&c=x-OPENSHELL-RESOLVE-ENV-OTHER",
      `openshell:resolve:env:v1_ONE openshell:resolve:env:s${"0".repeat(64)}_OTHER openshell:resolve:env:NOBODY`,
    ],
  },
  leaks: {
    run: (data) => {
      const searched = (pieces: readonly Buffer[]): string | undefined => {
        const stream = guard.stream("body", [], () => {});
        return outcome(pieces, (piece, isLast) => stream.take(piece, [[0, piece.length]], isLast));
      };
      const whole = searched([data]);
      strictEqual(searched(cut(data, data.length)), whole);
      if (data.includes(secret)) strictEqual(whole, undefined);
      if (whole !== undefined) strictEqual(whole, data.toString("latin1"));
    },
    seeds: [
      `{"a":"${secret}"}`,
      `a=${encodeURIComponent(secret)}&b=${secret.slice(0, 20)}`,
      Buffer.from(secret).toString("base64"),
      [...secret].join("\n"),
      Buffer.from(secret).toString("hex").slice(1),
      [...secret].join("\\n"),
      `\\${secret}`,
      [...secret].map((each) => `\\x${each.charCodeAt(0).toString(16)}`).join(""),
    ],
  },
};

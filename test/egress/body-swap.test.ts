import test from "ava";
import fc from "fast-check";
import { BodySwap } from "../../lib/egress/body-swap.ts";
import { SwapFault } from "../../lib/egress/swap.ts";
import { WebSocketError } from "../../lib/egress/websocket.ts";
import { TextSwap } from "../../lib/egress/websocket-swap.ts";
import { boundSession } from "../secrets/bound-session.ts";

const secret = 'the "real" \\ one';
const session = await boundSession(secret, { one: "ONE", two: "ONE_TWO" });
const placeholder = session.placeholderOf("one");

/** A text that comes in pieces, cut at places; what goes on of it. */
function through(text: string, cuts: readonly number[], escapes: "json" | "percent" | "none" = "json"): string {
  const form = escapes === "none" ? "plain" : escapes;
  const swap = new BodySwap(session, ["one", "two"], form, escapes);
  const at = [0, ...cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b), text.length];
  const parts = at.slice(1).map((end, index) => swap.take(Buffer.from(text.slice(at[index], end), "latin1"), false));
  return Buffer.concat([...parts, swap.take(Buffer.alloc(0), true)]).toString("latin1");
}

const unicode = [...placeholder].map((each) => `\\u00${each.charCodeAt(0).toString(16)}`).join("");
const percent = [...placeholder].map((each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`).join("");
const json = JSON.stringify(secret).slice(1, -1);

test("A placeholder is found however its text is cut and escaped, and nothing else is changed", (t) => {
  const cuts = fc.array(fc.nat(), { maxLength: 20 });
  const near = placeholder.slice(0, 12);
  const jsonText = `{"a":"${placeholder}","b":"${unicode}${near}","c":"${near}\\u00e9\\\\","d":"openshell:resolve:env:ONE_TWO","e":"openshell:resolve"}`;
  const jsonWanted = `{"a":"${json}","b":"${json}${near}","c":"${near}\\u00e9\\\\","d":"${json}","e":"openshell:resolve"}`;
  const formText = `a=${percent}&b=${near}%4&c=${placeholder}&d=openshell%3aresolve%3Aenv%3AONE`;
  const formWanted = `a=${encodeURIComponent(secret)}&b=${near}%4&c=${encodeURIComponent(secret)}&d=${encodeURIComponent(secret)}`;
  const plainText = `${placeholder}${placeholder.slice(0, -1)} openshell:resolve:env:ONE`;
  fc.assert(fc.property(cuts, (at) => through(jsonText, at) === jsonWanted));
  fc.assert(fc.property(cuts, (at) => through(formText, at, "percent") === formWanted));
  t.is(through(plainText, [3, 50], "none"), `${secret}${placeholder.slice(0, -1)} ${secret}`);
  t.is(through("é\u00ff".repeat(100), [7, 9]), "é\u00ff".repeat(100));
});

test("What cannot become a placeholder does not wait", (t) => {
  const swap = new BodySwap(session, ["one"], "json", "json");
  t.is(swap.take(Buffer.from('{"key":"value"'), false).toString(), '{"key":"value"');
  t.is(swap.take(Buffer.from(`,"${placeholder.slice(0, 5)}`), false).toString(), ',"');
  t.is(swap.take(Buffer.from("!"), false).toString(), `${placeholder.slice(0, 5)}!`);
});

/** A client's frame; its mask is of zeros. */
function frame(opcode: number, payload: string, isFinal = true): Buffer {
  const size = Buffer.byteLength(payload);
  const header = Buffer.alloc(size < 126 ? 6 : 8);
  header[0] = (isFinal ? 0x80 : 0) | opcode;
  header[1] = 0x80 | Math.min(size, 126);
  if (size >= 126) header.writeUInt16BE(size, 2);
  return Buffer.concat([header, Buffer.from(payload)]);
}

/** The messages of frames, unmasked. */
function messages(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes.readUInt8(at + 1) & 0x7f;
    const size = first === 126 ? 4 : 2;
    const length = first === 126 ? bytes.readUInt16BE(at + 2) : first;
    const key = bytes.subarray(at + size, at + size + 4);
    const payload = bytes
      .subarray(at + size + 4, at + size + 4 + length)
      .map((byte, index) => byte ^ (key[index & 3] ?? 0));
    found.push(`${bytes.readUInt8(at) & 0x0f} ${Buffer.from(payload)}`);
    at += size + 4 + length;
  }
  return found;
}

test("A text message in fragments, cut anywhere and with control frames between, goes on whole", (t) => {
  const sent = Buffer.concat([
    frame(1, `a ${placeholder.slice(0, 9)}`, false),
    frame(9, "ping"),
    frame(0, placeholder.slice(9), false),
    frame(0, " b"),
    frame(2, placeholder, false),
    frame(0, "x"),
    frame(1, `["${unicode}"]`),
  ]);
  const wanted = ["9 ping", `1 a ${secret} b`, `2 ${placeholder}`, "0 x", `1 ["${json}"]`];
  const cuts = fc.array(fc.nat(sent.length), { maxLength: 20 });
  fc.assert(
    fc.property(cuts, (places) => {
      const used: string[] = [];
      const swap = new TextSwap(session, ["one"], (names) => used.push(...names));
      const at = [0, ...places.toSorted((a, b) => a - b), sent.length];
      const out = at.slice(1).flatMap((end, index) => swap.take(Buffer.from(sent.subarray(at[index], end))));
      return String(messages(Buffer.concat(out))) === String(wanted) && String(used) === "one,one";
    }),
  );
  t.pass();
});

test("A text message that is too long, of an extension, or with what is not for it, does not go on", (t) => {
  const take = (bytes: Buffer): unknown => new TextSwap(session, [], () => {}).take(bytes);
  const long = Buffer.alloc(14);
  long[0] = 0x81;
  long[1] = 0xff;
  long.writeBigUInt64BE(1n << 40n, 2);
  t.is(t.throws(() => take(long), { instanceOf: WebSocketError })?.code, 1009);
  const compressed = frame(1, "hello");
  compressed[0] = 0xc1;
  t.is(t.throws(() => take(compressed), { instanceOf: WebSocketError })?.code, 1002);
  const fault = t.throws(() => take(frame(1, placeholder)), { instanceOf: SwapFault });
  t.is(fault?.error, "credential_endpoint_mismatch");
});

// TypeScript writes by hand what C++ reads by its compiler: numbers and layouts are compared with the headers' text.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { stdioMerge, stdioNull, stdioPipe, stdioPty } from "../../lib/native.ts";
import { bindFlags, encodePlan, layerIds, opCodes } from "../../lib/plan/encode.ts";
import { wallNumbers } from "../../lib/plan/launch-plan.ts";
import { EventReader, eventTypes, execSteps, limitKinds } from "../../lib/sandbox/events.ts";
import {
  addressFamilies,
  execRequest,
  fileReply,
  fileRequest,
  fileStatuses,
  killTreeOnExit,
  messageTypes,
  quiet,
  searchPath,
  signalRequest,
  socketRequest,
} from "../../lib/sandbox/requests.ts";
import { planOf } from "./fixed-plan.ts";

const header = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../../native", name), "utf8").replace(/\/\/.*$/gm, "");
const wire = header("wire.h");

/** The names and numbers of an enum, names without their `k` or `kExec`. */
function enumOf(text: string, name: string): Map<string, number> {
  const body = new RegExp(`enum (?:class )?${name} : \\w+ \\{([^}]*)\\}`).exec(text)?.[1];
  if (body === undefined) throw new Error(`no enum ${name}`);
  return new Map([...body.matchAll(/\bk(\w+)\s*=\s*(\d+)/g)].map(([, key = "", value]) => [key, Number(value)]));
}

const pascal = (name: string): string => name.replace(/(^|-)(\w)/g, (_, __, letter: string) => letter.toUpperCase());

/** Each of ours is one of theirs with the same number. */
function agrees(
  t: { is: (a: unknown, b: unknown, message?: string) => unknown },
  ours: Readonly<Record<string, number>>,
  theirs: Map<string, number>,
): void {
  for (const [name, number] of Object.entries(ours)) t.is(theirs.get(pascal(name)), number, name);
}

/** A list whose places are the numbers; an empty place is no member. */
function byPlace(names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name, i) => [name, i]).filter(([name]) => name !== ""));
}

interface Layout {
  readonly size: number;
  readonly offsets: Readonly<Record<string, number>>;
}

/** Natural alignment, as both architectures' C++ lays a struct of these types out. */
function layoutOf(name: string): Layout {
  const body = new RegExp(`struct ${name} \\{([^}]*)\\};`).exec(wire)?.[1];
  if (body === undefined) throw new Error(`no struct ${name}`);
  const offsets: Record<string, number> = {};
  let at = 0;
  let widest = 1;
  for (const [, type = "", field = "", count] of body.matchAll(/^\s*(\w+) (\w+)(?:\[(\d+)\])?;/gm)) {
    const size = Number(/^u?int(\d+)_t$/.exec(type)?.[1] ?? (type === "char" ? 8 : 32)) / 8;
    at = Math.ceil(at / size) * size;
    offsets[field] = at;
    at += size * Number(count ?? 1);
    widest = Math.max(widest, size);
  }
  return { size: Math.ceil(at / widest) * widest, offsets };
}

const place = (layout: Layout, field: string): number => {
  const offset = layout.offsets[field];
  if (offset === undefined) throw new Error(`no field ${field}`);
  return offset;
};

test("Operations, bind flags and walls have the numbers of native/wire.h", (t) => {
  agrees(t, opCodes, enumOf(wire, "OpCode"));
  agrees(t, bindFlags, enumOf(wire, "BindFlag"));
  const walls = enumOf(wire, "Wall");
  agrees(t, wallNumbers, walls);
  t.is(walls.size, Object.keys(wallNumbers).length, "every wall that the init can prove has a name here");
});

test("Messages, their flags, events, steps, limits and file states have the numbers of native/wire.h", (t) => {
  agrees(t, messageTypes, enumOf(wire, "MessageType"));
  agrees(
    t,
    { ExecSearchPath: searchPath, ExecKillTreeOnExit: killTreeOnExit, ExecQuiet: quiet },
    enumOf(wire, "ExecFlag"),
  );
  for (const [ours, name] of [
    [eventTypes, "EventType"],
    [execSteps, "ExecStep"],
    [limitKinds, "LimitKind"],
    [fileStatuses, "FileStatus"],
  ] as const) {
    const theirs = enumOf(wire, name);
    agrees(t, byPlace(ours), theirs);
    t.is(Object.keys(byPlace(ours)).length, theirs.size, name);
  }
});

test("Kinds of standard streams and layers have the numbers of the native side", (t) => {
  const kinds = { null: stdioNull, pipe: stdioPipe, pty: stdioPty, merge: stdioMerge };
  agrees(t, kinds, enumOf(header("exec.h"), "Stdio"));
  const most = Number(/kMaxLayers = (\d+)/.exec(header("init/setup.h"))?.[1]);
  for (const id of Object.values(layerIds)) t.true(id > 0 && id < most);
});

test("An exec request has the layout of ExecMessage", (t) => {
  const layout = layoutOf("ExecMessage");
  const message = execRequest({
    id: 0x01020304,
    layer: 2,
    file: "f",
    cwd: "/c",
    path: "/p",
    args: ["f", "ä"],
    env: ["A=1"],
    rows: 51,
    columns: 132,
  });
  const read = (field: string): number => message.readUInt32LE(place(layout, field));
  t.is(read("type"), messageTypes.exec);
  t.is(read("id"), 0x01020304);
  t.is(read("layer"), 2);
  t.is(read("flags"), searchPath);
  t.is(read("argc"), 2);
  t.is(read("envc"), 1);
  t.is(message.readUInt16LE(place(layout, "rows")), 51);
  t.is(message.readUInt16LE(place(layout, "columns")), 132);
  t.is(read("umask_"), 0o022);
  t.is(message.toString("utf8", layout.size), "f\0/c\0/p\0f\0ä\0A=1\0");
});

test("Signal, socket and file requests have the layouts of their messages", (t) => {
  const signal = layoutOf("SignalMessage");
  const asked = signalRequest(7, 15, true);
  t.is(asked.length, signal.size);
  t.deepEqual(
    ["type", "id", "signal", "whole_tree"].map((field) => asked.readUInt32LE(place(signal, field))),
    [messageTypes.signal, 7, 15, 1],
  );
  const socket = layoutOf("SocketMessage");
  const wished = socketRequest(8, addressFamilies.ipv6);
  t.is(wished.length, socket.size);
  t.deepEqual(
    ["type", "id", "family"].map((field) => wished.readUInt32LE(place(socket, field))),
    [messageTypes.socket, 8, 10],
  );
  const file = layoutOf("FileMessage");
  const where = { path: "p", roots: ["/a", "/b"], readOnlyRoots: ["/c"] };
  const wanted = fileRequest({ id: 9, layer: 1, write: true, ...where, mode: 0o755, noLinks: true });
  t.deepEqual(
    ["type", "id", "layer", "root_count", "read_only_count", "flags"].map((field) =>
      wanted.readUInt32LE(place(file, field)),
    ),
    [messageTypes.fileWrite, 9, 1, 2, 1, 0o755 | 0x10000],
  );
  t.is(wanted.toString("utf8", file.size), "p\0/a\0/b\0/c\0");
});

test("File results and events are read where the init writes them", (t) => {
  const result = layoutOf("FileResultMessage");
  const data = Buffer.alloc(result.size);
  data.writeUInt32LE(5, place(result, "id"));
  data.writeUInt32LE(6, place(result, "status"));
  data.writeInt32LE(13, place(result, "error"));
  data.writeBigUInt64LE(1n << 33n, place(result, "size"));
  data.writeBigUInt64LE(123_456_789n, place(result, "mtime_ns"));
  data.writeUInt32LE(0o644, place(result, "mode"));
  data.writeUInt32LE(2, place(result, "root_index"));
  data.write("/w/ä\0", place(result, "path"));
  t.deepEqual(fileReply(data), {
    id: 5,
    status: "read-only",
    errno: 13,
    size: 2 ** 33,
    mtimeNs: 123_456_789n,
    mode: 0o644,
    rootIndex: 2,
    path: "/w/ä",
  });
  const event = layoutOf("Event");
  const record = Buffer.alloc(event.size);
  record.writeUInt32LE(3, place(event, "type"));
  record.writeUInt32LE(8, place(event, "id"));
  record.writeInt32LE(-2, place(event, "value"));
  record.writeUInt32LE(1, place(event, "detail"));
  record.writeBigUInt64LE(1500n, place(event, "user_us"));
  record.writeBigUInt64LE(2500n, place(event, "system_us"));
  record.writeBigUInt64LE(1n << 40n, place(event, "max_rss_bytes"));
  const expected = {
    type: "exited",
    id: 8,
    value: -2,
    detail: 1,
    userMs: 1.5,
    systemMs: 2.5,
    maxRssBytes: 2 ** 40,
  } as const;
  const reader = new EventReader();
  // However the stream is cut.
  const parts = [
    record.subarray(0, 1),
    Buffer.concat([record.subarray(1), record.subarray(0, 39)]),
    record.subarray(39),
  ];
  t.deepEqual(
    parts.flatMap((part) => reader.read(part)),
    [expected, expected],
  );
});

test("A set-up program is a sequence of whole operations within the bounds that the init reads", (t) => {
  const layout = layoutOf("OpHeader");
  const bounds = header("init/program.h");
  const most = (name: string): number => Number(new RegExp(`${name} = (\\d+)`).exec(bounds)?.[1]);
  const program = Buffer.from(encodePlan(planOf("default")));
  const known = new Set(enumOf(wire, "OpCode").values());
  let at = 0;
  let index = 0;
  for (; at < program.length; index++) {
    const numbers = program.readUInt16LE(at + place(layout, "number_count"));
    const strings = program.readUInt16LE(at + place(layout, "string_count"));
    const length = program.readUInt32LE(at + place(layout, "length"));
    t.true(known.has(program.readUInt16LE(at + place(layout, "code"))));
    t.is(program.readUInt32LE(at + place(layout, "index")), index);
    t.true(numbers <= most("kMaxOperationNumbers") && strings <= most("kMaxOperationStrings"));
    let cursor = at + layout.size + numbers * 8;
    for (let i = 0; i < strings; i++) {
      const size = program.readUInt32LE(cursor);
      t.is(program[cursor + 4 + size], 0, "a NUL follows");
      cursor += (4 + size + 1 + 7) & ~7;
    }
    t.is(cursor, at + length);
    at += length;
  }
  t.true(index > 80);
});

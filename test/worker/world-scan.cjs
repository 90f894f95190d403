// Runs inside a session, by the tools' own Node: looks for needles everywhere that it can reach, and prints where it
// found which as JSON. A needle is given as its first half and its second half changed, so that this program does not
// find itself.
"use strict";
const fs = require("node:fs");
const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
const needles = JSON.parse(fs.readFileSync(process.argv[2], "utf8")).map(({ name, head, tail }) => ({
  name,
  head: Buffer.from(head),
  tail: Buffer.from(tail, "hex"),
}));
const longest = Math.max(...needles.map(({ head, tail }) => head.length + tail.length));
const found = new Set();
const counts = { files: 0, regions: 0, processes: [], descriptors: 0, unreadable: 0, bytes: 0 };

function look(bytes, where) {
  counts.bytes += bytes.length;
  for (const { name, head, tail } of needles) {
    for (let at = bytes.indexOf(head); at !== -1; at = bytes.indexOf(head, at + 1)) {
      let same = at + head.length + tail.length <= bytes.length;
      for (let i = 0; same && i < tail.length; i += 1) same = (bytes[at + head.length + i] ^ 0x15) === tail[i];
      if (same) found.add(`${name} in ${where}`);
    }
  }
}

const buffer = Buffer.alloc(1024 * 1024 + longest);

/** Reads from a position to the end, or a length, in overlapping pieces. */
function readThrough(fd, start, length, where) {
  let kept = 0;
  for (let done = 0; done < length; ) {
    let read;
    try {
      const wanted = Math.min(buffer.length - kept, length - done);
      read = fs.readSync(fd, buffer, kept, wanted, start === null ? null : start + done);
    } catch {
      return;
    }
    if (read === 0) return;
    done += read;
    look(buffer.subarray(0, kept + read), where);
    const rest = Math.min(longest, kept + read);
    buffer.copyWithin(0, kept + read - rest, kept + read);
    kept = rest;
  }
}

function file(path, most = 256 * 1024 * 1024, flags = O_NOFOLLOW) {
  let fd;
  try {
    fd = fs.openSync(path, O_RDONLY | O_NONBLOCK | flags);
  } catch {
    counts.unreadable += 1;
    return;
  }
  try {
    counts.files += 1;
    readThrough(fd, null, most, path);
  } finally {
    fs.closeSync(fd);
  }
}

function walk(folder, skip, most) {
  let names;
  try {
    names = fs.readdirSync(folder);
  } catch {
    return;
  }
  for (const name of names) {
    const path = folder === "/" ? `/${name}` : `${folder}/${name}`;
    look(Buffer.from(path), `the name ${path}`);
    if (skip(path)) continue;
    let status;
    try {
      status = fs.lstatSync(path);
    } catch {
      continue;
    }
    if (status.isSymbolicLink()) {
      try {
        look(Buffer.from(fs.readlinkSync(path)), `the link ${path}`);
      } catch {}
    } else if (status.isDirectory()) walk(path, skip, most);
    else if (status.isFile()) file(path, most);
  }
}

function memory(pid) {
  let maps;
  let fd;
  try {
    maps = fs.readFileSync(`/proc/${pid}/maps`, "latin1");
    fd = fs.openSync(`/proc/${pid}/mem`, O_RDONLY);
  } catch {
    return false;
  }
  for (const line of maps.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r(.)(.). \S+ \S+ (\S+)\s*(.*)$/.exec(line);
    if (match === null || match[6] === "[vvar]" || match[6] === "[vsyscall]") continue;
    const from = Number.parseInt(match[1], 16);
    const to = Number.parseInt(match[2], 16);
    // The programs' own code and constants, unchanged since it was mapped.
    if (match[3] === "-" && match[6].startsWith("/usr/")) continue;
    if (to > Number.MAX_SAFE_INTEGER || to - from > 1024 * 1024 * 1024) continue;
    counts.regions += 1;
    readThrough(fd, from, to - from, `memory of ${pid}`);
  }
  fs.closeSync(fd);
  return true;
}

// The host's programs, which nobody here can write, and what is looked into below.
const programs = /^\/(usr|opt|bin|sbin|lib|lib32|lib64|libx32|nix|gnu|proc|sys)$/;
walk("/", (path) => programs.test(path) || path === process.argv[2], 256 * 1024 * 1024);
for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
  const hasMemory = memory(pid);
  counts.processes.push({ pid: Number(pid), hasMemory });
  let descriptors = [];
  try {
    descriptors = fs.readdirSync(`/proc/${pid}/fd`);
  } catch {}
  for (const descriptor of descriptors) {
    counts.descriptors += 1;
    const path = `/proc/${pid}/fd/${descriptor}`;
    let target = "";
    try {
      target = fs.readlinkSync(path);
    } catch {}
    look(Buffer.from(target), `the link ${path}`);
    // A pipe's content would be taken from whom it is for.
    if (target.startsWith("/") && !target.startsWith("/dev/") && target !== process.argv[2]) file(path, 1 << 28, 0);
  }
}
// Not what was looked into above, and not what sleeps until something happens.
walk("/proc", (path) => /\/(fd|fdinfo|map_files|mem|task|cwd|root|exe|kmsg|kcore|pagemap|ns)$/.test(path), 1 << 20);
process.stdout.write(JSON.stringify({ found: [...found].sort(), ...counts }));

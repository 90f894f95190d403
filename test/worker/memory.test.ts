import test, { type ExecutionContext } from "ava";
import { defaultLeakGuard, type LeakAction } from "../../lib/policy/leak-guard.ts";
import { QueueServer } from "../../lib/queue/server.ts";
import { LeakGuard } from "../../lib/secrets/leak-guard.ts";
import { SecretSearch } from "../../lib/secrets/secret-search.ts";
import { createClient } from "../../lib/worker/client.ts";
import { SessionMemories } from "../../lib/worker/memory.ts";
import { memoryMounts } from "../../lib/worker/memory-mounts.ts";
import type { WorkerTimings } from "../../lib/worker/timings.ts";
import { fast, KeptLog, MemoryFolders } from "./harness.ts";

const never = new AbortController().signal;
const folder = "/mnt/memory/notes";

interface Store {
  readonly folders: MemoryFolders;
  readonly log: KeptLog;
  readonly memories: SessionMemories;
  /** The server's contents by path. */
  server(): Promise<Record<string, string>>;
  put(path: string, content: string): Promise<void>;
  drop(path: string): Promise<void>;
  write(path: string, content: string): Promise<void>;
  remove(path: string): Promise<void>;
  sync(): Promise<void>;
}

/** A store of the embedded queue, downloaded into a folder in memory. */
async function openStore(
  t: ExecutionContext,
  initial: Record<string, string>,
  options: { isReadOnly?: boolean; timings?: Partial<WorkerTimings>; guard?: LeakGuard } = {},
): Promise<Store> {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const session = queue.submit({ memory: [{ name: "notes", memories: initial }], calls: [] });
  const operator = createClient(queue.operatorKey, queue.url);
  const { resources } = await operator.beta.sessions.retrieve(session);
  const [resource] = resources;
  const storeId = resource?.type === "memory_store" ? resource.memory_store_id : "";
  const api = operator.beta.memoryStores.memories;
  const list = async (): Promise<{ id: string; path: string; content: string }[]> => {
    const all: { id: string; path: string; content: string }[] = [];
    for await (const item of api.list(storeId, { view: "full" })) {
      if (item.type === "memory") all.push({ id: item.id, path: item.path, content: item.content ?? "" });
    }
    return all;
  };
  const folders = new MemoryFolders();
  const log = new KeptLog();
  const memories = new SessionMemories({
    client: operator,
    sessionId: session,
    mounts: [{ storeId, folder, isReadOnly: options.isReadOnly ?? false }],
    folders,
    check: async (text) => options.guard?.check(text) ?? { text, leaks: [] },
    log,
    timings: { ...fast, ...options.timings },
  });
  await memories.download(never);
  return {
    folders,
    log,
    memories,
    server: async () => Object.fromEntries((await list()).map(({ path, content }) => [path, content])),
    async put(path, content) {
      const found = (await list()).find((memory) => memory.path === path);
      if (found === undefined) await api.create(storeId, { path, content });
      else await api.update(found.id, { memory_store_id: storeId, content });
    },
    async drop(path) {
      const found = (await list()).find((memory) => memory.path === path);
      if (found !== undefined) await api.delete(found.id, { memory_store_id: storeId });
    },
    write: (path, content) => folders.write(folder, path, Buffer.from(content)),
    remove: (path) => folders.remove([`${folder}/${path}`]),
    async sync() {
      memories.syncIfDue();
      await memories.settled();
    },
  };
}

test("A store's memories are put into its folder, beside its marker", async (t) => {
  const { folders } = await openStore(t, { "/a.md": "one", "/deep/b.md": "two" });
  t.is(folders.text(`${folder}/a.md`), "one");
  t.is(folders.text(`${folder}/deep/b.md`), "two");
  t.regex(folders.text(`${folder}/.anthropic-memory-store`) ?? "", /^version 1\nmemstore_\w+$/);
});

test("What changed on one side goes to the other, and the server's change wins over the folder's", async (t) => {
  const store = await openStore(t, { "/there.md": "1", "/here.md": "1", "/both.md": "1", "/gone.md": "1" });
  await store.put("/there.md", "2");
  await store.put("/both.md", "theirs");
  await store.put("/new-there.md", "n");
  await store.drop("/gone.md");
  await store.write("here.md", "2");
  await store.write("both.md", "ours");
  await store.write("new-here.md", "m");
  await store.sync();
  t.deepEqual(await store.server(), {
    "/there.md": "2",
    "/here.md": "2",
    "/both.md": "theirs",
    "/new-there.md": "n",
    "/new-here.md": "m",
  });
  t.is(store.folders.text(`${folder}/there.md`), "2");
  t.is(store.folders.text(`${folder}/both.md`), "theirs");
  t.is(store.folders.text(`${folder}/new-there.md`), "n");
  t.is(store.folders.text(`${folder}/gone.md`), undefined);
  t.true(store.log.text.includes("both.md was changed on both sides"));
});

test("A memory that was deleted there and edited here is made anew", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" });
  await store.drop("/a.md");
  await store.write("a.md", "edited");
  await store.sync();
  t.deepEqual(await store.server(), { "/a.md": "edited", "/b.md": "1" });
});

test("A file that is missing deletes its memory only after a while, or at the end", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" }, { timings: { memoryDelete: 60_000 } });
  await store.remove("a.md");
  await store.sync();
  t.deepEqual(await store.server(), { "/a.md": "1", "/b.md": "1" });
  await store.memories.finish(true, false);
  t.deepEqual(await store.server(), { "/b.md": "1" });
});

test("A file that comes back in time deletes nothing, and one that changed there is restored", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" }, { timings: { memoryDelete: 60_000 } });
  await store.remove("a.md");
  await store.remove("b.md");
  await store.write("c.md", "c");
  await store.sync();
  await store.write("a.md", "1");
  await store.put("/b.md", "2");
  await store.memories.finish(true, false);
  t.deepEqual(await store.server(), { "/a.md": "1", "/b.md": "2", "/c.md": "c" });
  t.is(store.folders.text(`${folder}/b.md`), "2");
});

test("No more than so many memories are deleted by one sync", async (t) => {
  const initial = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`/${index}.md`, "x"]));
  const store = await openStore(t, initial);
  for (let index = 0; index < 15; index += 1) await store.remove(`${index}.md`);
  await store.sync();
  t.is(Object.keys(await store.server()).length, 12);
});

test("A folder that was emptied at once is filled again, and nothing is deleted", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" });
  await store.folders.remove([folder]);
  await store.sync();
  t.deepEqual(await store.server(), { "/a.md": "1", "/b.md": "1" });
  t.is(store.folders.text(`${folder}/a.md`), "1");
});

test("A folder whose marker is gone or altered is left alone", async (t) => {
  for (const marker of [undefined, "version 1\nmemstore_other"]) {
    const store = await openStore(t, { "/a.md": "1" });
    if (marker === undefined) await store.remove(".anthropic-memory-store");
    else await store.write(".anthropic-memory-store", marker);
    await store.write("evil.md", "evil");
    await store.memories.finish(true, false);
    t.deepEqual(await store.server(), { "/a.md": "1" });
  }
});

test("An end that is not clean uploads what changed, deletes nothing and fetches nothing", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1", "/c.md": "1" });
  await store.write("a.md", "2");
  await store.remove("b.md");
  await store.put("/c.md", "theirs");
  await store.write("c.md", "ours");
  await store.memories.finish(false, true);
  t.deepEqual(await store.server(), { "/a.md": "2", "/b.md": "1", "/c.md": "theirs" });
});

test("A read-only store is never uploaded", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" }, { isReadOnly: true });
  await store.write("a.md", "2");
  await store.write("new.md", "2");
  await store.remove("b.md");
  await store.memories.finish(true, false);
  t.deepEqual(await store.server(), { "/a.md": "1", "/b.md": "1" });
});

test("What cannot be a memory is not uploaded, and tried again only when it has changed", async (t) => {
  const store = await openStore(t, { "/a.md": "1", "/b.md": "1" });
  await store.write("big.md", "x".repeat(102_401));
  await store.folders.write(folder, "binary", Buffer.from([0xff, 0xfe]));
  await store.write("cafe\u0301.md", "not composed");
  await store.write("fits.md", "y".repeat(102_400));
  await store.sync();
  await store.sync();
  t.deepEqual(Object.keys(await store.server()).sort(), ["/a.md", "/b.md", "/fits.md"]);
  t.is(store.log.lines.filter(({ message }) => message.startsWith("big.md cannot be a memory")).length, 1);
  await store.write("big.md", "small now");
  await store.sync();
  t.is((await store.server())["/big.md"], "small now");
});

test("A store's folder must not be there before", async (t) => {
  const folders = new MemoryFolders();
  folders.folders.add(folder);
  await folders.write(folder, "leftover", Buffer.from("x"));
  const memories = new SessionMemories({
    client: createClient("sk-ant-req-unused", "http://127.0.0.1:1"),
    sessionId: "sesn_1",
    mounts: [{ storeId: "memstore_1", folder, isReadOnly: false }],
    folders,
    check: async (text) => ({ text, leaks: [] }),
    log: new KeptLog(),
    timings: fast,
  });
  await t.throwsAsync(memories.download(never), { message: /something is at the memory store's path/ });
});

test("Stores go to their mount path, or below memory/ of the workspace", (t) => {
  const store = (fields: object): object => ({ type: "memory_store", memory_store_id: "memstore_1", ...fields });
  t.deepEqual(
    memoryMounts(
      [
        { type: "file" },
        null,
        store({ mount_path: "/mnt/memory/a/", access: "read_only" }),
        store({ mount_path: null, name: "b" }),
        store({}),
      ],
      "/workspace",
    ),
    [
      { storeId: "memstore_1", folder: "/mnt/memory/a", isReadOnly: true },
      { storeId: "memstore_1", folder: "/workspace/memory/b", isReadOnly: false },
      { storeId: "memstore_1", folder: "/workspace/memory/memstore_1", isReadOnly: false },
    ],
  );
  t.deepEqual(memoryMounts(undefined, "/workspace"), []);
  for (const path of ["relative", "/a/../b", "/", "/etc", "/usr/lib/x", "/proc/self", "/workspace", "/.holdfast", 7]) {
    t.throws(() => memoryMounts([store({ mount_path: path })], "/workspace"), undefined, String(path));
  }
  t.throws(() => memoryMounts([store({ name: "a/b" })], "/workspace"));
  t.throws(() => memoryMounts([store({ mount_path: "/m" }), store({ mount_path: "/m/n" })], "/workspace"));
  t.throws(() =>
    memoryMounts(
      Array.from({ length: 9 }, (_, n) => store({ mount_path: `/m${n}` })),
      "/workspace",
    ),
  );
});

for (const [action, there] of [
  ["redact", { "/a.md": "the key is [redacted], as it is" }],
  ["block", {}],
  ["warn", { "/a.md": "the key is a-secret-of-the-launcher, as it is", "/a-secret-of-the-launcher": "x" }],
] as const satisfies readonly (readonly [LeakAction, object])[]) {
  test(`What the leak guard finds in a memory is not in the store: ${action}`, async (t) => {
    const secret = "a-secret-of-the-launcher";
    const search = new SecretSearch(() => [["key", Buffer.from(secret)]]);
    const guard = new LeakGuard({ ...defaultLeakGuard, action }, () => false, search);
    const store = await openStore(t, {}, { guard });
    await store.write("a.md", `the key is ${secret}, as it is`);
    await store.write(secret, "x");
    await store.sync();
    await store.sync();
    t.deepEqual(await store.server(), there);
    t.regex(store.log.text, /the memory a\.md holds key \(plain\): /);
    // Once: what was taken out is in neither, and what is kept back is not tried again.
    t.is(store.log.text.split("the memory a.md holds").length, 2);
    if (action !== "warn") t.false(store.log.text.includes(secret));
    if (action === "redact") t.is(store.folders.text(`${folder}/a.md`), "the key is [redacted], as it is");
  });
}

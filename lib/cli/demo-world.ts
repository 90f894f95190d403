import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { Authority } from "../egress/authority.ts";
import { HoldfastError } from "../errors.ts";
import { root } from "../native.ts";

/** One of the demo's task files, as far as the demo looks into it. */
export interface DemoTask {
  readonly name: string;
  readonly agent: { readonly name: string };
  readonly calls: readonly { readonly say?: string }[];
}

/** What the service answers. */
const prices = "bolt 2, nut 1";

/**
 * What lies outside the sandboxes: a workspace, a service with TLS, secrets, a listener and a process for the hostile
 * session to go for.
 */
export class DemoWorld {
  readonly folder: string;
  readonly workspace: string;
  readonly home: string;
  readonly out: string;
  readonly taskFolder: string;
  readonly policy: string;
  /** Of who vouches for the service. */
  readonly authorityFile: string;
  /** What the service was asked, `METHOD path`. */
  readonly asked: string[] = [];
  /** In the order in which the queue takes them. */
  readonly tasks: DemoTask[] = [];
  /** In the ssh key. */
  readonly canary: string = `CANARY-${randomBytes(8).toString("hex")}`;
  /** In the command line of the daemon that is left behind. */
  readonly mark: string = `mark-${randomBytes(8).toString("hex")}`;
  readonly #victim: ChildProcess;
  readonly #listener = createServer((socket) => {
    this.#visits += 1;
    socket.destroy();
  });
  /** Of the model that all sessions may ask. */
  readonly modelKey: string = `model-key-${randomBytes(16).toString("hex")}`;
  /** How often the model was asked with its key, and without. */
  readonly modelAsked: { withKey: number; without: number } = { withKey: 0, without: 0 };
  readonly #authority = new Authority("demo", 3_600_000);
  readonly #service = createHttpsServer(
    { SNICallback: (name, settle) => settle(null, this.#authority.contextFor(name)) },
    ({ method, url }, answer) => {
      this.asked.push(`${method} ${url}`);
      answer.end(prices);
    },
  );
  /** One that gives away all that it knows. */
  readonly #model = createHttpServer(({ headers }, answer) => {
    const key = String(headers["x-api-key"]);
    this.modelAsked[key === this.modelKey ? "withKey" : "without"]++;
    answer.end(`your key is ${key}`);
  });
  #visits = 0;
  #before = "";

  private constructor(folder: string) {
    this.folder = folder;
    this.workspace = join(folder, "workspace");
    this.home = join(folder, "home");
    this.out = join(folder, "out");
    this.taskFolder = join(folder, "tasks");
    this.policy = join(folder, "policy.yaml");
    this.authorityFile = join(folder, "authority.pem");
    // It lives as long as its input is open: should this process be killed, it ends by itself.
    this.#victim = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
  }

  static async make(): Promise<DemoWorld> {
    let folder: string;
    try {
      folder = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
    } catch (cause) {
      throw new HoldfastError(`no folder can be made in ${tmpdir()}`, {
        code: "ERR_HOLDFAST_OWN_FOLDER",
        step: "workspace",
        path: tmpdir(),
        hint: "Set TMPDIR to a folder that this user can write to.",
        cause,
      });
    }
    const world = new DemoWorld(folder);
    try {
      await world.#fill();
      return world;
    } catch (error) {
      world.remove();
      throw error;
    }
  }

  async #fill(): Promise<void> {
    cpSync(join(root, "demo", "workspace"), this.workspace, { recursive: true });
    mkdirSync(join(this.workspace, ".git", "hooks"), { recursive: true });
    writeFileSync(join(this.workspace, ".git", "config"), "[core]\n\trepositoryformatversion = 0\n");
    writeFileSync(join(this.workspace, ".git", "HEAD"), "ref: refs/heads/main\n");
    mkdirSync(join(this.home, ".ssh"), { recursive: true });
    writeFileSync(join(this.home, ".ssh", "id_ed25519"), `${this.canary}\n`, { mode: 0o600 });
    mkdirSync(this.out);
    mkdirSync(this.taskFolder);
    const words: Readonly<Record<string, string>> = {
      home: this.home,
      canary: this.canary,
      mark: this.mark,
      host: "127.0.0.1",
      port: await portOf(this.#listener),
      victim: String(this.#victim.pid),
      servicePort: await portOf(this.#service),
      prices,
      modelPort: await portOf(this.#model),
      modelKey: this.modelKey,
    };
    const filled = (...path: string[]): string =>
      readFileSync(join(root, ...path), "utf8").replace(
        /\{\{(\w+)\}\}/g,
        (whole, word: string) => words[word] ?? whole,
      );
    for (const name of readdirSync(join(root, "demo", "tasks")).sort()) {
      const text = filled("demo", "tasks", name);
      writeFileSync(join(this.taskFolder, name), text);
      this.tasks.push(parse(text) as DemoTask);
    }
    writeFileSync(this.authorityFile, this.#authority.certificate);
    writeFileSync(this.policy, filled("presets", "agent.yaml") + filled("demo", "network.yaml.in"));
    this.#before = snapshot(this.workspace);
  }

  get isWorkspaceUnchanged(): boolean {
    return snapshot(this.workspace) === this.#before;
  }

  /** How often the listener outside was reached. */
  get visits(): number {
    return this.#visits;
  }

  get isVictimAlive(): boolean {
    return this.#victim.exitCode === null && this.#victim.signalCode === null;
  }

  remove(): void {
    this.keep();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Leaves the folder for somebody to look at. */
  keep(): void {
    this.#victim.kill("SIGKILL");
    this.#listener.close();
    this.#service.close();
    this.#model.close();
  }

  /** The report that the analyst has to come to: requests and errors by host, summed up here. */
  get expectedReport(): string {
    const sums = new Map<string, [number, number]>();
    const lines = readFileSync(join(this.workspace, "requests.csv"), "utf8").trim().split("\n").slice(1);
    for (const line of lines) {
      const [, host = "", requests, errors] = line.split(",");
      const [all, bad] = sums.get(host) ?? [0, 0];
      sums.set(host, [all + Number(requests), bad + Number(errors)]);
    }
    const rows = [...sums]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([host, [all, bad]]) => `| ${host} | ${all} | ${((100 * bad) / all).toFixed(2)} |`);
    return ["# Requests by host", "", "| host | requests | errors % |", "|---|---|---|", ...rows, ""].join("\n");
  }

  /** What came out of the sandboxes: contents by path. */
  extracted(): Map<string, string> {
    return new Map(
      readdirSync(this.out, { recursive: true, encoding: "utf8" })
        .filter((name) => statSync(join(this.out, name)).isFile())
        .sort()
        .map((name) => [name, readFileSync(join(this.out, name), "utf8")]),
    );
  }

  /** Processes that are left of the sessions. */
  processes(): string[] {
    return readdirSync("/proc").filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(join("/proc", pid, "cmdline"), "latin1").includes(this.mark);
      } catch {
        return false;
      }
    });
  }

  /** Mounts, cgroups, folders and sockets that are left of sandboxes of these names. */
  remains(sandboxes: readonly string[]): string[] {
    const isOne = (text: string): boolean => sandboxes.some((name) => text.includes(name));
    const listed = (folder: string): string[] =>
      existsSync(folder)
        ? readdirSync(folder)
            .filter(isOne)
            .map((name) => join(folder, name))
        : [];
    const uid = process.getuid?.() ?? 0;
    const own = readFileSync("/proc/self/cgroup", "utf8")
      .trim()
      .split("\n")
      .flatMap((line) => {
        const [, controllers = "", path = ""] = line.split(":");
        const mounted = [join("/sys/fs/cgroup", controllers), "/sys/fs/cgroup"];
        return mounted.flatMap((top) => [join(top, path), join(top, path, ".."), top]);
      });
    return [
      ...readFileSync("/proc/self/mountinfo", "utf8")
        .split("\n")
        .filter((line) => isOne(line) || line.includes(this.folder)),
      ...[...new Set(own)].flatMap(listed),
      // All that is there: this world's home is nobody else's.
      ...[join(this.home, ".local", "state", "holdfast", "sandboxes")].flatMap((folder) =>
        existsSync(folder) ? readdirSync(folder) : [],
      ),
      ...[`/run/user/${uid}/holdfast`, `/dev/shm/holdfast-${uid}`, join(tmpdir(), `holdfast-${uid}`)].flatMap(listed),
    ];
  }
}

/** Of a server that listens on the loopback from now on. */
async function portOf(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return String((server.address() as AddressInfo).port);
}

/** Every path of a tree with its size and time: nothing of it may change. */
function snapshot(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const { size, mtimeMs, mode } = statSync(join(folder, name));
      return `${name} ${size} ${mtimeMs} ${mode}`;
    })
    .join("\n");
}

import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { filterFor } from "../../lib/plan/filter.ts";
import { handledFs, handledNet, scoped } from "../../lib/plan/landlock.ts";
import type { LaunchPlan, MountStep, Ruleset } from "../../lib/plan/launch-plan.ts";
import { plan } from "../../lib/plan/plan.ts";
import type { Limits, Policy, WallName } from "../../lib/policy/policy.ts";
import { type PresetName, presetPolicy, presets } from "../../lib/policy/presets.ts";
import { fixedHost, fixedWorkspace, planOf } from "./fixed-plan.ts";

const names = Object.keys(presets) as PresetName[];
const everyId = [{ first: 0, outside: 0, count: 4_294_967_295 }];
const asRoot = { ...fixedHost, uid: 0, gid: 0, ids: { uid: everyId, gid: everyId } };

/** A plan as lines that a reviewer can read; programs and long texts are compared elsewhere. */
function written(made: LaunchPlan): string {
  const rules = (name: string, { handledFs, handledNet, scoped, rules }: Ruleset): string[] => [
    `landlock ${name}: files ${handledFs.toString(2)}, tcp ${handledNet}, scopes ${scoped}`,
    ...rules.map(({ access, path }) => `  ${access.toString(2).padStart(16, "0")} ${path}`),
  ];
  const mount = (step: MountStep): string => {
    const { op, ...rest } = step;
    const shown = op === "file" ? { ...rest, content: undefined } : rest;
    return `  ${op} ${JSON.stringify(shown)}`;
  };
  const { landlock, seccomp: _, ...rest } = made;
  const lists = { ...rest, mounts: undefined, verify: undefined, idMapped: undefined, steps: undefined };
  return [
    ...Object.entries(lists).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}: ${JSON.stringify(value)}`],
    ),
    `steps: ${made.steps.join(" ")}`,
    "mounts:",
    ...made.mounts.map(mount),
    ...made.idMapped.map((tree) => `  idmapped ${JSON.stringify(tree)}`),
    ...rules("base", landlock.base),
    ...rules("call", landlock.call),
    ...rules("read-only", landlock.readOnly),
    "verify:",
    ...made.verify.map((item) => `  ${JSON.stringify(item)}`),
  ].join("\n");
}

for (const name of names) {
  test(`The plan of the preset ${name} is what it was`, (t) => {
    t.snapshot(written(planOf(name)));
  });

  test(`Equal inputs give equal plans of the preset ${name}, and the inputs are left as they were`, (t) => {
    const policy = presetPolicy(name);
    const workspace = fixedWorkspace(policy);
    const before = structuredClone({ policy, workspace });
    // Another policy object: of the same one the plan is kept.
    t.deepEqual(plan(policy, fixedHost, workspace), plan({ ...policy }, fixedHost, workspace));
    t.deepEqual({ policy, workspace }, before);
  });
}

test("A plan is kept for as long as nothing that it follows from changes", (t) => {
  const policy = presetPolicy("default");
  const workspace = fixedWorkspace(policy);
  const first = plan(policy, fixedHost, workspace);
  t.is(plan(policy, fixedHost, structuredClone(workspace)), first);
  const other = { ...workspace, covered: [`${workspace.path}/state`] };
  t.deepEqual(
    plan(policy, fixedHost, other)
      .mounts.filter(({ op }) => op === "mask")
      .at(-1),
    { op: "mask", path: `${workspace.path}/state` },
  );
  t.true(plan(policy, asRoot, workspace).identity.drop);
  t.false(plan(policy, fixedHost, workspace).identity.drop);
});

test("The plan of a sandbox that root starts is what it was", (t) => {
  t.snapshot(written(planOf("agent", asRoot)));
});

test("A sandbox never runs as the host's root, whoever starts it", (t) => {
  const policy = presetPolicy("default");
  for (const owner of [0, 1000]) {
    const workspace = { ...fixedWorkspace(policy), owner: { uid: owner, gid: owner } };
    const { identity } = plan(policy, asRoot, workspace);
    t.true(identity.hostUid > 0 && identity.hostGid > 0 && identity.drop);
  }
});

test("The root of a user namespace runs sandboxes as itself where it has no other id to give", (t) => {
  const policy = presetPolicy("default");
  const workspace = { ...fixedWorkspace(policy), owner: { uid: 0, gid: 0 } };
  const made = (count: number, outside = 100_000): LaunchPlan => {
    const ids = [{ first: 0, outside, count }];
    return plan(policy, { ...asRoot, ids: { uid: ids, gid: ids } }, workspace);
  };
  t.deepEqual(made(1).identity, { uid: 65_533, gid: 65_533, hostUid: 0, hostGid: 0, drop: false });
  t.deepEqual(made(1).idMapped, []);
  const error = t.throws(() => made(1, 0), undefined, "it is the host's root");
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.exitCode === 125);
  t.deepEqual(made(65_536).identity, { uid: 65_533, gid: 65_533, hostUid: 65_533, hostGid: 65_533, drop: true });
});

test("Every plan has every namespace, step and verification that its kernel can have", (t) => {
  for (const name of names) {
    const made = planOf(name);
    t.is(made.namespaces.length, 7);
    t.is(made.verify.length, 16);
    t.is(made.steps.length, 7);
    t.is(made.seccomp, filterFor("x86_64", { fileSizeLimit: name === "agent" }));
  }
});

test("The filter has calls notified for the limits that only the broker sees reached, and for no others", (t) => {
  const purposes = (limits: Partial<Limits>): Set<string> => {
    const policy = { ...presetPolicy("default"), limits: { ...presetPolicy("default").limits, ...limits } };
    return new Set(plan(policy, fixedHost, fixedWorkspace(policy)).seccomp.notify.values());
  };
  t.false(purposes({}).has("wait"));
  t.false(purposes({}).has("descriptor"));
  t.true(purposes({ fileSizeBytes: 1 }).has("wait"));
  t.true(purposes({ openFiles: 4096 }).has("descriptor"));
  t.false(purposes({ openFiles: 4097 }).has("descriptor"));
});

test("What an older Landlock lacks is left out, and nothing else", (t) => {
  // landlock(7): ABI 1 has 13 rights on files; 2 brings REFER, 3 TRUNCATE, 4 TCP, 5 IOCTL_DEV, 6 scopes.
  const expected: [abi: number, rights: number, tcp: number, scopes: number][] = [
    [1, 13, 0, 0],
    [2, 14, 0, 0],
    [3, 15, 0, 0],
    [4, 15, 3, 0],
    [5, 16, 3, 0],
    [6, 16, 3, 3],
    [7, 16, 3, 3],
    [12, 16, 3, 3],
  ];
  for (const [abi, rights, tcp, scopes] of expected) {
    t.is(handledFs(abi), 2 ** rights - 1, `ABI ${abi}`);
    t.is(handledNet(abi), tcp, `ABI ${abi}`);
    t.is(scoped(abi), scopes, `ABI ${abi}`);
    const made = planOf("default", { ...fixedHost, landlockAbi: abi });
    for (const ruleset of [made.landlock.base, made.landlock.call, made.landlock.readOnly]) {
      t.is(ruleset.handledFs & ~handledFs(abi), 0);
      t.true(ruleset.handledFs !== 0 || ruleset.handledNet !== 0 || ruleset.scoped !== 0, "an empty one is refused");
      for (const { access, path } of ruleset.rules) t.is(access & ~ruleset.handledFs, 0, `ABI ${abi}: ${path}`);
    }
    const walls = made.verify.map(({ wall }) => wall);
    t.is(walls.includes("landlock-network"), tcp !== 0);
    t.is(walls.includes("landlock-signal"), scopes !== 0);
    t.is(walls.includes("landlock-abstract"), scopes !== 0);
  }
});

test("Without Landlock there is no plan", (t) => {
  const error = t.throws(() => planOf("default", { ...fixedHost, landlockAbi: 0 }));
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.exitCode === 125);
});

test("A wall that a policy requires and this host lacks stops it, all such walls at once and by name", (t) => {
  const required = (requires: WallName[], landlockAbi: number, cgroup = false): LaunchPlan => {
    const { limits, ...rest } = presetPolicy("default");
    const policy = { ...rest, limits: { ...limits, memoryBytes: 2 ** 30 }, requires };
    const workspace = { ...fixedWorkspace(policy), cgroup: { memory: cgroup, processes: cgroup } };
    return plan(policy, { ...fixedHost, landlockAbi }, workspace);
  };
  const all: WallName[] = ["user-namespace", "landlock-network", "landlock-scope", "seccomp", "cgroup-memory"];
  t.notThrows(() => required(all, 6, true));
  const error = t.throws(() => required(all, 3));
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.exitCode === 125);
  t.regex(
    error?.message ?? "",
    /wall landlock-network: .*6\.7\)\n.*wall landlock-scope: .*6\.12\)\n.*wall cgroup-memory: /,
  );
  t.notRegex(error?.message ?? "", /user-namespace|seccomp/);
});

test("Missing paths and missing walls are told together, in the order of the file", (t) => {
  const at = (line: number, column: number) => ({ line, column });
  const policy: Policy = {
    ...presetPolicy("default"),
    source: "p.yaml",
    requires: ["landlock-scope"],
    requiresAt: { "landlock-scope": at(3, 12) },
  };
  const missing = [
    { path: "/b", ...at(9, 5) },
    { path: "/a\n", ...at(2, 20) },
  ];
  const error = t.throws(() => plan(policy, { ...fixedHost, landlockAbi: 3 }, { ...fixedWorkspace(policy), missing }));
  t.deepEqual(error?.message.split("\n"), [
    'p.yaml:2:20: "/a\\n" does not exist',
    "p.yaml:3:12: this host does not give the wall landlock-scope: Landlock has scopes from ABI 6 on (Linux 6.12)",
    'p.yaml:9:5: "/b" does not exist',
  ]);
});

test("A grant below another stays what it is: mounts are made from the outside in", (t) => {
  const policy = presetPolicy("default");
  const grant = (path: string, access: "read" | "write") =>
    ({
      path,
      source: path,
      kind: "directory",
      access,
      links: [],
      owner: { uid: 1000, gid: 1000 },
      system: false,
    }) as const;
  const grants = [
    grant("/data/shared/in/deep", "write"),
    grant("/data/shared/in", "read"),
    grant("/data/shared", "write"),
    grant("/srv/in/deep", "read"),
    grant("/srv/in", "write"),
    grant("/srv", "read"),
    grant("/srv/other", "read"),
    grant("/home/me/project/vendor", "read"),
  ];
  const { mounts } = plan(policy, fixedHost, { ...fixedWorkspace(policy), grants });
  const binds = mounts.flatMap((step) => (step.op === "bind" && step.from === "host" ? [step] : []));
  const order = binds.filter(({ path }) => /^\/(data|srv|home\/me)\b/.test(path));
  t.deepEqual(
    order.map(({ path, readOnly }) => [path, readOnly]),
    [
      ["/data/shared", false],
      ["/data/shared/in", true],
      ["/data/shared/in/deep", false],
      ["/home/me/project/vendor", true],
      ["/srv", true],
      ["/srv/in", false],
      ["/srv/in/deep", true],
      ["/home/me/project", false],
      ["/home/me/project/vendor", true],
    ],
  );
});

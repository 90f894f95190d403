// Which program speaks: one that is granted, in a folder that the sandbox cannot write, and all that could speak in its name.
import { spawnSync } from "node:child_process";
import { missingForWorld } from "./world.ts";
import { testsOf } from "./world-tests.ts";

const hasCompiler = spawnSync("cc", ["--version"], { stdio: "ignore" }).error === undefined;
const missing = missingForWorld() ?? (hasCompiler ? null : "there is no C compiler (cc)");

const [carried, reset] = ["carried", "reset"];

for (const mode of ["namespaces", "landlock"] as const) {
  const { found, holds, inThatWorld } = testsOf("identity.ts", missing, mode);
  const isLandlock = mode === "landlock";

  holds(
    "A granted program speaks, whatever it maps as data, makes as code, or loads from where the sandbox cannot write",
    {
      itself: carried,
      "code it may map": carried,
      "data of the workspace": carried,
      "a JIT": carried,
      node: "hello",
      python: "hello",
    },
  );

  holds("Code that the sandbox can write takes the grant away, however it comes into the program", {
    preloaded: reset,
    "preloaded from /tmp": reset,
    audited: reset,
    loaded: reset,
    mapped: reset,
    "made executable": reset,
    "made executable by key": reset,
    memfd: reset,
    "of a name more": reset,
    protected: reset,
    "a loader of the workspace": reset,
    "a loader of the workspace, after a connect by another": reset,
    "a loader by a link of the workspace": reset,
    "deleted code": reset,
    "a segment": isLandlock ? "segment: EPERM" : reset,
  });

  holds("So does an object without code, which steers a program by its relocations", { "preloaded data": reset });

  holds("A file of any place that is mapped as data and made executable is not looked into", {
    "data it may map, made executable": reset,
  });

  holds("Other ways to executable memory are refused", {
    "a segment attached as code": `${isLandlock ? "EPERM" : "EACCES"} ${carried}`,
    "pages rearranged": `ENOSYS ${carried}`,
    "data that implies code": `EPERM ${carried}`,
  });

  holds("A program cannot write into a granted one, nor attach to it", {
    "reaching another": `mem ${isLandlock ? "EACCES" : "EROFS"} attach EPERM traced EPERM seize EPERM write EPERM`,
    "handing out a socket": "getfd ENOSYS",
  });

  for (const way of ["fork", "orphan", "shared", "thread", "leaderless"])
    holds(`What was mapped is remembered across ${way}`, {
      [way]: carried,
      [`marked, then ${way}`]: reset,
      [`${way}, then marked`]: reset,
    });

  holds("What was mapped is forgotten by exec, and is nothing to the parent", {
    "marked, then exec": carried,
    "marked, then vfork and exec": carried,
    "the parent of a marked one": `${reset}\n${carried}`,
  });

  holds("A program is its open file, not its name", {
    another: reset,
    "executed over": carried,
    "that executes another": reset,
    copied: reset,
    "copied and renamed": reset,
    "renamed while it runs": reset,
    deleted: reset,
    "from a memfd": reset,
    "linked to": carried,
    "an argument 0 of its choice": reset,
    "by the loader": reset,
    "by a granted loader": carried,
    "by a granted loader, from the workspace": reset,
    "a file of a name more": carried,
    "a file that was changed by another name": reset,
    rewritten: `EPERM ${reset}`,
  });

  holds("A script speaks as its interpreter, wherever it lies", {
    "a script": carried,
    "a script of the workspace": carried,
  });

  holds("A connection is that of the program which connects, whoever made the socket and whoever uses it", {
    "handed over when connected": carried,
    "handed to the granted one": carried,
    "handed over before": reset,
  });

  holds("Rules that name programs hold only where they were there from the start", {
    "of any program": carried,
    "rules that come later": "ERR_HOLDFAST_POLICY_STATIC",
    "after those": carried,
    "with rules that name nobody": carried,
    "with the first again": reset,
  });

  holds("A program has to stay what was pinned, or first seen; a change is a record of its own", {
    pinned: carried,
    "pinned and changed": reset,
    "first seen and changed": reset,
    "pinned anew": carried,
    changes: [
      [true, true, true],
      [true, true, true],
    ],
  });

  inThatWorld("A record says why: whose identity does not hold is told from who has no grant", (t) => {
    const records = (found["records"] as unknown[]).map((record) => JSON.stringify(record));
    for (const wanted of [
      ["/granted/speak", true, null],
      ["/granted/speak", false, "identity"],
      ["/granted/other", false, "program"],
      ["/work/copy", false, "identity"],
      ["/work/lost", false, "identity"],
      ["/memfd:copy", false, "identity"],
    ])
      t.true(records.includes(JSON.stringify(wanted)), wanted.join(" "));
  });

  holds(
    "A record says by whom the program was started, and of which script it is the interpreter; neither grants anything",
    {
      scripts: ["/granted/script", "/work/run"],
      origins: [
        ["/granted/speak", ["sh"], null],
        ["/granted/speak", ["/granted/speak", "sh"], null],
      ],
      // One process, which speaks twice before it executes the other.
      "scripts in turn": ["/work/first", "/work/first", "/work/second"],
    },
  );
}

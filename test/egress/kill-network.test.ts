// The kill switch, in a network of the test's own (killed.ts).
import { thisHost } from "../../lib/sandbox/sandbox.ts";
import { testsOf } from "./world-tests.ts";

const { found, holds, inThatWorld } = testsOf("killed.ts");

const reset = "ConnectionResetError";

holds("What is live, being dialled or about to be resolved is reset when killNetwork returns", {
  before: "streaming",
  begun: "connected",
  killed: true,
  "record of the kill": [["network.killed", true]],
  "dialling after it": 0,
  streams: "reset reset reset reset reset",
  unanswered: reset,
  resolving: reset,
  reached: 0,
});

holds("Nothing is let out afterwards, by no name and no address, also under a policy that is applied later", {
  "by name": "gaierror",
  "by address": reset,
});

holds("Each flow that was refused for it is a record of its own, and named", {
  refused: [
    ["other.example.test", 9, false],
    ["other.example.test", 7, false],
    ["93.184.216.34", 19, false],
  ],
  denials: ["other.example.test:9", "other.example.test:7", "api.example.test", "93.184.216.34:19"],
});

holds("The command cuts one sandbox off by its name, SIGUSR1 all of a launcher, and --all all of this user", {
  "by command": ['[0,"{\\"sandboxes\\":[{\\"name\\":\\"NAME\\",\\"connections\\":2}]}\\n"]'],
  "its streams": "reset reset",
  "by signal": "reset reset",
  statuses: [0, 0],
  "--all": `0,${"NAME: the network is off, 2 connections reset\n".repeat(2)}`,
  "all streams": ["reset reset", "reset reset"],
  none: [0, "no sandbox of this user is running\n"],
});

inThatWorld("A name that is none is answered with the nearest, and a launcher that does not do it is named", (t) => {
  t.regex(String(found["misspelt"]), /^125,.*called NAMEx\n {2}Did you mean NAME\? \[ERR_HOLDFAST_SANDBOX_UNKNOWN\]$/);
  t.regex(String(found["no name"]), /^125,.*ERR_HOLDFAST_USAGE/s);
  t.regex(String(found["stubborn"]), /^125,holdfast: the sandbox stubborn could not be told: no\n.*SANDBOX_SILENT\]$/s);
});

if (thisHost().landlockAbi >= 6) {
  holds("Without namespaces a name that is asked for afterwards is refused, and named, too", {
    "without namespaces": ["gaierror", "api.example.test: the network of this sandbox was switched off"],
  });
}

holds("All of a process is off, with what it makes later", { "the whole process": ["gaierror", "gaierror"] });

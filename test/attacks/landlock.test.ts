import { thisHost } from "../../lib/sandbox/sandbox.ts";
import { tryCases } from "./try-cases.ts";

const { landlockAbi } = thisHost();

tryCases(() => true, {
  mode: "landlock",
  open: [
    // /etc/hosts is read: nothing can be shown in its place.
    "covert-host.py",
    // Whether a number is a process's.
    "covert-processes.py",
    // No abstract name can be bound, taken or not.
    "network-abstract.py",
    // Protected names are mounts.
    "write-configured.sh",
    "write-exchange.c",
    "write-other-names.py",
    "write-spellings.py",
  ],
  missing: landlockAbi < 6 ? `this kernel's Landlock has ABI ${landlockAbi}, the mode needs 6` : null,
});

// Tests start processes and sandboxes, and wait for them: child processes instead of worker threads, twice as many files
// at once as the smallest machine has cores, and a long silence.

/**
 * What takes longest begins first, so that nothing is left to run alone at the end. The attacks without namespaces begin
 * late: they wait for what those with them do outside (test/attacks/alone.ts).
 */
const longest = [
  "scale/",
  "attacks/attacks",
  "worker/process",
  "worker/confined",
  "egress/clients",
  "worker/usage",
  "plan/seccomp",
  "e2e/",
  "attacks/landlock",
];

const rank = (file) => {
  const place = longest.findIndex((part) => file.includes(`test/${part}`));
  return place < 0 ? longest.length : place;
};

export default {
  files: ["test/**/*.test.ts"],
  extensions: ["ts"],
  workerThreads: false,
  concurrency: 4,
  sortTestFiles: (one, other) => rank(one) - rank(other),
  timeout: "3m",
  // Nothing is written into node_modules: the tests also run as a user who may not.
  cache: false,
};

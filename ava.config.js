// Tests start processes and sandboxes: child processes instead of worker threads, two at once, and a long silence.
export default {
  files: ["test/**/*.test.ts"],
  extensions: ["ts"],
  workerThreads: false,
  concurrency: 2,
  timeout: "3m",
  // Nothing is written into node_modules: the tests also run as a user who may not.
  cache: false,
};

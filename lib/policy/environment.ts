/**
 * Variables that no policy passes on: they are the worker's own, and with them a tool call could claim work or speak
 * for the worker (protocol: environment key, work secret, webhook key).
 */
export const neverPassed: readonly string[] = Object.freeze([
  "ANTHROPIC_ENVIRONMENT_KEY",
  "ANTHROPIC_WORK_SECRET",
  "ANTHROPIC_WEBHOOK_SIGNING_KEY",
]);

/** Whether a name, or a prefix that ends in `*`, stands for the variable. */
export function matchesName(pattern: string, name: string): boolean {
  if (pattern === name) return true;
  return pattern.endsWith("*") && name.startsWith(pattern.slice(0, -1));
}

/** Whether a policy's `environment.pass` takes the variable over from the caller. */
export function isPassed(pass: readonly string[], name: string): boolean {
  return pass.some((pattern) => matchesName(pattern, name)) && !neverPassed.includes(name);
}

/** Whether a variable's name says that it holds a secret. */
export function looksSecret(name: string): boolean {
  return /(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:_|\*|$)/i.test(name);
}

import { mapped, type Reader, section, word } from "./reader.ts";

/** What becomes of what leaves with a secret in it. */
export const leakActions = ["block", "redact", "warn"] as const;
export type LeakAction = (typeof leakActions)[number];

export interface LeakGuardSettings {
  /** For secrets that are known, in results and files: the policy's credentials and models' keys, the worker's own. */
  readonly action: LeakAction;
  /** For the same in requests: who sends one has what it should not have. */
  readonly requests: LeakAction;
  /** For placeholders in what is said to places that their credentials are not for. */
  readonly placeholders: LeakAction;
  /** For what looks like somebody's key. */
  readonly tokens: LeakAction;
}

/** A program may have to read a file with a key in it, and to write it back. */
export const defaultLeakGuard: LeakGuardSettings = Object.freeze({
  action: "redact",
  requests: "block",
  placeholders: "block",
  tokens: "warn",
});

export const leakGuardSection: Reader<LeakGuardSettings> = mapped(
  section({
    action: word(leakActions),
    requests: word(leakActions),
    placeholders: word(leakActions),
    tokens: word(leakActions),
  }),
  ({ values }) =>
    Object.freeze({
      action: values.action ?? defaultLeakGuard.action,
      requests: values.requests ?? defaultLeakGuard.requests,
      placeholders: values.placeholders ?? defaultLeakGuard.placeholders,
      tokens: values.tokens ?? defaultLeakGuard.tokens,
    }),
);

import { checksum } from "./placeholder.ts";

/** What tokens of a kind look like, as their issuers describe them. */
interface TokenShape {
  readonly kind: string;
  readonly pattern: RegExp;
  /** Whether what looks like one is one, as far as that can be told. */
  readonly isReal?: (token: string) => boolean;
}

/** GitHub and npm end their tokens in a checksum (github.blog, 2021-04-05). */
const hasChecksum = (token: string): boolean => {
  const body = token.slice(token.indexOf("_") + 1);
  return checksum(body.slice(0, -6)) === body.slice(-6);
};

const shapes: readonly TokenShape[] = [
  { kind: "a GitHub token", pattern: /\bgh[pousr]_[A-Za-z0-9]{36,251}\b/g, isReal: hasChecksum },
  { kind: "a GitHub token", pattern: /\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b/g },
  { kind: "an npm token", pattern: /\bnpm_[A-Za-z0-9]{36}\b/g, isReal: hasChecksum },
  { kind: "an Anthropic key", pattern: /\bsk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{32,}/g },
  { kind: "an OpenAI key", pattern: /\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}/g },
  { kind: "a Slack token", pattern: /\bxox[abeoprs]-[0-9]{9,}-[A-Za-z0-9-]{20,}/g },
  { kind: "a GitLab token", pattern: /\bgl(?:pat|dt|rt|ptt|ft)-[A-Za-z0-9_-]{20,}/g },
  { kind: "a Stripe key", pattern: /\b[sr]k_live_[A-Za-z0-9]{24,}\b/g },
  { kind: "a Google key", pattern: /\bAIza[A-Za-z0-9_-]{35}\b/g },
  { kind: "a Hugging Face token", pattern: /\bhf_[A-Za-z0-9]{34,}\b/g },
  { kind: "a PyPI token", pattern: /\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}/g },
  { kind: "a SendGrid key", pattern: /\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b/g },
  { kind: "an AWS secret key", pattern: /(?<=aws_secret_access_key["']?\s*[=:]\s*["']?)[A-Za-z0-9/+]{40}\b/gi },
  { kind: "an AWS key's id", pattern: /\b(?:AKIA|ASIA)[A-Z2-7]{16}\b(?<!EXAMPLE)/g },
  { kind: "a signed JSON token", pattern: /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}/g },
  {
    kind: "a private key",
    pattern: /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]{64,8192}?-----END (?:[A-Z]+ )*PRIVATE KEY-----/g,
  },
];

const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"];

/** What one of these begins with, or has early: where none stands there is no token. Four characters and more. */
export const tokenMarks: readonly string[] = [
  ...["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "npm_", "sk-ant-", "sk-proj-", "sk-svcacct-", "sk-admin-"],
  ...["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "glpat-", "gldt-", "glrt-", "glptt-", "glft-"],
  ...[
    "sk_live_",
    "rk_live_",
    "AIza",
    "pypi-AgE",
    "AKIA",
    "ASIA",
    "-----BEGIN",
    "SECRET_ACCESS_KEY",
    "secret_access_key",
  ],
  ...["Secret_Access_Key", ...letters.flatMap((letter) => [`hf_${letter}`, `SG.${letter}`, `eyJ${letter}`])],
];

export interface FoundToken {
  readonly kind: string;
  readonly at: number;
  readonly end: number;
}

/** A text for people without what looks like a key of the queue's or anybody's, whole or not. */
export function withoutTokens(text: string): string {
  const clean = text.replace(/sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{6,}/g, "[redacted]");
  return findTokens(clean).reduceRight(
    (rest, { at, end }) => `${rest.slice(0, at)}[redacted]${rest.slice(end)}`,
    clean,
  );
}

/** What in a text looks like somebody's key. */
export function findTokens(text: string): readonly FoundToken[] {
  return shapes.flatMap(({ kind, pattern, isReal }) =>
    [...text.matchAll(pattern)].flatMap(({ 0: token, index }) =>
      isReal === undefined || isReal(token) ? [{ kind, at: index, end: index + token.length }] : [],
    ),
  );
}

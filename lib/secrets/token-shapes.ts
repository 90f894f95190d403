import { checksum } from "./placeholder.ts";

/** What tokens of a kind look like, as their issuers describe them. */
interface TokenShape {
  readonly kind: string;
  /** What each has early: where none of them stands the pattern, which costs more, is not tried. */
  readonly marks: readonly string[];
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
  {
    kind: "a GitHub token",
    marks: ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
    pattern: /\bgh[pousr]_[A-Za-z0-9]{36,251}\b/g,
    isReal: hasChecksum,
  },
  { kind: "a GitHub token", marks: ["github_pat_"], pattern: /\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b/g },
  { kind: "an npm token", marks: ["npm_"], pattern: /\bnpm_[A-Za-z0-9]{36}\b/g, isReal: hasChecksum },
  { kind: "an Anthropic key", marks: ["sk-ant-"], pattern: /\bsk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{32,}/g },
  {
    kind: "an OpenAI key",
    marks: ["sk-proj-", "sk-svcacct-", "sk-admin-"],
    pattern: /\bsk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}/g,
  },
  { kind: "a Slack token", marks: ["xox"], pattern: /\bxox[abeoprs]-[0-9]{9,}-[A-Za-z0-9-]{20,}/g },
  {
    kind: "a GitLab token",
    marks: ["glpat-", "gldt-", "glrt-", "glptt-", "glft-"],
    pattern: /\bgl(?:pat|dt|rt|ptt|ft)-[A-Za-z0-9_-]{20,}/g,
  },
  { kind: "a Stripe key", marks: ["k_live_"], pattern: /\b[sr]k_live_[A-Za-z0-9]{24,}\b/g },
  { kind: "a Google key", marks: ["AIza"], pattern: /\bAIza[A-Za-z0-9_-]{35}\b/g },
  { kind: "a Hugging Face token", marks: ["hf_"], pattern: /\bhf_[A-Za-z0-9]{34,}\b/g },
  { kind: "a PyPI token", marks: ["pypi-AgE"], pattern: /\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}/g },
  { kind: "a SendGrid key", marks: ["SG."], pattern: /\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b/g },
  {
    kind: "an AWS secret key",
    marks: ["secret_access_key", "SECRET_ACCESS_KEY", "Secret_Access_Key"],
    pattern: /(?<=aws_secret_access_key["']?\s*[=:]\s*["']?)[A-Za-z0-9/+]{40}\b/gi,
  },
  { kind: "an AWS key's id", marks: ["AKIA", "ASIA"], pattern: /\b(?:AKIA|ASIA)[A-Z2-7]{16}\b(?<!EXAMPLE)/g },
  {
    kind: "a signed JSON token",
    marks: ["eyJ"],
    pattern: /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}/g,
  },
  {
    kind: "a private key",
    marks: ["-----BEGIN"],
    pattern: /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]{64,8192}?-----END (?:[A-Z]+ )*PRIVATE KEY-----/g,
  },
];

/** What may follow a mark. */
const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"];

/** The same for a search by four characters and more. */
export const tokenMarks: readonly string[] = shapes.flatMap(({ marks }) =>
  marks.flatMap((mark) => (mark.length > 3 ? [mark] : letters.map((letter) => `${mark}${letter}`))),
);

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
  return shapes.flatMap(({ kind, marks, pattern, isReal }) =>
    !marks.some((mark) => text.includes(mark))
      ? []
      : [...text.matchAll(pattern)].flatMap(({ 0: token, index }) =>
          isReal === undefined || isReal(token) ? [{ kind, at: index, end: index + token.length }] : [],
        ),
  );
}

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
/** What a mark begins with that is followed by few things: a search by four characters finds less by chance. */
const longer: Readonly<Record<string, readonly string[]>> = {
  xox: [..."abeoprs"].map((letter) => `xox${letter}-`),
  eyJ: ["eyJhbGci", "eyJ0eXAi", "eyJraWQi", "eyJjdHki", "eyJlbmMi", "eyJ4NXQi", "eyJqa3Ui"],
};

/** How a token is found that is not plain: by what its mark becomes in that form. */
const spellings: Readonly<Record<EncodedForm, (mark: string) => readonly string[]>> = {
  reversed: (mark) => [backwards(mark)],
  hex: (mark) => {
    const hex = Buffer.from(mark, "latin1").toString("hex");
    return [hex, hex.toUpperCase()];
  },
  base64: (mark) => [0, 1, 2].map((shift) => inBase64(mark, shift)).filter((text) => text.length >= 4),
};

/** What stands for a text in base64 whatever stands beside it, where it lies so many bytes behind a group's begin. */
function inBase64(text: string, shift: number): string {
  const whole = Buffer.from(`${"\0".repeat(shift)}${text}`, "latin1").toString("base64url");
  const from = Math.ceil((shift * 8) / 6);
  return whole.slice(from, Math.floor(((shift + text.length) * 8) / 6));
}

function backwards(text: string): string {
  return [...text].reverse().join("");
}

type EncodedForm = "reversed" | "hex" | "base64";
/** In which forms tokens are looked for. */
export type TokenForm = "plain" | EncodedForm;

/** What tokens begin with, for a search by four characters and more, and the form that it tells of. */
export const tokenMarks: readonly { readonly mark: string; readonly form: TokenForm }[] = shapes.flatMap(({ marks }) =>
  marks.flatMap((mark) => {
    const plain = mark.length > 3 ? [mark] : letters.map((letter) => `${mark}${letter}`);
    const encoded = Object.entries(spellings).flatMap(([form, spell]) =>
      (longer[mark] ?? plain).flatMap((begin) =>
        spell(begin).map((text) => ({ mark: text, form: form as EncodedForm })),
      ),
    );
    return [...plain.map((text) => ({ mark: text, form: "plain" as const })), ...encoded];
  }),
);

export interface FoundToken {
  readonly kind: string;
  readonly form: TokenForm | "percent-encoded";
  /** As its issuer wrote it. */
  readonly token: string;
  /** Where it lies in the text, in its form. */
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

const plainOnly: ReadonlySet<TokenForm> = new Set(["plain"]);

/** What in a text looks like somebody's key, of bytes as latin1. */
export function findTokens(text: string, forms: ReadonlySet<TokenForm> = plainOnly): readonly FoundToken[] {
  const found: FoundToken[] = [];
  if (forms.has("plain")) {
    found.push(...plainTokens(text));
    const escaped = percentTokens(text).filter(({ at, end }) => !found.some((one) => one.at < end && at < one.end));
    found.push(...escaped);
  }
  if (forms.has("reversed")) {
    for (const { at, end, ...token } of plainTokens(backwards(text)))
      found.push({ ...token, form: "reversed", at: text.length - end, end: text.length - at });
  }
  if (forms.has("hex")) inRuns(text, hexRun, { form: "hex", period: 2, bytes: 1 }, found);
  if (forms.has("base64")) inRuns(text, base64Run, { form: "base64", period: 4, bytes: 3 }, found);
  return found;
}

function plainTokens(text: string): FoundToken[] {
  return shapes.flatMap(({ kind, marks, pattern, isReal }) =>
    !marks.some((mark) => text.includes(mark))
      ? []
      : [...text.matchAll(pattern)].flatMap(({ 0: token, index }) =>
          isReal === undefined || isReal(token)
            ? [{ kind, form: "plain" as const, token, at: index, end: index + token.length }]
            : [],
        ),
  );
}

const percentEscape = /%[0-9A-Fa-f]{2}/g;

function percentTokens(text: string): FoundToken[] {
  if (text.search(percentEscape) < 0) return [];
  const places: number[] = [];
  let read = "";
  let from = 0;
  const pass = (until: number): void => {
    for (let at = from; at < until; at++) places.push(at);
    read += text.slice(from, until);
  };
  for (const { 0: escaped, index } of text.matchAll(percentEscape)) {
    pass(index);
    places.push(index);
    read += String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    from = index + escaped.length;
  }
  pass(text.length);
  places.push(text.length);
  return plainTokens(read).map(({ at, end, ...token }) => ({
    ...{ ...token, form: "percent-encoded" },
    ...{ at: places[at] ?? 0, end: places[end] ?? text.length },
  }));
}

/** With the line ends that programs put in. The shortest token has twenty characters. */
const hexRun = /[0-9A-Fa-f](?:\r?\n?[0-9A-Fa-f]){39,}/g;
const base64Run = /[A-Za-z0-9+/_-](?:\r?\n?[A-Za-z0-9+/_-]){25,}/g;

/** A run may begin in the middle of a group, and what stands before it is not known: it is read from each place on. */
function inRuns(
  text: string,
  run: RegExp,
  { form, period, bytes }: { readonly form: "hex" | "base64"; readonly period: number; readonly bytes: number },
  found: FoundToken[],
): void {
  for (const { 0: whole, index } of text.matchAll(run)) {
    const joined = whole.replace(/[\r\n]+/g, "");
    for (let from = 0; from < period; from++) {
      const read = Buffer.from(joined.slice(from), form).toString("latin1");
      for (const { at, end, ...token } of plainTokens(read)) {
        const first = from + Math.floor((at * period) / bytes);
        const last = Math.min(joined.length, from + Math.ceil((end * period) / bytes));
        found.push({ ...token, form, at: index + placeIn(whole, first), end: index + placeIn(whole, last - 1) + 1 });
      }
    }
  }
}

/** Where a character lies among line ends. */
function placeIn(text: string, count: number): number {
  if (!/[\r\n]/.test(text)) return count;
  let left = count;
  for (let at = 0; ; at++) {
    if (text[at] === "\r" || text[at] === "\n") continue;
    if (left-- === 0) return at;
  }
}

import { HoldfastError } from "../errors.ts";
import type { Credential } from "../policy/credentials.ts";
import { isAws, isToken, keptBy, secretKeyOf } from "../policy/token-source.ts";
import type { Needle } from "./needles.ts";
import { placeholderLike, placeholderOf } from "./placeholder.ts";
import { Secret } from "./secret.ts";
import { SecretSearch, secretsInUse } from "./secret-search.ts";
import { refuseShown, type Shown } from "./shown.ts";
import { SecretError } from "./sources.ts";
import { type Escapes, Spelling } from "./spelling.ts";
import type { TokenFetch } from "./token.ts";

/** A placeholder in a text. */
export interface Occurrence {
  readonly at: number;
  readonly end: number;
  /** The credential that it stands for; undefined where OpenShell's form names a variable that none has. */
  readonly name: string | undefined;
}

/** How tokens are asked for, which is known when the sandbox has a way out. */
interface Way {
  fetch: TokenFetch | null;
}

/** The credentials of one sandbox: what stands for each inside, and the secrets outside. */
export class SessionCredentials {
  /** The variables that hold placeholders inside. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #secrets: ReadonlyMap<string, Secret>;
  readonly #placeholders: ReadonlyMap<string, string>;
  readonly #names: ReadonlyMap<string, string>;
  readonly #byVariable: ReadonlyMap<string, string>;
  readonly #pattern: RegExp;
  /** What precedes the mark is looked for at each character: of a text without it, in vain. */
  readonly #dashedPattern: RegExp;
  /** No text that is shorter holds one. */
  readonly #shortest: number;
  readonly #way: Way;
  /** Finds its placeholders by the names of their credentials; OpenShell's forms, which everybody knows, it does not. */
  readonly placeholderSearch: SecretSearch;
  readonly #spellings: Map<Escapes, Spelling> = new Map();

  private constructor(
    credentials: Readonly<Record<string, Credential>>,
    secrets: ReadonlyMap<string, Secret>,
    placeholders: ReadonlyMap<string, string>,
    way: Way,
  ) {
    this.#way = way;
    this.#secrets = secrets;
    this.#placeholders = placeholders;
    const own = [...placeholders].map(([name, placeholder]) => [name, Buffer.from(placeholder, "latin1")] as const);
    this.placeholderSearch = new SecretSearch(() => own, false);
    this.#names = new Map([...placeholders].map(([name, placeholder]) => [placeholder, name]));
    const variables = Object.entries(credentials).flatMap(([name, { env }]) =>
      env === undefined ? [] : [[env, name] as const],
    );
    this.#byVariable = new Map(variables);
    // What clients sign with before it is signed anew: of no meaning.
    const keys = variables.flatMap(([variable, name]) =>
      isAws(credentials[name]?.source) ? [[secretKeyOf(variable), placeholderOf("generic")] as const] : [],
    );
    const others = Object.fromEntries(keys);
    const shown = Object.fromEntries(
      variables.map(([variable, name]) => {
        const isOpenShell = credentials[name]?.format === "openshell";
        return [variable, isOpenShell ? `openshell:resolve:env:${variable}` : (placeholders.get(name) ?? "")];
      }),
    );
    this.environment = { ...others, ...shown };
    // Dots are all that means something else in a pattern.
    const usual = [...[...placeholders.values()].map((each) => each.replaceAll(".", "\\.")), openshellForm];
    this.#pattern = new RegExp(usual.join("|"), "g");
    this.#dashedPattern = new RegExp([...usual, dashedForm].join("|"), "g");
    this.#shortest = Math.min(dashedMark.length, ...[...placeholders.values()].map(({ length }) => length));
  }

  /**
   * Draws placeholders; reads what has no `format`, for its shape.
   *
   * @param shown where no secret is kept, and no command that prints one
   * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL
   */
  static async open(
    credentials: Readonly<Record<string, Credential>>,
    shown: Shown = { seen: [], written: [] },
  ): Promise<SessionCredentials> {
    const secrets = new Map<string, Secret>();
    const way: Way = { fetch: null };
    const placeholders = new Map<string, string>();
    try {
      for (const [name, { source, env, format }] of Object.entries(credentials)) {
        const secret = new Secret(name, source, () => way.fetch);
        secrets.set(name, secret);
        for (const each of keptBy(source)) refuseShown(each, shown);
        if (env === undefined || format !== undefined || isToken(source) || isAws(source)) {
          const usual = isAws(source) ? "aws" : "generic";
          placeholders.set(name, placeholderOf(format === undefined || format === "openshell" ? usual : format));
          continue;
        }
        await secret.refresh();
        placeholders.set(name, placeholderLike(secret.bytes ?? Buffer.alloc(0)));
      }
    } catch (cause) {
      for (const secret of secrets.values()) secret.wipe();
      if (!(cause instanceof SecretError)) throw cause;
      throw new HoldfastError(`the credential ${[...secrets.keys()].at(-1)} cannot be had: ${cause.message}`, {
        code: "ERR_HOLDFAST_CREDENTIAL",
        step: "egress",
        hint: "Put its source right, or name its format in the policy: then it is read at first use.",
        cause,
      });
    }
    return new SessionCredentials(credentials, secrets, placeholders, way);
  }

  /**
   * Refuses to show the sandbox a secret in a variable: as far as it has been read by now.
   *
   * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL
   */
  checkVariables(variables: Readonly<Record<string, unknown>>): void {
    for (const [variable, value] of Object.entries(variables)) {
      const [found] = secretsInUse.find(Buffer.from(String(value))).found;
      if (found === undefined) continue;
      throw new HoldfastError(
        `the variable ${variable} holds ${found.name} (${found.form}), which the sandbox would see`,
        {
          code: "ERR_HOLDFAST_CREDENTIAL",
          step: "egress",
          hint: "Leave it out: a program inside gets a placeholder by the credential's env.",
        },
      );
    }
  }

  /** From now on issuers of tokens can be asked. */
  askBy(fetch: TokenFetch): void {
    this.#way.fetch = fetch;
  }

  /** What stands for a credential in a request, wherever it came from. */
  placeholderOf(name: string): string {
    return this.#placeholders.get(name) ?? "";
  }

  /** What finds its placeholders in a body. */
  spelling(escapes: Escapes): Spelling {
    const known = this.#spellings.get(escapes) ?? new Spelling([...this.#placeholders.values()], escapes);
    this.#spellings.set(escapes, known);
    return known;
  }

  isPlaceholder(text: string): boolean {
    return this.#names.has(text);
  }

  /** Whether a text is a placeholder, or holds one. */
  hasPlaceholder(text: string): boolean {
    return this.#names.has(text) || this.find(text).length > 0;
  }

  secretOf(name: string): Secret | undefined {
    return this.#secrets.get(name);
  }

  /** Whether these can be sent now. */
  areFresh(names: readonly string[]): boolean {
    return names.every((name) => this.#secrets.get(name)?.isFresh === true);
  }

  /** Reads those that may be needed. One that cannot be had is said when it is. */
  async readAhead(names: readonly string[]): Promise<void> {
    await Promise.allSettled(names.map((name) => this.#secrets.get(name)?.refresh()));
  }

  /** What answers are searched for that may hold these. */
  needlesOf(names: readonly string[]): readonly Needle[] {
    const [only] = names;
    if (names.length === 1 && only !== undefined)
      return this.#secrets.get(only)?.needles(this.placeholderOf(only)) ?? [];
    return names.flatMap((name) => this.#secrets.get(name)?.needles(this.placeholderOf(name)) ?? []);
  }

  /** Every placeholder in a text, in order. */
  find(text: string): readonly Occurrence[] {
    if (text.length < this.#shortest) return none;
    const found: Occurrence[] = [];
    const pattern = text.includes(dashedMark) ? this.#dashedPattern : this.#pattern;
    pattern.lastIndex = 0;
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const variable = match.groups?.["colons"] ?? match.groups?.["dashes"];
      const name = variable === undefined ? this.#names.get(match[0]) : this.#byVariable.get(variable);
      found.push({ at: match.index, end: match.index + match[0].length, name });
    }
    return found;
  }

  /** Wipes every secret. */
  close(): void {
    for (const secret of this.#secrets.values()) secret.wipe();
    this.placeholderSearch.changed();
  }
}

const none: readonly Occurrence[] = [];

/** openshell.md 1.12; a revision is passed over, since what is put in is the newest. */
const openshellForm = "openshell:resolve:env:(?:v\\d+_|s[0-9a-f]{64}_)?(?<colons>[A-Za-z_][A-Za-z0-9_]*)";
const dashedMark = "OPENSHELL-RESOLVE-ENV-";
const dashedForm = `(?:[A-Za-z0-9._-]{0,16}-)?${dashedMark}(?<dashes>[A-Za-z_][A-Za-z0-9_]*)`;

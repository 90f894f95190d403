/** How characters may be escaped in a text. */
export type Escapes = "percent" | "json" | "none";

const openshell = "openshell:resolve:env:";

/** Finds placeholders in a text that comes in pieces, however its characters are escaped. */
export class Spelling {
  readonly #escapes: Escapes;
  /** What a match begins with: placeholders, and OpenShell's prefix. */
  readonly #begins: readonly string[];
  readonly #pattern: RegExp;

  constructor(placeholders: readonly string[], escapes: Escapes) {
    this.#escapes = escapes;
    this.#begins = [...placeholders, openshell];
    const own = placeholders.map((each) => this.#spelled(each));
    this.#pattern = new RegExp([...own, `${this.#spelled(openshell)}[A-Za-z_][A-Za-z0-9_]*`].join("|"), "g");
  }

  #spelled(text: string): string {
    return [...text]
      .map((character) => {
        const plain = character.replace(/[^A-Za-z0-9_]/, "\\$&");
        const code = character.charCodeAt(0).toString(16).padStart(2, "0");
        const digits = code.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);
        if (this.#escapes === "none") return plain;
        return this.#escapes === "percent" ? `(?:${plain}|%${digits})` : `(?:${plain}|\\\\u00${digits})`;
      })
      .join("");
  }

  /** Every match, as it stands and as it reads. */
  find(text: string): readonly { readonly at: number; readonly end: number; readonly plain: string }[] {
    return [...text.matchAll(this.#pattern)].map(({ index, 0: match }) => ({
      at: index,
      end: index + match.length,
      plain: this.#read(match),
    }));
  }

  #read(text: string): string {
    if (this.#escapes === "none") return text;
    return text.replace(this.#escapes === "percent" ? /%(..)/g : /\\u00(..)/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 16)),
    );
  }

  /**
   * Where the end of a text begins that what follows may make a match, or a longer one; its length where none does.
   *
   * @param from what stands before has been matched
   */
  begun(text: string, from: number): number {
    const longest = Math.max(...this.#begins.map((each) => each.length)) * (this.#escapes === "json" ? 6 : 3) + 256;
    for (let at = Math.max(from, text.length - longest); at < text.length; at++) if (this.#mayGoOn(text, at)) return at;
    return text.length;
  }

  #mayGoOn(text: string, from: number): boolean {
    const first = text[from] ?? "";
    const isEscape = first === (this.#escapes === "percent" ? "%" : this.#escapes === "json" ? "\\" : "");
    if (!isEscape && !this.#begins.some((each) => each.startsWith(first))) return false;
    const tail = text.slice(from);
    // An escape that is cut off may become any character.
    const cut =
      this.#escapes === "percent" ? /%[0-9A-Fa-f]?$/ : this.#escapes === "json" ? /\\(?:u[0-9A-Fa-f]{0,3})?$/ : /(?!)/;
    const whole = this.#read(tail.replace(cut, ""));
    if (whole.startsWith(openshell)) return /^[A-Za-z0-9_]*$/.test(whole.slice(openshell.length));
    return this.#begins.some((each) => each.length > whole.length && each.startsWith(whole));
  }
}

import { readFileSync } from "node:fs";
import { type Draft, describeUnlisted, draftPolicy } from "../egress/draft.ts";
import type { Unlisted } from "../egress/unlisted.ts";
import { writeHostPort } from "../policy/host-port.ts";
import type { Policy } from "../policy/policy.ts";
import { isPresetName, presetFile } from "../policy/presets.ts";
import { displayPath } from "../sandbox/display-path.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { paint } from "./report.ts";
import { ResultFile } from "./result-file.ts";
import type { Told } from "./run.ts";
import type { RunOptions } from "./run-options.ts";

const purpose = { what: "the policy draft", flag: "--net-draft", code: "ERR_HOLDFAST_DRAFT_FILE" };

/** What `--net log` leaves: a policy that would have permitted the run. */
export class NetDraft {
  readonly #text: string;
  readonly #flags: Policy["networkPolicies"];
  readonly #file: ResultFile | undefined;

  private constructor(text: string, flags: Policy["networkPolicies"], file: ResultFile | undefined) {
    this.#text = text;
    this.#flags = flags;
    this.#file = file;
  }

  /**
   * Before the command starts: it may be able to write the policy that the draft begins with.
   *
   * @throws HoldfastError ERR_HOLDFAST_DRAFT_FILE
   */
  static async begin({ policy, preset = "default", netDraft }: RunOptions, held: Policy): Promise<NetDraft> {
    const isPlain = policy === undefined && preset === "default";
    const own = policy ?? (isPresetName(preset) ? presetFile(preset) : "");
    const text = isPlain ? "holdfast: 1\nversion: 1\n" : readFileSync(own, "utf8");
    const flags = Object.entries(held.networkPolicies).filter(([key]) => key.startsWith("--allow "));
    const file = netDraft === undefined ? undefined : await ResultFile.open(netDraft, purpose);
    return new NetDraft(text, Object.fromEntries(flags), file);
  }

  /** When the command has ended. */
  async finish(sandbox: Sandbox, { status, tell }: Pick<Told, "status" | "tell">): Promise<void> {
    const draft = draftPolicy({ text: this.#text, flags: this.#flags }, sandbox.unlisted());
    await this.#file?.write([draft.text]);
    const record = {
      event: "net-draft",
      ...(this.#file === undefined ? { text: draft.text } : { file: this.#file.path }),
      permitted: draft.permitted.map(told),
      leftOut: draft.leftOut.map(({ connection, why }) => ({ ...told(connection), why })),
    };
    status(record);
    tell(record, ...this.#words(draft));
  }

  close(): Promise<void> | undefined {
    return this.#file?.close();
  }

  #words({ text, permitted, leftOut, isWhole }: Draft): string[] {
    const count = new Set(permitted.map(({ host, port }) => writeHostPort(host, port))).size;
    const places = count === 1 ? "1 place more" : count === 0 ? "no place more" : `${count} places more`;
    const path = this.#file === undefined ? undefined : displayPath(Buffer.from(this.#file.name));
    return [
      ...leftOut.map(({ connection, why }) => {
        const what = displayPath(Buffer.from(describeUnlisted(connection)));
        return `${paint("yellow", "not in the draft")} ${what}: ${why}`;
      }),
      ...(isWhole
        ? []
        : [`${paint("yellow", "the draft stands alone")}: the policy in use has no place for its entries`]),
      path === undefined
        ? `a policy for what this run connected to, ${places} (--net-draft FILE writes it to a file):\n${text}`
        : `a policy for what this run connected to, ${places}, is in ${path}; read it, then use --policy ${path}`,
    ];
  }
}

function told({ program, host, port, count, request, unreached }: Unlisted): object {
  return { program, host, port, count, ...(request ?? {}), ...(unreached === undefined ? {} : { unreached }) };
}

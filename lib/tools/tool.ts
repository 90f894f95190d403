/** What a tool call came to: one text, well-formed Unicode, never empty. */
export interface ToolResult {
  readonly text: string;
  readonly isError: boolean;
}

/** A tool as it is described to the model. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  readonly input_schema: {
    readonly type: "object";
    readonly properties: Readonly<Record<string, unknown>>;
    readonly required?: readonly string[];
  };
}

/** The properties of a call's input; none of them is to be trusted to have its declared type. */
export type ToolInput = Readonly<Record<string, unknown>>;

export interface Tool {
  readonly definition: ToolDefinition;
  /** Resolves to the text of a success; a failure that the model is to read is a thrown `ToolError`. */
  run(input: ToolInput, signal: AbortSignal): Promise<string>;
  close?(): Promise<void>;
}

/** A tool's own error: its message is the whole text that the model gets. */
export class ToolError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ToolError";
  }
}

/** A string that must be there and not be empty. `null` counts as missing. */
export function requiredString(tool: string, input: ToolInput, property: string): string {
  const value = optionalString(tool, input, property);
  if (value === undefined || value === "") throw new ToolError(`${tool}: ${property} is required`);
  return value;
}

export function optionalString(tool: string, input: ToolInput, property: string): string | undefined {
  const value = input[property];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new ToolError(`${tool}: ${property} must be a string`);
  return value;
}

/** Missing is false. Another type is refused: it would be taken for a "no" that nobody said, or a "false" for a "yes". */
export function optionalBoolean(tool: string, input: ToolInput, property: string): boolean {
  const value = input[property] ?? false;
  if (typeof value !== "boolean") throw new ToolError(`${tool}: ${property} must be true or false`);
  return value;
}

/** What the reason of an aborted signal says, for `<tool>: <reason>`. */
export function abortReason(signal: AbortSignal): string {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason.message : String(reason);
}

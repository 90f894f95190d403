// Counts which branches of the gateway's sources run: what coverage-guided fuzzing is guided by. Loaded before them; the
// types are stripped and a counter is put into each branch as a module is loaded.
import { registerHooks, stripTypeScriptTypes } from "node:module";
import { fileURLToPath } from "node:url";
import { parseAst } from "rolldown/parseAst";

/** One for each branch, of all sources together; they wrap around. */
export const counters: Uint8Array = new Uint8Array(1 << 14);
/** Words of the sources: what an input has to hold to come far. */
export const dictionary: Set<string> = new Set();

let used = 0;

export function usedCounters(): number {
  return used;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

function withCounters(source: string): string {
  const opens = new Map<number, string>();
  const closes = new Map<number, string>();
  const count = (): string => `$fuzz[${used++ & (counters.length - 1)}]++`;
  const open = (at: number, text: string): void => void opens.set(at, (opens.get(at) ?? "") + text);
  const close = (at: number, text: string): void => void closes.set(at, (closes.get(at) ?? "") + text);
  const visit = (node: Node): void => {
    const after: (() => void)[] = [];
    const statement = (value: unknown): void => {
      if (!isNode(value) || value.type === "BlockStatement") return;
      open(value.start, `{${count()};`);
      after.push(() => close(value.end, "}"));
    };
    const expression = (value: unknown): void => {
      if (!isNode(value) || value.type === "BlockStatement") return;
      open(value.start, `(${count()},`);
      after.push(() => close(value.end, ")"));
    };
    switch (node.type) {
      case "BlockStatement":
        open(node.start + 1, `${count()};`);
        break;
      case "IfStatement":
        statement(node["consequent"]);
        if (isNode(node["alternate"])) statement(node["alternate"]);
        else after.push(() => close(node.end, ` else {${count()};}`));
        break;
      case "ForStatement":
      case "ForOfStatement":
      case "ForInStatement":
      case "WhileStatement":
        statement(node["body"]);
        break;
      case "ConditionalExpression":
        expression(node["consequent"]);
        expression(node["alternate"]);
        break;
      case "LogicalExpression":
        expression(node["right"]);
        break;
      case "ArrowFunctionExpression":
        expression(node["body"]);
        break;
      case "SwitchCase": {
        const [first] = node["consequent"] as readonly Node[];
        if (first !== undefined) open(first.start, `${count()};`);
        break;
      }
      case "Literal":
        if (typeof node["value"] === "string" && node["value"].length < 40) dictionary.add(node["value"]);
        break;
    }
    for (const value of Object.values(node))
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child);
    for (const act of after) act();
  };
  visit(parseAst(source) as unknown as Node);
  let made = "";
  let from = 0;
  for (const at of [...new Set([...opens.keys(), ...closes.keys()])].sort((a, b) => a - b)) {
    made += source.slice(from, at) + (closes.get(at) ?? "") + (opens.get(at) ?? "");
    from = at;
  }
  return made + source.slice(from);
}

Object.assign(globalThis, { $fuzz: counters });
registerHooks({
  load(url, context, next) {
    if (!/\/lib\/egress\/[^/]+\.ts$/.test(url)) return next(url, context);
    const loaded = next(url, { ...context, format: "module-typescript" });
    const source = stripTypeScriptTypes(String(loaded.source), { sourceUrl: fileURLToPath(url) });
    return { format: "module", shortCircuit: true, source: withCounters(source) };
  },
});

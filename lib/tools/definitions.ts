import type { ToolDefinition } from "./tool.ts";

const bash: ToolDefinition = {
  name: "bash",
  description:
    "Run a bash command in a persistent shell. The working directory, variables and background jobs last from call to call.",
  input_schema: {
    type: "object",
    properties: {
      command: { type: "string", description: "The command to run" },
      restart: { type: "boolean", description: "Restart the shell before running" },
      timeout_ms: { type: "integer", description: "Time limit of this call in milliseconds" },
    },
  },
};

const read: ToolDefinition = {
  name: "read",
  description: "Read a UTF-8 text file. A relative path is taken from the working directory.",
  input_schema: {
    type: "object",
    properties: {
      file_path: { type: "string" },
      view_range: {
        type: "array",
        items: { type: "integer" },
        description: "[start_line, end_line], 1-indexed, inclusive",
      },
    },
    required: ["file_path"],
  },
};

const write: ToolDefinition = {
  name: "write",
  description: "Write a UTF-8 text file, replacing it if it exists. Missing parent directories are made.",
  input_schema: {
    type: "object",
    properties: { file_path: { type: "string" }, content: { type: "string" } },
    required: ["file_path", "content"],
  },
};

const edit: ToolDefinition = {
  name: "edit",
  description: "Replace old_string by new_string in a file. old_string must be unique unless replace_all is true.",
  input_schema: {
    type: "object",
    properties: {
      file_path: { type: "string" },
      old_string: { type: "string" },
      new_string: { type: "string" },
      replace_all: { type: "boolean" },
    },
    required: ["file_path", "old_string", "new_string"],
  },
};

const glob: ToolDefinition = {
  name: "glob",
  description: "Find files by a glob pattern. Results are absolute paths, most recently modified first.",
  input_schema: {
    type: "object",
    properties: {
      pattern: { type: "string" },
      path: { type: "string", description: "Directory to search in; the working directory by default" },
    },
    required: ["pattern"],
  },
};

const grep: ToolDefinition = {
  name: "grep",
  description: "Search the contents of files for an ECMAScript regular expression, line by line.",
  input_schema: {
    type: "object",
    properties: {
      pattern: { type: "string" },
      path: { type: "string", description: "File or directory to search; the working directory by default" },
    },
    required: ["pattern"],
  },
};

/** The standard toolset (`agent_toolset_20260401`) as it is described to a model. */
export const definitions: Readonly<Record<"bash" | "read" | "write" | "edit" | "glob" | "grep", ToolDefinition>> = {
  bash,
  read,
  write,
  edit,
  glob,
  grep,
};

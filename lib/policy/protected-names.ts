/**
 * A name in the workspace that a program outside acts on later without being told to, so that writing it is a way out
 * of the sandbox.
 */
export interface ProtectedName {
  /** Relative to any folder of the workspace. */
  readonly name: string;
  readonly kind: "file" | "folder";
  /** Who acts on it, and how. */
  readonly reason: string;
  /**
   * Whether an empty stand-in may take its place where it does not exist yet. Git takes an empty `commondir` for a
   * broken repository, so its absence can only be checked afterwards.
   */
  readonly standIn: boolean;
}

function file(name: string, reason: string): ProtectedName {
  return Object.freeze({ name, kind: "file", reason, standIn: true });
}

function folder(name: string, reason: string): ProtectedName {
  return Object.freeze({ name, kind: "folder", reason, standIn: true });
}

const shell = "run by the shell when it starts or ends";
const editor = "tasks and settings that the editor runs when the folder is opened";
const agent = "hooks, tool servers and permissions of a coding agent that runs outside";
const desktop = "started by the login session";

/**
 * Protected in every preset. The rule: a program outside runs it, or takes commands from it, without the user's asking
 * for that file. What a user runs knowingly (package.json, Makefile, CI workflows, AGENTS.md) is for review, and builds
 * write some of it: such names are left out.
 */
export const protectedNames: readonly ProtectedName[] = Object.freeze([
  folder(".git/hooks", "programs that git runs on commit, checkout, merge and push"),
  file(".git/config", "git takes programs from it: core.fsmonitor, core.hooksPath, filters, aliases"),
  file(".git/config.worktree", "as .git/config, for one worktree"),
  Object.freeze({
    name: ".git/commondir",
    kind: "file",
    reason: "makes git take hooks and configuration from another folder",
    standIn: false,
  }),
  folder(".husky", "git hooks through core.hooksPath"),
  file(".gitconfig", "as .git/config, for a home folder"),
  folder(".config/git", "as .gitconfig, with attributes and ignore lists"),
  file(".bashrc", shell),
  file(".bash_profile", shell),
  file(".bash_login", shell),
  file(".bash_logout", shell),
  file(".bash_aliases", "read by .bashrc on Debian"),
  file(".profile", shell),
  file(".zshrc", shell),
  file(".zshenv", shell),
  file(".zprofile", shell),
  file(".zlogin", shell),
  file(".zlogout", shell),
  file(".kshrc", shell),
  file(".cshrc", shell),
  file(".tcshrc", shell),
  file(".login", shell),
  file(".logout", shell),
  folder(".config/fish", shell),
  file(".inputrc", "key bindings that type commands into the shell"),
  file(".envrc", "run by direnv on entering the folder"),
  file(".mise.toml", "environment and hooks that mise applies on entering the folder"),
  file("mise.toml", "as .mise.toml"),
  folder(".vscode", editor),
  folder(".idea", editor),
  folder(".zed", editor),
  folder(".fleet", editor),
  folder(".devcontainer", "commands that editors run on the host before the container"),
  file(".devcontainer.json", "as .devcontainer"),
  file(".vimrc", editor),
  file(".exrc", editor),
  file(".nvimrc", editor),
  file(".nvim.lua", editor),
  file(".dir-locals.el", editor),
  folder(".claude", agent),
  file(".claude.json", agent),
  file(".mcp.json", agent),
  folder(".codex", agent),
  folder(".cursor", agent),
  folder(".gemini", agent),
  folder(".windsurf", agent),
  folder(".continue", agent),
  folder(".roo", agent),
  folder(".opencode", agent),
  file("opencode.json", agent),
  file(".aider.conf.yml", agent),
  folder(".ssh", "keys that may log in, and programs that ssh runs (ProxyCommand)"),
  file(".npmrc", "registries, tokens and the shell of npm's scripts"),
  file(".yarnrc", "programs that yarn runs in its place (yarn-path)"),
  file(".yarnrc.yml", "as .yarnrc (yarnPath, plugins)"),
  file(".pnpmfile.cjs", "run by pnpm on every install"),
  file(".netrc", "credentials and macros of network programs"),
  file(".gdbinit", "run by gdb when it starts in the folder"),
  file(".lldbinit", "run by lldb when it starts in the folder"),
  file(".pdbrc", "run by Python's debugger when it starts in the folder"),
  file(".Rprofile", "run by R when it starts in the folder"),
  file(".irbrc", "run by irb when it starts in the folder"),
  file(".pam_environment", desktop),
  file(".xprofile", desktop),
  file(".xinitrc", desktop),
  folder(".config/autostart", desktop),
  folder(".config/systemd", desktop),
  folder(".config/environment.d", desktop),
]);

/** The same, as a policy carries them. */
export const protectedNameList: readonly string[] = Object.freeze(protectedNames.map((entry) => entry.name));

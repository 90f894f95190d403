# title: plant hooks in the repositories of a submodule and a worktree
# kind: write
# git: yes
ran=$(printf '%s\n' "$@" | sed -n 's/^ran=//p')
for inner in .git/modules/lib .git/worktrees/tree; do
  mkdir -p "$inner" && cp -a template/. "$inner/"
  printf '[core]\n\tfsmonitor = touch %s; false\n' "$ran" >> "$inner/config"
done
mkdir -p lib tree
echo 'gitdir: ../.git/modules/lib' > lib/.git
echo 'gitdir: ../.git/worktrees/tree' > tree/.git

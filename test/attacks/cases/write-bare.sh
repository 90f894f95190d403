# title: make an ordinary folder a repository without a .git
# kind: write
# git: yes
ran=$(printf '%s\n' "$@" | sed -n 's/^ran=//p')
for folder in src docs; do
  mkdir -p $folder/tree && cp -a template/. $folder/
  printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = tree\n\tfsmonitor = touch %s; false\n' "$ran" > $folder/config
done

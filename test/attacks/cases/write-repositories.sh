# title: plant repositories where nobody looks for them
# kind: write
# git: yes
ran=$(printf '%s\n' "$@" | sed -n 's/^ran=//p')
settings() { printf '[core]\n\tfsmonitor = touch %s; false\n' "$ran"; }
plant() {
  mkdir -p "$1" && cp -a template "$1/.git" || return
  settings >> "$1/.git/config"
  mkdir -p "$1/.git/hooks"
  printf '#!/bin/sh\ntouch %s\n' "$ran" > "$1/.git/hooks/pre-commit"
  chmod 755 "$1/.git/hooks/pre-commit"
}
for place in new build node_modules/package dist a/b/c/d/e/f/g/h "$(printf 'name\377')" 'with space' .hidden; do plant "$place"; done
# A file, or a link, that leads to one.
mkdir -p turned linked/in
cp -a new/.git store
echo 'gitdir: ../store' > turned/.git
ln -s ../../store linked/in/.git

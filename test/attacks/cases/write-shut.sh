# title: plant hooks and settings in folders that nobody may list
# kind: write
# git: yes
ran=$(printf '%s\n' "$@" | sed -n 's/^ran=//p')
hook() { mkdir -p "$1" && printf '#!/bin/sh\ntouch %s\n' "$ran" > "$1/pre-commit" && chmod 755 "$1/pre-commit"; }
for place in hooks whole settings; do mkdir -p "shut/$place" && cp -a template "shut/$place/.git"; done
hook shut/hooks/.git/hooks
hook shut/whole/.git/hooks
printf '[core]\n\tfsmonitor = touch %s; false\n' "$ran" >> shut/settings/.git/config
chmod 100 shut/hooks/.git/hooks
chmod 300 shut/whole/.git
chmod 555 shut/settings/.git

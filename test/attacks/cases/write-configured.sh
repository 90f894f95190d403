# title: change what a repository's settings make git run
# kind: write
# git: yes
ran=$(printf '%s\n' "$@" | sed -n 's/^ran=//p')
settings() { printf '[core]\n\tfsmonitor = touch %s; false\n' "$ran"; }
hook() { printf '#!/bin/sh\ntouch %s\n' "$ran" > "$1" && chmod 755 "$1"; }
cd configured || exit
hook shared/hooks/post-commit
hook shared/hooks/pre-commit
settings > shared/config
settings > later
mv shared elsewhere && mkdir -p shared/hooks && hook shared/hooks/pre-commit

# Becomes a server that outlives the terminal. Arguments: the file for its output, then its command.
trap '' HUP
output=$1
shift
exec "$@" </dev/null >>"$output" 2>&1

# Runs a server for the process at the other end of stdin, and kills it when that process is gone.
# Arguments: the file for the server's output, then its command. Prints the server's process id.
# Signals for the terminal's foreground are not for us: the end of stdin decides.
trap '' HUP INT TERM
exec 3<&0
output=$1
shift
"$@" </dev/null >>"$output" 2>&1 3<&- &
server=$!
echo "$server"
# Nothing is ever written to stdin, so `read` returns when its other end is closed, by whatever means.
( read -r _; kill -9 "$server" ) <&3 2>/dev/null &
reader=$!
exec 3<&-
wait "$server"
kill -9 "$reader" 2>/dev/null

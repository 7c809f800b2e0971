# Removes a folder when the process at the other end of stdin is gone; the servers in it are being killed at the same moment.
trap '' HUP INT TERM
read -r _
for try in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.5
    rm -rf "$1" 2>/dev/null
done

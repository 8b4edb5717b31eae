# Run a server that cannot outlive its owner.
#
#   sh watchdog.sh SIGNAL SCRATCH SERVER [ARGUMENT...]
#
# SIGNAL   what stops the server: TERM, or KILL where it has nothing to save
# SCRATCH  a folder to remove at the very end; empty for none
# stdin    a pipe whose other end only the owner holds. It closes whatever way the owner dies, and
#          this is the one signal to stop. A line on it starts the server again after it has ended.
# stdout   two lines for each run of the server: its process id, and when it has ended its status
# stderr   the output of the server
# 9        where it is open: a lock that the server and this script hold by keeping it open

signal=$1
scratch=$2
shift 2

# Redis 7.2 refuses to start in a locale that is not installed.
LC_ALL=C
export LC_ALL

# Only the end of the owner ends this script. Caught and not ignored, because a signal ignored here
# would be ignored by the server too. Writing to an owner that is gone must not end it either.
trap : HUP INT TERM
trap '' PIPE

# The shell gives /dev/null to background processes as stdin: they need the pipe by another number.
exec 3<&0 </dev/null

stop_when_the_owner_is_gone() {
    while read -r line <&3; do :; done
    # Asked again each second: a server only just forked may not have heard. CONT, since a stopped
    # process acts on TERM when it is continued. A hung one never does, hence the KILL.
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        kill -s "$signal" "$server" || return
        [ "$signal" != KILL ] || return
        kill -s CONT "$server"
        sleep 1
    done
    kill -s KILL "$server"
}

while :; do
    "$@" 3<&- >&2 &
    server=$!
    echo "$server"
    # It goes by the pipe alone, so the server stops even if this shell is killed. It holds nothing
    # that others watch. By `exec`: for a function the shell would keep copies to restore.
    { exec >/dev/null 2>&1 9>&-; stop_when_the_owner_is_gone; } &
    stopper=$!

    wait "$server"
    status=$?
    # A trapped signal ends `wait` early.
    while kill -s 0 "$server" 2>/dev/null; do
        wait "$server"
        status=$?
    done

    # Two readers would steal one another's lines: the other is gone before the owner may write one.
    { kill -s KILL "$stopper"; wait "$stopper"; } 2>/dev/null
    echo "$status"
    read -r line <&3 || break
done

[ -z "$scratch" ] || rm -rf -- "$scratch"

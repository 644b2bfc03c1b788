# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PID 1 of a container: a few lines for a static busybox, and what it leaves for the host to read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import Optional

from .manifest import opened

#: Where a container sees it. /dev is a tmpfs that the runtime makes: nothing of the image is touched.
INSIDE = "/dev/.baleine"
#: The signals that it passes on to the program, beside the real-time ones, of which a shell knows the number alone.
SIGNALS = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "ALRM", "CONT")

SCRIPT = """\
# PID 1 of a container of Baleine: starts the program, passes signals on, records the program's exit code,
# reaps every orphan, and stays until no process is left. Only what busybox ash has built in.
state=/dev/.baleine/state
main= ended= stopping= pending= interrupted=
pass() {
    interrupted=yes
    case $1 in TERM | INT | QUIT) stopping=yes ;; esac
    if [ -z "$main" ]; then
        pending="$pending $1"
    elif [ -n "$ended" ]; then
        kill -"$1" -1
    else
        signal=$1
        while read -r key mask; do
            # A shell starts a background program with INT (bit 2) and QUIT (bit 4) ignored: where the program
            # left that so, TERM is what ends it.
            case $key/$1 in
                SigIgn:/INT) [ $((0x$mask & 2)) -ne 0 ] && signal=TERM ;;
                SigIgn:/QUIT) [ $((0x$mask & 4)) -ne 0 ] && signal=TERM ;;
            esac
        done < "/proc/$main/status"
        kill -"$signal" "$main"
    fi 2>/dev/null
}
for name in @SIGNALS@; do
    trap "pass $name" "$name"
done
[ ! -e "$state/env" ] || . "$state/env"
exec 3<>"$state/wake"
if [ -t 0 ]; then
    # In the foreground, since a shell's background program ignores INT for ever, and so does all that it starts. Until
    # it ends, the terminal's signals reach it without us, and those of others come to it from the host (send_signal).
    trap : INT QUIT WINCH
    "$@" 3>&-
    code=$?
else
    exec 4<&0  # what runs in the background gets /dev/null otherwise
    "$@" <&4 3>&- 4<&- &
    main=$!
    exec 4<&-
    for name in $pending; do pass "$name"; done
    while :; do
        interrupted=
        wait "$main" 2>/dev/null
        code=$?
        [ -n "$interrupted" ] || break  # else that is the signal's: the program may run on, or be reaped already
    done
fi
ended=yes
echo "$code" > "$state/exit"
[ -z "$stopping" ] || kill -TERM -1 2>/dev/null  # who asked the program to end meant its children too
trap : CHLD
while kill -0 -1 2>/dev/null; do
    read -r -t "${stopping:+0.}5" _ <&3  # until an orphan dies (CHLD ends the read); the time is for one that just did
    : & wait $!         # and is reaped
done
exit "$code"
""".replace("@SIGNALS@", " ".join((*SIGNALS, *map(str, range(34, 65)))))


def arguments(command: tuple[str, ...]) -> list[str]:
    """Return the words that start a program under PID 1."""
    return [f"{INSIDE}/busybox", "sh", f"{INSIDE}/init", *command]


def odd_variables(env: Mapping[str, str]) -> str:
    """Return the line of shell that gives a program the variables whose names (``a.b``) no shell would pass on."""
    import shlex

    odd = [shlex.quote(f"{key}={value}") for key, value in env.items() if not (key.isidentifier() and key.isascii())]
    return f'set -- {INSIDE}/busybox env {" ".join(odd)} "$@"\n' if odd else ""


def prepare_state(folder: str, owner: int, group: int) -> None:
    """Put what PID 1 needs into its state directory."""
    wake = os.path.join(folder, "wake")
    os.mkfifo(wake, 0o600)
    os.chown(wake, owner, group)


def exit_code(folder: str) -> Optional[int]:
    """Return the exit code that PID 1 left, or None.

    The container can write there whatever it likes: only a small number in a regular file is believed.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    with contextlib.suppress(OSError), opened(os.path.join(folder, "exit"), flags) as descriptor:
        text = os.read(descriptor, 8).strip() if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        return int(text) if text.isdigit() and int(text) < 256 else None  # bytes: ASCII digits only
    return None

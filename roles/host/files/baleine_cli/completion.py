# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine completion``: what a shell needs to complete our commands, made of their table."""

from __future__ import annotations

from .commands import COMMANDS
from .commands_common import name_flag
from .parse import Options

#: After the flags' lists. The two first words that are no flags say what is to be completed; names of resources are
#: asked of ``list``, which only root may.
FUNCTION = r"""
_baleine() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} known=() index candidates=
    for ((index = 1; index < COMP_CWORD; index++)); do
        [[ ${COMP_WORDS[index]} == -- ]] && return
        [[ ${COMP_WORDS[index]} == -* ]] || known+=("${COMP_WORDS[index]}")
    done
    [[ ${known[0]} == help ]] && known=("${known[@]:1}")
    local kind=${known[0]} command="${known[0]} ${known[1]}"
    if [[ $before == --format ]]; then
        candidates='json table'
    elif [[ -z $kind ]]; then
        candidates=$_baleine_kinds
    elif [[ -z ${known[1]} ]]; then
        candidates=${_baleine_verbs[$kind]}
    elif [[ $word == -* ]]; then
        candidates=${_baleine_flags[$command]}
    elif [[ " ${_baleine_names[$command]} " == *" $before "* || $before == "${known[1]}" ]]; then
        [[ $kind == container ]] && index=-aq || index=-q
        candidates=$(baleine "$kind" list "$index" 2>/dev/null)
    fi
    mapfile -t COMPREPLY < <(compgen -o default -W "$candidates" -- "$word")
}
complete -o default -F _baleine baleine
"""


def show(_options: Options) -> int:
    """Print the completion of bash, which zsh takes too after ``autoload -U bashcompinit && bashcompinit``."""
    print(text(), end="")
    return 0


def text() -> str:
    """Return a script for bash: of each kind its verbs, of each command its flags and those that a name follows."""
    verbs: dict[str, list[str]] = {}
    flags, names = [], []
    for command in COMMANDS:
        verbs.setdefault(command.kind or command.verb, []).extend([command.verb] if command.kind else [])
        key = f"[{command.kind} {command.verb}]".replace("[ ", "[")
        shown = [name for flag in command.flags for name in (flag.short, flag.long) if name]
        own = [flag for flag in command.flags if command.kind and flag.key == name_flag(command.kind).key]
        flags.append(f"    {key}='{' '.join(shown)}'")
        names.append(f"    {key}='{' '.join(name for flag in own for name in (flag.short, flag.long) if name)}'")
    tables = {"verbs": [f"    [{kind}]='{' '.join(words)}'" for kind, words in verbs.items()]}
    arrays = {**tables, "flags": flags, "names": names}
    parts = [f"declare -gA _baleine_{name}=(\n" + "\n".join(lines) + "\n)" for name, lines in arrays.items()]
    return "\n".join(["# bash completion of baleine", f"_baleine_kinds='{' '.join(verbs)}'", *parts]) + FUNCTION

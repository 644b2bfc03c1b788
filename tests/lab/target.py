# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test asks of any machine of the laboratory: a lab host of namespaces, or the guest under qemu."""

from __future__ import annotations

import abc
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .agent import Agents, Call
from .commands import Place
from .compiled import compiled
from .run import LONGEST


class Target(Place):
    """A machine that runs commands and holds files; the product and its modules on top of that."""

    def __init__(self) -> None:
        self.expected: list[str] = []
        self.modules_ready = False
        self.agents = Agents(self)

    @property
    @abc.abstractmethod
    def python_root(self) -> Path:
        """A root filesystem with the Python that runs inside."""

    @abc.abstractmethod
    def push(self, local: Path, remote: str) -> None:
        """Copy a file (holes stay holes) or a folder to a path inside, in place of what is there."""

    def push_python(self, parts: Mapping[str, Path], remote: str) -> None:
        """Copy folders of Python into one folder inside, compiled, in place of what is there; see compiled()."""
        self.push(compiled(parts, remote, self.python_root), remote)

    def sh(self, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside (sh -e); options are run()'s."""
        return self.run(["sh", "-ec", script], **options)

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.run(["cat", "--", path]).stdout

    def write(self, path: str, text: str, *, mode: int | None = None) -> None:
        """Write a file inside; its directories are made."""
        script = f'mkdir -p "$(dirname {shlex.quote(path)})"; cat >{shlex.quote(path)}'
        self.sh(script if mode is None else f"{script}; chmod {mode:o} {shlex.quote(path)}", input=text)

    def expect(self, *patterns: str) -> None:
        """Name what the laboratory itself puts there, as `KIND NAME` patterns (fnmatch): the leak check skips it."""
        self.expected += patterns

    # The product

    def install_baleine(self) -> None:
        """Copy the core and the command line of this repository into the machine."""
        from . import product

        product.install(self)

    def module(
        self,
        name: str,
        /,
        *,
        check: bool = False,
        diff: bool = True,
        expect_failure: bool = False,
        timeout: float = LONGEST,
        **params: Any,
    ) -> dict[str, Any]:
        """Run one of the collection's modules inside with /usr/bin/python3; returns its result.

        check, diff: Ansible's modes; a module's parameter of such a name goes into params={...}.
        Raises AssertionError when it failed (or, with expect_failure, when it did not), CommandFailed on a crash.
        """
        from . import product

        given = {**params.pop("params", {}), **params}
        call = Call(name, given, check, diff)
        return product.module(self, call, expect_failure=expect_failure, timeout=timeout)

    def together(self, calls: Sequence[Call], timeout: float = LONGEST) -> list[subprocess.CompletedProcess[str]]:
        """Run modules at the same time, each in a process of its own; how each of them ended, in order.

        Raises TimeoutExpired when one lasts longer than timeout seconds; it has been killed then.
        """
        from . import product

        if not self.modules_ready:
            product.install_modules(self)
            self.modules_ready = True
        return self.agents.together(calls, timeout)

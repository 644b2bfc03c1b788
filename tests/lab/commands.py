# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab host, the guest and a wire share: commands run in them, and they are stopped at the end."""

from __future__ import annotations

import abc
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from . import run

Self = TypeVar("Self", bound="Place")


class Place(abc.ABC):
    """Where commands run; also a context manager that stops it."""

    @abc.abstractmethod
    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program there with the place's own environment plus env.

        options: those of the place, then those of subprocess.Popen.
        """

    @abc.abstractmethod
    def stop(self) -> object:
        """End everything there, and remove every trace. May be repeated."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = run.LONGEST,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end; its output is captured. options are those of popen().

        Raises LabError when the place itself failed, CommandFailed (with the output) when check is true and the code is not 0, and TimeoutExpired when it
        lasts longer than timeout seconds or something keeps its pipes open; its session has been killed then.
        """
        process = self.popen(
            argv,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            **options,
        )
        done = run.finish(process, timeout=timeout, check=False, input=input, shown=argv)
        trouble = self.trouble(done)
        if trouble:
            raise run.LabError(trouble)
        if check and done.returncode != 0:
            raise run.CommandFailed(done.returncode, list(argv), done.stdout, done.stderr)
        return done

    def trouble(self, done: subprocess.CompletedProcess[str]) -> str:
        """What kept the place, and not the program, from doing its part; empty if nothing did."""
        return ""

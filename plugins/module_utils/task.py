# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of Baleine does around its one call into the core. The module itself is handed in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from .errors import BaleineError
from .manifest import store_is_down
from .plan import Outcome, describe
from .process import ENVIRONMENT, Result, Runner


def runner(module: Any) -> Runner:
    """Return the way an Ansible module runs commands: no shell, a fixed environment."""

    def run(argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result:
        code, out, err = module.run_command(
            list(argv),
            data=stdin or None,
            environ_update={**ENVIRONMENT, **(env or {})},
            expand_user_and_vars=False,
            handle_exceptions=False,
            errors="surrogate_or_replace",
        )
        return Result(tuple(argv), code, out, err)

    return run


def perform(module: Any, work: Callable[[Runner, dict[str, Any], bool], dict[str, Any]]) -> None:
    """Run a module's work and end the module.

    :param work: given the runner, the parameters and whether this is check mode, returns the result.
    """
    os.chdir("/")  # the caller's directory may be gone, and holds nothing of ours
    try:
        if os.geteuid() != 0:
            raise BaleineError(f"{module._name}: this needs root on the target", "Set become: true")
        if store_is_down():
            from .store_mount import need_mounted  # needed once after a boot

            need_mounted()
        result = work(runner(module), module.params, module.check_mode)
    except BaleineError as error:
        module.fail_json(msg=str(error), reason=error.message, hint=error.hint)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        module.fail_json(msg=f"{module._name}: {error.strerror}{where}", reason=str(error), hint="")
    for warning in result.pop("warnings", []):
        module.warn(warning)
    (module.fail_json if result.get("failed") else module.exit_json)(**result)


def result_of(outcomes: Sequence[Outcome], key: str) -> dict[str, Any]:
    """Return the result of a module for one resource.

    :param key: under which the facts of the resource are returned.
    """
    return {**told(outcomes), key: outcomes[0].facts if outcomes else {}}


def told(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what a module says of what was done: changed, actions, drift, warnings, diff."""
    described = describe(outcomes)
    return {**described, "diff": {side: pretty(described["diff"][side]) for side in ("before", "after")}}


def pretty(value: Mapping[str, Any]) -> str:
    """Return one side of a diff as text that a line diff shows well."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n" if value else ""

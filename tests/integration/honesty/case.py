# SPDX-License-Identifier: GPL-3.0-or-later
"""One option of a module, and what is done with it.

A key is an option as the documentation writes it (`networks.mtu`); what follows a # tells two cases of one option apart.
In texts, {ip}, {ip6} and {mac} are those of the resource that the case has for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

Params = Mapping[str, Any]


class Lacking(NamedTuple):
    """A request that speaks of what this host does not have, and by which words that is named."""

    params: Params
    words: str


class Case(NamedTuple):
    """One option, changed alone, of a resource of its own.

    :param to: what is given beside what its resource was made with; :param base: what that is, beside the module's.
    :param same: the same as `to`, spelled otherwise; :param fewer: `to` without one of its elements.
    :param cased: `to` but for the case of a letter, which must be seen: as a change, or as something that there is not.
    :param does: "change" it; "act" at every run; say "nothing" of the resource itself; "refuse", with these `words`, in
        check mode too; or "fail" with them, because only the act shows it: then all is as it was.
    :param lacking: what an earlier task may make, which check mode therefore only warns of.
    :param kept: going back to `base` changes nothing: what is left out is whatever it is.
    :param shown: what a diff calls it, and what changes with it, where that is not the option's own name; none for all.
    """

    to: Params = {}
    same: tuple[Params, ...] = ()
    fewer: Optional[Params] = None
    cased: Optional[Params] = None
    base: Params = {}
    does: str = "change"
    words: str = ""
    kept: bool = False
    lacking: Optional[Lacking] = None
    shown: Optional[tuple[str, ...]] = ()


#: An option that all cases use: the resource itself, or an internal matter with tests of its own.
EVERYWHERE = Case(does="everywhere")

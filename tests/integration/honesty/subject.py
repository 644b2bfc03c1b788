# SPDX-License-Identifier: GPL-3.0-or-later
"""A module with the resources that its cases have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tests.lab import kernel
from tests.lab.driver import Call, Driver

from .answers import Answer, answer, filled, texts
from .case import Case, Params
from .cases import TABLES

NOTHING: Params = MappingProxyType({})
#: What is another value at each look.
PASSING = ("running_seconds", "free")
#: What files hold that nobody may tell: secrets of containers, and files of images.
SECRET = "thunder"
#: The files and mounts that check mode must leave as they are, and that a task may change.
STATE = """
find /var/lib/baleine /run/baleine /etc/cron.d /usr/local /var/cache/baleine \\( -type f -printf '%p %m %s\\n' -o -print \\)
find /var/lib/baleine/manifeste /etc/cron.d -type f -exec sha256sum {} +
cat /proc/self/mounts
"""


class Subject:
    """A module with the resources that its table's options have, each in the state that the last step left it in."""

    def __init__(
        self, driver: Driver, module: str, kind: str, common: Params, *, keys: Sequence[str] = (), prefix: str = "h"
    ) -> None:
        self.driver, self.module, self.kind, self.common = driver, module, kind, common
        self.table = {
            key.removeprefix("containers."): case
            for key, case in TABLES[module].items()
            if case.to and (not keys or key in keys) and not key.startswith("prune")
        }
        self.names = {key: f"{prefix}{number:02}" for number, key in enumerate(self.table)}
        self.after: dict[str, Any] = {}
        self.facts: dict[str, Mapping[str, Any]] = {}
        #: How many cases of its table the last step drove.
        self.tried = 0

    def state(self) -> str:
        """Everything that check mode must leave as it is; of the network, more than ip(8) lists."""
        lines = self.driver.host.run(["/bin/sh", "-c", STATE], check=False).stdout.splitlines()
        return "\n".join(sorted([*lines, *kernel.of(self.driver.host).lines()]))

    def words(self, key: str) -> dict[str, str]:
        number = list(self.table).index(key) + (100 if self.module == "baleine_container" else 0)
        one = {"ip": f"10.9.1.{number + 2}", "ip6": f"fd09::{number + 16:x}"}
        one["long6"] = f"fd09:0:0:0:0:0:0:{number + 16:x}"
        if self.kind == "bridge":
            one = {
                "ip": f"10.{number + 20}.0.1",
                "ip6": f"fd{number + 16:x}::1",
                "long6": f"fd{number + 16:x}:0:0:0:0:0:0:1",
            }
        mac = f"02:00:00:00:ab:{number:02x}"
        one["name"] = self.names[key]
        return {**one, "IP6": one["ip6"].upper(), "mac": mac, "MAC": mac.upper(), "dashed": mac.replace(":", "-")}

    def params(self, key: str, more: Params = NOTHING) -> dict[str, Any]:
        """The whole request for one resource: the module's, the case's own, and one more thing."""
        whole = {"name": self.names[key], **self.common, **self.table[key].base, **more}
        return {name: value for name, value in filled(whole, self.words(key)).items() if value is not None}

    def run(self, wanted: Mapping[str, Params], check: bool = False) -> dict[str, Answer]:
        """Ask for several resources, whatever that makes of calls."""
        return {key: self.one(key, params, check) for key, params in wanted.items()}

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        result = self.driver.call(self.module, params, check)
        if result.get("guard"):  # what the action plugin does
            confirmed = self.driver.call(self.module, {**params, "confirm": result["guard"]})
            result = {**confirmed, **{name: result[name] for name in ("changed", "actions", "diff", "drift")}}
        return answer(result, f"{self.kind} {self.names[key]}".strip())

    # The steps, each returning what was not as it should be

    def predicted_and_done(
        self, wanted: Mapping[str, Params], *, alone: bool = False, silent: bool = False
    ) -> list[str]:
        """Check mode, then really: the same is told, and nothing was touched before.

        :param alone: what is otherwise is what each case is about, and nothing else.
        :param silent: the same thing is done anew, which no diff can show.
        """
        before = self.state()
        predicted, wrong = self.run(wanted, check=True), list[str]()
        after = self.state()
        if before != after:
            changed = sorted(set(before.splitlines()) ^ set(after.splitlines()))
            wrong.append(f"check mode touched something: {changed}")
        self.tried = len(wanted)
        for key, real in self.run(wanted).items():
            told, done = predicted[key]._replace(facts={}), real._replace(facts={})
            shown = self.table[key].shown
            about = real.differing if shown is None else set(shown or (key.partition(".")[0].partition("#")[0],))
            self.facts[key] = real.facts
            if real.failed or told.failed:
                wrong.append(f"{key}: failed: {told.failed or '-'} / {real.failed or '-'}")
            elif told != done:
                wrong.append(f"{key}: predicted {told}, did {done}")
            elif not real.changed or not real.actions:
                wrong.append(f"{key}: changed is {real.changed}: {real.actions}")
            elif not real.differing and not silent:
                wrong.append(f"{key}: changed without a difference: {done}")
            elif alone and real.differing != about:
                wrong.append(f"{key}: its diff shows {sorted(real.differing)}: {done}")
            else:
                wrong += self.follows(key, real)
        return wrong

    def follows(self, key: str, real: Answer) -> list[str]:
        """What one diff says will be is what the next one says was."""
        last, now = self.after.get(key) or {}, real.before or {}
        if real.changed:
            self.after[key] = real.after
        differing = [name for name in last if name in now and last[name] != now[name]]
        return [f"{key}: {name}: said {last[name]!r}, then {now[name]!r}" for name in differing if real.changed]

    def unchanged(self, wanted: Mapping[str, Params], check: bool = False) -> list[str]:
        wrong = []
        for key, real in self.run(wanted, check).items():
            if real.failed or real.changed or real.actions or real.drift:
                wrong.append(f"{key}: {wanted[key]}: {real.failed or real._replace(facts={})}")
            else:
                known = self.facts.setdefault(key, real.facts)
                wrong += [
                    f"{key}: other facts when nothing is changed: {text}" for text in self.other(known, real.facts)
                ]
        return wrong

    @staticmethod
    def other(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
        """Where two tellings of the same facts are not the same."""
        names = sorted(name for name in {*one, *two} - {*PASSING} if one.get(name, "-") != two.get(name, "-"))
        return [f"{name} {one.get(name, '-')!r} / {two.get(name, '-')!r}" for name in names]

    def of(self, *does: str) -> dict[str, Case]:
        return {key: case for key, case in self.table.items() if case.does in does}

    def all_at(self, *does: str) -> dict[str, dict[str, Any]]:
        """The requests for everything as its case has it; or as it was made, for the others."""
        return {key: self.params(key, case.to) for key, case in self.of(*does).items()}

    def base(self) -> dict[str, dict[str, Any]]:
        return {key: self.params(key) for key in self.table}

    def made(self) -> list[str]:
        return self.predicted_and_done(self.base())

    def again(self) -> list[str]:
        self.tried = len(self.table)
        return self.unchanged(self.base(), check=True) + self.unchanged(self.base())

    def option(self) -> list[str]:
        wrong = self.predicted_and_done(self.all_at("change"), alone=True)
        wrong += self.unchanged(self.all_at("change"))
        for _twice in range(2):
            wrong += self.predicted_and_done(self.all_at("act"), silent=True)
        wrong += self.unchanged(self.all_at("nothing"), check=True) + self.unchanged(self.all_at("nothing"))
        for key, case in self.of("refuse", "fail").items():
            predicted, refused = (self.one(key, self.params(key, case.to), check) for check in (True, False))
            wrong += [] if case.words in refused.failed else [f"{key}: not refused: {refused}"]
            same = predicted.failed == (refused.failed if case.does == "refuse" else "")
            wrong += [] if same else [f"{key}: predicted {predicted}, then {refused.failed}"]
        wrong += self.unchanged({key: self.params(key) for key in self.of("refuse", "fail")})
        self.tried = len(self.of("change", "act", "nothing", "refuse", "fail"))
        return wrong

    def spelled(self) -> list[str]:
        wrong, tried = [], 0
        for number in range(max((len(case.same) for case in self.table.values()), default=0)):
            having = {key: case.same[number] for key, case in self.of("change").items() if number < len(case.same)}
            wrong += self.unchanged({key: self.params(key, same) for key, same in having.items()})
            tried += len(having)
        self.tried = tried
        return wrong

    def cased(self) -> list[str]:
        """What differs in the case of a letter is another thing: the change is shown, or the refusal speaks of it."""
        wrong = []
        having = {key: case.cased for key, case in self.of("change").items() if case.cased is not None}
        for key, cased in having.items():
            seen = self.one(key, self.params(key, cased), check=True)
            new = set(texts(cased)) - set(texts(self.table[key].to))
            told = any(text in seen.failed for text in new) if seen.failed else seen.changed and seen.differing
            wrong += [] if told else [f"{key}: {cased} is not seen: {seen}"]
        self.tried = len(having)
        return wrong

    def removed(self) -> list[str]:
        fewer = {key: self.params(key, case.fewer) for key, case in self.of("change").items() if case.fewer is not None}
        wrong = self.predicted_and_done(fewer, alone=True) + self.unchanged(fewer)
        back = {key: self.params(key) for key, case in self.of("change").items() if not case.kept}
        wrong += self.predicted_and_done(back, alone=True) + self.again()
        self.tried = len(back)
        return wrong

    def info(self) -> list[str]:
        """What the module said of each resource, the one that only looks says too."""
        many = f"{self.kind}s"
        if f"baleine_{self.kind}_info" not in TABLES:
            return []
        found = self.driver.call(f"baleine_{self.kind}_info", {"names": list(self.names.values())})[many]
        self.tried = len(found)
        said = zip(self.names, found)
        return [f"{key}: {text}" for key, item in said for text in self.other(self.facts[key], item[self.kind])]

    def secret(self) -> list[str]:
        """What files hold is neither recorded nor told."""
        self.tried = len(self.driver.heard)
        recorded = self.driver.host.sh(f"grep -rl {SECRET} /var/lib/baleine/manifeste /etc/cron.d || true").stdout
        told = [text for text in self.driver.heard if SECRET in text]
        self.driver.heard.clear()
        return [f"{text} holds a secret" for text in [*recorded.split(), *told]]

    def absent(self) -> list[str]:
        gone = {key: {"name": name, "state": "absent"} for key, name in self.names.items()}
        wrong = self.predicted_and_done(gone)
        self.after, self.facts = {}, {}
        return wrong + self.unchanged(gone, check=True) + self.unchanged(gone)

    def twice(self) -> list[str]:
        """The same task, at once: both succeed, and one of them did it."""
        wrong = []
        key = next(iter(self.table))
        for params in (self.params(key), {"name": self.names[key], "state": "absent"}):
            results = self.driver.together([self.call(params), self.call(params)])
            changed = [result.get("changed") for result in results if not result.get("failed")]
            wrong += [] if sorted(changed) == [False, True] else [f"{params}: {results}"]
            self.tried += 1
        return wrong

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, params, check)


class Containers(Subject):
    """All containers in one call, but where one is expected to be refused: then none of a set is touched."""

    def run(self, wanted: Mapping[str, Params], check: bool = False) -> dict[str, Answer]:
        if not wanted:
            return {}
        result = self.driver.call(self.module, {"containers": list(wanted.values())}, check)
        if "containers" not in result:
            return {key: Answer(failed=result["msg"]) for key in wanted}
        found = {}
        changed = [own["changed"] for own in result["containers"].values()]
        assert result["changed"] == any(changed), (result["changed"], changed)
        for key in wanted:
            own = result["containers"][self.names[key]]
            told = answer({**result, **own, "failed": own.get("failed", False)}, f"container {self.names[key]}")
            found[key] = told
        return found

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        result = self.driver.call(self.module, {"containers": [params]}, check)
        return answer(result, f"container {self.names[key]}")

    def option(self) -> list[str]:
        """Before each option is changed, what the module of one container says of that is the same."""
        wanted = self.all_at("change")
        together = self.run(wanted, check=True)
        wrong = []
        for key, params in wanted.items():
            alone = answer(self.driver.call("baleine_container", params, True), f"container {self.names[key]}")
            wrong += [] if alone == together[key] else [f"{key}: alone {alone}, together {together[key]}"]
        return wrong + super().option()

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, {"containers": [params]}, check)


class Store(Subject):
    """The store of a host: there is one, it has no name, and it never becomes smaller."""

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        return answer(self.driver.together([self.call(params, check)])[0], "store /var/lib/baleine-store.xfs")

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, {name: value for name, value in params.items() if name != "name"}, check)

    def removed(self) -> list[str]:
        return [] if "can only grow" in self.one("size", self.params("size")).failed else ["a smaller one is taken"]


class Command(Subject):
    """The command line of a host: there is one, and it has no name."""

    def params(self, key: str, more: Params = NOTHING) -> dict[str, Any]:
        return {**self.common, **self.table[key].base, **more}

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        return answer(self.driver.together([self.call(params, check)])[0], "command line")

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, {name: value for name, value in params.items() if name != "name"}, check)

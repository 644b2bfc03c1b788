# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module tells the truth: what it predicts is what it does, what is so is left alone, what is not is seen.

The tables are in honesty_cases.py. Each option has a resource of its own, so that one call of `baleine_containers` drives
all of them a step further; the other modules are called once for each. At the end the table of modules and cases is printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.integration.honesty_cases import NETWORK, TABLES, Case, Params
from tests.lab import debs, kernel, rpms, trees
from tests.lab.driver import Call, Driver
from tests.lab.host import LabHost
from tests.lab.run import CommandFailed

NOTHING: Params = MappingProxyType({})
SLEEP = ["sleep", "1000"]
#: What a request has at the least.
FIRST: dict[str, Params] = {
    "baleine_container": {"image": "tiny", "command": SLEEP},
    "baleine_containers": {"image": "tiny", "command": SLEEP},
    "baleine_image": {"from_image": "tiny", "size": "80M"},
}
#: What the modules of one container are tried with besides: the rest they share with the module of many.
ALONE = (
    "env",
    "labels",
    "limits",
    "networks.addresses",
    "networks.routes",
    "secrets",
    "state",
    "restart",
    "recreate#never",
)


FACTS = ("container", "bridge", "volume", "image", "command", "store")
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


class Answer(NamedTuple):
    """What a module said of one resource."""

    changed: bool = False
    actions: tuple[Any, ...] = ()
    before: Any = None
    after: Any = None
    drift: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: str = ""
    facts: Mapping[str, Any] = {}

    @property
    def differing(self) -> set[str]:
        """What the diff shows to be otherwise afterwards."""
        before, after = self.before or {}, self.after or {}
        return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def answer(result: Mapping[str, Any], what: str) -> Answer:
    """Return what a result says of one resource, by its name in plans (`container web1`)."""
    diffs = result.get("diff") or ()
    before, after = {}, {}
    for diff in [diffs] if isinstance(diffs, Mapping) else diffs:
        before.update(json.loads(diff["before"] or "{}"))
        after.update(json.loads(diff["after"] or "{}"))
    actions = tuple((item["action"], item["reason"]) for item in result.get("actions", ()) if item["resource"] == what)
    drift = tuple(text for text in result.get("drift", ()) if text.startswith(f"{what}: "))
    warned = [str(item) for item in result.get("warnings", ())]  # of some versions of Ansible, more than a text
    warnings = tuple(text for text in warned if f"{what}: " in text)
    facts = next((result[key] for key in FACTS if key in result), {})
    failed = str(result.get("msg", result)) if result.get("failed") else ""
    changed = False if failed else result["changed"]
    return Answer(changed, actions, before.get(what), after.get(what), drift, warnings, failed, facts)


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """Return a value with the words of one resource in its texts."""
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace("{" + key + "}", word)
        return value
    if isinstance(value, Mapping):
        return {key: filled(item, words) for key, item in value.items()}
    return [filled(item, words) for item in value] if isinstance(value, list) else value


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys too."""
    if isinstance(value, Mapping):
        yield from (text for item in value.items() for text in texts(list(item)))
    elif isinstance(value, list):
        yield from (text for item in value for text in texts(item))
    else:
        yield str(value)


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


class Disturbance(NamedTuple):
    """What somebody does by hand to the first resource of a subject, and what a module says of it.

    :param of: to that of another option, as its case changes it.
    """

    script: str
    words: str
    #: What takes a foreign object away again; the module must have left it alone.
    undo: str = ""
    of: str = ""


MANIFESTS = "/var/lib/baleine/manifeste"
PID, LINK = "$(sed -n 's/^pid: //p' {manifest})", "$(sed -n 's/^interface: //p' {manifest})"
KILL = f"pid={PID}; kill -9 $pid; while [ -e /proc/$pid ]; do sleep 0.02; done"
INSIDE = f"nsenter -n -t {PID} ip"
FREEZER = "$(find /sys/fs/cgroup -path '*baleine/{name}/freezer.state')"
MEMORY = "$(find /sys/fs/cgroup -path '*baleine/{name}/memory.limit_in_bytes')"
CONTAINER_DRIFT = (
    Disturbance(KILL, "its first process is gone"),
    Disturbance(f"ip link del {LINK}", "eth0: its link is gone"),
    Disturbance(f"ip link set {LINK} nomaster", "eth0: not on hone"),
    Disturbance(f"ip link set {LINK} down", "eth0: not on hone"),
    Disturbance(f"{INSIDE} address flush dev eth0 scope global", "missing"),
    Disturbance(f"{INSIDE} address add 10.9.250.1/16 dev eth0", "address 10.9.250.1/16 too many"),
    Disturbance(f"{INSIDE} link set eth0 down", "eth0: down"),
    Disturbance(f"{INSIDE} link set eth0 address 02:00:00:00:00:09", "eth0: mac 02:00:00:00:00:09"),
    Disturbance(f"echo FROZEN >{FREEZER}", "it is paused"),
    Disturbance(f"{KILL}; rm /var/lib/baleine/containers/{{name}}", "its disk is gone"),
    Disturbance(f"echo THAWED >{FREEZER}", "it is running", of="state#paused"),
    Disturbance(f"echo 32M >{MEMORY}", "memory was 32M", of="limits"),
    Disturbance(f"{INSIDE} link set eth0 mtu 1234", "eth0: mtu 1234", of="networks.mtu"),
    Disturbance(f"{INSIDE} route del 172.16.0.0/12", "eth0: route 172.16.0.0/12 via", of="networks.routes"),
    Disturbance(f"{INSIDE} route del default", "eth0: route default via 10.9.0.1 missing", of="networks.gateway"),
    Disturbance(f"tc qdisc del dev {LINK} root", "eth0: rate_in none", of="networks.rate_in"),
    Disturbance(f"nsenter -n -t {PID} tc qdisc del dev eth0 root", "eth0: rate_out none", of="networks.rate_out"),
)
DRIFT: dict[str, tuple[Disturbance, ...]] = {
    "bridge": (
        Disturbance("ip link del {name}", "the link is gone"),
        Disturbance("ip address flush dev {name} scope global", "the address"),
        Disturbance("ip link set {name} mtu 1300", "mtu was 1300"),
        Disturbance("ip link set {name} down", "state was down"),
        Disturbance("ip link set {name} type bridge stp_state 1", "stp was True"),
        Disturbance("ip link set {name} address 02:00:00:00:00:09", "mac was 02:00:00:00:00:09"),
        Disturbance("ip address add 10.250.0.1/24 dev {name}", "the address 10.250.0.1/24 was added"),
        Disturbance("ip link set hport1 nomaster", "the port hport1 is gone", of="ports"),
    ),
    "container": CONTAINER_DRIFT,
    "store": (),
    "volume": (Disturbance("rmdir /var/lib/baleine/volumes/{name}", "its directory is gone"),),
    "image": (Disturbance("rm /var/lib/baleine/images/{name}", "its file is gone"),),
    "": (
        Disturbance("rm /usr/local/bin/baleine", ""),
        Disturbance("echo >>/usr/local/lib/baleine/baleine/a.py", ""),
        Disturbance("echo >/usr/local/lib/baleine/baleine/c.py", ""),
        Disturbance("chmod 644 /usr/local/bin/baleine", ""),
    ),
}
FOREIGN: dict[str, tuple[Disturbance, ...]] = {
    "bridge": (
        Disturbance(
            "ip link add {name} type veth peer hpeer",
            "did not make",
            "ip link show type veth dev {name} && ip link del {name}",
        ),
        Disturbance("ip link add {name} type bridge", "did not make", "ip link show {name} && ip link del {name}"),
    ),
    "container": (
        Disturbance(
            "echo mine >/var/lib/baleine/containers/{name}",
            "there is a disk or a run of it, but no manifest",
            "grep -x mine /var/lib/baleine/containers/{name} && rm /var/lib/baleine/containers/{name}",
        ),
    ),
    "volume": (
        Disturbance(
            "mkdir -p /var/lib/baleine/volumes; echo mine >/var/lib/baleine/volumes/{name}",
            "is no directory",
            "grep -x mine /var/lib/baleine/volumes/{name} && rm /var/lib/baleine/volumes/{name}",
        ),
    ),
    "image": (
        Disturbance(
            "echo mine >/var/lib/baleine/images/{name}",
            "that Baleine did not make",
            "grep -x mine /var/lib/baleine/images/{name} && rm /var/lib/baleine/images/{name}",
        ),
    ),
}


def by_hand(subject: Subject, host: LabHost, script: str, key: str = "") -> None:
    name = subject.names[key or next(iter(subject.table))]
    manifest = f"{MANIFESTS}/{subject.kind}s/{name}.manifest"
    host.sh(script.replace("{name}", name).replace("{manifest}", manifest))


def drift(subject: Subject, host: LabHost) -> list[str]:
    """Done by hand to what is as its case has it: seen, called drift, healed, and then no more."""
    wrong, tried = list[str](), 0
    first = next(iter(subject.table))
    for disturbance in DRIFT[subject.kind]:
        key = disturbance.of or first
        if key not in subject.table:
            continue
        tried += 1
        told = list[str]()
        base = {key: subject.params(key)}
        wanted = {key: subject.params(key, subject.table[key].to if disturbance.of else NOTHING)}
        if disturbance.of:
            told += subject.predicted_and_done(wanted)
        try:
            by_hand(subject, host, disturbance.script, key)
        except CommandFailed as error:  # there is nothing to disturb
            told.append(f"cannot be done: {error}")
        subject.after, subject.facts = {}, {}
        seen = subject.run(wanted, check=True)[key]
        words = (*seen.drift, *([] if subject.kind else [""]))
        if not seen.changed or not any(disturbance.words in text for text in words):
            told.append(f"not seen: {seen}")
        told += subject.predicted_and_done(wanted) + subject.unchanged(wanted)
        if disturbance.of:
            told += subject.predicted_and_done(base)
        wrong += [f"{disturbance.script}: {text}" for text in told]
    subject.tried = tried
    return wrong


def foreign(subject: Subject, host: LabHost) -> list[str]:
    """What has a resource's name and is not Baleine's: refused, in check mode too, and left alone."""
    wrong = []
    key = next(iter(subject.table))
    for disturbance in FOREIGN.get(subject.kind, ()):
        by_hand(subject, host, disturbance.script)
        for check in (True, False):
            refused = subject.one(key, subject.params(key), check)
            wrong += [] if disturbance.words in refused.failed else [f"{disturbance.script}: not refused: {refused}"]
        by_hand(subject, host, disturbance.undo)
        subject.tried += 1
    return wrong


class Table:
    """Modules x cases, printed at the end of the file."""

    CASES = (
        "check",
        "again",
        "option",
        "info",
        "spelled",
        "case",
        "removed",
        "drift",
        "secret",
        "absent",
        "foreign",
        "missing",
        "two at once",
    )
    #: Why a cell is empty.
    WHY = MappingProxyType(
        {
            "baleine_command": "no module only looks at it, and a file in the way is one of its own, by its place",
            "baleine_container_exec": "has no state: what it runs is predicted, or skipped in check mode",
            "baleine_containers: prune": "takes away; what is missing, foreign or changed by hand, the containers show",
            "baleine_image_export": "never removes anything, and replaces what is in the way, as it says",
            "baleine_store": "no module only looks at it; it has one option, whose smaller size is refused",
            "baleine_volume": "no module only looks at it; it has no options",
            **{f"baleine_{kind}_info": "only looks" for kind in ("bridge", "container", "host", "image")},
        }
    )

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], tuple[int, int]] = {}

    def fill(self, module: str, case: str, count: int, wrong: Sequence[str]) -> list[str]:
        """Note a case of a module; returns what was wrong with its name."""
        before = self.cells.get((module, case), (0, 0))
        self.cells[module, case] = before[0] + count, before[1] + len(wrong)
        return [f"{case}: {text}" for text in wrong]

    def cell(self, module: str, case: str) -> str:
        count, wrong = self.cells.get((module, case), (0, 0))
        return f"{wrong} WRONG" if wrong else f"{count} ok" if count else "-"

    def lines(self) -> list[str]:
        modules = sorted({module for module, _case in self.cells})
        width = max(map(len, modules), default=0)
        rows = {"": list(self.CASES)} | {name: [self.cell(name, case) for case in self.CASES] for name in modules}
        widths = [max(map(len, column)) for column in zip(*rows.values())]
        lines = [f"{name:{width}}  " + "  ".join(map(str.rjust, row, widths)) for name, row in rows.items()]
        lines += [f"{name}: {why}" for name, why in self.WHY.items() if name in modules]
        return lines


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    made = Table()
    yield made
    reporter, capture = (pytestconfig.pluginmanager.get_plugin(n) for n in ("terminalreporter", "capturemanager"))
    if reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line("")
            for line in made.lines():
                reporter.write_line(line)


@pytest.fixture(scope="module")
def machine(lab: LabHost, tiny: str) -> LabHost:
    """The files, links and helpers that the tables speak of."""
    trees.tiny_image(lab, "other")
    lab.sh(
        "mkdir -p /srv/h/a /srv/h/b /srv/h/A; echo thunder 1 >/srv/h/one; echo thunder 2 >/srv/h/two;"
        "for number in 1 2 3 4; do ip link add hport$number type veth peer name hpeer$number; done;"
        "ip address add 10.8.3.1/24 dev hport3; ip link set hport3 up; ip address add 10.8.4.1/24 dev hport4"
    )
    lab.sh(
        "cd /srv/h && mkdir tree && debugfs -R 'rdump / tree' /var/lib/baleine/images/tiny && rm -r tree/lost+found &&"
        "tar -C tree --exclude=./www -cf two.tar . && cp two.tar two.copy"
    )
    lab.sh("debugfs -w -R 'rm /etc/hostname' /var/lib/baleine/images/other")
    debs.make_small_mirror(lab)
    rpms.make_repository(lab)
    lab.sh("cd /srv/rpm && ln -s 9 again && cp RPM-GPG-KEY-lab again.key")
    lab.rebase()
    return lab


@pytest.fixture(scope="module")
def driver(machine: LabHost) -> Iterator[Driver]:
    with Driver(machine) as running:
        yield running


def walk(subject: Subject, host: LabHost, table: Table) -> list[str]:
    """Lead all resources of a subject through all cases."""
    steps: dict[str, Callable[[], list[str]]] = {
        "check": subject.made,
        "again": subject.again,
        "option": subject.option,
        "info": subject.info,
        "spelled": subject.spelled,
        "case": subject.cased,
        "removed": subject.removed,
        "drift": lambda: drift(subject, host),
        "secret": subject.secret,
        "absent": subject.absent,
        "foreign": lambda: foreign(subject, host),
        "two at once": subject.twice,
    }
    wrong = []
    for case, step in steps.items():
        subject.tried = 0
        told = step()
        wrong += table.fill(subject.module, case, subject.tried, told)
    return wrong


def told(wrong: Sequence[str]) -> str:
    return "\n" + "\n".join(wrong)


def test_bridges(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Subject(driver, "baleine_bridge", "bridge", {"addresses": ["{ip}/24"]}), machine, table)
    machine.sh("rmdir /run/baleine/guard")  # empty: nothing waits for a confirmation
    assert not wrong, told(wrong)


def test_a_port_that_somebody_else_gave_a_bridge_stays_and_is_in_no_diff(driver: Driver, machine: LabHost) -> None:
    wanted = {"name": "hbr", "addresses": ["10.77.0.1/24"]}
    driver.call("baleine_bridge", wanted)
    machine.sh("ip link set hport1 master hbr")
    assert driver.call("baleine_bridge", wanted)["changed"] is False
    for mtu in (1400, 1500):
        changed = answer(driver.call("baleine_bridge", {**wanted, "mtu": mtu}), "bridge hbr")
        assert changed.differing == {"mtu"}, changed
    machine.sh("ip link show hport1 | grep 'master hbr'; ip link set hport1 nomaster down")
    assert driver.call("baleine_bridge", {"name": "hbr", "state": "absent"})["changed"]


@pytest.fixture(scope="module")
def helpers(driver: Driver, machine: LabHost) -> Iterator[None]:
    """Two bridges, and two containers that others depend on or share a network with."""
    for name, address in (("hone", "10.9.0.1/16"), ("htwo", "10.10.0.1/16")):
        assert not driver.call(
            "baleine_bridge", {"name": name, "addresses": [address, "fd09::1/64"][: 2 - (name == "htwo")]}
        ).get("failed")
    one = {"image": "tiny", "command": SLEEP}
    base = {**one, "name": "hbase", "networks": [{"bridge": "hone", "addresses": ["10.9.200.1/16"]}]}
    well = {**one, "name": "hwell", "healthcheck": {"command": "true"}}
    done = driver.call("baleine_containers", {"containers": [base, well]})
    assert not done.get("failed"), done
    yield
    disks = machine.sh("ls /var/lib/baleine/containers").stdout.split()
    gone = [
        {"name": name, "state": "absent"} for name in ("hbase", "hwell", *(name for name in disks if ".old-" in name))
    ]
    assert not driver.call("baleine_containers", {"containers": gone}).get("failed")
    assert not driver.call("baleine_volume", {"name": "hvolume", "state": "absent"}).get("failed")
    for name in ("hone", "htwo"):
        assert not driver.call("baleine_bridge", {"name": name, "state": "absent"}).get("failed")


def test_volumes(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Subject(driver, "baleine_volume", "volume", {}), machine, table)
    assert not wrong, told(wrong)


class Store(Subject):
    """The store of a host: there is one, it has no name, and it never becomes smaller."""

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        return answer(self.driver.together([self.call(params, check)])[0], "store /var/lib/baleine-store.xfs")

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, {name: value for name, value in params.items() if name != "name"}, check)

    def removed(self) -> list[str]:
        return [] if "can only grow" in self.one("size", self.params("size")).failed else ["a smaller one is taken"]


def test_the_store(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Store(driver, "baleine_store", "store", {}), machine, table)
    assert not wrong, told(wrong)


def test_images(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Subject(driver, "baleine_image", "image", {"from_image": "tiny", "size": "80M"}), machine, table)
    assert not wrong, told(wrong)


class Command(Subject):
    """The command line of a host: there is one, and it has no name."""

    def params(self, key: str, more: Params = NOTHING) -> dict[str, Any]:
        return {**self.common, **self.table[key].base, **more}

    def one(self, key: str, params: Params, check: bool = False) -> Answer:
        return answer(self.driver.together([self.call(params, check)])[0], "command line")

    def call(self, params: Params, check: bool = False) -> Call:
        return Call(self.module, {name: value for name, value in params.items() if name != "name"}, check)


@pytest.mark.parametrize("option", [key for key, case in TABLES["baleine_command"].items() if case.to])
def test_the_command_line(driver: Driver, machine: LabHost, table: Table, option: str) -> None:
    common = {"files": {"baleine/a.py": "a"}}
    wrong = walk(Command(driver, "baleine_command", "", common, keys=[option]), machine, table)
    assert not wrong, told(wrong)


COMMON = {"image": "tiny", "command": SLEEP, "networks": [NETWORK], "recreate": "on_change"}


def test_containers_one_by_one(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Subject(driver, "baleine_container", "container", COMMON, keys=ALONE, prefix="s"), machine, table)
    assert not wrong, told(wrong)


def test_all_options_of_containers_in_one_task(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Containers(driver, "baleine_containers", "container", COMMON), machine, table)
    assert not wrong, told(wrong)


def unless(true: bool, *said: Any) -> list[str]:
    """What was said, unless something is true."""
    return [] if true else [" ".join(map(str, said))]


def test_prune(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    """What is selected and not listed is named in the prediction, and goes; what is listed, or not selected, stays."""
    module, wrong, tried = "baleine_containers", list[str](), dict.fromkeys(("check", "again", "spelled", "case"), 0)
    made = [{**COMMON, "name": name, "networks": [], "labels": {"honest": "gone"}} for name in ("hgone1", "hgone2")]
    for key, case in TABLES[module].items():
        if not key.startswith("prune."):
            continue
        tried["check"] += 1
        assert not driver.call(module, {"containers": made}).get("failed")
        for cased in [case.cased] if case.cased else []:
            tried["case"] += 1
            wrong += unless(not driver.call(module, {"containers": made[:1], **cased}, True)["changed"], key, cased)
        for spelled in case.same:
            tried["spelled"] += 1
            diffs = [driver.call(module, {"containers": made[:1], **how}, True)["diff"] for how in (case.to, spelled)]
            wrong += unless(diffs[0] == diffs[1], key, diffs)
        for listed, going in ((made[:1], "hgone2"), ([], "hgone1")):
            tried["again"] += 1
            wanted = {"containers": listed, **case.to}
            predicted, done, again = (driver.call(module, wanted, check) for check in (True, False, False))
            same = all(predicted[part] == done[part] for part in ("changed", "diff", "actions", "drift"))
            wrong += unless(same and done["changed"], key, predicted, done)
            wrong += unless([name for name, of in done["containers"].items() if of["changed"]] == [going], key, done)
            wrong += unless(not again["changed"] and len(again["containers"]) == len(listed), key, again)
        found = {item["name"] for item in driver.call("baleine_container_info", {})["containers"]}
        wrong += unless({"hbase", "hwell"} <= found and not {"hgone1", "hgone2"} & found, key, found)
    for step, count in tried.items():
        table.fill(f"{module}: prune", step, count, wrong)
    assert not wrong, told(wrong)


def test_exports(driver: Driver, machine: LabHost, table: Table) -> None:
    """A file that is not there, or holds something else, is written; other ways to it are no change."""
    module, wrong, tried = "baleine_image_export", dict[str, list[str]](), dict[str, int]()

    def say(step: str, *texts: str) -> None:
        wrong.setdefault(step, []).extend(texts)
        tried[step] = tried.get(step, 0) + 1

    for key, case in TABLES[module].items():
        if not case.to:
            continue
        wanted = {"name": "tiny", **case.base, **case.to}
        file = str(wanted["target"]).partition(":")[2]
        if case.does == "nothing":
            done, again = (driver.call(module, params) for params in ({"name": "tiny", **case.base}, wanted))
            say("option", *unless(again["changed"] is False and not done.get("failed"), key, again))
            continue
        machine.sh(f"rm -f {file}")
        for step, spoil in (("check", "true"), ("drift", f"rm {file}"), ("drift", f"echo mine >{file}")):
            machine.sh(spoil)
            held = machine.sh(f"cksum {file} || true").stdout
            predicted = driver.call(module, wanted, True)
            untouched = machine.sh(f"cksum {file} || true").stdout == held
            done, again = (driver.call(module, wanted) for _twice in range(2))
            same = all(predicted.get(part) == done.get(part) for part in ("diff", "actions", "changed", "export"))
            same = same and done["changed"] and done["diff"]["before"] != done["diff"]["after"]
            say(step, *unless(same and untouched, key, predicted, done))
            say("again", *unless(again.get("changed") is False, key, again))
        machine.sh(f"rm {file}")
        both = driver.together([Call(module, wanted), Call(module, wanted)])
        say("two at once", *unless(sorted(str(one.get("changed")) for one in both) == ["False", "True"], key, both))
        for spelled in case.same:
            again = driver.call(module, {**wanted, **spelled})
            say("spelled", *unless(again.get("changed") is False, key, again))
        if case.cased is not None:
            seen = driver.call(module, {**wanted, **case.cased}, True)
            say("case", *unless(seen["changed"], key, seen))
    found = [text for step, texts in wrong.items() for text in table.fill(module, step, tried[step], texts)]
    assert not found, told(found)


def test_programs_that_are_run_inside(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    """With `creates` or `removes` they are predicted; what nobody can know is skipped in check mode."""
    wrong, cased = list[str](), 0
    for key, case in TABLES["baleine_container_exec"].items():
        if case.to:
            early = driver.call("baleine_container_exec", {"name": "hlater", **case.to}, True)
            expected = (key == "creates", key != "creates", 1)
            said = (early.get("changed"), early.get("skipped"), len(early.get("warnings", ())))
            wrong += unless(said == expected, key, early)
            wanted = {"name": "hbase", **case.to}
            predicted, done = (driver.call("baleine_container_exec", wanted, check) for check in (True, False))
            expected = (True, False) if case.does == "change" else (False, True)
            if (
                (predicted.get("changed"), predicted.get("skipped")) != expected
                or not done.get("changed")
                or done["rc"]
            ):
                wrong.append(f"{key}: {predicted} / {done}")
            if case.does == "change":
                if case.cased is not None:
                    seen = driver.call("baleine_container_exec", {**wanted, **case.cased}, True)
                    wrong += unless(seen.get("changed") is True, key, seen)
                    cased += 1
                again = [driver.call("baleine_container_exec", wanted, check) for check in (True, False)]
                wrong += [f"{key}: {again}" for item in again if item.get("changed") is not False]
    count = sum(bool(case.to) for case in TABLES["baleine_container_exec"].values())
    table.fill("baleine_container_exec", "case", cased, wrong)
    assert not table.fill("baleine_container_exec", "option", count, wrong), told(wrong)


@pytest.mark.parametrize("module", [name for name in TABLES if any(case.lacking for case in TABLES[name].values())])
def test_what_is_missing_is_taken_to_come_from_an_earlier_task_in_check_mode_alone(
    driver: Driver, machine: LabHost, table: Table, helpers: None, module: str
) -> None:
    """The prediction warns of it by name; the act is refused for it, and leaves nothing."""
    wrong, tried = list[str](), 0
    for key, case in TABLES[module].items():
        for lacking in [case.lacking] if case.lacking else []:
            tried += 1
            params = {"name": "hlack", **FIRST.get(module, {}), **case.base, **lacking.params}
            params = {name: value for name, value in params.items() if value is not None}
            params = params if module != "baleine_containers" else {"containers": [params]}
            predicted, done = driver.call(module, params, True), driver.call(module, params)
            warned = [text for text in map(str, predicted.get("warnings", ())) if lacking.words in text]
            wrong += unless(predicted["changed"] is True and len(warned) == 1, key, predicted)
            wrong += unless(lacking.words in str(done.get("msg")), key, done)
            left = machine.sh(f"find /var/lib/baleine /run/baleine {MANIFESTS} -name '*hlack*'").stdout
            wrong += unless(not left, key, left)
    assert not table.fill(module, "missing", tried, wrong), told(wrong)


@pytest.mark.parametrize("module", [name for name in TABLES if name.endswith("_info")])
def test_who_only_says_what_is_true_changes_nothing(
    driver: Driver, machine: LabHost, table: Table, helpers: None, module: str
) -> None:
    params = TABLES[module]["names"].to if "names" in TABLES[module] else {}
    manifests = machine.sh(f"cd {MANIFESTS} && find . -type f | sort | xargs sha256sum").stdout
    predicted, done = (driver.call(module, params, check) for check in (True, False))
    wrong = [] if done.get("changed") is False and predicted.get("changed") is False else [f"{predicted} / {done}"]
    for items in [done[key] for key in ("bridges", "containers", "images") if key in done]:
        wrong += [] if [item["name"] for item in items] == ["hbase", "hnone"] else [str(items)]
        wrong += (
            [] if [item["exists"] for item in items] == [module == "baleine_container_info", False] else [str(items)]
        )
    wrong += (
        []
        if manifests == machine.sh(f"cd {MANIFESTS} && find . -type f | sort | xargs sha256sum").stdout
        else ["wrote"]
    )
    assert not table.fill(module, "check", 1, wrong), told(wrong)

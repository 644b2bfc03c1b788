# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container …``, but for exec"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Optional

from baleine import commit, container, lifecycle, limits, manifest, policy, rename, survey, units, waiting
from baleine.errors import BaleineError
from baleine.network import Network
from baleine.plan import Outcome

from . import show
from .commands_common import MADE
from .parse import Options, Usage
from .runner import run

#: The states of what has processes.
ACTIVE = ("starting", "running", "paused")
#: What each verb asks for, and what a container must be for it.
VERBS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "start": ({"state": "started"}, ()),
    "stop": ({"state": "stopped"}, ()),
    "restart": ({"state": "started", "restart": True}, ()),
    "pause": ({"state": "paused"}, ("running", "paused")),
    "unpause": ({"state": "started"}, ("paused",)),
    "remove": ({"state": "absent"}, ()),
}
#: Options that are taken as they are, and those whose KEY=VALUE have a flag of another name.
TEXTS = (
    "image", "size", "directory", "hostname", "workdir", "user", "stop-signal", "share-network", "log-size", "seccomp",
    "apparmor", "userns",
)  # fmt: skip
PAIRS = {"env": "env", "labels": "label", "extra_hosts": "add-host", "ulimits": "ulimit", "sysctls": "sysctl"}


def networks(options: Options) -> list[dict[str, Any]]:
    """Return a container's networks: the n-th address, gateway and rate are the n-th bridge's; an empty one is none.

    :raises Usage: for an empty bridge, or more of these than bridges.
    """
    bridges = options.elements("bridge")
    if not all(bridges):
        raise Usage("--bridge: an element is empty", options.topic)
    columns = {flag: options.elements(flag) for flag in ("address", "gateway", "rate")}
    for flag, elements in columns.items():
        if len(elements) > len(bridges):
            count = f"--{flag} has {len(elements)} elements, --bridge {len(bridges)}"
            raise Usage(f"{count}: the n-th belongs to the n-th bridge", options.topic)
    found = []
    for name, own, gateway, rate in zip_longest(bridges, *columns.values(), fillvalue=""):
        split = [text.strip() for text in own.split("+") if text.strip()]
        found.append({"bridge": name, "addresses": split, "gateway": gateway or None, **rates(rate, options)})
    return found


def rates(text: str, options: Options) -> dict[str, str]:
    """Return the rates of ``IN[/OUT]`` that are given; ``none`` is one that shall not be.

    :raises Usage: for more than two.
    """
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2:
        raise Usage(f"--rate {text!r}: write it as IN[/OUT]", options.topic)
    return {way: "0" if part == "none" else part for way, part in zip(("rate_in", "rate_out"), parts) if part}


def volume(text: str, topic: str) -> dict[str, Any]:
    """Return a volume from ``SOURCE:TARGET``, with ``:ro``, ``:rw``, ``:idmap`` behind it where they are wanted.

    :raises Usage: for anything else.
    """
    parts, words = text.split(":")[:2], text.split(":")[2:]
    if len(parts) < 2 or not all(parts) or set(words) - {"ro", "rw", "idmap"} or {"ro", "rw"} <= set(words):
        raise Usage(f"--volume {text!r}: write it as SOURCE:TARGET[:ro][:idmap]", topic)
    return {"source": parts[0], "target": parts[1], "read_only": "ro" in words, "idmap": "idmap" in words}


def tmpfs(text: str, topic: str) -> dict[str, Any]:
    """Return a directory in memory from ``TARGET``, with ``:size=SIZE,mode=MODE`` behind it.

    :raises Usage: for anything else.
    """
    target, _colon, words = text.partition(":")
    found = dict(word.partition("=")[::2] for word in words.split(",") if word)
    if set(found) - {"size", "mode"}:
        raise Usage(f"--tmpfs {text!r}: write it as TARGET[:size=SIZE,mode=MODE]", topic)
    return {"target": target, **found}


def description(options: Options, name: Optional[str] = None) -> dict[str, Any]:
    """Return the request that ``container create`` and ``container run`` make; what is not given is left out.

    :raises Usage: for a value that cannot be meant.
    """
    policy, _colon, retries = (options.text("restart") or "").partition(":")
    if retries and not units.number(retries):
        raise Usage(f"--restart {policy}:{retries}: the number of retries is none", options.topic)
    depends = [text.partition(":")[::2] for text in options.many("depends-on")]
    health = {"command": options.text("health-command"), "http": options.text("health-http")}
    times = {"start": options.text("start-at"), "stop": options.text("stop-at")}
    rights = {"add": options.elements("cap-add"), "drop": options.elements("cap-drop")}
    found = {
        **{key.replace("-", "_"): options.text(key) for key in TEXTS},
        **{key: options.pairs(flag) for key, flag in PAIRS.items()},
        "restart_policy": policy,
        "restart_retries": int(retries) if retries else None,
        "depends_on": [{"name": name, "condition": condition or "started"} for name, condition in depends],
        "schedule": times if any(times.values()) else None,
        "healthcheck": health if any(health.values()) else None,
        "dns": {"servers": options.elements("dns")} if options.text("dns") else None,
        "capabilities": rights if any(rights.values()) else None,
        "read_only": options.on("read-only"),
        "tmpfs": [tmpfs(text, options.topic) for text in options.many("tmpfs")],
        "secrets": [{"name": name, "source": source} for name, source in options.pairs("secret").items()],
    }
    return {
        "name": name or options.names[0],
        "state": "present" if options.on("no-start") else "started",
        "command": options.program or options.text("program"),
        "networks": networks(options),
        "limits": limit_flags(options),
        "volumes": [volume(text, options.topic) for text in options.many("volume")],
        "init": not options.on("no-init"),
        **({"no_new_privileges": False} if options.on("new-privileges") else {}),
        **{key: value for key, value in found.items() if value},
    }


def request(params: Mapping[str, Any], options: Options) -> container.Wanted:
    """Return a new container as it is wanted; its image is made where that is asked for and there is none.

    :raises BaleineError: where the container exists.
    """
    name, image = params["name"], units.check_name(str(params["image"]), "image")
    wanted = container.request(params)
    show.check_new("container", name, f"Take another name, or remove it first: baleine container remove -c {name}")
    made = [key for key in ("proxy", *(flag.key for flag in MADE)) if key in options.values]
    if made and not options.on("create-image"):
        raise Usage(f"--{made[0]} goes with --create-image", options.topic)
    if options.on("create-image") and not params["command"]:
        raise Usage("an image that is made for it has no program: -p, --program is missing", options.topic)
    if options.on("create-image") and (manifest.read("image", image) or {}).get("state", "creating") == "creating":
        from .images import make

        make(options, image)
    return wanted


def limit_flags(options: Options) -> dict[str, Any]:
    """Return the limits that are named; ``none`` is one that shall not be."""
    texts = {key: options.text(key.replace("_", "-")) for key in limits.KEYS if key != "devices"}
    found: dict[str, Any] = {key: None if text == "none" else text for key, text in texts.items() if text is not None}
    if options.many("device"):
        pairs = [text.partition(":")[::2] for text in options.many("device") if text != "none"]
        found["devices"] = [{"path": path, "access": access} for path, access in pairs]
    return found


def rated(old: Sequence[Network], options: Options) -> tuple[Network, ...]:
    """Return networks with the rates of ``--rate``: the n-th is the n-th network's, and what is empty in it stays.

    :raises Usage: for more of them than networks.
    """
    texts = options.elements("rate")
    if len(texts) > len(old):
        raise Usage(f"--rate has {len(texts)} elements, the container {len(old)} networks", options.topic)
    ways = [rates(text, options) for text in texts] + [{}] * (len(old) - len(texts))
    given: list[dict[str, Any]] = [
        {way: units.parse_rate(text, "--rate") for way, text in each.items()} for each in ways
    ]
    return tuple(network._replace(**new) for network, new in zip(old, given))


def update(options: Options) -> int:
    """Change limits of a container in place."""

    def change(name: str) -> Sequence[Outcome]:
        old = survey.find(run, container.Wanted(name), full=False).description
        if old is not None:
            merged = limits.parse({**old.limits, **limit_flags(options)}, f"container {name}")
            old = old._replace(limits=merged, networks=rated(old.networks, options))
        return lifecycle.ensure(run, [container.Wanted(name, "present", old)])

    return show.each(options, "container", change)


def create(options: Options) -> int:
    """Make a container and start it."""
    wanted = request(description(options), options)
    outcomes = show.made(lifecycle.ensure(run, [wanted]))
    if options.on("wait"):
        waiting.wait(run, wanted.name, policy.Condition(healthy=True))
    return show.result(options, outcomes)


def facts(name: str) -> dict[str, Any]:
    """Return what is true of a container now; its manifest is made to say so too."""
    shown = survey.facts(run, name)
    if shown and shown["state"] != shown["recorded_state"]:
        lifecycle.correct(name)
    return shown


def list_(options: Options) -> int:
    """List the containers."""
    found, code = show.collect("container", facts)
    if not options.on("all") and not any(text.startswith("state=") for text in options.many("filter")):
        found = [shown for shown in found if shown["state"] in ACTIVE]
    found = chosen(options, found)
    show.print_list(options, found, ("name", "image", "state", "pid", "running", "bridges", "limits"), row)
    return code


def chosen(options: Options, found: list[show.Facts]) -> list[show.Facts]:
    """Return those that all filters ask for.

    :raises Usage: for a filter that there is not.
    """
    for text in options.many("filter"):
        key, _equals, value = text.partition("=")
        if key not in ("label", "state", "image") or not value:
            raise Usage(f"--filter {text!r}: there are label=KEY[=VALUE], state=… and image=…", options.topic)
        if key == "label":
            found = [s for s in found if policy.has_label(s["labels"], value)]
        else:
            value = units.check_name(value, "image") if key == "image" else value
            found = [s for s in found if s[key] == value]
    return found


def prune(options: Options) -> int:
    """Destroy containers that do not run and are not wanted to, and print their names."""
    found, code = show.collect("container", facts)
    options.names = [s["name"] for s in chosen(options, found) if s["state"] == s["wanted_state"] == "stopped"]

    def change(name: str) -> Sequence[Outcome]:
        seen = manifest.read("container", name) or {}
        if seen.get("wanted_state", "stopped") != "stopped":  # somebody was quicker
            return ()
        done = [] if options.on("dry-run") else lifecycle.ensure(run, [container.Wanted(name, "absent")], seen=seen)
        print(name, flush=True)
        return done

    return show.each(options, "container", change) or code


def row(facts: show.Facts) -> Sequence[str]:
    """Return a container's line in the list."""
    seconds = facts["running_seconds"]
    return (
        facts["name"],
        facts["image"] + (" (outdated)" if facts["image_outdated"] else ""),
        facts["state"] + (f" ({facts['health']})" if facts.get("health") else ""),
        str(facts["pid"] or ""),
        "" if seconds is None else units.show_duration(seconds),
        " ".join(_interface(item) for item in facts["interfaces"]),
        " ".join(limits.show(facts["limits"])),
    )


def _interface(item: Mapping[str, Any]) -> str:
    addresses = "+".join(item["addresses"])
    return f"{item['bridge']}={addresses}" if addresses else str(item["bridge"])


def change(options: Options) -> int:
    """Start, stop, restart, pause, unpause or remove containers."""
    seconds: Optional[int] = options.number("time")
    grace = None if seconds is None else float(seconds)
    params, needs = VERBS[options.topic.split()[1]]

    def one(name: str) -> Sequence[Outcome]:
        state = survey.facts(run, name)["state"] if needs else ""
        if needs and state not in needs:
            raise BaleineError(f"container {name}: it is {state}", f"This is for one that is {needs[0]}")
        outcomes = lifecycle.ensure(run, [container.request({"name": name, **params})], grace=grace)
        if options.on("wait"):
            waiting.wait(run, name, policy.Condition(healthy=True))
        return outcomes

    return show.each(options, "container", one, removes=params["state"] == "absent")


def kill(options: Options) -> int:
    """Send a signal to containers."""
    name = policy.parse_signal(options.text("signal") or "KILL", "--signal")

    def change(container_name: str) -> Sequence[Outcome]:
        lifecycle.kill(run, container_name, policy.signals()[name])
        return ()

    return show.each(options, "container", change)


def commit_(options: Options) -> int:
    """Make an image of a container."""
    outcome = commit.commit(run, options.names[0], options.text("image") or "", options.on("force"))
    show.warn([outcome])
    return show.result(options, [outcome])


def rename_(options: Options) -> int:
    """Give a container another name."""
    rename.rename(run, units.check_name(options.names[0], "container"), options.text("new-name") or "")
    return 0


def grow(options: Options) -> int:
    """Make a container's disk larger."""
    size = units.parse_size(options.text("size") or "", units.MEBIBYTE)
    change = [container.Wanted(options.names[0], "present", size=-(-size // container.PAGE) * container.PAGE)]
    return show.each(options, "container", lambda name: lifecycle.ensure(run, change))

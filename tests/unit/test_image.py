# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: requests, and plans from what is wanted and found."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import architecture, image, manifest
from baleine.errors import BaleineError, known
from baleine.image import Found
from tests.unit.images import PARAMS, SOURCE, THERE, WEB, built, derived, wanted
from tests.unit.support import reasons, replace, verbs


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({}, 10 << 30),
        ({"size": None}, 10 << 30),
        ({"size": "10240"}, 10 << 30),
        ({"size": 10240}, 10 << 30),
        ({"size": "2G"}, 2 << 30),
        ({"size": "100000001B"}, 100003840),
        ({"from_image": "debian"}, 0),
        ({"from_image": "debian", "size": "1G"}, 1 << 30),
    ],
)
def test_a_size_without_unit_is_in_mib_and_rounded_to_whole_blocks(params, size):
    recipe = image.request({"name": "a", **params}).recipe
    assert recipe is not None
    assert recipe.size == size


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"name": "a/b"}, "no valid name"),
        ({"name": "a" * 300}, "no valid name"),
        ({"name": "a b"}, "no valid name"),
        ({"name": ".."}, "no valid name"),
        ({"size": "1M"}, "too small"),
        ({"size": "15"}, "too small"),
        ({"size": "0"}, "too small"),
        ({"size": 0}, "too small"),
        ({"size": "big"}, "size"),
        ({"suite": "../x"}, "no suite"),
        ({"suite": "Bookworm"}, "no suite"),
        ({"suite": "--x"}, "no suite"),
        ({"packages": ["-x"]}, "no name of a package"),
        ({"packages": ["a,b"]}, "no name of a package"),
        ({"packages": ["a b"]}, "no name of a package"),
        ({"packages": ["a;b"]}, "no name of a package"),
        ({"packages": [""]}, "no name of a package"),
        ({"from_image": "apache2"}, "start from itself"),
        ({"from_image": "apache2:latest"}, "start from itself"),
        ({"from_image": "../x", "suite": None, "mirror": None}, "no valid name"),
        ({"from_image": "debian"}, "do not go with from_image"),
        ({"files": [{"path": "etc/motd"}]}, "no absolute path"),
        ({"files": [{"path": "/etc/"}]}, "no absolute path"),
        ({"files": [{"path": "/etc/../x"}]}, "no absolute path"),
        ({"files": [{"path": "/a\0"}]}, "no absolute path"),
        ({"files": [{"path": "/a", "mode": "0888"}]}, "no mode"),
        ({"files": [{"path": "/a", "mode": "u+x"}]}, "no mode"),
        ({"directory": "images"}, "no absolute path"),
        ({"keyring": "keys.gpg"}, "no absolute path of a keyring"),
        ({"keyring": "/etc/keys"}, "no absolute path of a keyring"),
        ({"architecture": "vax"}, "no architecture"),
        ({"from_image": "debian", "suite": None, "mirror": None, "architecture": "arm64"}, "do not go with from_image"),
        ({"from_image": "debian", "suite": None, "mirror": None, "keyring": "/k.gpg"}, "do not go with from_image"),
    ],
    ids=str,
)
def test_an_invalid_request_is_refused(params, why):
    with pytest.raises(BaleineError, match=why):
        image.request({**PARAMS, **params})


RED: dict[str, Any] = {
    "name": "red",
    "size": "2G",
    "repositories": [{"name": "base", "baseurl": "https://mirror.example.org/$releasever", "gpgkey": "/etc/key"}],
    "releasever": "9",
    "packages": ["bash", "ImageMagick", "python3.11", "@core"],
}
BASE = RED["repositories"][0]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"packages": None}, "no packages are named"),
        ({"packages": ["a b"]}, "no name of a package"),
        ({"packages": ["-y"]}, "no name of a package"),
        ({"suite": "bookworm"}, "do not go with repositories"),
        ({"mirror": "http://mirror.example.org"}, "do not go with repositories"),
        ({"from_image": "a"}, "repositories, releasever do not go with from_image"),
        ({"repositories": []}, "no name of a package|releasever goes with repositories"),
        ({"repositories": [{**BASE, "gpgkey": ""}]}, "repository base: gpgkey '' is none"),
        ({"repositories": [{**BASE, "gpgkey": "http://mirror.example.org/key"}]}, "gpgkey"),
        ({"repositories": [{**BASE, "gpgkey": "key"}]}, "gpgkey"),
        ({"repositories": [{**BASE, "name": "main"}]}, "name 'main' is none"),
        ({"repositories": [{**BASE, "name": "a]b"}]}, "name"),
        ({"repositories": [{**BASE, "baseurl": "/srv/rpm"}]}, "baseurl"),
        ({"repositories": [{**BASE, "baseurl": "https://a\ngpgcheck=0"}]}, "baseurl"),
        ({"repositories": [BASE, BASE]}, "two repositories have one name"),
    ],
    ids=str,
)
def test_an_invalid_request_for_a_red_hat_tree_is_refused(params, why):
    assert image.request(RED).recipe is not None
    with pytest.raises(BaleineError, match=why):
        image.request({**RED, **params})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("releasever", "10"),
        ("packages", ["bash"]),
        ("architecture", "s390x"),
        ("repositories", [{**BASE, "gpgkey": "/etc/other"}]),
        ("repositories", [BASE, {**BASE, "name": "more"}]),
    ],
)
def test_each_changed_option_of_a_red_hat_tree_is_a_rebuild(key, value):
    there = built(image.request(RED))
    assert verbs(image.plan(image.request(RED), there)) == []
    decided = image.plan(image.request({**RED, key: value}), there)
    assert verbs(decided) == ["build"] and key in decided.actions[0].reason


@pytest.mark.parametrize("package", ["apache2", "libc6:amd64", "g++", "vim=2:9.0.1378-2", "vim/bookworm", "0ad"])
def test_package_names_of_apt_are_accepted(package):
    recipe = wanted(packages=[package, package]).recipe
    assert recipe is not None
    assert recipe.packages == (package,)


SAME = {
    "nothing": {},
    "size": {"size": "2048"},
    "size in bytes": {"size": "2147483648B"},
    "tag": {"name": "apache2:latest"},
    "mode": {"files": [{"path": "/etc//motd", "content": "hello\n", "mode": "00644"}]},
    "default mode": {"files": [{"path": "/etc/motd", "content": "hello\n"}]},
    "a package twice": {"packages": ["apache2", "vim", "apache2"]},
    "packages in another order": {"packages": ["vim", "apache2"]},
    "proxy": {"proxy": "http://10.0.0.1:3142"},
    "directory": {"directory": "/var/lib/baleine/images/"},
    "rebuild": {"rebuild": "never"},
    "this host's architecture": {"architecture": architecture.native()},
}
CHANGED = {
    "size": {"size": "3G"},
    "suite": {"suite": "trixie"},
    "package more": {"packages": ["apache2", "vim", "nano"]},
    "package gone": {"packages": ["apache2"]},
    "packages gone": {"packages": None},
    "mirror": {"mirror": "http://ftp.fr.debian.org/debian"},
    "mirror gone": {"mirror": None},
    "keyring": {"keyring": "/etc/apt/keyrings/mine.gpg"},
    "architecture": {"architecture": "s390x"},
    "file's content": {"files": [{"path": "/etc/motd", "content": "Hello\n"}]},
    "file's mode": {"files": [{"path": "/etc/motd", "content": "hello\n", "mode": "0600"}]},
    "file's path": {"files": [{"path": "/etc/issue", "content": "hello\n"}]},
    "file gone": {"files": []},
    "command": {"commands": ["a2enmod proxy", "false"]},
    "command gone": {"commands": ["a2enmod proxy"]},
    "commands in another order": {"commands": ["true", "a2enmod proxy"]},
    "directory": {"directory": "/srv/images"},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_another_spelling_changes_nothing(changes):
    decided = image.plan(wanted(**changes), THERE)
    assert verbs(decided) == [], reasons(decided)
    assert decided.warnings == ()
    assert decided.before == decided.after


@pytest.mark.parametrize(("key", "changes"), CHANGED.items(), ids=CHANGED.keys())
def test_each_changed_part_of_a_recipe_is_a_rebuild(key, changes):
    decided = image.plan(wanted(**changes), THERE)
    assert verbs(decided) == ["build"]
    assert next(iter(changes)) in decided.actions[0].reason
    assert decided.before != decided.after
    assert decided.drift == ()


@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED.keys())
def test_rebuild_never_keeps_the_image_and_warns_of_the_difference(changes):
    decided = image.plan(wanted(rebuild="never", **changes), THERE)
    assert verbs(decided) == []
    assert len(decided.warnings) == 1
    assert f"differs: {next(iter(changes))} " in decided.warnings[0]


@pytest.mark.parametrize("changes", [{}, *CHANGED.values()], ids=["same", *CHANGED])
@pytest.mark.parametrize("edited", [True, False])
def test_rebuild_always_builds(changes, edited):
    assert verbs(image.plan(wanted(rebuild="always", **changes), replace(THERE, edited=edited))) == ["build"]


@pytest.mark.parametrize("changes", [{}, *SAME.values(), *CHANGED.values()])
def test_a_second_plan_is_empty(changes):
    goal = wanted(**changes)
    second = image.plan(goal, built(goal))
    assert (verbs(second), second.warnings) == ([], ())


def test_an_image_older_than_an_option_is_not_rebuilt_for_it():
    record = known(THERE.record, "the record")
    recipe = {
        key: value
        for key, value in manifest.from_json(record, "recipe", {}).items()
        if key not in ("keyring", "architecture")
    }
    older = replace(THERE, record={**record, "recipe": manifest.to_json(recipe)})
    assert verbs(image.plan(wanted(), older)) == []
    assert verbs(image.plan(wanted(keyring="/k.gpg"), older)) == ["build"]


def test_a_new_image_is_built():
    decided = image.plan(wanted(), Found())
    assert verbs(decided) == ["build"]
    assert decided.before == {}
    assert decided.after["packages"] == ["apache2", "vim"]
    assert "hello" not in str(decided.after)


@pytest.mark.parametrize("check", [False, True])
def test_a_foreign_file_is_refused_before_anything_is_built_also_in_check_mode(check):
    with pytest.raises(BaleineError, match="a file /var/lib/x that Baleine did not make"):
        image.plan(wanted(), Found(stray="/var/lib/x"), check)


def test_a_missing_file_is_drift():
    decided = image.plan(wanted(), replace(THERE, file=False))
    assert verbs(decided) == ["build"]
    assert decided.drift == ("image apache2: its file is gone",)


def test_an_image_edited_by_hand_is_kept_with_a_warning():
    decided = image.plan(wanted(), replace(THERE, edited=True))
    assert verbs(decided) == []
    assert "edited by hand" in decided.warnings[0]


def test_an_edited_image_is_rebuilt_only_if_the_task_asks_for_it():
    with pytest.raises(BaleineError, match="suite bookworm -> trixie.*edited by hand") as caught:
        image.plan(wanted(suite="trixie"), replace(THERE, edited=True))
    assert "rebuild: always" in caught.value.hint


def test_an_image_that_is_being_edited_is_not_rebuilt():
    with pytest.raises(BaleineError, match="being edited"):
        image.plan(wanted(suite="trixie"), replace(THERE, open=True))
    assert not image.plan(wanted(), replace(THERE, open=True)).changed


def test_a_rebuild_names_the_containers_that_stay_unchanged():
    decided = image.plan(wanted(suite="trixie"), replace(THERE, users=("web1", "web2")))
    assert verbs(decided) == ["build"]
    assert "web1, web2" in decided.warnings[0]


def test_an_image_of_the_old_scripts_is_kept_unchanged():
    old = Found(record={"nom_image": "apache2", "taille": "10240", "chemin": "/var/lib/baleine/images"}, file=True)
    decided = image.plan(wanted(), old)
    assert verbs(decided) == []
    assert "does not say what it was made from" in decided.warnings[0]
    assert verbs(image.plan(wanted(rebuild="always"), old)) == ["build"]
    assert verbs(image.plan(wanted(state="absent"), old)) == ["remove"]


# ---- from another image


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({}, WEB, []),
        ({"size": "2G"}, WEB, []),
        ({"size": "3G"}, WEB, ["build"]),
        ({"from_image": "apache2:latest"}, WEB, []),
        ({"commands": None}, WEB, ["build"]),
        ({}, replace(WEB, source_digest="sha256:s2"), ["build"]),
        ({}, Found(**SOURCE), ["build"]),
    ],
    ids=["same", "the source's size", "larger", "latest", "command gone", "source rebuilt", "from nothing"],
)
def test_a_derived_image_follows_its_recipe_and_its_source(changes, found, expected):
    decided = image.plan(derived(**changes), found)
    assert verbs(decided) == expected, reasons(decided)


def test_a_derived_image_cannot_be_smaller_than_its_source():
    with pytest.raises(BaleineError, match=r"1G is smaller than that of image apache2 \(2G\)"):
        image.plan(derived(size="1G"), Found(**SOURCE))


@pytest.mark.parametrize("found", [Found(), replace(WEB, source_digest=None, source_size=0)], ids=["nothing", "there"])
def test_a_missing_source_is_warned_of_in_check_mode_and_refused_otherwise(found):
    with pytest.raises(BaleineError, match="there is no image apache2 to start from"):
        image.plan(derived(), found)
    decided = image.plan(derived(), found, check=True)
    assert "there is no image apache2 to start from; taken to come from an earlier task" in decided.warnings[0]
    assert verbs(decided) == (["build"] if found.record is None else []), reasons(decided)


@pytest.mark.parametrize(
    ("found", "expected"), [(Found(), []), (THERE, ["remove"]), (replace(THERE, file=False), ["remove"])]
)
def test_the_removal_of_an_image_removes_everything_of_it(found, expected):
    decided = image.plan(image.request({"name": "apache2", "state": "absent"}), found)
    assert verbs(decided) == expected
    assert decided.after == {}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(THERE, users=("web1", "web2")), "containers use it: web1, web2"),
        (replace(THERE, open=True), "being edited"),
    ],
    ids=["used", "edited"],
)
def test_an_image_in_use_is_not_removed(found, why):
    with pytest.raises(BaleineError, match=why):
        image.plan(image.request({"name": "apache2", "state": "absent"}), found)

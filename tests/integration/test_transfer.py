# SPDX-License-Identifier: GPL-3.0-or-later
"""Images to and from the real engines: what docker and podman save is imported and runs; what is exported, they run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.listing import listing
from tests.lab.engines import REGISTRY, SAID, WORK, Engines
from tests.lab.host import LabHost

CONFIG = {
    "entrypoint": ["/bin/sh", "-c"],
    "cmd": ["echo $GREETING from $(pwd) as $(id -un)"],
    "user": "app",
    "workdir": "/home/app",
    "labels": {"org.example.who": "a, b", "plain": "1"},
    "exposed_ports": ["53/udp", "80/tcp"],
    "stop_signal": "SIGINT",
    "architecture": "amd64",
}


@pytest.fixture(scope="module")
def engines(lab_factory: Any) -> Iterator[Engines]:
    """docker with an image that it built, in a host that is thrown away (the engines leave their groups)."""
    host = lab_factory("engines", leak_check=False)
    host.install_baleine()
    found = Engines(host)
    found.build()
    yield found
    found.end()


@pytest.fixture(scope="module")
def host(engines: Engines) -> LabHost:
    return engines.host


def imported(host: LabHost, source: str, name: str = "web", *flags: str) -> dict[str, Any]:
    """Import an image anew, with the command line; returns what is known of it."""
    host.run(["baleine", "image", "remove", "-f", name])
    words = ["baleine", "image", "import", "-i", name, "--source", source, "-s", "64M", "--format", "json", *flags]
    found: dict[str, Any] = json.loads(host.run(words).stdout)[0]
    return found


def short(lines: list[str]) -> dict[str, list[str]]:
    """What two tools agree on: kind and mode, owner, size, links, target, content; not times and blocks."""
    kept = {}
    for line in lines:
        words = line.split(" ")
        kept[words[0]] = [*words[1:5], words[6], *words[9:11]]
    return kept


def test_archives_of_docker_and_podman_are_imported_completely_and_give_the_same_image(
    host: LabHost, engines: Engines
) -> None:
    host.sh(f"cd {WORK}; gzip -k docker.tar")
    engines.podman("load", "-q", "-i", f"{WORK}/docker.tar")
    host.sh(
        f"cd {WORK}; podman save -q --format docker-archive -o podman.tar web:1;"
        " podman save -q --format oci-archive -o oci.tar web:1; mkdir layout; tar -C layout -xf oci.tar;"
        " skopeo copy -q --dest-compress-format zstd docker-archive:docker.tar oci:zstd:web:1"
    )
    host.run(["python3", "-", f"{WORK}/layout"], input=AS_DOCKER_25)
    host.sh(f"cd {WORK}; tar -C layout -cf docker25.tar .")
    facts = imported(host, f"docker-archive:{WORK}/docker.tar")
    assert {key: facts["config"][key] for key in CONFIG} == CONFIG
    assert facts["config"]["env"]["GREETING"] == "hello: world, you"
    wanted = listing(host, "web")[1:]  # docker names no root directory
    for source in (
        "docker-archive:docker.tar.gz", "docker-archive:podman.tar:web:1", "oci-archive:oci.tar", "oci:layout",
        "oci:zstd:web:1", "docker-archive:docker25.tar", "oci-archive:docker25.tar",
    ):  # fmt: skip
        kind, _colon, place = source.partition(":")
        assert imported(host, f"{kind}:{WORK}/{place}", "other")["config"] == facts["config"], source
        assert listing(host, "other")[1:] == wanted, source
    container = engines.docker("create", "--network=none", "web:1").strip()
    host.sh(f"mkdir {WORK}/seen; docker export {container} | tar -C {WORK}/seen -xf -; docker rm {container}")
    seen, found = short(listing(host, "", f"{WORK}/seen")), short(wanted)
    assert {name for name in found if name.startswith(("full", "was-dir", "turns"))} == {
        "full", "full/new", "turns", "turns/link", "turns/link/y", "was-dir",
    }  # fmt: skip
    assert found["kept/third"] == found["kept/again"] and found["kept/again"][4] == "2" and "kept/gone" not in found
    added = (".dockerenv", "dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "etc", "proc", "sys", ".")
    apart = {name for name in {*seen, *found} if seen.get(name) != found.get(name)}
    assert {name for name in apart if not name.startswith(("dev/", "proc", "sys/")) and name not in added} == set()
    blocks = next(line.split(" ")[7] for line in wanted if line.startswith("zeros "))
    assert blocks == "0"  # 8 MiB of zeros in a layer are a hole


#: Docker since 25 saves an OCI layout that has its own manifest.json too.
AS_DOCKER_25 = r"""
import json, os, sys
os.chdir(sys.argv[1])
def blob(item):
    return "blobs/" + item["digest"].replace(":", "/")
manifest = json.load(open(blob(json.load(open("index.json"))["manifests"][0])))
entry = {"Config": blob(manifest["config"]), "RepoTags": ["web:1"], "Layers": [blob(item) for item in manifest["layers"]]}
json.dump([entry], open("manifest.json", "w"))
"""


@pytest.fixture
def web(host: LabHost) -> str:
    """The image web, as docker saved it."""
    imported(host, f"docker-archive:{WORK}/docker.tar")
    return "web"


def test_run_uses_the_program_of_an_imported_image_unless_flags_say_otherwise(host: LabHost, web: str) -> None:
    run = ["baleine", "container", "run", "--rm", "-i", web]
    assert host.run(run).stdout == SAID
    script = "echo $GREETING $(pwd) $(id -u)"
    other = ["-u", "0", "-w", "/", "-e", "GREETING=hi", "--", "sh", "-c", script]
    assert host.run([*run, *other]).stdout == "hi / 0\n"


def test_the_module_uses_the_settings_of_an_imported_image(host: LabHost, web: str) -> None:
    request: dict[str, Any] = {"name": "c", "image": web, "state": "present"}
    facts = host.module("baleine_container", **request)["container"]
    assert facts["command"] == [*CONFIG["entrypoint"], *CONFIG["cmd"]]
    settings = [facts[key] for key in ("user", "workdir", "stop_signal")]
    assert settings == ["app", "/home/app", "INT"]
    assert facts["env"]["GREETING"] == "hello: world, you"
    assert not host.module("baleine_container", **request)["changed"]
    more = {"recreate": "on_change", "env": {"MORE": "1"}}
    after = host.module("baleine_container", check=True, **more, **request)["diff"]["after"]
    assert [word for word in ("MORE", "GREETING") if word in str(after)] == ["MORE", "GREETING"]
    host.module("baleine_container", name="c", state="absent")


def test_images_made_from_an_imported_image_keep_its_settings(host: LabHost, web: str) -> None:
    host.module("baleine_container", name="c", image=web, state="present")
    files = [{"path": "/etc/x", "content": "x"}]
    host.module("baleine_image", name="derived", from_image=web, files=files)
    host.run(["baleine", "container", "commit", "-c", "c", "-i", "committed"])
    for name in ("derived", "committed"):
        shown = host.run(["baleine", "image", "inspect", name, "--format", "json"]).stdout
        assert json.loads(shown)[0]["config"]["cmd"] == CONFIG["cmd"], name
    host.module("baleine_container", name="c", state="absent")
    host.sh("baleine image remove derived committed")


def test_a_container_of_a_missing_image_is_warned_of_in_check_mode_and_refused_otherwise(
    host: LabHost,
) -> None:
    request = {"name": "c", "image": "later"}
    missing = host.module("baleine_container", check=True, **request)
    assert missing["changed"]
    assert "there is no image later" in str(missing["warnings"])
    refused = host.module("baleine_container", expect_failure=True, **request)
    assert "there is no image later" in refused["msg"]


def test_an_image_is_fetched_from_a_registry_once_and_follows_its_tag(host: LabHost, engines: Engines) -> None:
    engines.registry()
    host.sh(f"docker tag web:1 {REGISTRY}/team/web:1; docker push -q {REGISTRY}/team/web:1")
    request: dict[str, Any] = {"name": "fetched:1", "source": f"docker://{REGISTRY}/team/web:1", "size": "64M"}
    refused = host.module("baleine_image", expect_failure=True, **request)
    assert "skopeo says" in refused["msg"]
    request["insecure"] = True
    assert host.module("baleine_image", check=True, **request)["changed"]
    assert host.module("baleine_image", **request)["changed"]
    assert not host.module("baleine_image", **request)["changed"]
    imported(host, f"docker-archive:{WORK}/docker.tar")
    assert listing(host, "fetched:1")[1:] == listing(host, "web")[1:]
    saved = host.module("baleine_image", check=True, name="web", source=request["source"], size="64M", insecure=True)
    assert not saved["changed"]  # the same image, from wherever it came
    host.sh(f"cd {WORK}; printf 'FROM web:1\\nENV MORE=1\\n' | docker build -q -t {REGISTRY}/team/web:1 - ; "
            f"docker push -q {REGISTRY}/team/web:1")  # fmt: skip
    changed = host.module("baleine_image", **request)
    assert changed["changed"] and changed["image"]["config"]["env"]["MORE"] == "1"


EXPORT = ["baleine", "image", "export", "-i", "web", "--target"]
RUN = ["run", "--rm", "--network=none"]


def test_an_exported_archive_is_run_by_docker_and_podman(host: LabHost, engines: Engines, web: str) -> None:
    host.run([*EXPORT, f"docker-archive:{WORK}/out.tar:out/web:3"])
    engines.docker("load", "-q", "-i", f"{WORK}/out.tar")
    assert engines.docker(*RUN, "out/web:3") == SAID
    engines.podman("load", "-q", "-i", f"{WORK}/out.tar")
    assert engines.podman(*RUN, "out/web:3") == SAID
    host.sh(f"rm {WORK}/out.tar")


def test_an_exported_oci_archive_is_run_by_podman(host: LabHost, engines: Engines, web: str) -> None:
    host.run([*EXPORT, f"oci-archive:{WORK}/out.oci"])
    host.run(["podman", "pull", "-q", f"oci-archive:{WORK}/out.oci"])
    assert engines.podman(*RUN, "web:latest") == SAID
    host.sh(f"rm {WORK}/out.oci")


def test_an_image_is_exported_to_a_registry_once_and_run_from_it(host: LabHost, engines: Engines, web: str) -> None:
    engines.registry()
    target = f"{REGISTRY}/out/web:4"
    request: dict[str, Any] = {"name": web, "target": f"docker://{target}", "insecure": True}
    modes = (True, False, False)
    changed = [host.module("baleine_image_export", check=mode, **request)["changed"] for mode in modes]
    assert changed == [True, True, False]
    engines.docker("pull", "-q", target)
    assert engines.docker(*RUN, target) == SAID
    config = json.loads(engines.docker("inspect", target))[0]["Config"]
    assert config["Labels"] == CONFIG["labels"]
    assert sorted(config["ExposedPorts"]) == CONFIG["exposed_ports"]


@pytest.mark.parametrize(
    "target",
    [f"docker-archive:{WORK}/back.tar", f"oci-archive:{WORK}/back.oci", f"docker://{REGISTRY}/back:1"],
)
def test_an_exported_image_is_imported_again_unchanged(host: LabHost, engines: Engines, web: str, target: str) -> None:
    engines.registry()
    wanted = listing(host, web)
    facts = json.loads(host.run(["baleine", "image", "inspect", web, "--format", "json"]).stdout)[0]
    host.module("baleine_image_export", name=web, target=target, insecure=True)
    again = imported(host, target, "back", "--insecure")
    assert again["config"] == facts["config"]
    assert listing(host, "back") == wanted
    host.sh(f"rm -f {WORK}/back.*")


def test_an_exported_tar_archive_holds_the_tree(host: LabHost, engines: Engines, web: str) -> None:
    host.run([*EXPORT, f"tar:{WORK}/plain.tar"])
    engines.docker("import", f"{WORK}/plain.tar", "plain:1")
    assert engines.docker(*RUN, "plain:1", "/bin/cat", "/etc/link") == "file\n"


def test_an_image_file_runs_under_systemd_nspawn(host: LabHost, lab_factory: Any) -> None:
    imported(host, f"docker-archive:{WORK}/docker.tar")
    machine = lab_factory("nspawn", cgroup_root="real", leak_check=False)  # nspawn leaves its groups
    machine.push(host.path("/var/lib/baleine/images/web"), "/srv/web")
    nspawn = "systemd-nspawn -q --register=no --keep-unit --volatile=overlay -D /srv/root --pipe"
    script = (
        f"mkdir /srv/root; mount -o loop,ro,noload /srv/web /srv/root; exec {nspawn} /bin/sh -c 'cat /etc/link; id -u'"
    )
    done = machine.run(["unshare", "-m", "sh", "-c", script], check=False)
    assert done.stdout == "file\n0\n", done.stderr

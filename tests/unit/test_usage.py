# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container uses, read from files as kernels write them: v2 as Linux 6.1 does, v1 as Linux 6.18 does."""

from __future__ import annotations

from pathlib import Path

import pytest

from baleine import cgroup

V2 = {
    "memory.current": "20971520\n",
    "memory.stat": "anon 1048576\nfile 18874368\nkernel 524288\ninactive_anon 1044480\nactive_anon 4096\n"
    "inactive_file 16777216\nactive_file 2097152\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 0\nnr_throttled 0\n",
    "pids.current": "3\n",
    "io.stat": "7:0 rbytes=4096 wbytes=1048576 rios=1 wios=10 dbytes=0 dios=0\n"
    "254:0 rbytes=8192 wbytes=1044480 rios=2 wios=4 dbytes=0 dios=0\n8:0\n",
}
V1 = {
    "memory/baleine/web/memory.usage_in_bytes": "20971520\n",
    "memory/baleine/web/memory.stat": "cache 18874368\ninactive_file 5\ntotal_cache 1\ntotal_inactive_file 16777216\n",
    "cpuacct/baleine/web/cpuacct.usage": "2500000000\n",
    "pids/baleine/web/pids.current": "3\n",
    "pids/baleine/web/cgroup.procs": "",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hierarchies of a host would be mounted."""
    monkeypatch.setattr(cgroup, "ROOT", str(tmp_path))
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_usage_on_v2_is_read_from_the_documented_files(root: Path) -> None:
    write(root, {"cgroup.controllers": "cpu io memory pids\n", **{f"baleine/web/{key}": V2[key] for key in V2}})
    assert cgroup.usage("web") == {
        "memory": 4 << 20,
        "cpu_seconds": 2.5,
        "pids": 3,
        "read_bytes": 8192,
        "written_bytes": 1048576,
        "reads": 2,
        "writes": 10,
    }


def test_usage_on_v1_is_read_from_the_documented_files(root: Path) -> None:
    write(root, V1)
    found = cgroup.usage("web")
    assert (found["memory"], found["cpu_seconds"], found["pids"]) == (4 << 20, 2.5, 3)


def test_disk_usage_on_v1_is_read_from_the_processes(root: Path) -> None:
    import os

    write(root, {**V1, "pids/baleine/web/cgroup.procs": f"{os.getpid()}\n"})
    assert cgroup.usage("web")["reads"] > 0


@pytest.mark.parametrize("files", [{}, {"cgroup.controllers": ""}], ids=["v1", "v2"])
def test_a_missing_cgroup_uses_nothing(root: Path, files: dict[str, str]) -> None:
    write(root, files)
    assert not any(cgroup.usage("web").values())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Every target of the Makefile is run: by `make test`, or here, in its smallest form."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ansible.release
import pytest

from bench import main as bench
from bench.peers import CONTENDERS
from bench.result import OURS
from tests.attacks import report
from tests.lab import run
from tests.lab.host import LabHost
from tests.lab.wire import Wire

#: What make makes in a checkout, and what belongs to the one who works in it.
NOT_COPIED = (".git", ".ansible", ".build", ".cache", ".venv*", ".*_cache", "__pycache__", "output", "*.tar.gz")
#: Parts of `make test` for those who are in a hurry: they run nothing that it does not run.
SELECTIONS = {"quick", "smoke"}
#: Targets that a test of this file runs.
DRIVEN: set[str] = set()


def drives(*targets: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as the one that runs targets."""
    DRIVEN.update(targets)
    return lambda test: test


def make(*words: str, folder: Path = run.REPOSITORY, check: bool = True) -> str:
    """Run make in a checkout; returns what it printed on standard output."""
    return run.machine(["make", "--no-print-directory", "-C", str(folder), *words], check=check, timeout=1800).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of this checkout with the same environment, in which a target may change what it likes."""
    folder = tmp_path / "copy"
    shutil.copytree(run.REPOSITORY, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def files(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder and what it holds; of a link, where it leads. What make makes beside them does not count."""
    ignored = shutil.ignore_patterns(*NOT_COPIED)
    found: dict[str, bytes | str] = {}
    for top, folders, names in os.walk(folder):
        links = [name for name in folders if Path(top, name).is_symlink()]
        for name in {*names, *links} - ignored(top, [*names, *links]):
            path = Path(top, name)
            found[str(path.relative_to(folder))] = os.readlink(path) if path.is_symlink() else path.read_bytes()
        folders[:] = [name for name in folders if name not in links and not ignored(top, [name])]
    return found


# What is offered


class Rule(NamedTuple):
    """What a target needs, and which targets its recipe makes."""

    needs: list[str]
    recipe: list[str]

    @property
    def calls(self) -> list[str]:
        """The targets that the recipe makes by a make of its own."""
        return [target for line in self.recipe for target in re.findall(r"\$\(MAKE\) (?:-\S+ )*([a-z][\w-]*)", line)]


def rules() -> dict[str, Rule]:
    """Return the rules of the Makefile, as make itself understands it."""
    database = make("--print-data-base", "--question", "help", check=False)
    found: dict[str, Rule] = {}
    current = Rule([], [])
    for line in database.splitlines():
        head = re.match(r"([.\w/-]+):(?!=) *(.*)$", line)
        if head:
            current = found.setdefault(head.group(1), Rule(head.group(2).split(), []))
        elif line.startswith("\t"):
            current.recipe.append(line)
    return found


def run_by(targets: set[str], known: dict[str, Rule]) -> set[str]:
    """Return the targets that making some makes, themselves included."""
    found: set[str] = set()
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        if target not in found and target in known:
            found.add(target)
            waiting += [*known[target].needs, *known[target].calls]
    return found


def test_every_target_is_run_by_make_test_or_by_a_test_of_this_file() -> None:
    known = rules()
    offered = set(known[".PHONY"].needs)
    by_test = run_by({"test"}, known)
    assert {"ruff", "unit", "integration", "sanity", "build", "links"} <= by_test  # it was understood
    assert offered >= DRIVEN and not DRIVEN & by_test  # no case of a target that has gone, and none twice
    tried = by_test | run_by(DRIVEN, known) | SELECTIONS
    names = {target for target in offered if not known[target].recipe and tried.issuperset(known[target].needs)}
    assert offered - tried - names == set()


@drives("help")
def test_help_lists_every_target_that_the_documentation_of_the_makefile_names() -> None:
    listed = re.findall(r"^  make ([\w-]+): \S", make("help"), re.MULTILINE)
    documented = re.findall(r"^## ([\w-]+): ", (run.REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert listed == documented and set(listed) <= set(rules()[".PHONY"].needs)
    assert make() == make("help")


def pages() -> list[Path]:
    """The pages that name targets."""
    top = run.REPOSITORY
    return [*top.glob("*.md"), *(top / "docs").rglob("*.md"), *(top / "docs").rglob("*.rst"), top / "Makefile"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_target_and_every_variable_of_make_that_a_page_names_exists(page: Path) -> None:
    text, makefile = page.read_text(), (run.REPOSITORY / "Makefile").read_text()
    named = re.findall(r"(?:`|^ *(?:[$#] )?)make ([a-z][a-z-]*)\b(?! [a-z])", text, re.MULTILINE)
    variables = re.findall(r"\bmake [a-z-]+ ([A-Z_]+)=", text)
    assert set(named) <= set(rules()[".PHONY"].needs)
    assert [name for name in variables if not re.search(rf"^{name} \?=", makefile, re.MULTILINE)] == []


def test_pages_do_name_targets() -> None:
    assert sum(len(re.findall(r"`make [a-z-]+", page.read_text())) for page in pages()) > 10


# What changes a checkout: on a copy


@drives("format")
def test_format_changes_nothing_but_a_file_that_is_not_formatted(copy: Path) -> None:
    before = files(copy)
    (copy / "bench/hasty.py").write_text("import os\nx = {'a':1}\n")
    make("format", folder=copy)
    assert files(copy) == {**before, "bench/hasty.py": b'x = {"a": 1}\n'}


@drives("manual")
def test_manual_makes_the_pages_as_they_are_committed(copy: Path) -> None:
    before = files(copy)
    pages = [name for name in before if name.startswith("roles/") and name.endswith(".1")]
    assert len(pages) == 2
    for page in pages:
        (copy / page).unlink()
    make("manual", folder=copy)
    assert files(copy) == before


@drives("clean")
def test_clean_removes_what_make_made_and_nothing_else(copy: Path) -> None:
    before = files(copy)
    (copy / ".venv").unlink()
    make("links", folder=copy)
    made = (".ansible", ".build", ".cache", ".mypy_cache", ".venv", ".venv-lint", ".venv-galaxy", "bench/output")
    for name in made:
        (copy / name).mkdir(exist_ok=True)
        (copy / name / "file").touch()
    (copy / "bench/__pycache__").mkdir()
    (copy / "lab-baleine-1.0.0.tar.gz").touch()
    make("clean", folder=copy)
    assert files(copy) == before
    left = {str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert left == set(before)


# What takes its time: the least of it


@drives("fuzz")
def test_fuzz_tries_every_door() -> None:
    lines = make("fuzz", "FUZZ_SECONDS=1").splitlines()
    doors = {
        line.split()[0]: int(line.split()[-1].replace(",", "")) for line in lines if re.match(r".{28} +[\d,]+$", line)
    }
    assert len(doors) > 10 and min(doors.values()) > 0
    assert re.match(r"inputs tried [\d,]+, crashes 0 \(", lines[-1])


@drives("matrix")
def test_matrix_runs_the_tests_in_every_environment_and_names_a_missing_python(tmp_path: Path) -> None:
    """The environments are links to this one, so that nothing is downloaded."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    core = ".".join(ansible.release.__version__.split(".")[:2])
    (tmp_path / "matrix").mkdir()
    for name in (f"python-{python}", f"core-{core}"):
        (tmp_path / "matrix" / name).symlink_to(sys.prefix)
    versions = (f"PYTHONS={python} 3.1", f"CORES={core}")
    said = make("matrix", f"CACHE={tmp_path}", *versions, "PYTEST_FLAGS=-k 'test_plan or test_inventory'")
    assert re.search(rf"^Python {python}: \d+ passed", said, re.MULTILINE), said
    assert re.search(rf"^ansible-core {core}: \d+ passed", said, re.MULTILINE), said
    assert "Python 3.1: not on this machine" in said


@drives("attacks")
def test_attacks_writes_what_it_found_into_the_table(tmp_path: Path) -> None:
    """Mild attacks in a laboratory host: the document says the opposite of one of them before."""
    document, text = tmp_path / "security.md", report.DOCUMENT.read_text()
    right = next(line for line in text.splitlines() if line.startswith("| `chroot-fchdir` | leave"))
    wrong = right.replace("| **succeeds** | refused |", "| refused | **succeeds** |", 1)
    assert wrong != right
    document.write_text(text.replace(right, wrong))
    flags = "--lab-host --only chroot-fchdir leaked-environment --columns naive Baleine"
    said = make("attacks", f"ATTACKS_FLAGS={flags} --document {document}")
    assert re.findall(r"^(\w+) +([\w-]+) +(SUCCEEDS|refused)", said, re.MULTILINE) == [
        ("naive", "chroot-fchdir", "SUCCEEDS"),
        ("naive", "leaked-environment", "SUCCEEDS"),
        ("Baleine", "chroot-fchdir", "refused"),
        ("Baleine", "leaked-environment", "refused"),
    ]
    assert document.read_text() == text


@drives("bench")
def test_bench_measures_every_case_and_every_contender_that_can_run_here(tmp_path: Path) -> None:
    """BENCH_PACKAGES is empty: the tests install nothing that only the benchmark needs."""
    make("bench", "BENCH_PACKAGES=", f"BENCH_FLAGS=--smallest --output {tmp_path}")
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["failed"] == {} and found["skipped"] == {}
    assert set(found["seconds"]) == set(bench.KNOWN)
    for contender in CONTENDERS:
        reason = found["gone"].get(contender.name, "this machine has no ")
        own_groups = contender.name == "systemd-nspawn" and "control groups" in reason
        assert reason.startswith("this machine has no ") or own_groups, contender.name
    for name in (OURS, "docker", "crun"):
        assert name not in found["gone"] and found["cases"]["whole"][name]["samples"]
    assert set(found["idle"]) >= {OURS, "docker"}
    assert "Where the time of `container run --rm` goes" in (tmp_path / "results.md").read_text()


# The farm, on a machine that has the checkout


@pytest.fixture(scope="module")
def machine(wire: Wire, lab_factory: Callable[..., LabHost]) -> Iterator[LabHost]:
    """A machine with this checkout, and the package proxy as its only way out."""
    host = lab_factory("machine", wire=wire, checkout=True)
    host.use_package_proxy()
    yield host
    host.expect("file /usr/local/*")


def farm(machine: LabHost, target: str) -> tuple[int, str]:
    """Make a target of the farm there; returns how much changed, and what was said."""
    words = ["make", "-C", str(run.REPOSITORY), target, "ANSIBLE_FLAGS=-e farm_web_count=1"]
    done: Any = machine.run(words, timeout=1800)
    recap = re.findall(r"^localhost +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", done.stdout, re.MULTILINE)
    assert len(recap) == 1, done.stdout + done.stderr
    return int(recap[0]), done.stdout


@drives("webfarm", "webfarm-absent")
def test_the_farm_is_made_once_and_taken_away(machine: LabHost) -> None:
    changed, said = farm(machine, "webfarm")
    assert changed > 0
    assert re.search(r"localhost: farm answers at http://10\.0\.0\.2/: web1 \d+", said), said
    again, said = farm(machine, "webfarm")
    assert again == 0, said
    assert farm(machine, "webfarm-absent")[0] > 0
    left = machine.sh("ls /sys/class/net /srv /var/lib/baleine/images /var/lib/baleine/containers", check=False).stdout
    assert not re.search(r"vif|public|private|webfarm|farm-|web\d", left), left

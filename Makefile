# SPDX-FileCopyrightText: The Baleine authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `make webfarm` builds the web farm, `make test` tests everything; both prepare what they need, and may be run again
# and again. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# What the tests need of Debian, beyond git, make and python3-venv.
PACKAGES := apt-cacher-ng attr busybox-static ca-certificates createrepo-c cron crun curl dnf docker-registry \
    docker.io e2fsprogs gcc gpg gpg-agent gpgconf gpgv iproute2 iptables iputils-ping kmod libc6-dev libcap2-bin \
    mmdebstrap nftables openssh-client openssh-server openssl podman procps python3 python3-apt python3-pyroute2 \
    qemu-system-x86 qemu-user-static qemu-utils rpm runc skopeo socat sudo systemd-container tar util-linux xfsprogs \
    xz-utils zstd

# What `make bench` compares with, and no test needs.
BENCH_PACKAGES := aardvark-dns crun debootstrap docker.io lxc netavark podman rsync runc systemd-container xfsprogs

# The first Python that this release of ansible-core accepts.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

VENV := .venv
LINT := .venv-lint
GALAXY := .venv-galaxy
CACHE := .cache
# How long each part of `make test` took.
PARTS = $(CACHE)/parts
# For example: make webfarm ANSIBLE_FLAGS="--check --diff", make unit PYTEST_FLAGS="-k plan",
# make bench BENCH_FLAGS="--only whole --factor 0.5", make fuzz FUZZ_SECONDS=600,
# make attacks ATTACKS_FLAGS="--only chroot-fchdir --columns naive Baleine".
ANSIBLE_FLAGS ?=
PYTEST_FLAGS ?=
BENCH_FLAGS ?=
ATTACKS_FLAGS ?=
FUZZ_SECONDS ?= 60
# What make matrix tries.
PYTHONS ?= 3.9 3.10 3.11 3.12 3.13
CORES ?= 2.18 2.19 2.20 2.21

PLAYBOOK = $(VENV)/bin/ansible-playbook playbooks/webfarm.yml
VERSION = $(shell sed -n 's/^version: *//p' galaxy.yml)
TARBALL = $(CACHE)/lab-baleine-$(VERSION).tar.gz

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1

heading = @printf '\n==== %s ====\n' $(1)

## help: this list
.PHONY: help
help:
	@sed -n 's/^## /  make /p' Makefile

# ---- the web farm

## webfarm: build the web farm of inventory/webfarm.yml, or bring it back to what it should be
.PHONY: webfarm
webfarm: $(VENV)/.ready become
	@$(PLAYBOOK) $(ANSIBLE_FLAGS)

## webfarm-absent: take the web farm away, disks and pages included
.PHONY: webfarm-absent
webfarm-absent: $(VENV)/.ready become
	@$(PLAYBOOK) -e farm_state=absent $(ANSIBLE_FLAGS)

# Without this, sudo would wait for a password that nobody was told about.
.PHONY: become
become:
	@if [ "$$(id -u)" -ne 0 ] && [ -z '$(ANSIBLE_FLAGS)' ] && ! sudo -n true 2>/dev/null; then \
	    echo 'The farm needs root on its hosts. Run this as root, or as a user whose sudo asks for no password,' >&2; \
	    echo 'or let Ansible ask for it: make $(MAKECMDGOALS) ANSIBLE_FLAGS=--ask-become-pass' >&2; \
	    exit 1; \
	fi

# ---- environments

# Made at one go: an environment whose making was interrupted has no .ready and is made again.
define environment
	@if [ -z '$(PYTHON)' ]; then echo 'No Python 3.11 or later was found: name one with PYTHON=...' >&2; exit 1; fi
	@echo 'Preparing $(@D)'
	@'$(PYTHON)' -m venv --clear $(@D) || { \
	    echo 'On Debian, the package python3-venv brings what is missing.' >&2; exit 1; }
	@$(@D)/bin/pip --quiet install $(addprefix -r ,$^)
	@touch $@
endef

$(VENV)/.ready: requirements.txt
	$(environment)

$(VENV)/.ready-test: requirements-test.txt $(VENV)/.ready
	@echo 'Preparing $(@D) for tests'
	@$(@D)/bin/pip --quiet install -r requirements-test.txt
	@touch $@

$(LINT)/.ready: requirements-lint.txt
	$(environment)

$(GALAXY)/.ready: requirements-galaxy.txt
	$(environment)

# The names under which a host knows the core and the command line.
.PHONY: links
links:
	@mkdir -p .build $(CACHE)
	@ln -sfn ../plugins/module_utils .build/baleine
	@ln -sfn ../roles/host/files/baleine_cli .build/baleine_cli

.PHONY: root
root:
	@if [ "$$(id -u)" -ne 0 ]; then \
	    echo 'make $(MAKECMDGOALS) needs root: the tests make namespaces, loop devices and bridges.' >&2; \
	    echo 'They do so in laboratory hosts of their own; `make unit` and `make lint` need no root.' >&2; \
	    exit 1; \
	fi

.PHONY: packages
packages:
	@.ci/packages $(PACKAGES)

# ---- tests

## test: everything, as a pull request must pass it (root)
.PHONY: test
test: root packages
	@mkdir -p $(CACHE) && rm -f $(PARTS)
	@.ci/timed $(PARTS) $(MAKE) -j2 --output-sync=target ruff-mypy-unit
	@.ci/timed $(PARTS) $(MAKE) integration
	@.ci/timed $(PARTS) $(MAKE) -j2 --output-sync=target molecule-lint-publishable
	$(call heading,'all of it passed')
	@cat $(PARTS)
	@for part in unit integration; do echo "tests/$$part"; tail -n 1 $(CACHE)/$$part.log; done

# None of these keeps two cores busy alone. What each of them prints stays together. The environments of the last part are
# made beside the first.
.PHONY: ruff-mypy-unit
ruff-mypy-unit: ruff mypy unit $(LINT)/.ready $(GALAXY)/.ready

.PHONY: molecule-lint-publishable
molecule-lint-publishable: molecule ansible-lint publishable

## quick: what needs no root and no minute: lint, types, unit tests
.PHONY: quick
quick: ruff mypy unit

## smoke: one lab host, the life of a container, a bridge, the roles of the farm in check mode (root)
.PHONY: smoke
smoke: root packages $(VENV)/.ready-test links
	$(call heading,'smoke test')
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" pytest -m smoke $(PYTEST_FLAGS) tests/integration

## lint: ruff, mypy and ansible-lint
.PHONY: lint
lint: ruff mypy ansible-lint

.PHONY: ruff
ruff: $(VENV)/.ready-test
	$(call heading,'ruff')
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

## format: let ruff format the Python files
.PHONY: format
format: $(VENV)/.ready-test
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

.PHONY: mypy
mypy: $(VENV)/.ready-test links
	$(call heading,'mypy')
	@$(VENV)/bin/mypy --cache-dir $(CACHE)/mypy

.PHONY: ansible-lint
ansible-lint: $(LINT)/.ready
	$(call heading,'ansible-lint')
	@PATH="$(CURDIR)/$(LINT)/bin:$$PATH" ansible-lint

## manual: the pages of man(1), made of the table of commands
.PHONY: manual
manual: links
	@cd .build && for language in '' .fr; do \
	    python3 -c "from baleine_cli import manual; print(manual.roff('$$language' == '.fr'), end='')" \
	        > "../roles/host/files/baleine_cli/baleine$$language.1"; done

## unit: the tests of plans and parsers, no root needed
.PHONY: unit
unit: $(VENV)/.ready-test links
	$(call heading,'unit tests')
	@$(VENV)/bin/pytest $(PYTEST_FLAGS) tests/unit | tee $(CACHE)/unit.log

## integration: the tests on real parts, in laboratory hosts; PYTEST_FLAGS=tests/integration/test_x.py for some (root)
.PHONY: integration
integration: root packages $(VENV)/.ready-test links
	$(call heading,'integration tests')
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python -m tests.running.suite $(PYTEST_FLAGS) | tee $(CACHE)/integration.log

MOLECULE = PATH="$(CURDIR)/$(LINT)/bin:$$PATH" LAB_PYTHON="$(CURDIR)/$(VENV)/bin/python" molecule test -s

## molecule: the farm on a laboratory host, a role inside containers, the guest's scenario: converge, idempotence, verify (root)
.PHONY: molecule
molecule: root packages $(VENV)/.ready-test $(LINT)/.ready links
	$(call heading,'molecule')
	@$(MOLECULE) default
	@$(MOLECULE) containers
	@$(MAKE) molecule-guest MOLECULE_GUEST=quick_guest

## molecule-guest: a container on a whole Debian under qemu (root)
.PHONY: molecule-guest
molecule-guest: root packages $(VENV)/.ready-test $(LINT)/.ready links
	$(call heading,'molecule on the guest')
	@$(MOLECULE) guest

## build: the collection's tarball, in .cache
.PHONY: build
build: $(VENV)/.ready
	@mkdir -p $(CACHE)
	@$(VENV)/bin/ansible-galaxy collection build --force --output-path $(CACHE) . >/dev/null
	@echo 'Built $(TARBALL)'

# The tarball must be whole: installed elsewhere, without a network, its playbook is found and understood. Elsewhere also
# means out of sight of ansible.cfg, which would lead to this checkout.
.PHONY: install
install: build
	$(call heading,'the tarball')
	@rm -rf $(CACHE)/installed && mkdir -p $(CACHE)/installed
	@cd $(CACHE)/installed && unset ANSIBLE_CONFIG && export ANSIBLE_COLLECTIONS_PATH="$$PWD" && \
	    '$(CURDIR)/$(VENV)/bin/ansible-galaxy' collection install --offline --no-deps -p . '$(CURDIR)/$(TARBALL)' && \
	    '$(CURDIR)/$(VENV)/bin/ansible-playbook' --syntax-check -i localhost, lab.baleine.webfarm
	@rm -rf $(CACHE)/installed

## publishable: what Galaxy, its documentation site and ansible-core ask of a collection
.PHONY: publishable
publishable: install sanity galaxy docs

.PHONY: sanity
sanity: build $(VENV)/.ready
	$(call heading,'ansible-test sanity')
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" .ci/sanity $(TARBALL) $(CACHE)/sanity

# The importer always ends with 0 and leaves what it found in a file: what it says of an error or a warning is a failure.
.PHONY: galaxy
galaxy: build $(GALAXY)/.ready
	$(call heading,'galaxy-importer and antsibull')
	@rm -rf $(CACHE)/galaxy && mkdir -p $(CACHE)/galaxy/ansible_collections/lab/baleine
	@tar -xzf $(TARBALL) -C $(CACHE)/galaxy/ansible_collections/lab/baleine
	@unset ANSIBLE_CONFIG && export PATH="$(CURDIR)/$(GALAXY)/bin:$$PATH" && cd $(CACHE)/galaxy && \
	    python -m galaxy_importer.main '$(CURDIR)/$(TARBALL)' > importer.log 2>&1 || { cat importer.log; exit 1; } && \
	    if grep -E 'WARNING|ERROR' importer.log; then exit 1; fi && tail -n 1 importer.log && \
	    cd ansible_collections/lab/baleine && antsibull-changelog lint && \
	    antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self . && \
	    echo 'antsibull: documentation and changelog are clean'

## docs: the documentation site, in .cache/docs/html
.PHONY: docs
docs: $(GALAXY)/.ready links
	$(call heading,'the documentation site')
	@PATH="$(CURDIR)/$(GALAXY)/bin:$$PATH" .ci/docs $(CACHE)/docs
	@echo 'Read it: $(CURDIR)/$(CACHE)/docs/html/index.html'

## matrix: the core on Python 3.9 to 3.13, the plugins under ansible-core 2.18 to the newest (root)
.PHONY: matrix
matrix: root packages links
	$(call heading,'Pythons and releases of ansible-core')
	@.ci/matrix $(CACHE)/matrix '$(PYTHONS)' '$(CORES)' $(PYTEST_FLAGS)

## bench: measure, and compare with the peers (root)
.PHONY: bench
bench: root packages $(VENV)/.ready-test links
	@.ci/packages $(BENCH_PACKAGES)
	@bench/run $(BENCH_FLAGS)

## attacks: attack a naive container, Baleine, docker and podman in a guest, and write the table of docs/security.md (root)
.PHONY: attacks
attacks: root packages $(VENV)/.ready-test links
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" python -m tests.attacks.report $(ATTACKS_FLAGS)

## fuzz: broken texts at every door for FUZZ_SECONDS (60), inputs tried and crashes
.PHONY: fuzz
fuzz: $(VENV)/.ready-test links
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHONPATH=.:.build python -m tests.unit.fuzzing $(FUZZ_SECONDS)

## clean: remove what make made in this folder
.PHONY: clean
clean:
	@rm -rf .ansible .build $(CACHE) .mypy_cache .pytest_cache .ruff_cache $(VENV) $(LINT) $(GALAXY) tests/output bench/output
	@rm -f lab-baleine-*.tar.gz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

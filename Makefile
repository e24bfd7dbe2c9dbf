# The one entry for developers: `make help`.
# A new machine needs git and make; the rest is installed from here and by the role `hypervisor`.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUILD := $(CURDIR)/.build
VENV := $(BUILD)/venv
PYTHON := /usr/bin/python3
TALLY := $(VENV)/bin/python tests/tools/tally.py
TOOLS := $(VENV)/.installed-$(shell sha256sum requirements-dev.txt | cut -c1-16)
SOURCE_TREE := $(BUILD)/ansible_collections/homelab/hybrid
VERSION := $(shell sed -n 's/^version: //p' galaxy.yml)
ARTIFACT := $(BUILD)/dist/homelab-hybrid-$(VERSION).tar.gz
DEMO := $(BUILD)/demo
PURGE ?= 0
INVENTORY ?=
VIA ?= auto
# Private views of this host (CONTRIBUTING.md); a tier that consists of pytest uses several at once.
CELL := tests/tools/cell
CELLS ?= 4
IN_CELLS = --tx '$(1)*popen//python=$(CELL) $(VENV)/bin/python'

# The venv comes first: molecule and ansible-lint start ansible's own commands by name.
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(BUILD)
export ANSIBLE_HOME := $(BUILD)/ansible-home
export ANSIBLE_INJECT_FACT_VARS := false
export ANSIBLE_NOCOWS := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1

# The demo runs what a user installs, not the work tree.
DEMO_ENV := ANSIBLE_COLLECTIONS_PATH=$(DEMO)/collections ANSIBLE_CALLBACKS_ENABLED=homelab.hybrid.progress \
  ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ANSIBLE_LOCALHOST_WARNING=false
DEMO_PLAYBOOK = $(DEMO_ENV) ansible-playbook -i playbooks/inventory/demo $(DEMO_ARGS)

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

# ---- tools ----------------------------------------------------------------------------------------------------------

.PHONY: tools
tools: $(TOOLS) $(SOURCE_TREE)

$(TOOLS):
	@tests/tools/debian-packages bindep.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv --system-site-packages $(VENV)
	@echo "installing the tools of requirements-dev.txt into .build/venv"
	@$(VENV)/bin/pip install -qq -r requirements-dev.txt
	@rm -f $(VENV)/.installed-* && touch $@

$(SOURCE_TREE):
	@mkdir -p $(dir $@) && ln -sfn ../../.. $@

# ---- lint and sanity ------------------------------------------------------------------------------------------------

.PHONY: lint
lint: tools ## Style, types, documentation, changelog, ansible-lint (profile production)
	@$(TALLY) start lint
	@status=0; check() { $(TALLY) run lint "$$@" || status=1; }; \
	check "ruff check" -- ruff check -q .; \
	check "ruff format" -- ruff format -q --check .; \
	check "mypy --strict" -- tests/tools/typecheck; \
	check "shellcheck" -- tests/tools/shell-scripts; \
	check "changelog" -- antsibull-changelog lint; \
	check "documentation" -- antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self --check-extra-docs-refs --skip-rstcheck .; \
	check "ansible-lint production" -- ansible-lint --offline -q; \
	exit $$status

.PHONY: fix
fix: tools ## Format the Python code and repair what ruff can
	@ruff check -q --fix . ; ruff format .

# Beside each other all have what they need from `make test`: a part that waited for it would lose its place to a shorter one.
NEEDS = $(if $(SIDE_BY_SIDE),,$(1))

.PHONY: sanity sanity-importer sanity-others
sanity: sanity-importer ## ansible-test sanity, build, galaxy-importer, an install that runs; all offline
	@$(MAKE) sanity-others

# galaxy-importer gives ansible-lint three minutes (0.4.44), so `make test` runs it beside nothing.
sanity-importer: tools
	@$(TALLY) start sanity
	@$(TALLY) run sanity "build" -- tests/tools/build $(ARTIFACT)
	@$(TALLY) run sanity "galaxy-importer" --refuse '^(WARNING|ERROR)' -- tests/tools/galaxy-import $(ARTIFACT)

sanity-others:
	@status=0; check() { $(TALLY) run sanity "$$@" || status=1; }; \
	check "ansible-test sanity" --count '^Running sanity test ' -- $(VENV)/bin/python tests/tools/in_real_tree.py sanity --color no; \
	check "installed artifact" -- tests/tools/installed $(ARTIFACT); \
	check "execution environment" --count '^(accepted|collected): ' -- tests/tools/execution-environment; \
	exit $$status

# ---- tests ----------------------------------------------------------------------------------------------------------

.PHONY: unit
unit: tools ## Unit tests: no host, no root
	@$(TALLY) start unit
	@$(TALLY) pytest unit -- -q -n 2 tests/unit

.PHONY: host
host: tools ## Prepare this host: the role hypervisor
	@if [ "$$(id -u)" -ne 0 ]; then echo "make host: run it as root; it installs packages and starts libvirt" >&2; exit 1; fi
	@tests/tools/debian-packages tests/bindep.txt
	@ansible-playbook -i localhost, -c local -e ansible_python_interpreter=$(PYTHON) tests/tools/host.yml

.PHONY: matrix
matrix: $(call NEEDS,host) ## Every option on the real host, driven from pytest; several at once, each in a cell
	@$(TALLY) start matrix
	@$(TALLY) pytest matrix -- -q $(call IN_CELLS,$(CELLS)) --dist loadfile tests/matrix

# Each part is for itself, and `make -j4 integration` runs them side by side.
.PHONY: integration integration-start integration-targets integration-playbooks integration-awx integration-demo
integration: integration-targets integration-playbooks integration-awx integration-demo ## Integration targets through ansible-playbook; playbooks on small labs; the plans of service roles, one of them with a way back; a host whose network is changed over a wire; every playbook as AWX runs it; demo, demo again, destroy

integration-start: host artifact
	@$(TALLY) start integration

integration-targets: $(call NEEDS,integration-start)
	@$(TALLY) run integration "targets" --stream --count '^TASK \[\S+ : Run \| ' -- $(CELL) $(VENV)/bin/python tests/tools/in_real_tree.py integration --color no --allow-destructive

# The quickest of the long suites, and of the service roles one for each way to install.
QUICK = 'tests/services/test_services.py::test_a_service_has_a_way_back[mosquitto]' \
  $(patsubst %,'tests/services/test_plans.py::test_the_plan_of_a_role_is_whole_and_does_nothing[%]', \
    adguard_home compose_app home_assistant jellyfin monitoring nas_share node_red reverse_proxy) \
  $(patsubst %,'tests/wire/test_switch.py::test_%[networkd]',check_mode_says_what_will_be_confirmed_and_changes_nothing \
    a_good_change_is_confirmed_and_a_second_run_changes_nothing a_control_node_that_is_killed_confirms_nothing) \
  $(patsubst %,'tests/appliances/test_windows_server.py::test_%',the_machine_is_planned_with_all_that_windows_wants \
    a_password_that_windows_does_not_take_fails_in_the_plan)

integration-playbooks: $(call NEEDS,integration-start)
	@$(TALLY) pytest integration -- -q $(call IN_CELLS,2) --dist loadfile tests/playbooks $(QUICK)

integration-awx: $(call NEEDS,integration-start)
	@$(TALLY) run integration "playbooks in AWX" --stream --count '^awx ok: ' -- $(CELL) $(VENV)/bin/python tests/playbooks/awx.py $(ARTIFACT)

integration-demo: $(call NEEDS,integration-start)
	@$(TALLY) run integration "demo, demo again, destroy" --stream --count '^demo ok: ' -- $(CELL) tests/playbooks/demo.sh

# Without colours and borders a line of Ansible is a line. A step that molecule passes over is no success.
SCENARIO = $(TALLY) run molecule $(1) --stream --count '^TASK \[Verify \| ' --refuse 'Missing playbook .Remove from test_sequence' \
  -- env NO_COLOR=1 MOLECULE_COMMAND_BORDERS=0 $(CELL) molecule test -s $(2)

.PHONY: molecule molecule-start molecule-fleet
molecule: molecule-fleet ## Two hypervisors with real init systems, Debian 12 and 13

molecule-start: host
	@$(TALLY) start molecule

molecule-fleet: $(call NEEDS,molecule-start)
	@$(call SCENARIO,fleet,fleet)

.PHONY: newcomer
newcomer: host ## git, make and a clone of this repository: make demo, on Debian 12 and 13
	@$(call SCENARIO,newcomer,newcomer)

.PHONY: ordinary
ordinary: host ## What a container cannot prove: an ordinary Debian 13 in a virtual machine, restarted
	@$(call SCENARIO,ordinary,ordinary)

.PHONY: test
test: tools ## lint, unit, then the other tiers side by side; fails early; ends with the count of tests
	@rm -f $(BUILD)/summary; status=0; \
	for tier in lint unit; do \
	  echo "==== $$tier"; $(MAKE) $$tier || { status=1; break; }; \
	done; \
	if [ $$status -eq 0 ]; then \
	  echo "==== the others, side by side"; $(MAKE) sanity-importer integration-start molecule-start \
  && SIDE_BY_SIDE=1 $(MAKE) -j$(SIDES) CELLS=$(SIDE_CELLS) side-by-side || status=1; \
	fi; \
	$(TALLY) report || status=1; exit $$status

# The longest first, so that none is left over at the end.
SIDES ?= 4
SIDE_CELLS ?= 3
.PHONY: side-by-side
side-by-side: sanity-others molecule-fleet matrix integration-playbooks integration-demo integration-awx integration-targets

.PHONY: bench
bench: host ## What a task without changes costs, whole hosts and a fleet, as ratios; beside it what others do to the same guests
	@$(VENV)/bin/python tests/benchmarks/bench.py
	@$(CELL) $(VENV)/bin/python tests/benchmarks/table.py

.PHONY: bench-write
bench-write: host ## The same of whole hosts and a fleet, written into docs/docsite/rst/benchmarks.rst
	@$(CELL) $(VENV)/bin/python tests/benchmarks/table.py --write

.PHONY: mutants
mutants: host ## Remove drawn lines of what writes one by one and show that the tests notice (MUTANTS="--seed 1 --only _storage")
	@PYTHONPATH=$(BUILD) $(VENV)/bin/python tests/harness/mutants.py $(MUTANTS)

.PHONY: kills
kills: host ## Kill runs at 200 random moments, and show that nothing is lost or left and the next run converges (KILLS=200 SEED=1)
	@KILLS=$(or $(KILLS),200) HARNESS_SEED=$(or $(SEED),$(shell date +%s)) PYTHONPATH=$(BUILD) $(VENV)/bin/python -m pytest -q \
	  $(call IN_CELLS,2) --dist worksteal tests/matrix/test_kills.py

.PHONY: docker
docker: host ## Run Docker with overlay2 in an unprivileged container of Debian 13, also after its reboot
	@PYTHONPATH=$(BUILD) $(CELL) $(VENV)/bin/python -m pytest -q tests/matrix/docker.py

.PHONY: ubuntu
ubuntu: host ## Build a root of Ubuntu from a mirror that this host names, where one of the same shape stands in
	@PYTHONPATH=$(BUILD) $(CELL) $(VENV)/bin/python -m pytest -q tests/matrix/ubuntu.py

.PHONY: clones
clones: host ## Clone a running Debian 13 that is frozen by its agent, and show that the clone is another system
	@PYTHONPATH=$(BUILD) $(CELL) $(VENV)/bin/python -m pytest -q tests/matrix/clones.py

.PHONY: appliances
appliances: host ## Boot whole systems: Debian 13 with secure boot and a TPM; one that Debian's installer installs; what stands in for OPNsense, TrueNAS, Windows and Home Assistant OS; give a card and a stick of a host to a machine
	@$(TALLY) start appliances
	@status=0; $(TALLY) pytest appliances -- -q $(call IN_CELLS,2) --dist loadfile --no-loadscope-reorder tests/appliances || status=1; \
	$(TALLY) report appliances || status=1; exit $$status

.PHONY: homelab
homelab: host ## Build the example of a whole homelab on one host: a firewall, a NAS and services behind them, asked from a guest and taken away; build a host whose NAS is its own guest by one run, and restart it
	@$(TALLY) start homelab
	@status=0; $(TALLY) pytest homelab -- -q $(call IN_CELLS,2) --dist loadfile tests/homelab || status=1; \
	$(TALLY) report homelab || status=1; exit $$status

.PHONY: recovery
recovery: host ## Take backups and restores down at each step, their repositories away, over sftp and REST, files out of a virtual machine, and a whole host back from nothing but its repository
	@$(TALLY) start recovery
	@status=0; $(TALLY) pytest recovery -- -q $(call IN_CELLS,2) --dist loadfile --no-loadscope-reorder tests/recovery || status=1; \
	$(TALLY) report recovery || status=1; exit $$status

.PHONY: wire
wire: host ## Change the network of a host that is reached by it alone: confirmed over a new connection, or taken back, whatever is killed
	@PYTHONPATH=$(BUILD) $(CELL) $(VENV)/bin/python -m pytest -q tests/wire

SERVICE_CELLS ?= 3
SCENARIOS := $(addprefix tests/services/,test_services.py test_plans.py)
APPLICATIONS := $(patsubst %,tests/services/test_%.py,docker presets immich jellyfin paperless pihole node_red zigbee2mqtt)

.PHONY: services
services: host ## Each service role in a real Debian 13: applied, healed, updated, brought back, removed
	@$(TALLY) start services
	@status=0; $(TALLY) pytest services -- -q $(call IN_CELLS,$(SERVICE_CELLS)) --dist worksteal $(SCENARIOS) || status=1; \
	$(TALLY) report services || status=1; exit $$status

.PHONY: applications
applications: host ## What is configured in services beside that: applications of Docker and the presets, users and libraries by an API
	@$(TALLY) start applications
	@status=0; $(TALLY) pytest applications -- -q $(call IN_CELLS,$(SERVICE_CELLS)) --dist worksteal $(APPLICATIONS) || status=1; \
	$(TALLY) report applications || status=1; exit $$status

.PHONY: labs
labs: host ## What several services do together: updates of guests and hosts, backups, a whole lab, its door, its start page and its monitoring
	@$(TALLY) start labs
	@status=0; $(TALLY) pytest labs -- -q $(call IN_CELLS,$(SERVICE_CELLS)) --dist worksteal \
	  $(filter-out $(SCENARIOS) $(APPLICATIONS),$(sort $(wildcard tests/services/test_*.py))) || status=1; \
	$(TALLY) report labs || status=1; exit $$status

.PHONY: docs
docs: tools ## Write what follows from rows and argument specs (tables, defaults of roles), and render the documentation into .build/docs
	@$(VENV)/bin/python tests/tools/apply_paths.py --write
	@$(VENV)/bin/python tests/tools/option_docs.py
	@$(VENV)/bin/python tests/tools/layout_docs.py
	@$(VENV)/bin/python tests/tools/private_docs.py
	@$(VENV)/bin/python tests/tools/role_docs.py
	@$(VENV)/bin/python tests/tools/catalogue_docs.py
	@$(VENV)/bin/python tests/tools/preset_docs.py
	@rm -rf $(BUILD)/docs && mkdir -p $(BUILD)/docs && chmod 755 $(BUILD)/docs
	@antsibull-docs collection --use-current --dest-dir $(BUILD)/docs --output-format simplified-rst homelab.hybrid
	@echo "the pages are in .build/docs"

# ---- demo -----------------------------------------------------------------------------------------------------------

.PHONY: artifact
artifact: tools
	@tests/tools/build $(ARTIFACT)
	@$(DEMO_ENV) ansible-galaxy collection install --offline --force -p $(DEMO)/collections $(ARTIFACT) > $(BUILD)/demo-install.log || { cat $(BUILD)/demo-install.log; exit 1; }

.PHONY: demo
demo: artifact ## Build the demo lab on this host and show it
	@$(DEMO_PLAYBOOK) homelab.hybrid.demo

.PHONY: demo-check
demo-check: artifact ## Say what make demo would change, and change nothing
	@$(DEMO_PLAYBOOK) homelab.hybrid.site --check --diff

.PHONY: demo-destroy
demo-destroy: artifact ## Take the demo lab away (PURGE=1: the image cache too)
	@$(DEMO_PLAYBOOK) homelab.hybrid.destroy -e purge=$(PURGE)

# ---- guests ---------------------------------------------------------------------------------------------------------

.PHONY: enter
enter: tools ## A shell in a guest, ssh or console of a VM: GUEST=name [INVENTORY=...] [VIA=shell|ssh|console]
	@test -n "$(GUEST)" || { echo "make enter: name the guest, as in make enter GUEST=resolver" >&2; exit 2; }
	@PYTHONPATH=$(BUILD) $(VENV)/bin/python tools/enter.py $(if $(INVENTORY),-i '$(INVENTORY)') --via '$(VIA)' '$(GUEST)'

.PHONY: clean
clean: ## Remove what make built, except the demo lab itself
	@rm -rf $(BUILD)/{ansible-home,ansible-test,demo,dist,docs,importer,installed,logs,mutants,mypy_cache,reports,summary,venv} tests/output

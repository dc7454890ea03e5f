# The two commands: `make up` and `make test`. `make help` lists the rest.

# What `make help` says of them:
#= INVENTORY=vagrant|another machine: laptop, vagrant or cluster
#= ARGS="-e kafka_port=19092"|more arguments for ansible-playbook, the command or pytest (ARGS="-k merge")
#= SPARK_LINE=3.5|the legacy pair of Spark and Delta
#= WORKERS=1|the suite in one process
INVENTORY ?= laptop
# How many processes share the suite: each takes some 300 MiB, a driver's JVM more. With less than 6 GiB of free memory one
# does, and `WORKERS=1` says so anywhere.
WORKERS ?= $(or $(shell awk '/^MemAvailable/ { print ($$2 < 6 * 1024 * 1024) ? 1 : 4 }' /proc/meminfo 2>/dev/null),4)
# The scenario `roles` applies each of these alone.
SCENARIO ?= default
ROLES ?= webhook_receiver alertmanager prometheus kafka zookeeper mysql mysql_client postgres debezium minio spark delta_sink
# The line that .venv was made for, until told otherwise.
SPARK_LINE ?= $(or $(shell sed -n 's/^spark-\([0-9]*\)-\([0-9]*\) .*/\1.\2/p' .venv/.lock 2>/dev/null),4.2)
# More arguments for ansible-playbook or pytest, for example ARGS="-e kafka_port=19092" or ARGS="-k merge".
ARGS ?=

export SPARK_LINE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Ansible ends at once under a locale that is not UTF-8.
ifneq ($(shell locale charmap 2>/dev/null),UTF-8)
export LC_ALL := C.UTF-8
endif

inventory := inventories/$(INVENTORY)
$(if $(wildcard $(inventory)),,$(error INVENTORY '$(INVENTORY)' is not an inventory; use one of: \
$(notdir $(patsubst %/,%,$(wildcard inventories/*/)))))
playbook := scripts/playbook -i $(inventory) -e spark_line=$(SPARK_LINE)
pytest := pytest --ansible-inventory=$(inventory)
# What runs here against a stack in a VM goes through this.
attached := $(if $(filter vagrant,$(INVENTORY)),scripts/vm)

.DEFAULT_GOAL := help
.PHONY: help up test gate suite faults verify resnapshot molecule box status images images-save images-load images-push images-pull down destroy bench lint docs unit provision format venv

help: ## Show this list
	@echo 'Use the workstation:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@printf '\nWork on it:\n'
	@sed -n 's/^\([a-z-]*\):.*##- \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@printf '\nVariables:\n'
	@sed -n 's/^#= \([A-Z_]*=[^|]*\)|\(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

venv: ##- Make .venv equal to uv.lock
	@scripts/bootstrap

up: venv ## Build and start the workstation, then verify it
	@$(playbook) site.yml $(ARGS)

test: gate suite ## Prove that it works: the gate, then the suite

gate: venv ## Check ports, health, memory and secrets of the running stack
	@$(pytest) tests/gate --hosts=ansible://workstation --quiet $(GATE_ARGS)

suite: venv ## Run the test suite against the running stack (WORKERS=1 for one process)
	@$(attached) $(pytest) tests/suite --numprocesses=$(WORKERS:1=0) --dist=loadgroup --durations=10 $(ARGS)

status: venv ## Show services, health, memory, URLs, connectors, tables, lag and alerts (ARGS=--watch: again and again)
	@$(if $(filter laptop,$(INVENTORY)),cdc-workstation status,ansible-playbook -i $(inventory) playbooks/status.yml) $(ARGS)

verify: venv ## Compare captured tables with their sources (TABLE=cdcdb.products: one; all if none is named)
	@$(attached) cdc-workstation verify $(TABLE) $(ARGS)

resnapshot: venv ## Read one table again until Delta equals it: repairs drift (TABLE=cdcdb.products)
	@$(attached) cdc-workstation resnapshot $(or $(TABLE),$(error Say which table: TABLE=cdcdb.products)) $(ARGS)

faults: venv ##- Kill, pause and restart services under load (not beside other tests)
	@$(attached) $(pytest) tests/faults $(ARGS)

molecule: venv ##- Run a molecule scenario (SCENARIO=default; the others are in molecule/)
	@for role in $(if $(filter roles,$(SCENARIO)),$(ROLES),none); do \
		ROLE=$$role molecule test --scenario-name $(SCENARIO) $(ARGS) || exit; \
	done

box: ##- Build a Vagrant box from Debian packages: build/debian.box
	@scripts/box

images: venv ## Show what each image contains, and write an SBOM of each
	@python -m images report $(ARGS)

images-save: venv ## Save the images to one file (ARCHIVE=images.tar)
	@python -m images save $(or $(ARCHIVE),$(error Say which file: ARCHIVE=images.tar))

images-load: venv ## Verify such a file and load its images (ARCHIVE=images.tar)
	@python -m images load $(or $(ARCHIVE),$(error Say which file: ARCHIVE=images.tar))

images-push: venv ## Push the images to a registry of yours (REGISTRY=host:port/path)
	@python -m images push $(or $(REGISTRY),$(error Say which registry: REGISTRY=host:port/path))

images-pull: venv ## Pull the images from there (REGISTRY=host:port/path)
	@python -m images pull $(or $(REGISTRY),$(error Say which registry: REGISTRY=host:port/path))

down: venv ## Stop the workstation; data stays
	@$(playbook) playbooks/down.yml $(ARGS)

destroy: venv ## Remove the workstation with its data (it asks; YES=1 does not)
	@$(playbook) playbooks/destroy.yml $(if $(YES),-e destroy_confirmed=true) $(ARGS)

bench: venv ##- Measure the running stack: medians and ratios
	@python -m benchmarks $(ARGS)

provision: venv ##- Provision a small second stack, well and badly
	@pytest tests/provision --timeout=600 $(ARGS)

unit: venv ##- Run the tests that need no stack
	@pytest tests/unit --numprocesses=2 --dist=loadfile $(ARGS)

lint: venv ##- Check the style of everything
	@ruff check .
	@ruff format --check .
	@mypy
	@yamllint --strict .
	@ansible-lint --offline
	@shellcheck scripts/* .ci/run
	@python docs/role_tables.py --check

docs: venv ##- Write the tables of variables in the READMEs of the roles
	@python docs/role_tables.py

format: venv ##- Format the Python code
	@ruff check --fix .
	@ruff format .

# make            what there is
# make demo       the whole thing, live, in one command
# make test       every test, against a real MySQL and a real MariaDB
# make soak       random tables, transactions and schema changes, for as long as you like
# make soak-verify  comparisons under heavy load, none of which may find a difference
# make soak-kill  kill -9 at random moments, as often as you like
# make check-deploy  the files of docker/ against their schemas, and the compose demo without an engine
# make bench      the whole way of a change against reading alone, then the hot loops; quick=1 in under two minutes

CARGO ?= cargo
# How long the demo's writer writes, and more arguments for it (see `towpath demo --help`).
seconds ?= 30
args ?=
# How long `make soak` and `make soak-verify` go on.
minutes ?= 10
# How often `make soak-kill` kills.
kills ?= 200
# `make bench`: 1 for a fifth of the rows and nothing but the first measurements.
quick ?=
# The tests' second decoder is built with OpenSSL. Where pkg-config finds none, get.sh brings it.
ifndef OPENSSL_DIR
ifneq ($(shell pkg-config --exists openssl 2>/dev/null && echo found),found)
openssl := openssl
export OPENSSL_DIR := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/towpath/servers/openssl
export OPENSSL_STATIC := 1
endif
endif
# Tests wait for servers more than for a core.
export RUST_TEST_THREADS ?= 4

.PHONY: help demo test soak soak-verify soak-kill lint check-deploy bench tools

help:
	@echo 'make demo [seconds=30]  a scratch MySQL with live orders into the embedded target, then proof that both agree'
	@echo 'make test               all tests; MySQL and MariaDB are fetched without root (or TOWPATH_MYSQLD, TOWPATH_MARIADBD)'
	@echo 'make soak [minutes=10]  random tables, transactions and schema changes through the whole job, always new ones'
	@echo 'make soak-verify [minutes=10]  comparisons under heavy load: none may find a difference'
	@echo 'make soak-kill [kills=200]  kill -9 at random moments under load, of the job and of its target'
	@echo 'make lint               formatting, clippy, shell syntax'
	@echo 'make check-deploy       containers, Kubernetes, systemd: schemas, and the compose demo without an engine (PyPI, npm)'
	@echo 'make bench [quick=1]    what it does a second, its CPU and its memory, against reading alone; see docs/performance.md'

demo: tools
	@tests/servers/get.sh mysql
	@$(CARGO) build --locked --release
	@$(CARGO) run --locked --release --quiet -- demo --seconds $(seconds) $(args)

test: tools
	@tests/servers/get.sh mysql mariadb prometheus $(openssl)
	$(CARGO) test --locked

soak: tools
	@tests/servers/get.sh mysql mariadb $(openssl)
	TOWPATH_SOAK_SECONDS=$$(($(minutes) * 60)) $(CARGO) test --locked --test it random -- --nocapture

soak-verify: tools
	@tests/servers/get.sh mysql mariadb $(openssl)
	TOWPATH_SOAK_SECONDS=$$(($(minutes) * 60)) $(CARGO) test --locked --test it verify::soak:: -- --nocapture

soak-kill: tools
	@tests/servers/get.sh mysql mariadb $(openssl)
	TOWPATH_SOAK_KILLS=$(kills) $(CARGO) test --locked --test it crash::kills:: -- --nocapture

lint: tools
	sh -n tests/servers/get.sh
	bash -n .ci/run
	$(if $(openssl),@tests/servers/get.sh openssl)
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

check-deploy: tools
	@docker/check/check.sh
	@$(CARGO) build --locked
	@docker/check/rehearse.sh $(or $(CARGO_TARGET_DIR),target)/debug/towpath

bench: tools
	@tests/servers/get.sh mysql valgrind $(openssl)
	$(CARGO) bench --locked --bench replay -- $(if $(quick),--quick) --json target/replay.json $(args)
	PATH="$$PATH:$${XDG_CACHE_HOME:-$$HOME/.cache}/towpath/servers/valgrind" $(CARGO) bench --locked --bench hot_path -- --instructions
	$(if $(quick),,$(CARGO) bench --locked --bench hot_path)

# SQLite and ring bring C code with them.
tools:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo 'There is no $(CARGO) here. Towpath needs Rust 1.89 or later: https://rustup.rs' >&2; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null 2>&1 || { echo 'There is no C compiler ($(CC)) here: install gcc or clang, or set CC.' >&2; exit 1; }

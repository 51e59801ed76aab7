# The front door. Each command is a small script in tools/, or a line of cargo.

.DEFAULT_GOAL := help
.PHONY: help run test build dev lint end2end bench soak setup clean
ARGS ?=

help:
	@printf 'Latchkey: API keys, made in a dashboard and shown once\n\n'
	@printf '  make run       set up, build, serve on http://127.0.0.1:3000 with ./latchkey.db\n'
	@printf '  make test      set up, build, all tests: both databases, and three browsers\n\n'
	@printf '  make build     the release binary: target/release/latchkey\n'
	@printf '  make dev       a debug server that is rebuilt when a file changes\n'
	@printf '  make lint      formatting, Clippy on both halves, documentation, shell scripts, links\n'
	@printf '  make end2end   the browser tests alone\n'
	@printf '  make bench     load tests: keys page, checks, ingest, a million keys, three nodes\n'
	@printf '  make soak      three nodes under load for 10 minutes, with faults of every kind\n'
	@printf '  make setup     installs the requirements of the other recipes\n'
	@printf '  make clean     removes everything that was built, and keeps the database\n\n'
	@printf 'More for the program itself:   make run ARGS="--listen 127.0.0.1:8080"\n'

run: build
	@target/release/latchkey $(ARGS)

build:
	@tools/build

test:
	@tools/test

dev:
	@tools/dev $(ARGS)

lint:
	@tools/lint

end2end: build
	@tools/setup-test
	@tools/end2end $(ARGS)

bench: build
	@tools/bench $(ARGS)

soak: build
	@tools/setup-test
	@tools/soak

setup:
	@tools/setup
	@tools/setup-test

clean:
	@tools/postgres remove 2>/dev/null || true
	@tools/redis stop 2>/dev/null || true
	@rm -rf target tools/node_modules tools/markdown/node_modules end2end/node_modules

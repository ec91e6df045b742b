# make demo       a whole small cloud on this machine, left running; make demo-down ends it
# make test       every check there is: format, lints, unit tests, end-to-end tests in labs, and
#                 unchanged OpenStack clients
# make test-long  the end-to-end tests that take long, servers killed 50 times under load, every
#                 part of the recorded hosts broken once and walked over, a million requests that
#                 nobody means well, the clients with a real Keystone, and tempest
# make bench      the store's, the server's, the agent's and distributed routers' figures, with all
#                 syncing on
# make test-kernel  end-to-end tests under Debian's stock kernel, in a virtual machine
#
# What is missing on a fresh Debian 12 is installed first: packages, a Rust toolchain, cargo-nextest.
# The clients come from PyPI, pinned, into target/venvs.
.PHONY: demo demo-down test test-long test-kernel bench build

NUCLEON := target/release/nucleon
# Labs need root; building does not.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,CARGO_HOME,RUSTUP_HOME)
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

demo: build
	$(AS_ROOT) tools/demo $(NUCLEON)

demo-down:
	$(AS_ROOT) $(NUCLEON) lab --name demo down

build:
	$(AS_ROOT) tools/install build lab
	tools/install rust
	cargo build --release --locked -p cli

test:
	$(AS_ROOT) tools/install build lab test clients
	tools/install rust nextest
	tools/lanes check rig e2e clients

test-long:
	$(AS_ROOT) tools/install build lab test clients
	tools/install rust nextest
	tools/lanes long kill breaks fuzz keystone tempest

test-kernel:
	$(AS_ROOT) tools/install build lab test kernel
	tools/install rust
	$(AS_ROOT) tools/kernel-lane

bench: build
	$(AS_ROOT) tools/install test
	cargo run --release --locked -p bench -- store
	cargo run --release --locked -p bench -- http
	cargo run --release --locked -p bench -- walk
	cargo build --release --locked -p bench
	$(AS_ROOT) target/release/bench agent
	$(AS_ROOT) target/release/bench routers
	$(AS_ROOT) target/release/bench dvr

# make demo: a whole small cloud on this machine. make test: every check there is.
.PHONY: test
test:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo nextest run --workspace --locked

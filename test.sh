#!/usr/bin/env bash
# The whole check: format, lints, licences and advisories, documentation, tests. Needs Rust (the version in
# rust-toolchain.toml) and a C compiler; says what is missing. The summary of the tests comes last.
set -euo pipefail
cd "$(dirname "$0")"

need() { command -v "$1" >/dev/null 2>&1 || { echo "test.sh needs $1: $2" >&2; exit 1; }; }
need cargo "install Rust from https://rustup.rs"
need cc "install a C compiler (Debian: apt-get install build-essential)"
cargo fmt --version >/dev/null 2>&1 || { echo "test.sh needs rustfmt: rustup component add rustfmt" >&2; exit 1; }
cargo clippy --version >/dev/null 2>&1 || { echo "test.sh needs clippy: rustup component add clippy" >&2; exit 1; }

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "licences, bans, sources"
DENY_VERSION=0.20.2
if ! cargo deny --version 2>/dev/null | grep -q "$DENY_VERSION"; then
    echo "installing cargo-deny $DENY_VERSION (once)"
    cargo install --locked --quiet --debug cargo-deny --version "$DENY_VERSION"
fi
cargo deny check licenses bans sources

step "advisories"
if cargo deny fetch db 2>/dev/null; then
    cargo deny check advisories
elif cargo deny --offline check advisories; then
    echo "NOTE: the advisory database cannot be reached; checked against the copy fetched earlier"
elif ls "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/ >/dev/null 2>&1; then
    exit 1
else
    echo "NOTE: the advisory database (https://github.com/RustSec/advisory-db) cannot be reached: ADVISORIES WERE NOT CHECKED"
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

step "tests"
cargo test --workspace --locked "$@"

#!/usr/bin/env bash
# The whole check: format, lints, licences and advisories, documentation, tests. Needs Rust (the version in
# rust-toolchain.toml), a C compiler with make and perl, Java and Maven for the real Kafka and Cassandra that tests run
# against, and Prometheus for the alerts and dashboards; says what is missing. The summary of the tests comes last.
set -euo pipefail
cd "$(dirname "$0")"

MISSING=""
need() { command -v "$1" >/dev/null 2>&1 || MISSING="$MISSING
  $1: $2"; }
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 &&
    ! { command -v promtool && command -v prometheus-node-exporter; } >/dev/null 2>&1; then
    echo "installing Debian's packages prometheus and prometheus-node-exporter (once)"
    { apt-get -q update && apt-get -q install -y --no-install-recommends prometheus prometheus-node-exporter; } >/dev/null ||
        echo "they could not be installed" >&2
fi
need cargo "install Rust from https://rustup.rs"
need cc "install a C compiler (Debian: apt-get install build-essential)"
need make "install make (Debian: apt-get install build-essential)"
need perl "install Perl, with which OpenSSL is built (Debian: apt-get install perl)"
need java "install Java 17 or newer, on which Kafka and Cassandra run (Debian: apt-get install openjdk-17-jre-headless)"
need mvn "install Maven, which fetches Kafka and Cassandra (Debian: apt-get install maven)"
for tool in promtool prometheus prometheus-node-exporter; do
    need $tool "install Prometheus (Debian: apt-get install prometheus prometheus-node-exporter)"
done
[ -z "$MISSING" ] || { echo "test.sh needs$MISSING" >&2; exit 1; }
JAVA_MAJOR=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${JAVA_MAJOR:-0}" -ge 17 ] || { echo "test.sh needs Java 17 or newer, not ${JAVA_MAJOR:-an unknown version}" >&2; exit 1; }
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

step "Kafka and Cassandra"
cargo run --quiet --locked -p leadway-servers -- fetch

step "tests"
cargo test --workspace --locked --no-fail-fast "$@"

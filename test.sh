#!/usr/bin/env bash
# The whole check: format, lints, licences and advisories, documentation, tests. It installs what it needs where it may (as
# root or with sudo, on Debian and Ubuntu), and says elsewhere exactly what to install. The summary of the tests comes last.
set -euo pipefail
cd "$(dirname "$0")"

has() { command -v "$1" >/dev/null 2>&1; }

# Java and Maven run the real Kafka and Cassandra that tests start; Prometheus checks alerts and dashboards.
has_java() { has java && [ "$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)" -ge 17 ]; }
has_openssl() { has pkg-config && pkg-config --exists 'openssl >= 1.1.1'; }
missing() {
    { has cc && has make; } || echo build-essential
    has_openssl || echo pkg-config libssl-dev
    has_java || echo default-jre-headless
    has mvn || echo maven
    { has promtool && has prometheus; } || echo prometheus
    has prometheus-node-exporter || echo prometheus-node-exporter
}

PACKAGES=$(missing | xargs)
if [ -n "$PACKAGES" ] && has apt-get; then
    SUDO=""
    # Without a terminal nobody can type a password.
    [ "$(id -u)" = 0 ] || { SUDO="sudo"; [ -t 0 ] || SUDO="sudo -n"; }
    if [ -z "$SUDO" ] || { has sudo && $SUDO true; }; then
        echo "installing Debian packages (once): $PACKAGES"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        { $SUDO apt-get -q update && $SUDO apt-get -q install -y --no-install-recommends $PACKAGES; } >/dev/null ||
            echo "they could not be installed" >&2
        # Tests start their own; the packages' services would hold the ports 9090 and 9100.
        case "$PACKAGES" in *prometheus*)
            if has systemctl; then $SUDO systemctl disable --now prometheus prometheus-node-exporter >/dev/null 2>&1 || true; fi ;;
        esac
    fi
fi
LEFT=$(missing | xargs)
if [ -n "$LEFT" ]; then
    cat >&2 <<END
test.sh needs these, which it could not install itself. On Debian and Ubuntu:

  apt-get install $LEFT

Elsewhere: a C compiler with make, OpenSSL 1.1.1 or newer with its headers and pkg-config, Java 17 or newer, Maven, and
Prometheus with promtool and prometheus-node-exporter, all on the PATH.
END
    exit 1
fi
if ! has cargo; then
    echo "test.sh needs Rust: install it from https://rustup.rs, then run test.sh again; rust-toolchain.toml names the version" >&2
    exit 1
fi
for component in fmt clippy; do
    cargo $component --version >/dev/null 2>&1 || rustup component add rustfmt clippy
done

# With TLS to Kafka and ScyllaDB, as the images have it, on the system's OpenSSL: building OpenSSL takes five minutes.
export OPENSSL_NO_VENDOR=1

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

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
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked --quiet

step "build"
cargo test --workspace --all-features --locked --no-run

step "Kafka and Cassandra"
"${CARGO_TARGET_DIR:-target}/debug/leadway-servers" fetch

step "tests"
cargo test --workspace --all-features --locked --no-fail-fast "$@"

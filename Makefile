# airpods: everything a checkout needs. `make help` lists the targets.

PREFIX  ?= /usr
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
# Where the helper is, and where D-Bus, polkit and systemd look for its files.
LIBEXECDIR ?= $(PREFIX)/libexec
SYSTEM  ?= /usr
DESTDIR ?=
CARGO   ?= cargo
PROFILE ?= dev
# Only tests with this in their name; options of cargo-nextest are taken too.
TESTS   ?=

TRIPLE   := $(shell rustc -vV | sed -n 's/^host: //p')
BUILT     = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
PROGRAMS  = $(BUILT)/programs

# Tools from crates.io come from PATH, or are installed below target/tools.
TOOLS    := $(CURDIR)/target/tools
export PATH := $(PATH):$(TOOLS)/bin
# Not optimised: each is built once and runs for seconds.
tool = command -v $(1) >/dev/null || { echo 'installing $(1) $(2) below target/tools' >&2; CARGO_PROFILE_DEV_DEBUG=false \
	$(CARGO) install --locked --debug --root '$(TOOLS)' --target-dir '$(TOOLS)/build' $(3) $(1)@$(2) && rm -rf '$(TOOLS)/build'; }

# Throw-away hosts need root: the built programs run as root, cargo itself as whoever called make.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -E)
# The ring without root: root's own run of it has no capability.
NO_ROOT := $(if $(filter 0,$(shell id -u)),setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all)
RUNNER  := CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUNNER

.PHONY: help check test test-full build programs released-helper lab demo picture bench fuzz mutants lint audit install install-client install-helper deb clean probe writable-client writable-helper docs rpm deb-src release

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

# Each package is tested by itself: together they would get the features that the others want of
# their libraries. $(1) is the profile in .config/nextest.toml, $(2) the program that runs the
# tests. An ignored test is an error. A test that is killed cannot remove its temporary folder; the
# ring removes the folder of all of them.
PACKAGES := 'airpods-dbus --package airpods-helper' 'airpods' 'airpods-lab'
BUILD_AS = $(if $(filter-out dev,$(PROFILE)),--cargo-profile $(PROFILE))
ring = @folder=$$(mktemp --directory --tmpdir airpods-tests.XXXXXX) && chmod 755 "$$folder"; export TMPDIR="$$folder"; \
	trap '$(2) rm -rf "$$folder"' EXIT; trap 'exit 130' HUP INT TERM; \
	$(if $(2),export $(RUNNER)='$(2)';) failed=; for package in $(PACKAGES); do \
	echo "the tests of $$package:"; \
	$(CARGO) nextest run --package $$package --profile $(1) $(BUILD_AS) $(if $(TESTS),--no-tests pass $(TESTS)) || failed=1; \
	ignored=$$($(CARGO) nextest list --package $$package $(BUILD_AS) --ignore-default-filter --run-ignored only --message-format oneline) || failed=1; \
	if [ -n "$$ignored" ]; then echo "error: these tests are ignored:" "$$ignored" >&2; failed=1; fi; \
	done; [ -z "$$failed" ]

check: setup-check lint programs ## format, lints, and every test that needs no root (TESTS=part-of-a-name)
	@$(call tool,cargo-nextest,$(NEXTEST),$(NEXTEST_FEATURES))
	$(call ring,check,$(NO_ROOT))

test: setup-lab build lab probe released-helper ## every test that runs on one machine, in throw-away namespaces, as root (TESTS=part-of-a-name)
	@$(call tool,cargo-nextest,$(NEXTEST),$(NEXTEST_FEATURES))
	$(call ring,default,$(AS_ROOT))

# The first run makes the machines, which takes minutes; they are kept in target/machines. The truth
# of measuring is tried on many paths.
test-full: export AIRPODS_PATHS = 100000
test-full: setup-full build lab probe deb ## all tests: also whole machines, the package, a thousand kills (TESTS=part-of-a-name)
	@$(call tool,cargo-nextest,$(NEXTEST),$(NEXTEST_FEATURES))
	$(call ring,full,$(AS_ROOT))

# The newest that rust-version in Cargo.toml builds, without what updates it.
NEXTEST          := 0.9.128
NEXTEST_FEATURES := --no-default-features --features default-no-update
AUDITABLE        := 0.7.7
AUDITABLE2CDX    := 0.1.0
DENY             := 0.20.2
MDBOOK           := 0.4.52

# A release has no path of the machine it was built on, so that it is the same wherever it is built,
# and knows its crates.
SYSROOT  := $(shell rustc --print sysroot)
COMMIT   := $(shell rustc -vV | sed -n 's/^commit-hash: //p')
ESCAPE   := $(shell printf '\037')
REMAP     = --remap-path-prefix=$(CURDIR)=/airpods$(ESCAPE)--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo$(ESCAPE)--remap-path-prefix=$(SYSROOT)/lib/rustlib/src/rust=/rustc/$(COMMIT)
# As `cargo auditable build` does it, but with the tool by its bare name: cargo mixes its path into
# the names of symbols. `AUDITABLE=` leaves the list out, for a build without network where
# cargo-auditable is not installed.
AUDIT     = RUSTC_WORKSPACE_WRAPPER=cargo-auditable CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}'
RELEASE   = CARGO_ENCODED_RUSTFLAGS='$(REMAP)' $(if $(AUDITABLE),$(AUDIT)) $(CARGO) build --locked
COMPILE   = $(if $(filter release,$(PROFILE)),$(RELEASE),$(CARGO) build)

# Each program is built by itself, and a copy taken before a test's build puts one with other
# features in its place. Sandboxes, the demo, the benchmarks and packages have the copy. Beside it
# is cargo's word for what it was built of.
program = mkdir -p $(PROGRAMS) && $(COMPILE) --package $(1) --bin $(1) --profile $(PROFILE) --message-format json-render-diagnostics \
	>$(PROGRAMS)/$(1).json && cp --preserve=timestamps --remove-destination $(BUILT)/$(1) $(PROGRAMS)/

programs: setup-build ## builds the client and the helper as they ship (PROFILE=dev)
	@$(auditable)
	@$(call program,airpods-helper)
	@$(call program,airpods)

auditable = $(if $(and $(filter release,$(PROFILE)),$(AUDITABLE)),$(call tool,cargo-auditable,$(AUDITABLE)))

# Some limits of memory and time hold for a release only.
released-helper: PROFILE = release
released-helper: setup-build
	@$(auditable)
	@$(call program,airpods-helper)

# The pages do not depend on the profile.
build: programs ## builds the client, the helper and the manual (PROFILE=dev)
	rm -rf target/manual target/licences
	$(CARGO) run --package airpods --example manual -- target/manual
	$(CARGO) run --package airpods --example licences -- target/licences

lab: setup-build
	$(CARGO) build --package airpods-lab --profile $(PROFILE)

demo: setup-lab build lab probe ## shows the main job: a container behind a VPN, without and with the clamp
	@$(AS_ROOT) target/debug/airpods-lab demo

picture: setup-lab build lab probe ## draws the terminal run at the head of README.md, from a real one
	@$(AS_ROOT) target/debug/airpods-lab picture docs/pictures

docs: ## builds the pages of docs/ as a book, target/book/index.html
	@$(call tool,mdbook,$(MDBOOK),--no-default-features)
	mdbook build

bench: PROFILE = release
bench: setup-bench build lab probe ## measures the clamp against nft, iptables and firewalld, and launches against podman
	@$(AS_ROOT) target/release/airpods-lab bench

# cargo-fuzz wants a nightly compiler for the sanitizer; RUSTC_BOOTSTRAP makes the stable one give
# it. What is found grows in target/fuzz-corpus; an input that breaks something is written to
# tests/fuzz/artifacts.
TIME ?= 60
FUZZ ?= $(basename $(notdir $(wildcard tests/fuzz/targets/*.rs)))
fuzz: setup-build ## feeds made-up bytes to everything that reads some from outside (TIME=60 seconds each, FUZZ='some targets')
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@set -e; for target in $(FUZZ); do \
		mkdir -p target/fuzz-corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz $$target \
			target/fuzz-corpus/$$target tests/fuzz/seeds/$$target -- -max_total_time=$(TIME) -print_final_stats=1 \
			-timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64; \
	done

# Each part is judged by the tests that are there for it: the pure ones, and what they miss by those
# with a bus or with the kernel. cargo-mutants ends with 2 where something was missed.
MUTANTS ?=
mutants: setup-build ## changes the code in hundreds of places to see whether the tests notice (MUTANTS=options of cargo-mutants)
	@command -v cargo-mutants >/dev/null || $(CARGO) install --locked cargo-mutants
	nice -n 19 $(CARGO) mutants --package airpods-dbus --output target/mutants-dbus --cargo-arg=--lib $(MUTANTS)
	nice -n 19 $(CARGO) mutants --package airpods-helper --output target/mutants-helper --cargo-arg=--lib $(MUTANTS) || test $$? = 2
	nice -n 19 $(CARGO) mutants --package airpods-helper --output target/mutants-helper --iterate $(MUTANTS) \
		$(foreach test,kernel bus_authority bus_matrix bus_keeping bus_reads bus_surface bus_log bus_alive bus_polkit rights,--cargo-arg=--test=$(test))

lint: setup-build ## checks format, clippy, links in comments, and the crates' licences and sources where cargo-deny is installed
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' \
		$(CARGO) doc --quiet --workspace --all-features --no-deps --document-private-items
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; else echo 'cargo-deny is not installed: not checked'; fi

# Builds cargo-deny only where there is something for it to judge by.
DATABASE := https://github.com/RustSec/advisory-db
audit: ## judges the crates by RustSec's advisories, and says so loudly where their database cannot be reached
	@if GIT_TERMINAL_PROMPT=0 timeout 60 git ls-remote --quiet --exit-code $(DATABASE) HEAD >/dev/null 2>&1; then \
		$(call tool,cargo-deny,$(DENY),) && $(CARGO) deny check advisories; \
	else \
		echo 'WARNING: ADVISORIES NOT JUDGED: $(DATABASE) cannot be reached from here' >&2; \
	fi

# One program without any library, for images that have no other file. In a target folder of its
# own, because its flags are not those of the rest.
probe: setup-build ## builds the static program of the laboratory's images
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --package airpods-lab --bin lab-probe --features probe \
		--release --target $(TRIPLE) --target-dir target/static

# On an image-based system /usr is read-only. D-Bus and polkit read some files nowhere else, so
# nothing is installed there at all.
writable = @for folder in $(1); do \
		there="$(DESTDIR)$$folder"; \
		until [ -e "$$there" ]; do there=$$(dirname "$$there"); done; \
		[ -w "$$there" ] || { \
			echo "make install: $$there cannot be written, so nothing was installed" >&2; \
			echo "hint: be root; where /usr is read-only, as on an image-based system, build a package and layer it, or unlock /usr" >&2; \
			exit 1; \
		}; \
	done

writable-client:
	$(call writable,$(PREFIX) $(ZSHDIR))

writable-helper:
	$(call writable,$(LIBEXECDIR) $(PREFIX) $(SYSTEM)/share $(SYSTEM)/lib)

# The programs and their documents go where PREFIX says. The rest goes where D-Bus, polkit and
# systemd look, which no other prefix is for all three, and names the programs where they are. The
# unit that restores is enabled by its preset, at once where systemd runs this system; a package
# leaves that to its own scripts.
install: install-client install-helper ## installs a release build (DESTDIR=, PREFIX=/usr for the programs and their documents, ZSHDIR=)

# Neither part is installed unless both can be.
ifneq ($(filter install,$(MAKECMDGOALS))$(and $(filter install-client,$(MAKECMDGOALS)),$(filter install-helper,$(MAKECMDGOALS))),)
install-client: writable-helper
install-helper: writable-client
endif

install-client: writable-client ## installs the command `airpods` alone: everything but the clamp works without the helper
	install -Dm755 -t '$(DESTDIR)$(PREFIX)/bin' target/release/programs/airpods
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/man/man1' target/manual/*.1
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/man/man5' target/manual/*.5
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' target/manual/airpods
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d' target/manual/airpods.fish
	install -Dm644 -t '$(DESTDIR)$(ZSHDIR)' target/manual/_airpods
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/doc/airpods' README.md target/licences/airpods/crates.txt
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/doc/airpods/docs' docs/*.md
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/doc/airpods/docs/pictures' docs/pictures/*.svg
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/airpods/schemas' docs/schemas/*.json
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/licenses/airpods' LICENSE-*

install-helper: writable-helper ## installs the helper alone, for busctl and whoever else calls it
	install -Dm755 -t '$(DESTDIR)$(LIBEXECDIR)' target/release/programs/airpods-helper
	install -Dm644 -t '$(DESTDIR)$(SYSTEM)/share/dbus-1/system.d' dbus/org.airpods.Helper1.conf
	install -Dm644 -t '$(DESTDIR)$(SYSTEM)/share/dbus-1/system-services' dbus/org.airpods.Helper1.service
	install -Dm644 -t '$(DESTDIR)$(SYSTEM)/share/dbus-1/interfaces' dbus/org.airpods.Helper1.xml
	install -Dm644 -t '$(DESTDIR)$(SYSTEM)/share/polkit-1/actions' polkit/*.policy
	install -Dm644 -t '$(DESTDIR)$(SYSTEM)/lib/systemd/system' dbus/airpods-*.service
	sed -i 's|/usr/libexec/|$(LIBEXECDIR)/|' '$(DESTDIR)$(SYSTEM)/share/dbus-1/system-services/org.airpods.Helper1.service' \
		'$(DESTDIR)$(SYSTEM)/lib/systemd/system/airpods-helper.service'
	install -Dm644 dbus/airpods.preset '$(DESTDIR)$(SYSTEM)/lib/systemd/system-preset/80-airpods.preset'
	$(if $(DESTDIR),,[ ! -d /run/systemd/system ] || systemctl preset airpods-restore.service)
	install -Dm644 dbus/airpods.sysusers '$(DESTDIR)$(SYSTEM)/lib/sysusers.d/airpods.conf'
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/man/man8' helper/airpods-helper.8
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/doc/airpods-helper' target/licences/airpods-helper/crates.txt \
		docs/dbus-api.md docs/security.md docs/threat-model.md
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/doc/airpods-helper/polkit/examples' polkit/examples/*
	install -Dm644 -t '$(DESTDIR)$(PREFIX)/share/licenses/airpods-helper' LICENSE-*

# debhelper packs what `make install` makes, in a copy of helper/debian: the two cannot differ. What
# a program says of the crates in it becomes an SBOM (CycloneDX) beside the packages.
deb: setup-deb ## builds the Debian packages, target/deb/*.deb, each with its SBOM, and holds them against lintian
	$(MAKE) build PROFILE=release
	@$(call tool,auditable2cdx,$(AUDITABLE2CDX))
	rm -rf target/deb
	packaging/deb.sh target/deb
	cd target/deb && auditable2cdx airpods/debian/airpods/usr/bin/airpods >airpods.cdx.json
	cd target/deb && auditable2cdx airpods/debian/airpods-helper/usr/libexec/airpods-helper >airpods-helper.cdx.json
	$(LINTIAN) target/deb/*.changes

# A tag that no override explains fails, and so does an override without its tag. These two come and
# go, with the version and with the compiler: nobody uploads a first version to Debian, so no bug
# there asks for it; and texts that the compiler puts side by side are no misspelt words.
LINTIAN := lintian --pedantic --display-info --tag-display-limit 0 --fail-on error,warning,info,pedantic \
	--suppress-tags initial-upload-closes-no-bugs,spelling-error-in-binary

deb-src: setup-deb ## makes the Debian source package below target/deb-src, which compiles without network
	packaging/source.sh
	packaging/deb-src.sh
	$(LINTIAN) target/deb-src/*_source.changes

rpm: setup-pack ## builds the RPMs, target/rpm/*.rpm, and holds them against rpmlint
	$(MAKE) build PROFILE=release
	packaging/rpm/build.sh

VERSION ?=
KEY     ?=
TAG     ?=
release: setup-pack ## makes a release below target/release-VERSION (VERSION=x.y.z, KEY=gpg-key, TAG=yes commits and tags)
	@VERSION='$(VERSION)' KEY='$(KEY)' TAG='$(TAG)' packaging/release.sh

clean: ## removes what was built
	$(CARGO) clean

# What is missing of Debian's packages for building, for a ring, for packing or measuring.
setup-%:
	@tests/setup.sh $*

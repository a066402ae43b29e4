# airpods: everything a checkout needs. `make help` lists the targets.

PREFIX  ?= /usr
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
DESTDIR ?=
CARGO   ?= cargo
PROFILE ?= dev

TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
# Throw-away hosts need root: the built programs run as root, cargo itself as whoever called make.
ifneq ($(shell id -u),0)
AS_ROOT := sudo -E
export CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUNNER := $(AS_ROOT)
endif

.PHONY: help build demo test test-vm bench fuzz mutants lint audit install deb clean probe writable setup setup-bench setup-build setup-deb

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

# The helper is built by itself: together with the client it would get the features the client wants of their libraries.
build: setup-build ## builds the client, the helper and the manual (PROFILE=dev)
	$(CARGO) build --workspace --exclude airpods-helper --profile $(PROFILE)
	$(CARGO) build --package airpods-helper --profile $(PROFILE)
	rm -rf target/manual
	$(CARGO) run --package airpods --example manual --profile $(PROFILE) -- target/manual
	$(CARGO) run --package airpods --example licences --profile $(PROFILE) -- target/licences/crates.txt

demo: setup build probe ## shows the main job: a container behind a VPN, without and with the clamp
	@$(AS_ROOT) target/debug/airpods-lab demo

test: setup build probe deb ## runs every test, in throw-away namespaces and machines, as root
	$(CARGO) test --workspace --no-fail-fast

# The first run makes the machines, which takes minutes; they are kept in target/machines.
test-vm: setup probe deb ## runs the tests of the installed package on whole machines: Debian 12 and Debian 13
	$(CARGO) build --package airpods-lab
	$(CARGO) test --package airpods-lab --test machine --no-fail-fast

bench: PROFILE = release
bench: setup-bench build probe ## measures the clamp against nft, iptables and firewalld, and launches against podman
	@$(AS_ROOT) target/release/airpods-lab bench

# cargo-fuzz wants a nightly compiler for the sanitizer; RUSTC_BOOTSTRAP makes the stable one give it. What is found grows in
# target/fuzz-corpus; an input that breaks something is written to tests/fuzz/artifacts.
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

# Each part is judged by the tests that are there for it: the pure ones, and what they miss by those with a bus or with the kernel.
# cargo-mutants ends with 2 where something was missed.
MUTANTS ?=
mutants: setup-build ## changes the code in hundreds of places to see whether the tests notice (MUTANTS=options of cargo-mutants)
	@command -v cargo-mutants >/dev/null || $(CARGO) install --locked cargo-mutants
	nice -n 19 $(CARGO) mutants --package airpods-dbus --output target/mutants-dbus --cargo-arg=--lib $(MUTANTS)
	nice -n 19 $(CARGO) mutants --package airpods-helper --output target/mutants-helper --cargo-arg=--lib $(MUTANTS) || test $$? = 2
	nice -n 19 $(CARGO) mutants --package airpods-helper --output target/mutants-helper --iterate $(MUTANTS) \
		$(foreach test,kernel bus_authority bus_matrix bus_keeping bus_reads bus_surface bus_log bus_alive bus_polkit rights,--cargo-arg=--test=$(test))

lint: setup-build ## checks format, clippy, and what comes into the tree where cargo-deny is installed
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; else echo 'cargo-deny is not installed: not checked'; fi

audit: ## asks RustSec for advisories (needs cargo-deny and its database from the network)
	$(CARGO) deny check advisories

# One program without any library, for images that have no other file. In a target folder of its own, because its flags
# are not those of the rest.
probe: setup-build ## builds the static program of the laboratory's images
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --package airpods-lab --bin lab-probe --features probe \
		--release --target $(TRIPLE) --target-dir target/static

# On an image-based system /usr is read-only. D-Bus and polkit read some files nowhere else, so nothing is installed there at all.
writable:
	@for folder in $(PREFIX) $(ZSHDIR) /usr/share /usr/lib; do \
		there="$(DESTDIR)$$folder"; \
		until [ -e "$$there" ]; do there=$$(dirname "$$there"); done; \
		[ -w "$$there" ] || { \
			echo "make install: $$there cannot be written, so nothing was installed" >&2; \
			echo "hint: be root; where /usr is read-only, as on an image-based system, build a package and layer it, or unlock /usr" >&2; \
			exit 1; \
		}; \
	done

# The programs and their documents go where PREFIX says. The rest goes where D-Bus, polkit and systemd look, which no other prefix is for all
# three, and names the programs where they are. Nobody enables the unit that restores: its condition is enough.
install: writable ## installs a release build (DESTDIR=, PREFIX=/usr for the programs and their documents, ZSHDIR=)
	install -Dm755 target/release/airpods $(DESTDIR)$(PREFIX)/bin/airpods
	install -Dm755 target/release/airpods-helper $(DESTDIR)$(PREFIX)/libexec/airpods-helper
	install -Dm644 -t $(DESTDIR)/usr/share/dbus-1/system.d dbus/org.airpods.Helper1.conf
	install -Dm644 -t $(DESTDIR)/usr/share/dbus-1/system-services dbus/org.airpods.Helper1.service
	install -Dm644 -t $(DESTDIR)/usr/share/dbus-1/interfaces dbus/org.airpods.Helper1.xml
	install -Dm644 -t $(DESTDIR)/usr/share/polkit-1/actions polkit/*.policy
	install -Dm644 -t $(DESTDIR)/usr/lib/systemd/system dbus/airpods-*.service
	sed -i 's|/usr/libexec/|$(PREFIX)/libexec/|' $(DESTDIR)/usr/share/dbus-1/system-services/org.airpods.Helper1.service \
		$(DESTDIR)/usr/lib/systemd/system/airpods-helper.service
	install -d $(DESTDIR)/usr/lib/systemd/system/multi-user.target.wants
	ln -sf ../airpods-restore.service $(DESTDIR)/usr/lib/systemd/system/multi-user.target.wants/
	install -Dm644 dbus/airpods.sysusers $(DESTDIR)/usr/lib/sysusers.d/airpods.conf
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man1 target/manual/*.1
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man5 target/manual/*.5
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man8 helper/airpods-helper.8
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/bash-completion/completions target/manual/airpods
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d target/manual/airpods.fish
	install -Dm644 -t $(DESTDIR)$(ZSHDIR) target/manual/_airpods
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/airpods README.md
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/airpods/docs docs/*.md
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/airpods/polkit/examples polkit/examples/*
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/airpods target/licences/crates.txt
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/licenses/airpods LICENSE-*

# debhelper packs what `make install` makes, in a copy of helper/debian: the two cannot differ.
deb: setup-deb ## builds a Debian package, target/deb/airpods_*.deb, and holds it against lintian
	$(MAKE) build PROFILE=release
	rm -rf target/deb
	mkdir -p target/deb/airpods
	cp -r helper/debian target/deb/airpods/debian
	cd target/deb/airpods && CHECKOUT='$(CURDIR)' dpkg-buildpackage --build=binary --no-sign
	lintian --fail-on error --tag-display-limit 0 target/deb/*.changes

clean: ## removes what was built
	$(CARGO) clean

setup-build:
	@tests/setup.sh build

setup:
	@tests/setup.sh lab

setup-bench:
	@tests/setup.sh bench

setup-deb:
	@tests/setup.sh deb

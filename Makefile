# SPDX-License-Identifier: Apache-2.0
# The front door. Each target makes sure of the Debian packages it needs (as root it installs them).
#
#   make            everything, optimised and hardened, into build/
#   make demo       a container from a real image through every part, in a throw-away root
#   make check      every test; closes with "N passed, N failed"
#   make asan tsan  the same tests under sanitizers
#   make fuzz       libFuzzer over every parser of foreign bytes
#   make clients    containerd's own client test-suites against ours
#   make bench      the workloads, side by side with Debian's containerd
#   make format lint
#   make install    DESTDIR and PREFIX are honoured

BUILD    ?= build
PREFIX   ?= /usr
WERROR   ?= 0
SETUP    = meson setup $(if $(filter 1,$(WERROR)),-Dwerror=true)
SOURCES  = $(shell git ls-files '*.c' '*.h')

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	ci/need build
	$(SETUP) --buildtype=release -Ddebug=true -Dtests=false $(BUILD)

# The tests run on a build that checks the order of locks.
build-check/build.ninja:
	ci/need build
	$(SETUP) -Ddebug_locks=true build-check

build-asan/build.ninja:
	ci/need build
	$(SETUP) -Ddebug_locks=true -Db_sanitize=address,undefined -Db_lundef=false build-asan

build-tsan/build.ninja:
	ci/need build
	$(SETUP) -Ddebug_locks=true -Db_sanitize=thread -Db_lundef=false build-tsan

demo: all
	ci/need run demo
	dist/demo $(BUILD)

check: build-check/build.ninja
	ci/need run check
	ninja -C build-check
	ci/check build-check $(ARGS)

# containerd's own client suites and its newest ctr, which are built from their sources first (Go, network).
clients: build-check/build.ninja
	ci/need run check
	ninja -C build-check
	LIGHTER_CLIENTS=1 ci/check build-check --scenario -k 'clients or ctr_2' $(ARGS)

asan: build-asan/build.ninja
	ci/need run check
	ninja -C build-asan
	ci/check build-asan $(ARGS)

asan-unit: build-asan/build.ninja
	ninja -C build-asan
	ci/check build-asan --unit $(ARGS)

tsan: build-tsan/build.ninja
	ci/need run check
	ninja -C build-tsan
	ci/check build-tsan $(ARGS)

# Searches with libFuzzer, SECONDS for each target; what it finds goes to tests/fuzz/corpus.
SECONDS ?= 60
fuzz:
	ci/need build clang
	CC=clang CXX=clang++ meson setup --reconfigure -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false build-fuzz || \
	CC=clang CXX=clang++ meson setup -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false build-fuzz
	ninja -C build-fuzz
	for t in build-fuzz/tests/fuzz/fuzz_*; do [ -x $$t ] && [ -f $$t ] || continue; n=$${t##*/fuzz_}; mkdir -p build-fuzz/corpus/$$n; \
	$$t -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 build-fuzz/corpus/$$n tests/fuzz/corpus/$$n || exit 1; done

bench: all
	ci/need run bench
	bench/run $(BUILD) $(ARGS)

format:
	ci/need format
	clang-format -i $(SOURCES)

lint: all
	ci/need lint
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppressions-list=ci/cppcheck-suppressions -I . -I src -I $(BUILD) src cmd
	clang-tidy --quiet -p $(BUILD) $(filter-out %_test.c,$(filter src/%.c cmd/%.c,$(SOURCES))) 2>$(BUILD)/lint.log || \
		{ cat $(BUILD)/lint.log; exit 1; }

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/lighterd $(BUILD)/lighter $(BUILD)/lighter-stress
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/lighter $(BUILD)/containerd-shim-lighter-v2 $(BUILD)/lighter-unpack
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system dist/lighterd.service
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1 bash-completion/completions zsh/vendor-completions \
		fish/vendor_completions.d)
	$(BUILD)/lighter gen man >$(DESTDIR)$(PREFIX)/share/man/man1/lighter.1
	$(BUILD)/lighter gen bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lighter
	$(BUILD)/lighter gen zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_lighter
	$(BUILD)/lighter gen fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lighter.fish

clean:
	rm -rf build build-check build-asan build-tsan build-fuzz

.PHONY: all demo check clients asan asan-unit tsan fuzz bench format lint install clean

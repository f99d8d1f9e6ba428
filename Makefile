# One Makefile for everything; build/VARIANT/ mirrors the tree. `make help` lists the targets.
VARIANT ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
SEEDS   ?= 200
JOBS    ?= 2
CC      ?= gcc
MAKEFLAGS += --no-builtin-rules

LIBRARY_DIRS := common/base common/sys common/kv common/proto common/rpc common/client erasure \
	placement metadata metadata/raft metadata/state chunkserver gateway tools
FLOOR_DIRS   := common/sys/posix common/sys/sim common/kv/leveldb common/kv/memory

PACKAGES := libssl libcrypto libmicrohttpd libprotobuf-c expat jansson libxxhash libisal
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
FLAGS_release := -O2
# Instrumented code hides from gcc the ranges by which it judges truncation: release judges.
FLAGS_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-format-truncation
FLAGS_tsan    := -O1 -fsanitize=thread -Wno-format-truncation
CFLAGS_ALL := -std=c11 -g -pthread -fno-omit-frame-pointer -fno-common $(WARNINGS) \
	$(FLAGS_$(VARIANT)) -I. -Ibuild/gen $(CFLAGS)
LDFLAGS_ALL := -pthread $(FLAGS_$(VARIANT)) $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PACKAGES)) -linih -lleveldb -lm

B := build/$(VARIANT)
PROTOS     := $(wildcard common/proto/*.proto)
PROTO_C    := $(PROTOS:%.proto=build/gen/%.pb-c.c)
LIBRARY_C  := $(filter-out tools/main.c,$(wildcard $(LIBRARY_DIRS:%=%/*.c)))
LIBRARY_O  := $(LIBRARY_C:%.c=$B/%.o) $(PROTOS:%.proto=$B/gen/%.pb-c.o)
FLOOR_LIBS := $B/libposix.a $B/libsim.a $B/libleveldb.a $B/libmemory.a

UNIT_SIM_C   := $(shell find tests/unit -name 'test_*.c' -not -path '*_posix/*' 2>/dev/null | sort)
UNIT_POSIX_C := $(shell find tests/unit -path '*_posix/test_*.c' 2>/dev/null | sort)
CHECK_C      := $(filter-out tests/check/main.c,$(wildcard tests/check/*.c))
UNIT_SIM     := $(UNIT_SIM_C:%.c=$B/%)
UNIT_POSIX   := $(UNIT_POSIX_C:%.c=$B/%)

.PHONY: all demo test test-long sim sim-mutants print-mutant bench lint lint-objects golden-update unit unit-programs \
	unit-posix-programs print-unit print-unit-posix install clean help packages
.SECONDARY:
#: make                build everything; names the packages that are missing
all: $B/cairn $B/check-history

#: make demo           set up, build, and watch a cluster survive two lost disks
demo:
	@tools/setup.sh build demo
	@$(MAKE) --no-print-directory all
	@tools/demo.sh

#: make test           set up, build, run every test; closes with 'N passed, N failed'
test:
	@tools/setup.sh build test
	@tests/run-all.sh

#: make test-long      the soaks: big files, many rounds, every client
test-long:
	@tools/setup.sh build test
	@tests/run-all.sh --long

#: make unit           the unit suites of this VARIANT (release, asan, tsan)
unit: unit-programs
	@tests/run-suites.sh $(UNIT_SIM) $(UNIT_POSIX)
unit-programs: $(UNIT_SIM) $(UNIT_POSIX)
unit-posix-programs: $(UNIT_POSIX)
print-unit:
	@echo $(UNIT_SIM) $(UNIT_POSIX)
print-unit-posix:
	@echo $(UNIT_POSIX)

#: make golden-update  write the golden traces anew; read the difference like code
golden-update: $B/tests/unit/raft/test_golden
	$< --update

#: make sim SEEDS=N    the simulator with seeds 1 .. N
sim: $B/sim-run
	build/sim --seeds $(SEEDS) --jobs $(JOBS)

#: make sim-mutants    the product with each of its deliberate defects: the simulator must find them all
sim-mutants: $B/sim-run
	tests/sim/mutants.py --jobs $(JOBS)

#: make bench          the benchmark, as JSON and a table
bench: all
	@tests/bench/run.sh

#: make lint           layers, purity, globals, lengths, words, formatting, headers
lint: lint-objects
	@tools/lint/lint.py
lint-objects: $B/libcairn.a $(FLOOR_LIBS) $B/tools/main.o

#: make install        cairn into DESTDIR and PREFIX (/usr/local)
install: all
	install -D -m 755 $B/cairn $(DESTDIR)$(PREFIX)/bin/cairn
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/cairn/README.md
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/cairn/LICENSE
	install -d $(DESTDIR)$(PREFIX)/share/doc/cairn/docs $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/cairn/docs
	sed 's|@PREFIX@|$(PREFIX)|' packaging/cairn@.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/cairn@.service

#: make clean          remove build/
clean:
	rm -rf build

help:
	@sed -n 's/^#: //p' Makefile

# Stops before the first compilation when a package is missing, and names it.
packages:
	@tools/setup.sh --check build

$B/cairn: $B/tools/main.o $B/libcairn.a $B/libposix.a $B/libleveldb.a
	$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $B/libcairn.a $B/libposix.a $B/libleveldb.a -Wl,--end-group $(LIBS)

# Judges a history that a test of real processes has recorded (tests/check/README.md).
$B/check-history: $B/tests/check/main.o $B/libcheck.a $B/libcairn.a $B/libposix.a
	$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)
	@ln -sf $(VARIANT)/check-history build/check-history

SIM_O := $(patsubst %.c,$B/%.o,$(wildcard tests/sim/*.c))
# What tests/sim/watch.c sees of every member; what rare.c counts.
SIM_WRAP := raft_new raft_step state_open apply_command driver_lease_holds
SIM_WRAP += service_snapshot_install log_store_compact raft_transfer_before_leaving slot_check session_check \
	retry_known chunk_follow chunk_rebuild breaker_allow
SIM_WRAP += writer_complete commit_check timeouts_default slow_disks_judge
SIM_A := $B/libcheck.a $B/libcairn.a $B/libsim.a $B/libmemory.a
SIM_LINK = $(SIM_O) $(LDFLAGS_ALL) $(SIM_WRAP:%=-Wl,--wrap=%) -Wl,--start-group $(SIM_A) -Wl,--end-group $(LIBS)
$B/sim-run: $(SIM_O) $(SIM_A)
	$(CC) -o $@ $(SIM_LINK)
	@[ $(VARIANT) != release ] || ln -sf release/sim-run build/sim

# For tests/sim/mutants.py: how an object is compiled, how the simulator is linked.
print-mutant:
	@echo $(CC) $(CFLAGS_ALL)
	@echo $(CC) $(SIM_LINK)

build/gen/%.pb-c.c build/gen/%.pb-c.h: %.proto
	@mkdir -p build/gen
	protoc-c --c_out=build/gen $<
$(PROTO_C): | packages

# A broken or half-written object must never look finished: write aside, then rename.
define compile
@mkdir -p $(@D)
$(CC) $(CFLAGS_ALL) -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@.new $<
@mv $@.new $@
endef
$B/%.o: %.c | $(PROTO_C) packages
	$(compile)
$B/gen/%.o: build/gen/%.c | $(PROTO_C)
	$(compile)

define archive
@mkdir -p $(@D)
@rm -f $@
ar rcs $@ $^
endef
$B/libcairn.a: $(LIBRARY_O)
	$(archive)
$B/libposix.a: $(patsubst %.c,$B/%.o,$(wildcard common/sys/posix/*.c))
	$(archive)
$B/libsim.a: $(patsubst %.c,$B/%.o,$(wildcard common/sys/sim/*.c))
	$(archive)
$B/libleveldb.a: $(patsubst %.c,$B/%.o,$(wildcard common/kv/leveldb/*.c))
	$(archive)
$B/libmemory.a: $(patsubst %.c,$B/%.o,$(wildcard common/kv/memory/*.c))
	$(archive)
$B/libcheck.a: $(CHECK_C:%.c=$B/%.o)
	$(archive)

$(UNIT_SIM): $B/%: $B/%.o $B/tests/unit/suite.o $B/tests/unit/suite_sim.o $B/libcheck.a $B/libcairn.a $B/libsim.a $B/libmemory.a
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcunit $(LIBS)
$(UNIT_POSIX): $B/%: $B/%.o $B/tests/unit/suite.o $B/tests/unit/suite_posix.o $B/libcheck.a $B/libcairn.a $B/libposix.a $B/libleveldb.a
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcunit $(LIBS)

-include $(shell find build -name '*.d' 2>/dev/null)

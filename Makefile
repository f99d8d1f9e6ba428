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
FLAGS_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan    := -O1 -fsanitize=thread
CFLAGS_ALL := -std=c11 -g -pthread -fno-omit-frame-pointer -fno-common $(WARNINGS) \
	$(FLAGS_$(VARIANT)) -I. -Ibuild/gen $(CFLAGS)
LDFLAGS_ALL := -pthread $(FLAGS_$(VARIANT)) $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PACKAGES)) -linih -lleveldb -lcurl -lm

B := build/$(VARIANT)
PROTOS     := $(wildcard common/proto/*.proto)
PROTO_C    := $(PROTOS:%.proto=build/gen/%.pb-c.c)
LIBRARY_C  := $(filter-out tools/main.c,$(wildcard $(LIBRARY_DIRS:%=%/*.c)))
LIBRARY_O  := $(LIBRARY_C:%.c=$B/%.o) $(PROTOS:%.proto=$B/gen/%.pb-c.o)
FLOOR_LIBS := $B/libposix.a $B/libsim.a $B/libleveldb.a $B/libmemory.a

UNIT_SIM_C   := $(shell find tests/unit -name 'test_*.c' -not -path '*_posix/*' 2>/dev/null | sort)
UNIT_POSIX_C := $(shell find tests/unit -path '*_posix/test_*.c' 2>/dev/null | sort)
CHECK_C      := $(wildcard tests/check/*.c)
UNIT_SIM     := $(UNIT_SIM_C:%.c=$B/%)
UNIT_POSIX   := $(UNIT_POSIX_C:%.c=$B/%)

.PHONY: all unit clean help
.SECONDARY:
all: $B/cairn

help:
	@sed -n 's/^#: //p' Makefile

#: make                build everything
$B/cairn: $B/tools/main.o $B/libcairn.a $B/libposix.a $B/libleveldb.a
	$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $B/libcairn.a $B/libposix.a $B/libleveldb.a -Wl,--end-group $(LIBS)

#: make unit           build and run the unit suites of this VARIANT (release, asan, tsan)
unit: $(UNIT_SIM) $(UNIT_POSIX)
	@tests/run-suites.sh $^

build/gen/%.pb-c.c build/gen/%.pb-c.h: %.proto
	@mkdir -p build/gen
	protoc-c --c_out=build/gen $<

# A broken or half-written object must never look finished: write aside, then rename.
define compile
@mkdir -p $(@D)
$(CC) $(CFLAGS_ALL) -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@.new $<
@mv $@.new $@
endef
$B/%.o: %.c | $(PROTO_C)
	$(compile)
$B/gen/%.o: build/gen/%.c
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

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)

# make run    set up what is missing, build, and serve on http://localhost:8008
# make test   set up what is missing, and run the tests
# The rest is for those who work on Hearth; docs/architecture.md is where to start.

GO          ?= go
BIN         := bin/hearth
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME    ?= 60s
PKGS        ?= ./...
# SQLite is translated C over memory that is not the Go heap, of which the race detector knows nothing. To instrument it all the same finds
# nothing and takes two thirds of the tests' time.
RACE        := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-d=checkptr=0 -gcflags=modernc.org/memory=-d=checkptr=0
COMPLEMENT  ?= ../ref/complement

# The tests of encryption use mautrix-go with its Olm in Go, which has to be asked for; without the tag they are left out (docs/clients.md).
export GOFLAGS += -tags=goolm

.PHONY: run test check build setup generate bench fuzz jitter test-postgres complement image clean

run: build
	@$(BIN) init --if-missing
	@exec $(BIN) serve

build: setup
	$(GO) build -o $(BIN) ./cmd/hearth

test: setup
	$(GO) test -timeout 30m ./...

# The compiler, and libvips for the running server. The script says what it installs, and what to do where it cannot.
setup:
	@GO="$(GO)" build/setup.sh

# Everything that must hold before a commit.
check: setup
	@files="$$(gofmt -l $$(find . -name '*.go' -not -path './.git/*'))"; \
		if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	$(GO) vet -composites=false ./...
	$(GO) run $(STATICCHECK) ./...
	build/fresh.sh
	$(GO) test $(RACE) -timeout 30m ./...

# Rewrite the files that are made from others.
generate:
	$(GO) generate ./...

bench: setup
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Each fuzz target for FUZZTIME; the go command fuzzes one at a time. (Plain tests run the seeds of all targets.)
fuzz: setup
	@GO="$(GO)" build/fuzz.sh $(FUZZTIME)

# Tests with delays where something could be quicker than something else: what fails here fails in CI one day. PKGS selects packages.
jitter: setup
	$(GO) run ./build/jitter -timeout 30m $(PKGS)

# The storage tests, and what is built on them, on a PostgreSQL cluster of their own.
test-postgres: setup
	build/test-postgres.sh

# The conformance suite, without Docker. COMPLEMENT is a checkout of it; RUN selects tests, PKGS packages.
complement: build
	COMPLEMENT="$(COMPLEMENT)" build/complement/run $(RUN)

image:
	docker build -f build/Dockerfile -t hearth .

clean:
	rm -rf bin

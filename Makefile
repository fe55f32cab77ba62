# sightline: `make help` lists the verbs. Needs Python 3.11+ and make; everything else goes into .venv.
PYTHON ?= python3
DATA   ?= data/cifar10
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := 0.13.9
KERNELS := $(wildcard sightline/ops/*/*.cpp sightline/ops/*/*.h)

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g -DSIGHTLINE_POISON

.DEFAULT_GOAL := help
.PHONY: help install kernels sanitize demo test survive test-triton test-gpu bench bench-gpu evidence claims golden catalogue check format lock clean

help:  ## List the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP)  ## Make .venv and install the locked dependencies and the package

$(STAMP): requirements.lock pyproject.toml setup.py $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sightline needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(STAMP)

kernels: $(STAMP)  ## Build the compiled CPU kernels again, only what changed
	@$(BIN)/python setup.py --quiet build_ext --inplace

sanitize: $(STAMP)  ## Run the kernels' tests with address and undefined-behaviour sanitisers
	@SIGHTLINE_CXXFLAGS="$(SANITIZE)" $(BIN)/python setup.py --quiet build_ext --build-lib build/sanitize --build-temp build/sanitize
	@SIGHTLINE_KERNELS=build/sanitize/sightline/ops/native/kernels.so ASAN_OPTIONS=detect_leaks=0 OMP_WAIT_POLICY=passive \
		LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libubsan.so)" \
		$(BIN)/python -m pytest -n 0 -p no:cacheprovider tests/ops/test_cpu_*.py tests/layers/test_san_fused.py

demo: $(STAMP)  ## The main job: train ten small nets on the embedded digits, write runs/demo/report.html
	@$(BIN)/sightline demo

test: $(STAMP)  ## Run the tests (under 6 minutes on two cores)
	@$(BIN)/python -m pytest

test-triton: $(STAMP)  ## Run all tests of the Triton kernels by Triton's interpreter, without a GPU (minutes)
	@TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/ops/test_triton_*.py

test-gpu: $(STAMP)  ## Run the tests that need a GPU: the Triton kernels, fused attention, whole nets
	@$(BIN)/python -m pytest -n 0 -rs tests/ops/test_triton_*.py tests/ops/test_fused_attention.py tests/gpu

survive: $(STAMP)  ## Kill trainings 20 times, on one and two processes, and compare them bit by bit with undisturbed ones
	@SIGHTLINE_KILLS=20 $(BIN)/python -m pytest -n 0 -s tests/survive

bench-gpu: $(STAMP)  ## Time operators and nets on a GPU (under 8 minutes; again, it goes on), into build/bench_gpu*.json
	@mkdir -p build && $(BIN)/sightline bench cuda --device cuda --minutes 7 --resume --out build/bench.json

bench: $(STAMP)  ## Time operators, layers and nets (under 15 minutes) and write docs/performance.md
	@$(BIN)/sightline bench all --out build/bench.json --resume > /dev/null
	@$(BIN)/python benchmarks/page.py build

evidence: $(STAMP)  ## Train the quick tier on CIFAR-10 (DATA=folder) and renew the weights in the box; skips what is finished
	@$(BIN)/python benchmarks/evidence.py train $(DATA)
	@$(BIN)/python benchmarks/evidence.py export $(DATA)

claims: $(STAMP)  ## Measure the survey's claims and write docs/claims.md (reads what `make evidence` has trained)
	@$(BIN)/python -m benchmarks.claims

golden: $(STAMP)  ## Compare with all golden numbers and write docs/golden.md
	@mkdir -p build && rm -f build/golden.jsonl
	@SIGHTLINE_GOLDEN_TABLE=build/golden.jsonl $(BIN)/python -m pytest -k golden
	@$(BIN)/python docs/golden_table.py build/golden.jsonl

catalogue: $(STAMP)  ## Count every net and write docs/catalogue.md
	@$(BIN)/python docs/catalogue.py

check: $(STAMP)  ## Format, lint and types, without changing anything
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyrefly check

format: $(STAMP)  ## Format the code and apply the safe lint fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: $(STAMP)  ## Renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock

clean:  ## Remove .venv, caches and build products (runs/ stays)
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

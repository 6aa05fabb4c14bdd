# make demo | test | check | fuzz | docs | bench | bench-cuda | golden | evaluate. Needs Python 3.11 to 3.13 and nothing else; everything lands in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check fuzz docs bench bench-cuda golden evaluate clean

demo: $(VENV)/.demo-ready
	@mkdir -p demo
	$(BIN)/mggdub render examples/photo.png examples/speech.wav -o demo/demo.mp4 --force --quiet
	@echo "The video is $(CURDIR)/demo/demo.mp4"

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# make fuzz COUNT=10000: that many damaged files for every reader; FORGED=5000: avatars with a right digest.
COUNT ?= 3000
FORGED ?= 2000
fuzz: $(VENV)/.dev-ready
	$(BIN)/python tests/fuzz/test_fuzz.py --count $(COUNT)
	$(BIN)/python tests/fuzz/test_forged.py --count $(FORGED)

docs: $(VENV)/.docs-ready
	$(BIN)/mkdocs build --strict --quiet
	@echo "The pages begin at $(CURDIR)/build/docs/index.html"

bench: $(VENV)/.dev-ready
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python tests/bench/bench.py

# make bench-cuda: a graphics card against the CPU, on a machine with a CUDA build of torch in .venv and gsplat.
bench-cuda: $(VENV)/.dev-ready
	$(BIN)/python tests/bench/bench_cuda.py

# make golden COMMIT=main~1: are the outputs still those of that commit, byte for byte?
COMMIT ?= HEAD
golden: $(VENV)/.dev-ready
	$(BIN)/python tests/golden.py $(COMMIT)

# make evaluate CLIPS=folder: every clip against what is made of its first frame and its sound.
evaluate: $(VENV)/.eval-ready
	$(BIN)/python -m mggdub.train.compare "$(CLIPS)" results/$(notdir $(patsubst %/,%,$(CLIPS)))

clean:
	rm -rf $(VENV) demo bench build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
	"mggdub needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

# Stamps: install again only when what is to be installed has changed.
$(VENV)/.demo-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo-ready

$(VENV)/.docs-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@ $(VENV)/.demo-ready

$(VENV)/.eval-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[eval]'
	@touch $@ $(VENV)/.demo-ready

# The commands of the README. Everything is installed into .venv; delete it to start afresh.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find cpp models -type f)

.PHONY: demo gallery paper test check format sanitize cluster-test bench-device hostile hostile-sanitized faults portability wheel docs clean

# Style transfer of the pictures in examples/ with the built-in weights: out/demo.png.
demo: $(VENV)/.installed
	mkdir -p out
	$(BIN)/fastsynth transfer examples/cat.jpg examples/swirls.jpg --size 512 --weights random -o out/demo.png

# The pictures and the page of docs/gallery.md.
gallery: $(VENV)/.installed
	$(BIN)/python examples/make_gallery.py

# The pictures and the page of docs/paper.md; some minutes.
paper: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,score]'
	$(BIN)/python examples/paper/figures.py

# All checks and tests, as continuous integration runs them.
test: $(VENV)/.installed-dev
	$(BIN)/python scripts/check.py
	$(BIN)/python -m pytest

# Formatting, lint and types alone.
check: $(VENV)/.installed-dev
	$(BIN)/python scripts/check.py

# The C++ tests under every sanitizer and kernel set; opt-in, a few minutes.
sanitize:
	$(PYTHON) scripts/sanitize.py

# Providers of an NVIDIA card beside torch, in an environment of its own (some gigabytes); opt-in.
bench-device:
	$(PYTHON) -m venv .venv-device
	.venv-device/bin/python -m pip install --quiet '.[gpu,export]'
	.venv-device/bin/python bench/device.py --provider cuda --profile --json device.json

# The tests that need Ray (0.6 GB installed), on a cluster of this machine; opt-in, two minutes.
cluster-test: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet 'ray[data]>=2.40'
	$(BIN)/python -m pytest -m ray

# Damaged and malicious input, 100 000 cases; kills and failing writes, some hundred. Opt-in, 15 minutes each.
hostile: $(VENV)/.installed-dev
	$(BIN)/python scripts/hostile_campaign.py --cases 100000

# The same with the core under AddressSanitizer and UndefinedBehaviorSanitizer; needs CMake, Ninja and GCC.
hostile-sanitized: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet pybind11 cmake ninja
	$(BIN)/python scripts/hostile_campaign.py --cases 20000 --sanitize

faults: $(VENV)/.installed-dev
	$(BIN)/python scripts/fault_campaign.py

# Clang, ARM and older processors, as far as their tools are there; opt-in, some minutes.
portability:
	$(PYTHON) scripts/portability.py

# A wheel for this machine's platform in dist/, tried in an environment of its own.
wheel:
	$(PYTHON) scripts/wheel.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	find cpp -name '*.?pp' | xargs $(BIN)/clang-format -i

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# fastsynth itself is reinstalled whenever C++ or graphs change; the Python sources are used in place.
$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python $(SOURCES) constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --config-settings=cmake.define.FASTSYNTH_TESTS=ON --editable '.[dev,export]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist out

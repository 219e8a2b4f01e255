# Set-up, build, demo and tests on a machine without ROS packages (Python >= 3.11, CMake, a C++ compiler).
# With ROS from apt none of this is needed: colcon build in a sourced workspace.

SHELL := /bin/bash
PYTHON ?= python3
# The ROS 2 distribution whose wheels are used, kilted or jazzy: each has an environment and a build of its own.
ROS ?= kilted
export ROS
ifeq ($(filter $(ROS),kilted jazzy),)
$(error ROS is '$(ROS)', expected kilted or jazzy)
endif
SUFFIX := $(if $(filter kilted,$(ROS)),,-$(ROS))
VENV := .venv$(SUFFIX)
DEMO_SECONDS ?= 10
TESTS ?= test
PYTEST_ARGS ?=
# lerobot and cluster are large, and for few; mediapipe needs an environment of its own.
LARGE := requirements/lerobot.txt requirements/cluster.txt requirements/mediapipe.txt
REQUIREMENTS := $(filter-out requirements/ros-%.txt $(LARGE),$(wildcard requirements/*.txt)) requirements/ros-$(ROS).txt
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet
# A colcon or pytest started by make must not join make's job server.
ENV := unset MAKEFLAGS MFLAGS MAKELEVEL; source scripts/env.sh

.PHONY: help setup build demo test bench mediapipe docs lint clean
help:
	@echo "make setup   .venv with PyTorch and the ROS 2 wheels (some minutes once, then seconds)"
	@echo "make build   colcon build into build/ and install/"
	@echo "make demo    synthetic camera and tracker as two processes for DEMO_SECONDS=$(DEMO_SECONDS); writes demo/overlay.png"
	@echo "make test    all tests, against the installed package (TESTS=test/ros or PYTEST_ARGS='-k name' for some)"
	@echo "make bench   how fast everything is on this machine, some minutes; writes docs/benchmark.md and README's table"
	@echo "make mediapipe  .venv-mediapipe, so that the bench compares with MediaPipe"
	@echo "make lint    ruff, mypy and codespell, as in continuous integration"
	@echo "make docs    the tables of settings in README.md, docs/ and config/tracker.yaml, from the code"
	@echo "make clean   removes everything that the above made"
	@echo
	@echo "ROS=jazzy behind each of them: with the wheels of ROS 2 Jazzy instead of Kilted, in .venv-jazzy and install-jazzy"

setup: $(VENV)/ready

$(VENV)/created:
	@command -v cmake c++ >/dev/null || { echo "CMake and a C++ compiler are needed (Debian: apt install cmake g++)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11"; exit 1; }
	@echo "[setup 1/4] a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/torch: requirements/torch.txt $(VENV)/created
	@echo "[setup 2/4] PyTorch"
	@$(PIP) -r requirements/torch.txt
	@touch $@

$(VENV)/ready: $(REQUIREMENTS) scripts/repair_ros_wheels.py $(VENV)/torch
	@echo "[setup 3/4] ROS 2 and the other packages"
	@$(PIP) $(addprefix -r ,$(REQUIREMENTS))
	@echo "[setup 4/4] repairing the CMake files of the ROS wheels"
	@$(VENV)/bin/python scripts/repair_ros_wheels.py
	@touch $@

build: setup
	@$(ENV) && python -m colcon --log-level error --log-base log$(SUFFIX) build \
	  --build-base build$(SUFFIX) --install-base install$(SUFFIX) --event-handlers console_direct- \
	  --cmake-args --no-warn-unused-cli -DPython3_EXECUTABLE=$(abspath $(VENV))/bin/python

demo: build
	@$(ENV) && exec python -m awr_ros.ros.measure.demo --seconds $(DEMO_SECONDS) --output demo

test: build
	@$(ENV) && exec pytest $(TESTS) $(PYTEST_ARGS)

bench: build
	@$(ENV) && exec python -m awr_ros bench --output docs/benchmark.md --readme README.md \
	  $(addprefix --mediapipe ,$(wildcard .venv-mediapipe/bin/python))

mediapipe: .venv-mediapipe/ready

.venv-mediapipe/ready: requirements/mediapipe.txt
	@$(PYTHON) -m venv .venv-mediapipe
	@.venv-mediapipe/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

lint: setup
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/codespell

docs: build
	@$(ENV) && exec python scripts/write_settings.py

clean:
	rm -rf .venv-mediapipe $(foreach made,.venv build install log,$(made) $(made)-jazzy) demo

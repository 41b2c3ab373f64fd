# BVLC Caffe reproduction of "Deep Learning of Binary Hash Codes for Fast Image Retrieval" (CVPRW 2015).
# One target per stage and per experiment; bare `make` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# ---------------------------------------------------------------- environment: Debian packages and .venv
SYSTEM_PYTHON ?= /usr/bin/python3
PYTHON := .venv/bin/python
APT_LISTS := third_party/apt-packages.txt

build/.apt-packages: third_party/apt.sh $(APT_LISTS)
	@[ "$(APT)" = no ] || third_party/apt.sh $(APT_LISTS)
	@mkdir -p $(@D) && touch $@

.venv/.requirements: requirements.txt | build/.apt-packages
	@echo "setup: Python packages of requirements.txt into .venv"
	@[ -x $(PYTHON) ] || $(SYSTEM_PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

.PHONY: setup
setup: build/.apt-packages .venv/.requirements  ## system packages (apt, root or sudo) and Python packages in .venv

# ---------------------------------------------------------------- BVLC Caffe
include third_party/caffe/caffe.mk

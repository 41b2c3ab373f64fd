# BVLC Caffe reproduction of "Deep Learning of Binary Hash Codes for Fast Image Retrieval" (CVPRW 2015).
# One target per stage and per experiment; bare `make` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Caches and logs stay in the checkout: nothing outside it is written but Debian packages (glog would write to /tmp).
export GLOG_logtostderr := 1
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export XDG_CACHE_HOME := $(CURDIR)/build/cache

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

.PHONY: help setup
help:
	@echo "make TARGET [VARIABLE=value ...]"
	@grep -hE '^[a-z][a-z0-9 -]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	    awk -F'\t' '{ printf "  %-14s %s\n", $$1, $$2 }'

setup: build/.apt-packages .venv/.requirements  ## Debian packages (apt, root or sudo) and Python packages in .venv

# ---------------------------------------------------------------- BVLC Caffe (make caffe, make caffe-test)
include third_party/caffe/caffe.mk

# ---------------------------------------------------------------- one experiment: data set x net x bits
# The targets below it (demo, train-mnist, train-cifar) call `make experiment` with these set.
DATASET ?= cifar10
NET ?= caffenet
BITS ?= 48
RUN ?= $(SETTING)
GPU ?= auto
# Extraction takes one GPU.
COMMA := ,
FIRST_GPU = $(firstword $(subst $(COMMA), ,$(GPU)))
SEED ?= 1
PROTOCOL ?= authors
SETTING := $(DATASET)_$(NET)_$(BITS)
RUN_DIR := runs/$(RUN)

# The committed prototxt where there is one, otherwise written by the same template.
PROTOTXT := $(if $(wildcard prototxt/$(SETTING)/solver.prototxt),prototxt/$(SETTING),build/prototxt/$(SETTING))
build/prototxt/%/solver.prototxt: python/net_template.py python/nets.py | $(CAFFE_READY)
	@$(PYTHON) python/net_template.py --dataset $(DATASET) --net $(NET) --bits $(BITS) --out build/prototxt

MEAN := data/ilsvrc_2012_mean.binaryproto
$(MEAN): | $(CAFFE_READY)
	@$(PYTHON) data_prep/mean_image.py --out $@

.PHONY: mean
mean: $(MEAN)  ## the ImageNet mean image that the prototxt name, data/ilsvrc_2012_mean.binaryproto

# LeNet: digits as they are, from the fillers. CaffeNet: 256x256 BGR (and the originals, which the authors' evaluation
# resizes itself), from ImageNet weights.
ifeq ($(NET),lenet)
DATA_DIR := data/$(DATASET)28
PREP_OPTIONS := --size 28 --grey
WEIGHTS ?= none
NET_NEEDS :=
# Its matrices are small: a second BLAS thread gains little on an idle machine and loses much on a busy one.
CAFFE_ENV := env OPENBLAS_NUM_THREADS=1
else
DATA_DIR := data/$(DATASET)
PREP_OPTIONS := --size 256 --originals
NET_NEEDS := $(MEAN)
endif

# Where the images come from: DATA= (a directory or file of the user's) or a download.
FETCHED := data/downloads
SOURCE_digits := digits
SOURCE_mnist := mnist --data $(or $(DATA),$(FETCHED))
SOURCE_cifar10 = $(if $(DATA),$(CIFAR_KIND) --data $(DATA),cifar10 --data $(FETCHED)/cifar-10-binary.tar.gz)
CIFAR_KIND = $(if $(wildcard $(DATA)/data_batch_1.bin)$(findstring binary,$(notdir $(DATA))),cifar10,folders)
FETCH_mnist := mnist
FETCH_cifar10 := cifar10
# What has to be downloaded: asked for before anything long starts.
MISSING = $(if $(or $(DATA),$(wildcard $(DATA_DIR)/.complete)),,$(FETCH_$(DATASET))) $(if $(WEIGHTS),,caffenet)
WEIGHTS_FILE = $(or $(WEIGHTS),$(FETCHED)/bvlc_reference_caffenet.caffemodel)

.PHONY: inputs databases trained features experiment
inputs: .venv/.requirements
	@$(if $(DATA),test -e "$(DATA)" || { echo "DATA=$(DATA): no such file or directory" >&2; exit 1; })
	@$(if $(filter-out none,$(WEIGHTS)),test -f "$(WEIGHTS)" || { echo "WEIGHTS=$(WEIGHTS): no such file" >&2; exit 1; })
	@failed=; for file in $(MISSING); do $(PYTHON) data_prep/fetch.py $$file --to $(FETCHED) || failed=1; done; \
	[ -z "$$failed" ] || { echo "Copies you have already can be named: make $(or $(ASKED),$@) DATA=<images> WEIGHTS=<caffemodel>" >&2; exit 1; }

# .complete: written last. Databases alone do not tell that their originals are there too.
databases: inputs $(CAFFE_READY) $(NET_NEEDS)
	@if [ -e $(DATA_DIR)/.complete ]; then \
	    $(if $(DATA),echo "$(DATA_DIR) is kept as it was made (DATA= is not read again; remove the folder to make it anew)",:); \
	else $(PYTHON) data_prep/make_lmdb.py $(SOURCE_$(DATASET)) --out $(DATA_DIR) $(PREP_OPTIONS) --keep && touch $(DATA_DIR)/.complete; fi

trained: databases $(PROTOTXT)/solver.prototxt
	@$(CAFFE_ENV) $(PYTHON) python/train.py --solver $(PROTOTXT)/solver.prototxt --run $(RUN_DIR) --weights $(WEIGHTS_FILE) \
	    --seed $(SEED) --gpu $(GPU) $(if $(ITERS),--iterations $(ITERS)) $(if $(ITER_SIZE),--iter-size $(ITER_SIZE)) $(TRAIN_OPTIONS)

# From the originals where there are some: the authors' evaluation resizes in float, the databases hold rounded pixels.
IMAGES_OF_SPLIT = images=$(DATA_DIR)/$${split}_originals_lmdb; [ -d $$images ] || images=$(DATA_DIR)/$${split}_lmdb
features: trained
	@for split in train test; do \
	    $(IMAGES_OF_SPLIT); \
	    $(CAFFE_ENV) $(PYTHON) python/extract.py --run $(RUN_DIR) --lmdb $$images \
	        --out $(RUN_DIR)/features/$$split --protocol $(PROTOCOL) --gpu $(FIRST_GPU); \
	done

# Evaluated again when the features are newer or options are given.
experiment: features
	@results=$(RUN_DIR)/eval/results.json; report=$(RUN_DIR)/eval/report.html; \
	if [ -z "$(EVAL_OPTIONS)" ] && [ -e $$report ] && [ $$results -nt $(RUN_DIR)/features/train/meta.json ] \
	    && [ $$results -nt $(RUN_DIR)/features/test/meta.json ]; then echo "$$report: kept, made from these features"; \
	else $(MAKE) evaluate; fi

RUN_IS_FINISHED = [ -d "$(RUN_DIR)/features/train" ] || { \
    echo "$@: $(RUN_DIR) has no features; RUN= names a finished run: $$(ls runs 2>/dev/null | tr '\n' ' ')" >&2; exit 1; }

PRETRAINED = $(if $(wildcard $(RUN_DIR)/pretrained/test/meta.json),--pretrained-features $(RUN_DIR)/pretrained)
.PHONY: evaluate
evaluate: .venv/.requirements  ## evaluate the features of RUN= again, without Caffe (EVAL_OPTIONS=, e.g. --score-only)
	@$(PYTHON) eval/evaluate.py --features $(RUN_DIR)/features --out $(RUN_DIR)/eval $(PRETRAINED) $(EVAL_OPTIONS)

# The paper's "AlexNet" search. Weights that end below fc7 are ranked by the last blob they reach, PRETRAINED_BLOB=pool5 say.
PRETRAINED_BLOB ?= fc7
.PHONY: es-pretrained
es-pretrained: $(CAFFE_READY)  ## add the paper's fourth search to a finished run: fc7 of the net before fine-tuning (RUN= WEIGHTS= PRETRAINED_BLOB=)
	@$(RUN_IS_FINISHED)
	@for split in train test; do \
	    $(IMAGES_OF_SPLIT); \
	    $(CAFFE_ENV) $(PYTHON) python/extract.py --run $(RUN_DIR) --initial $(if $(WEIGHTS),--weights "$(WEIGHTS)") --lmdb $$images --thumbs 0 \
	        --latent-blob none --feature-blob $(PRETRAINED_BLOB) --out $(RUN_DIR)/pretrained/$$split --protocol $(PROTOCOL) --gpu $(FIRST_GPU); \
	done
	@$(MAKE) evaluate

.PHONY: demo train-mnist train-cifar
demo:  ## the main job end to end on 5,000 MNIST digits, LeNet, 48 bits: about a minute after the Caffe build
	@$(MAKE) experiment DATASET=digits NET=lenet BITS=48 RUN=demo WEIGHTS=none
	@echo "next: make train-mnist NET=lenet     (60,000 digits, about 3 minutes)"
	@echo "      make train-cifar              (the paper's experiment; a GPU helps)"

train-mnist:  ## MNIST: NET=lenet, or NET=caffenet as in the paper (BITS=48 or 128, DATA=, WEIGHTS=, ITERS=, RUN=)
	@$(MAKE) experiment ASKED=$@ DATASET=mnist $(if $(filter file,$(origin NET)),NET=lenet)

train-cifar:  ## the paper's CIFAR-10 experiment (BITS=48 DATA= WEIGHTS= GPU= ITER_SIZE= ITERS= RUN=), from set-up to report
	@$(MAKE) experiment ASKED=$@ DATASET=cifar10 NET=caffenet

# All six code lengths of the paper, one run each, then their table beside the paper's.
RELEASED_BITS := 12 16 32 48 64 128
.PHONY: cifar-table query upgrade
cifar-table:  ## train-cifar for 12, 16, 32, 48, 64 and 128 bits, then the table beside the paper's
	@for bits in $(RELEASED_BITS); do $(MAKE) experiment DATASET=cifar10 NET=caffenet BITS=$$bits RUN=cifar10_caffenet_$$bits; done
	@$(PYTHON) eval/cifar_table.py $(foreach bits,$(RELEASED_BITS),runs/cifar10_caffenet_$(bits)/eval/results.json)

query: $(CAFFE_READY)  ## ask a run about new images: RUN=name IMAGE=file, directory or list
	@[ -n "$(IMAGE)" ] || { echo 'query: IMAGE= is missing: make query RUN=demo IMAGE=photo.jpg' >&2; exit 2; }
	@$(RUN_IS_FINISHED)
	@$(PYTHON) python/extract.py --run $(RUN_DIR) --images $(IMAGE) --out $(RUN_DIR)/query/features --protocol $(PROTOCOL) --gpu $(FIRST_GPU)
	@$(PYTHON) eval/query.py --queries $(RUN_DIR)/query/features --features $(RUN_DIR)/features --out $(RUN_DIR)/query

upgrade: $(CAFFE_READY)  ## bring a net, solver or caffemodel of an older Caffe into today's format: FILE= OUT=
	@[ -n "$(FILE)" ] || { echo 'upgrade: FILE= is missing: make upgrade FILE=old.caffemodel OUT=new.caffemodel' >&2; exit 2; }
	@$(PYTHON) python/upgrade.py "$(FILE)" $(if $(OUT),--out "$(OUT)")

# ---------------------------------------------------------------- the authors' released model beside ours
# RELEASED= names any caffemodel of this family; only the 48-bit one has an address. EXTRACT_OPTIONS= is for models with
# other layer names (--net deploy.prototxt --latent-blob name --feature-blob name).
RELEASED_FILE = $(or $(RELEASED),$(FETCHED)/KevinNet_CIFAR10_48.caffemodel)
RELEASED_DIR := runs/released_$(BITS)

.PHONY: compare-cifar export
compare-cifar: $(CAFFE_READY) $(MEAN)  ## the authors' released model beside our run, on CIFAR-10 (RELEASED=file BITS=48 RUN= EXPECTED=1)
	@[ -d "$(RUN_DIR)/features/train" ] && [ -d "$(RUN_DIR)/features/test" ] || { \
	    echo "compare-cifar: $(RUN_DIR) has no features to compare with: make train-cifar BITS=$(BITS) first, or name a finished run with RUN=" >&2; exit 1; }
	@$(if $(RELEASED),[ -f "$(RELEASED)" ] || { echo "RELEASED=$(RELEASED): no such file" >&2; exit 1; },$(if $(filter 48,$(BITS)),\
	    $(PYTHON) data_prep/fetch.py released-48 --to $(FETCHED) || { echo "A copy you have already can be named: make $@ RELEASED=<caffemodel>" >&2; exit 1; },\
	    echo "compare-cifar: only the 48-bit model has an address; name the $(BITS)-bit one with RELEASED=" >&2; exit 1))
	@$(MAKE) databases DATASET=cifar10 NET=caffenet WEIGHTS=none
	@for split in test train; do \
	    $(IMAGES_OF_SPLIT); \
	    $(PYTHON) python/extract.py --weights "$(RELEASED_FILE)" --mean $(MEAN) --lmdb $$images \
	        --out $(RELEASED_DIR)/features/$$split --protocol $(PROTOCOL) --gpu $(FIRST_GPU) $(EXTRACT_OPTIONS); \
	done
	@$(PYTHON) eval/compare.py --features ours=$(RUN_DIR)/features released=$(RELEASED_DIR)/features --out $(RELEASED_DIR)/compare \
	    $(if $(EXPECTED),--expected released)

export: $(CAFFE_READY)  ## a run's net and weights as ONNX, checked against Caffe: RUN= (or FILE=caffemodel) OUT=model.onnx
	@[ -n "$(OUT)" ] || { echo 'export: OUT= is missing: make export RUN=demo OUT=demo.onnx' >&2; exit 2; }
	@$(PYTHON) python/export.py $(if $(FILE),--weights "$(FILE)",--run $(RUN_DIR)) --out "$(OUT)" $(EXPORT_OPTIONS)

# ---------------------------------------------------------------- tests
.PHONY: test
test: $(CAFFE_READY)  ## all tests; sets up what they need, Caffe build included
	@$(PYTHON) -m pytest -q tests $(PYTEST_OPTIONS)

# ---------------------------------------------------------------- GPU against CPU
# nvidia.py needs nothing but a python3: without a GPU nothing is installed or built to say so (status 3).
# Caffe's own tests of this project's layers, on the GPU: typed by device they are /2 (float) and /3 (double).
GPU_TESTS = $(subst $() ,:,$(foreach pattern,$(subst :, ,$(CAFFE_TESTS)),$(pattern)/2.* $(pattern)/3.*) CuDNN*)
GPU_CHECK_NET := $(if $(filter file,$(origin NET)),lenet,$(NET))
GPU_CHECK = DATASET=$(if $(filter caffenet,$(GPU_CHECK_NET)),cifar10,digits) NET=$(GPU_CHECK_NET) WEIGHTS=$(or $(WEIGHTS),none)
.PHONY: gpu-check gpu-checked
gpu-check:  ## on a machine with an NVIDIA GPU: Caffe's own GPU tests, activations and 200 iterations on GPU and CPU (NET= DATA= WEIGHTS= GPU=)
	@status=0; listed=$$($(SYSTEM_PYTHON) python/nvidia.py) || status=$$?; \
	case $$status in \
	0) echo "$$listed"; $(MAKE) gpu-checked CUDA=1 $(GPU_CHECK) ;; \
	3) echo "gpu-check: no NVIDIA GPU here, nothing was run: $$listed" ;; \
	*) exit $$status ;; \
	esac

gpu-checked: databases $(PROTOTXT)/solver.prototxt
	@$(MAKE) caffe-test CAFFE_TESTS='$(GPU_TESTS)'
	@$(PYTHON) python/gpu_check.py --setting $(PROTOTXT) --devices none $(if $(filter auto,$(GPU)),0,$(FIRST_GPU)) --weights $(WEIGHTS_FILE)

# ---------------------------------------------------------------- benchmarks: ratios within one run
.venv/.bench: requirements-bench.txt .venv/.requirements
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-bench.txt
	@touch $@

.PHONY: bench bench-eval
bench: $(CAFFE_READY)  ## databases and driver against Caffe's own programs (DATA=class folders or a tar of them)
	@$(PYTHON) data_prep/bench_prep.py $(if $(DATA),--data $(DATA))
	@$(PYTHON) python/bench_driver.py

bench-eval: .venv/.bench  ## search and mAP against faiss and the usual loops; LARGE=1000000 adds a database of that size
	@$(PYTHON) eval/bench_eval.py $(if $(LARGE),--large $(LARGE))

.PHONY: clean
clean:  ## remove build/ and .venv (data/ and runs/ stay)
	@rm -rf build .venv

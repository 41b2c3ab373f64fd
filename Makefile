# BVLC Caffe reproduction of "Deep Learning of Binary Hash Codes for Fast Image Retrieval" (CVPRW 2015).
# Bare `make` prints the targets and their variables. A value reaches a program through the environment ("$$DATA" in a
# recipe), so that blanks, quotes and dollars in a path stay what they are. What needs a decision is Python, not shell.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
# Caches and logs stay in the checkout: nothing outside it is written but Debian packages (glog would write to /tmp).
export GLOG_logtostderr := 1
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
export XDG_CACHE_HOME := $(CURDIR)/build/cache

# ---------------------------------------------------------------- variables: `make` prints this table
#= DATASET=cifar10     cifar10, mnist, or digits; others with python/net_template.py
#= NET=caffenet        caffenet, ssdh (the authors' follow-up of 2017) or lenet
#= BITS=48             code length
#= RUN=                name of the run, a folder below runs/; <DATASET>_<NET>_<BITS> unless given
#=                     (_schedule<SCHEDULE> behind it where that is given)
#= DATA=               your images: class folders, a tar or zip of them, lists, MNIST's or CIFAR-10's files
#= DATA_DIR=           where their databases go; data/<DATASET> (data/<DATASET>28 for lenet) unless given
#= WEIGHTS=            initial weights, or none; without it CaffeNet's ImageNet weights are fetched
#= GPU=auto            auto, none, an index, or several for training: GPU=0,1
#= ENGINE=             of layers on the CPU: onednn (default) or caffe, stock Caffe bit for bit
#= THREADS=            on the CPU; the processors this process may use unless given
#= SEED=               of training; the solver's (42 for ssdh), else 1
#= ITERS=              train up to this iteration
#= SCHEDULE=           train this part of the solver's schedule: 0.1 is a tenth
#= ITER_SIZE=          cut a batch into this many parts, for a small GPU
#= PROTOCOL=authors    pre-processing of extraction: authors or caffe
#= PRETRAINED_BLOB=fc7 what es-pretrained ranks
#= IMAGE=              query: an image, a directory of images or a list of them
#= IMAGES=             add: a file, a directory or a list of images
#= PORT=8000 HOST=     serve, cluster-head (6379): where; HOST= another address than this machine's own, with a token
#= PACKAGE=            query, serve: a folder that make package made, in place of a run
#= CLUSTER=host:port   of a cluster's head: search or extract there; cluster-node, -status, -stop, -rebalance
#= SHARDS=4            shards: so many
#= PARTS=              extract-cluster: how many parts the images are cut into; a part of some minutes is a good one
#= TOKEN=              file with that cluster's token, where this checkout did not start its head
#= FILE= OUT=          upgrade, export, package: the file to read and the one (or the folder) to write
#= RELEASED= EXPECTED= compare-cifar: another caffemodel; EXPECTED=1 holds it to the authors' figure as well
#= LARGE=              bench-eval: also a database of this many images
#= DATA_OPTIONS= TRAIN_OPTIONS= EXTRACT_OPTIONS= EVAL_OPTIONS= EXPORT_OPTIONS= PACKAGE_OPTIONS= PYTEST_OPTIONS=
#= YAHOO_OPTIONS= SHARDS_OPTIONS=
#=                     further words for a program, read as the shell reads them (--help of the program lists them)
NET_GIVEN := $(NET)
DATASET_GIVEN := $(DATASET)
DATASET ?= cifar10
NET ?= caffenet
BITS ?= 48
RUN ?= $(DATASET)_$(NET)_$(BITS)$(SCHEDULE:%=_schedule%)
GPU ?= auto
PROTOCOL ?= authors
PRETRAINED_BLOB ?= fc7
ASKED ?= $(firstword $(MAKECMDGOALS))
# Not what depends on others: an inner make decides anew, by the DATASET and NET that it is given.
EXPORTED := BITS DATA WEIGHTS GPU SEED ITERS ITER_SIZE SCHEDULE PROTOCOL PRETRAINED_BLOB IMAGE FILE OUT \
    RELEASED EXPECTED LARGE ASKED ENGINE THREADS PORT HOST PACKAGE IMAGES CLUSTER TOKEN SHARDS \
    PARTS
export $(EXPORTED)

# What each target takes: others are refused, so that `make demo BITS=12` does not quietly train 48 bits. Targets that
# are not listed take everything.
EVERYWHERE := APT SYSTEM_PYTHON PYTHON JOBS CAFFE_SRC CAFFE_ROOT CAFFE_READY CUDA ONEDNN CUDNN NCCL CUDA_ARCH CUDA_HOME \
    DEBIAN_MIRROR FETCH_MIRROR
CPU := ENGINE THREADS
TRAINING := GPU $(CPU) SEED ITERS ITER_SIZE SCHEDULE PROTOCOL TRAIN_OPTIONS EVAL_OPTIONS
EXPERIMENT := DATASET NET BITS RUN DATA WEIGHTS DATA_DIR DATA_OPTIONS $(TRAINING)
A_RUN := RUN DATASET NET BITS SCHEDULE
TAKES_help :=
TAKES_setup :=
TAKES_clean :=
TAKES_mean :=
TAKES_demo := $(TRAINING)
TAKES_train := $(EXPERIMENT)
TAKES_train-mnist := NET BITS RUN DATA WEIGHTS $(TRAINING)
TAKES_train-cifar := BITS RUN DATA WEIGHTS $(TRAINING)
TAKES_cifar-table := DATA WEIGHTS $(TRAINING)
TAKES_databases := $(EXPERIMENT)
TAKES_trained := $(EXPERIMENT)
TAKES_features := $(EXPERIMENT)
TAKES_experiment := $(EXPERIMENT)
TAKES_evaluate := $(A_RUN) CLUSTER TOKEN EVAL_OPTIONS
TAKES_es-pretrained := $(A_RUN) $(CPU) WEIGHTS PRETRAINED_BLOB PROTOCOL GPU EXTRACT_OPTIONS EVAL_OPTIONS
TAKES_query := $(A_RUN) $(CPU) CLUSTER TOKEN IMAGE PACKAGE PROTOCOL GPU EXTRACT_OPTIONS
TAKES_add := $(A_RUN) $(CPU) IMAGES GPU
TAKES_serve := $(A_RUN) $(CPU) CLUSTER TOKEN PACKAGE PORT HOST PROTOCOL GPU EXTRACT_OPTIONS
TAKES_package := $(A_RUN) OUT PACKAGE_OPTIONS
TAKES_export := $(A_RUN) FILE OUT EXPORT_OPTIONS
TAKES_upgrade := FILE OUT
TAKES_shards := $(A_RUN) OUT SHARDS SHARDS_OPTIONS
TAKES_cluster-head := PORT HOST
TAKES_cluster-rebalance := $(A_RUN) CLUSTER TOKEN OUT
TAKES_cluster-node := CLUSTER TOKEN HOST THREADS
TAKES_cluster-status := CLUSTER TOKEN
TAKES_cluster-stop := CLUSTER
TAKES_extract-cluster := $(A_RUN) $(CPU) CLUSTER TOKEN DATA PARTS OUT PROTOCOL GPU EXTRACT_OPTIONS
TAKES_compare-cifar := $(CPU) RUN BITS RELEASED EXPECTED DATA PROTOCOL GPU EXTRACT_OPTIONS
TAKES_test := PYTEST_OPTIONS REAL_DATA
TAKES_torture := TORTURE_OPTIONS
TAKES_test-cluster :=
TAKES_torture-planted := TORTURE_OPTIONS
TAKES_lint :=
TAKES_gpu-check := NET DATA WEIGHTS GPU CAFFE_TESTS
TAKES_bench := DATA
TAKES_bench-eval := LARGE
TAKES_bench-cluster := CLUSTER TOKEN
TAKES_bench-serve := $(A_RUN) $(CPU) LARGE
TAKES_yahoo1m-size := YAHOO_OPTIONS
NEEDS_query := IMAGE
NEEDS_train := DATA
NEEDS_upgrade := FILE
NEEDS_export := OUT
NEEDS_package := OUT
NEEDS_add := IMAGES
NEEDS_cluster-node := CLUSTER
NEEDS_bench-cluster := CLUSTER
NEEDS_extract-cluster := CLUSTER PARTS

DOLLAR := $$
FORBIDDEN := $(DOLLAR) % \# : ; & | < > * ? [ ] { } ( ) ! ~ \ " ' ` , =
# Not empty: the name is several words, leaves its folder, or has a character that Make or the shell would read.
name_fault = $(filter-out 1,$(words $1))$(filter . .. / /% ./% ../% %/ %/. %/..,$1)$(findstring /../,$1)$(strip \
    $(foreach character,$(FORBIDDEN),$(findstring $(character),$1)))
$(foreach name,DATASET NET BITS RUN,$(if $(call name_fault,$($(name))),$(error $(name)=$($(name)): not a name; \
    give letters, digits, dots, dashes and underscores, or a relative path of such names)))

GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(foreach name,$(GIVEN),$(if $(findstring $(DOLLAR),$(subst $(DOLLAR)$(DOLLAR),,$(value $(name)))),$(error \
    $(name)=$(value $(name)): make reads a dollar as the start of a variable; write two for each that is meant)))
# Only at the outermost call: inner ones inherit variables that were meant for it.
ifeq ($(MAKELEVEL),0)
LISTED := $(filter $(patsubst TAKES_%,%,$(filter TAKES_%,$(.VARIABLES))),$(MAKECMDGOALS))
ifeq ($(LISTED),$(MAKECMDGOALS))
TAKEN := $(sort $(foreach goal,$(LISTED),$(TAKES_$(goal))))
$(foreach name,$(if $(LISTED),$(filter-out $(TAKEN) $(EVERYWHERE),$(GIVEN))),$(error \
    $(name)= has no effect on $(LISTED), which takes: $(or $(TAKEN),no variables)))
endif
$(foreach goal,$(MAKECMDGOALS),$(foreach name,$(NEEDS_$(goal)),$(if $(value $(name)),,$(error \
    $(goal): $(name)= is missing: make $(goal) $(if $(filter RUN,$(TAKES_$(goal))),RUN=demo )$(name)=...))))
endif

.PHONY: help
help:
	@echo 'make TARGET [VARIABLE=value ...]'
	@awk -F '  ## ' 'FNR == 1 && NR > 1 {print "\nCaffe"} /^##@ / {print "\n" substr($$0, 5)} \
	    /^[a-z][a-z0-9-]*:.*  ## / {sub(/:.*/, "", $$1); printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo 'Variables, with their defaults'; sed -n 's/^#= /  /p' $(firstword $(MAKEFILE_LIST))

# ---------------------------------------------------------------- environment: Debian packages and .venv
SYSTEM_PYTHON ?= /usr/bin/python3
PYTHON := .venv/bin/python
# Modules are compiled when they are first imported (most never are), and the result is kept.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := .venv/bin/pip install --quiet --disable-pip-version-check --no-compile --requirement
APT_LISTS := third_party/apt-packages.txt

build/.apt-packages: third_party/apt.sh $(APT_LISTS)
	@[ "$(APT)" = no ] || third_party/apt.sh $(APT_LISTS)
	@mkdir -p $(@D) && touch $@

.venv/.requirements: requirements.txt | build/.apt-packages
	@echo "setup: Python packages of requirements.txt into .venv"
	@[ -x $(PYTHON) ] || $(SYSTEM_PYTHON) -m venv .venv
	@$(PIP_INSTALL) requirements.txt && touch $@

.venv/.bench: requirements-bench.txt .venv/.requirements
	@$(PIP_INSTALL) requirements-bench.txt && touch $@

.venv/.serve: requirements-serve.txt .venv/.requirements
	@$(PIP_INSTALL) requirements-serve.txt && touch $@

.venv/.cluster: requirements-cluster.txt .venv/.requirements
	@$(PIP_INSTALL) requirements-cluster.txt && touch $@

.venv/.test: requirements-test.txt .venv/.serve .venv/.cluster
	@$(PIP_INSTALL) requirements-test.txt && touch $@

.venv/.dev: requirements-dev.txt .venv/.requirements
	@$(PIP_INSTALL) requirements-dev.txt && touch $@

include third_party/caffe/caffe.mk

##@ Start here
.PHONY: demo setup clean
demo:  ## the main job end to end on 5,000 MNIST digits, LeNet, 48 bits: about a minute after the Caffe build
	@$(MAKE) experiment DATASET=digits NET=lenet BITS=48 RUN=demo WEIGHTS=none
	@echo "next: make train-mnist NET=lenet     (60,000 digits, about 3 minutes)"
	@echo "      make train-cifar              (the paper's experiment; a GPU helps)"

setup: build/.apt-packages .venv/.requirements  ## Debian packages (apt, root or sudo) and Python packages in .venv

clean:  ## remove build/ and .venv (data/ and runs/ stay)
	@rm -rf build .venv

##@ Experiments
.PHONY: train train-mnist train-cifar cifar-table evaluate es-pretrained mean
train: .venv/.requirements  ## your own images: DATA=photos (class folders, a tar or zip of them, lists) to the report
	@name=$(or $(DATASET_GIVEN),$$($(PYTHON) data_prep/inputs.py name --data "$$DATA")) && \
	    $(MAKE) experiment DATASET="$$name" NET=$(NET) ASKED=train

train-mnist:  ## MNIST: NET=lenet, or NET=caffenet as in the paper (BITS=48 or 128)
	@$(MAKE) experiment DATASET=mnist NET=$(or $(NET_GIVEN),lenet)

train-cifar:  ## the paper's CIFAR-10 experiment, from set-up to report
	@$(MAKE) experiment DATASET=cifar10 NET=caffenet

# All six code lengths of the paper, one run each.
RELEASED_BITS := 12 16 32 48 64 128
cifar-table:  ## train-cifar for 12, 16, 32, 48, 64 and 128 bits, then their table beside the paper's
	@for bits in $(RELEASED_BITS); do \
	    $(MAKE) experiment DATASET=cifar10 NET=caffenet BITS=$$bits; done
	@$(PYTHON) eval/cifar_table.py $(RELEASED_BITS:%=runs/cifar10_caffenet_%$(SCHEDULE:%=_schedule%)/eval/results.json)

# ---------------------------------------------------------------- one experiment: data set x net x bits
# A stage's file is older than what it was made from, or made with other settings: only the program behind it knows, by
# the keys that it keeps. So each is asked every time; one that finds all the same says so and touches nothing.
.PHONY: ask inputs databases trained features experiment
ask:
RUN_DIR := runs/$(RUN)
MODEL := $(RUN_DIR)/final.caffemodel
FEATURES := $(RUN_DIR)/features/train/meta.json $(RUN_DIR)/features/test/meta.json
RESULTS := $(RUN_DIR)/eval/results.json
# The programs leave only whole files, and go on from them: make must not remove one when it is stopped.
.PRECIOUS: $(MODEL) $(FEATURES) $(RESULTS)

MEAN := data/ilsvrc_2012_mean.binaryproto
$(MEAN): | $(CAFFE_READY)
	@$(PYTHON) data_prep/mean_image.py --out $@

mean: $(MEAN)  ## the ImageNet mean image that the prototxt name, data/ilsvrc_2012_mean.binaryproto

# LeNet: digits as they are, from the fillers. CaffeNet: 256x256 BGR (and the originals, which the authors' evaluation
# resizes itself), from ImageNet weights.
FETCHED := data/downloads
ifeq ($(NET),lenet)
DATA_DIR := data/$(DATASET)28
PREP_OPTIONS := --size 28 --grey
DEFAULT_WEIGHTS := none
# Its matrices are small: a second thread gains little on an idle machine and loses much on a busy one.
CAFFE_PYTHON := OMP_NUM_THREADS=1 $(PYTHON)
else
DATA_DIR := data/$(DATASET)
PREP_OPTIONS := --size 256 --originals
DEFAULT_WEIGHTS := $(FETCHED)/bvlc_reference_caffenet.caffemodel
NET_NEEDS := $(MEAN)
CAFFE_PYTHON := $(PYTHON)
endif
START := --weights "$${WEIGHTS:-$(DEFAULT_WEIGHTS)}"
ON_CPU := $${ENGINE:+--engine "$$ENGINE"} $${THREADS:+--threads "$$THREADS"}
EXTRACT = $(CAFFE_PYTHON) python/extract.py --protocol "$$PROTOCOL" --gpu "$${GPU%%,*}" $(ON_CPU)

# Where the images come from when DATA= does not say.
SOURCE_digits := digits
SOURCE_mnist := auto --dataset mnist --data "$${DATA:-$(FETCHED)}"
SOURCE_cifar10 := auto --dataset cifar10 --data "$${DATA:-$(FETCHED)/cifar-10-binary.tar.gz}"
SOURCE := $(or $(SOURCE_$(DATASET)),auto --data "$$DATA")

# The committed prototxt where there is one, otherwise written by the same template.
SETTING := $(DATASET)_$(NET)_$(BITS)
PROTOTXT := $(if $(wildcard prototxt/$(SETTING)/solver.prototxt),prototxt/$(SETTING),build/prototxt/$(SETTING))
build/prototxt/%/solver.prototxt: $(DATA_DIR)/.complete ask
	@$(PYTHON) python/net_template.py --dataset $(DATASET) --net $(NET) --bits $(BITS) --database $(DATA_DIR) \
	    --out build/prototxt --keep-edited

# Asked for before anything long starts.
inputs: .venv/.requirements
	@$(PYTHON) data_prep/inputs.py experiment --dataset $(DATASET) --data "$$DATA" $(START) --databases $(DATA_DIR) \
	    --to $(FETCHED) --target "$$ASKED"

# .complete: written last. Databases alone do not tell that their originals are there too.
$(DATA_DIR)/.complete: | inputs $(CAFFE_READY) $(NET_NEEDS)
	@$(PYTHON) data_prep/make_lmdb.py $(SOURCE) --out $(DATA_DIR) $(PREP_OPTIONS) --keep \
	    $(DATA_OPTIONS)
	@touch $@

$(MODEL): $(DATA_DIR)/.complete $(PROTOTXT)/solver.prototxt ask
	@$(CAFFE_PYTHON) python/train.py --solver $(PROTOTXT)/solver.prototxt --run $(RUN_DIR) $(START) $${SEED:+--seed "$$SEED"} \
	    --gpu "$$GPU" $(ON_CPU) $${ITERS:+--iterations "$$ITERS"} $${ITER_SIZE:+--iter-size "$$ITER_SIZE"} \
	    $${SCHEDULE:+--schedule "$$SCHEDULE"} $(TRAIN_OPTIONS)

$(FEATURES) &: $(MODEL) ask
	@$(EXTRACT) --run $(RUN_DIR) --databases $(DATA_DIR) --out $(RUN_DIR)/features $(EXTRACT_OPTIONS)

$(RESULTS): $(FEATURES) ask
	@$(EVALUATE) $(or $(EVAL_OPTIONS),--if-changed)

databases: $(DATA_DIR)/.complete
trained: $(MODEL)
features: $(FEATURES)
experiment: $(RESULTS)

PRETRAINED = $(if $(wildcard $(RUN_DIR)/pretrained/test/meta.json),--pretrained-features $(RUN_DIR)/pretrained)
# On a cluster the shards of the run are searched; they are cut where there are none yet.
SEARCHED := $(if $(value CLUSTER),.venv/.cluster $(if $(value PACKAGE),,shards))
CLUSTERED := $${CLUSTER:+--cluster "$$CLUSTER"} $${TOKEN:+--token "$$TOKEN"}
EVALUATE = $(PYTHON) eval/evaluate.py --features $(RUN_DIR)/features --out $(RUN_DIR)/eval $(PRETRAINED)
evaluate: .venv/.requirements $(SEARCHED)  ## evaluate the features of RUN= again, without Caffe (EVAL_OPTIONS=, e.g. --score-only)
	@$(EVALUATE) $(CLUSTERED) $(EVAL_OPTIONS)

# The paper's "AlexNet" search. Weights that end below fc7 are ranked by the last blob they reach, pool5 say.
es-pretrained: finished-run $(CAFFE_READY)  ## add the paper's fourth search to a run: fc7 of the net before fine-tuning
	@$(EXTRACT) --run $(RUN_DIR) --initial $${WEIGHTS:+--weights "$$WEIGHTS"} --databases $(DATA_DIR) --thumbs 0 \
	    --latent-blob none --feature-blob "$$PRETRAINED_BLOB" --out $(RUN_DIR)/pretrained $(EXTRACT_OPTIONS)
	@$(MAKE) evaluate

##@ Look
.PHONY: query serve add package export upgrade finished-run
finished-run:
	@ls $(FEATURES) >/dev/null 2>&1 || { \
	    echo "$$ASKED: $(RUN_DIR) has no features; RUN= names a finished run:" $$(ls runs 2>/dev/null) >&2; exit 1; }

# A package is read only: what it answers lies beside other generated files.
ASKED_MODEL := $(if $(value PACKAGE),--package "$$PACKAGE",--run $(RUN_DIR))
ASKED_CODES := $(if $(value PACKAGE),--package "$$PACKAGE",--features $(RUN_DIR)/features)
ANSWERS := $(if $(value PACKAGE),build/query,$(RUN_DIR)/query)
query: $(if $(value PACKAGE),,finished-run) $(SEARCHED) $(CAFFE_READY)  ## ask a run (RUN=) or package (PACKAGE=) about new images: IMAGE=file, directory or list
	@$(EXTRACT) $(ASKED_MODEL) --images "$$IMAGE" --out $(ANSWERS)/features $(EXTRACT_OPTIONS)
	@$(PYTHON) eval/query.py --queries $(ANSWERS)/features $(ASKED_CODES) --out $(ANSWERS) $(CLUSTERED)

add: finished-run $(CAFFE_READY)  ## add images to a run's database: RUN= IMAGES=file, directory or list
	@$(CAFFE_PYTHON) python/add.py --run $(RUN_DIR) --images "$$IMAGES" --gpu "$${GPU%%,*}" $(ON_CPU)

package: finished-run $(CAFFE_READY)  ## a run to hand on, net to model card, in one folder: RUN= OUT=folder
	@$(PYTHON) python/package.py --run $(RUN_DIR) --out "$$OUT" $(PACKAGE_OPTIONS)

# Searches run side by side, each on one thread; the net has a process of its own.
SERVER := OPENBLAS_NUM_THREADS=1 $(PYTHON)
NET_PROCESS = env -u OPENBLAS_NUM_THREADS $(CAFFE_PYTHON) python/embed.py
serve: $(if $(value PACKAGE),,finished-run) .venv/.serve $(SEARCHED) $(CAFFE_READY)  ## a page and an API to search by looking: RUN=demo (or PACKAGE=) PORT=8000
	@$(SERVER) eval/serve.py $(ASKED_CODES) --port "$${PORT:-8000}" $${HOST:+--host "$$HOST"} $(CLUSTERED) \
	    --net $(NET_PROCESS) $(ASKED_MODEL) $(if $(value PACKAGE),,--images-of $(RUN_DIR)/features) \
	    --protocol "$$PROTOCOL" --gpu "$${GPU%%,*}" $(ON_CPU) $(EXTRACT_OPTIONS)

export: $(CAFFE_READY)  ## a run's net and weights as ONNX, checked against Caffe: RUN= (or FILE=) OUT=model.onnx
	@$(PYTHON) python/export.py $(if $(value FILE),--weights "$$FILE",--run $(RUN_DIR)) --out "$$OUT" $(EXPORT_OPTIONS)

upgrade: $(CAFFE_READY)  ## bring a net, solver or caffemodel of an older Caffe into today's format: FILE= OUT=
	@$(PYTHON) python/upgrade.py "$$FILE" $${OUT:+--out "$$OUT"}

##@ Several machines
# Ray, on each machine the same versions; eval/README.md, A cluster.
.PHONY: shards cluster-rebalance cluster-head cluster-node cluster-status cluster-stop
WHICH_CLUSTER = $${CLUSTER:+--cluster "$$CLUSTER"}
cluster-head: .venv/.cluster  ## start a cluster's head on this machine (HOST= where others are to reach it, PORT=6379)
	@$(PYTHON) eval/cluster.py head $${PORT:+--port "$$PORT"} $${HOST:+--host "$$HOST"}

cluster-node: .venv/.cluster  ## let this machine join: CLUSTER=host:port, one machine after the other
	@$(PYTHON) eval/cluster.py node $(WHICH_CLUSTER) $${TOKEN:+--token "$$TOKEN"} $${HOST:+--host "$$HOST"} \
	    $${THREADS:+--threads "$$THREADS"}

cluster-status: .venv/.cluster  ## nodes of a cluster, and what was started from here (CLUSTER=, else this machine's)
	@$(PYTHON) eval/cluster.py status $(WHICH_CLUSTER) $${TOKEN:+--token "$$TOKEN"}

cluster-stop: .venv/.cluster  ## end the nodes that were started from here (CLUSTER=, else this machine's), and no others
	@$(PYTHON) eval/cluster.py stop $(WHICH_CLUSTER)

shards: finished-run .venv/.requirements  ## cut a run's database into shards for a cluster: RUN= (OUT=folder SHARDS=4)
	@$(PYTHON) eval/shards.py --features $(RUN_DIR)/features $(if $(filter shards,$(MAKECMDGOALS)),$${OUT:+--out "$$OUT"}) \
	    $${SHARDS:+--shards "$$SHARDS"} $(SHARDS_OPTIONS)

cluster-rebalance: .venv/.cluster  ## spread the shards of RUN= over the nodes that there are now (CLUSTER=)
	@$(PYTHON) eval/cluster.py rebalance $(WHICH_CLUSTER) $${TOKEN:+--token "$$TOKEN"} \
	    --shards "$${OUT:-$(RUN_DIR)/shards}"

# Features of a run's database by all nodes; DATA= as below data/, OUT= where it is no folder of databases.
.PHONY: extract-cluster
extract-cluster: .venv/.cluster $(CAFFE_READY)  ## features of a run by the nodes of a cluster: RUN= DATA=data/cifar10 CLUSTER= PARTS=n
	@$(PYTHON) python/extract_cluster.py --cluster "$$CLUSTER" $${TOKEN:+--token "$$TOKEN"} --parts "$$PARTS" \
	    --run $(RUN_DIR) --data "$${DATA:-$(DATA_DIR)}" --out "$${OUT:-$(RUN_DIR)/features}" \
	    --protocol "$$PROTOCOL" --gpu "$${GPU%%,*}" $(ON_CPU) $(EXTRACT_OPTIONS)

##@ Compare
# RELEASED= names any caffemodel of this family; only the 48-bit one has an address. EXTRACT_OPTIONS= is for models with
# other layer names (--net deploy.prototxt --latent-blob name --feature-blob name).
.PHONY: compare-cifar released-model bench bench-eval bench-serve bench-cluster yahoo1m-size
RELEASED_DIR := runs/released_$(BITS)
RELEASED_FILE := "$${RELEASED:-$(FETCHED)/KevinNet_CIFAR10_48.caffemodel}"
released-model: .venv/.requirements
	@$(PYTHON) data_prep/inputs.py released --bits "$$BITS" --file "$$RELEASED" --to $(FETCHED)

compare-cifar: finished-run released-model $(CAFFE_READY) $(MEAN)  ## the authors' released model beside our run
	@$(MAKE) databases DATASET=cifar10 NET=caffenet WEIGHTS=none
	@$(EXTRACT) --weights $(RELEASED_FILE) --mean $(MEAN) --databases data/cifar10 --out $(RELEASED_DIR)/features \
	    $(EXTRACT_OPTIONS)
	@$(PYTHON) eval/compare.py --features ours=$(RUN_DIR)/features released=$(RELEASED_DIR)/features \
	    --out $(RELEASED_DIR)/compare $${EXPECTED:+--expected released}

bench: .venv/.bench $(CAFFE_READY)  ## layers beside PyTorch, databases and driver beside Caffe's own programs
	@for net in lenet caffenet; do $(PYTHON) python/bench_layers.py --net $$net; done
	@$(PYTHON) data_prep/bench_prep.py $${DATA:+--data "$$DATA"}
	@$(PYTHON) python/bench_driver.py

bench-eval: .venv/.bench  ## search and mAP against faiss and the usual loops (LARGE=1000000: also that many images)
	@$(PYTHON) eval/bench_eval.py $${LARGE:+--large "$$LARGE"}

bench-serve: finished-run .venv/.serve $(CAFFE_READY)  ## the server under 1, 8 and 64 clients, uploads to the net of RUN= (LARGE=1000000: also that many images)
	@$(SERVER) eval/bench_serve.py --run $(RUN_DIR) $${LARGE:+--large "$$LARGE"} \
	    --net $(NET_PROCESS) --run $(RUN_DIR) --gpu none $(ON_CPU)

bench-cluster: .venv/.cluster  ## a query and a batch on a cluster (CLUSTER=) beside this machine
	@$(PYTHON) eval/bench_cluster.py $(WHICH_CLUSTER) $${TOKEN:+--token "$$TOKEN"}

yahoo1m-size: .venv/.requirements  ## the paper's largest experiment in its size, on made-up features (12 GB of disk)
	@$(PYTHON) eval/bench_yahoo1m.py --out build/yahoo1m $(YAHOO_OPTIONS)

##@ Check
.PHONY: test test-cluster torture torture-planted lint gpu-check gpu-checked
test: $(CAFFE_READY) .venv/.test  ## all tests; sets up what they need, Caffe build included
	@$(PYTHON) -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile tests $(PYTEST_OPTIONS)

test-cluster: $(CAFFE_READY) .venv/.test  ## extraction and search on a cluster of this machine while its nodes are killed and stopped: about 5 minutes
	@$(PYTHON) -m pytest -q tests/cluster/trial_extract.py
	@$(PYTHON) tests/cluster/trial.py

torture: $(CAFFE_READY) .venv/.test  ## bad inputs by the thousand, kills, full disks: about 30 minutes (TORTURE_OPTIONS=, e.g. --seed 2)
	@cd tests && ../$(PYTHON) -m torture --examples 500 $(TORTURE_OPTIONS)

torture-planted: $(CAFFE_READY) .venv/.test  ## known defects planted again in a copy, one by one: make torture has to find each
	@cd tests && ../$(PYTHON) -m torture.planted $(TORTURE_OPTIONS)

lint: .venv/.dev  ## ruff, with the rules of pyproject.toml
	@.venv/bin/ruff check .

# nvidia.py needs nothing but a python3: without a GPU nothing is installed or built to say so (status 3).
gpu-check:  ## on a machine with an NVIDIA GPU: Caffe's own GPU tests, activations and 200 iterations on GPU and CPU
	@status=0; listed=$$($(SYSTEM_PYTHON) python/gpu/nvidia.py) || status=$$?; \
	[ $$status != 3 ] || { echo "gpu-check: no NVIDIA GPU here, nothing was run: $$listed"; exit 0; }; \
	echo "$$listed"; [ $$status = 0 ] && $(MAKE) gpu-checked CUDA=1 $(GPU_CHECK)

# On CIFAR-10 for CaffeNet, on the packaged digits for LeNet; from the fillers unless WEIGHTS= says.
GPU_CHECK := DEFAULT_WEIGHTS=none \
    $(if $(filter caffenet,$(NET_GIVEN)),DATASET=cifar10 NET=caffenet,DATASET=digits NET=lenet)
# Caffe's own tests of this project's layers, on the GPU: typed by device they are /2 (float) and /3 (double).
GPU_TESTS = $(foreach pattern,$(subst :, ,$(CAFFE_TESTS)),$(pattern)/2.* $(pattern)/3.*) CuDNN*
gpu-checked: $(DATA_DIR)/.complete $(PROTOTXT)/solver.prototxt
	@$(MAKE) caffe-test CAFFE_TESTS='$(subst $() ,:,$(GPU_TESTS))'
	@device=$${GPU%%,*}; $(PYTHON) python/gpu_check.py --setting $(PROTOTXT) --devices none "$${device/auto/0}" $(START)

# BVLC Caffe: where it comes from and how it is built. The rest of the project knows only
#   build/caffe/current -> the Caffe in use (shaped like a Caffe checkout: python/, build/tools/)
# and that `import caffe` works in .venv.
CAFFE_SRC ?=
CAFFE_ROOT ?=
JOBS ?= $(shell nproc)
# CUDA=1 builds for NVIDIA GPUs (in build/caffe/cuda), CUDA=0 for the CPU (build/caffe/cpu); by default what nvidia-smi says.
ifeq ($(origin CUDA),undefined)
CUDA := $(if $(findstring GPU,$(shell nvidia-smi --list-gpus 2>/dev/null)),1,0)
endif
ifeq ($(filter 0 1,$(CUDA)),)
$(error CUDA=$(CUDA): give 1 for a build with CUDA, 0 for the CPU)
endif
CAFFE_VARIANT := $(if $(filter 1,$(CUDA)),cuda,cpu)
CAFFE_DIR := build/caffe/$(CAFFE_VARIANT)
# Options given replace those of the build that is there; none keeps them, also when it is configured again.
CUDA_OPTIONS_FROM := build/caffe/cuda-options
CUDA_OPTIONS := $(strip $(foreach option,CUDNN NCCL CUDA_ARCH CUDA_HOME,$(if $(filter undefined,$(origin $(option))),,$(option)="$($(option))")))
ifeq ($(CUDA_OPTIONS),)
CUDA_OPTIONS := $(shell cat $(CUDA_OPTIONS_FROM) 2>/dev/null)
endif
# ONEDNN=0 builds without the CPU engine; without it the build that is there is kept as it is.
ONEDNN_FROM := build/caffe/$(CAFFE_VARIANT)-onednn-option
ONEDNN_BEFORE := $(or $(shell cat $(ONEDNN_FROM) 2>/dev/null),1)
ONEDNN ?= $(ONEDNN_BEFORE)
CAFFE_BUILD := PYTHON=$(PYTHON) CAFFE_SRC="$(CAFFE_SRC)" JOBS=$(JOBS) ONEDNN=$(ONEDNN) $(CUDA_OPTIONS) third_party/caffe/build.sh

# Another CAFFE_SRC than the one the source came from starts anew; none keeps what is there.
CAFFE_SOURCE_FROM := build/caffe/$(CAFFE_VARIANT)-source-from
ifneq ($(CAFFE_SRC),)
ifneq ($(CAFFE_SRC),$(shell cat $(CAFFE_SOURCE_FROM) 2>/dev/null))
.PHONY: $(CAFFE_DIR)/.source
endif
endif

$(CAFFE_DIR)/.source: third_party/caffe/source.txt $(wildcard third_party/caffe/patches/*.patch) | build/.apt-packages
	@echo "caffe: source and patches"
	@$(CAFFE_BUILD) source $(CAFFE_VARIANT)
	@echo "$(CAFFE_SRC)" > $(CAFFE_SOURCE_FROM)
	@touch $@

CUDA_SCRIPTS :=
ifeq ($(CUDA),1)
CUDA_SCRIPTS := third_party/caffe/cuda.sh third_party/caffe/requirements-cuda.txt
ifneq ($(CUDA_OPTIONS),$(shell cat $(CUDA_OPTIONS_FROM) 2>/dev/null))
.PHONY: $(CAFFE_DIR)/.configured
endif
endif

ifneq ($(ONEDNN),$(ONEDNN_BEFORE))
.PHONY: $(CAFFE_DIR)/.configured
endif

$(CAFFE_DIR)/.configured: $(CAFFE_DIR)/.source third_party/caffe/build.sh $(CUDA_SCRIPTS) .venv/.requirements
	@$(CAFFE_BUILD) configure $(CAFFE_VARIANT)
	@[ "$(CUDA)" = 0 ] || echo '$(CUDA_OPTIONS)' > $(CUDA_OPTIONS_FROM)
	@echo $(ONEDNN) > $(ONEDNN_FROM)
	@touch $@

COMPILE_TIME := $(if $(filter 1,$(CUDA)),about 8 minutes on 2 cores for one architecture,about 3 minutes on 2 cores)
$(CAFFE_DIR)/.built: $(CAFFE_DIR)/.configured
	@echo "caffe: compiling libcaffe, pycaffe and the tools ($(COMPILE_TIME); log: build/caffe/$(CAFFE_VARIANT)-compile.log)"
	@$(CAFFE_BUILD) compile $(CAFFE_VARIANT)
	@touch $@

ifeq ($(CAFFE_ROOT),)
CAFFE_READY := build/caffe/.$(CAFFE_VARIANT)-in-use
$(CAFFE_READY): $(CAFFE_DIR)/.built
	@third_party/caffe/use.sh $(CAFFE_DIR) $@
else
CAFFE_READY := build/caffe/.root-in-use
.PHONY: $(CAFFE_READY)
$(CAFFE_READY): .venv/.requirements
	@third_party/caffe/use.sh "$(CAFFE_ROOT)" $@
endif

.PHONY: caffe caffe-test test-cuda
caffe: $(CAFFE_READY)  ## build BVLC Caffe into build/caffe (CUDA=0|1 CUDNN= NCCL= CUDA_ARCH= CUDA_HOME=; CAFFE_SRC=, CAFFE_ROOT=)

# The layers and the solver that the nets of this project use, in Caffe's own C++ tests.
CAFFE_TESTS ?= *InnerProduct*:*Sigmoid*:*Convolution*:*LRN*:*Softmax*:*DataLayer*:*DataTransform*:*SGDSolver*:*Accuracy*:*Dropout*:*Neuron*:*Pooling*:*Reduction*
# Without a GPU a CUDA build's tests of it are left out: those typed by device have it at /2 and /3, others in their names.
CAFFE_TESTS_LEFT_OUT := $(if $(findstring GPU,$(shell nvidia-smi --list-gpus 2>/dev/null)),,:-*/2.*:*/3.*:*GPU*:CuDNN*)
# Not test_draw, which needs pydot.
PYCAFFE_TESTS := test_[!d]*.py
caffe-test: $(CAFFE_DIR)/.built .venv/.requirements  ## build and run Caffe's own C++ tests of the layers used here, and pycaffe's (3 minutes on 2 cores)
	@$(CAFFE_BUILD) cpptests $(CAFFE_VARIANT)
	@cd $(CAFFE_DIR) && build/test/test.testbin --gtest_filter='$(CAFFE_TESTS)$(if $(filter 1,$(CUDA)),$(CAFFE_TESTS_LEFT_OUT))' --gtest_color=no > ../$(CAFFE_VARIANT)-cpptests-run.log 2>&1 \
	    || { grep -E '^\[  FAILED' ../$(CAFFE_VARIANT)-cpptests-run.log; echo "caffe-test: failed; log: build/caffe/$(CAFFE_VARIANT)-cpptests-run.log" >&2; exit 1; }
	@grep -E '^\[==========\].*ran|^\[  PASSED' build/caffe/$(CAFFE_VARIANT)-cpptests-run.log
	@PYTHONPATH=$(CAFFE_DIR)/python GLOG_minloglevel=2 $(PYTHON) -m unittest discover -s $(CAFFE_DIR)/python/caffe/test -p '$(PYCAFFE_TESTS)' \
	    > build/caffe/$(CAFFE_VARIANT)-pytests-run.log 2>&1 \
	    || { tail -20 build/caffe/$(CAFFE_VARIANT)-pytests-run.log >&2; echo "caffe-test: pycaffe's tests failed" >&2; exit 1; }
	@grep -E '^Ran' build/caffe/$(CAFFE_VARIANT)-pytests-run.log

# One architecture is enough to show that everything compiles and links.
test-cuda: export CUDA_ARCH ?= 90
test-cuda:  ## build with CUDA, check that it is whole, run Caffe's own and all our tests with it (25 minutes on 2 cores)
	@$(MAKE) caffe CUDA=1
	@third_party/caffe/check_links.sh build/caffe/cuda
	@$(MAKE) caffe-test CUDA=1
	@$(MAKE) test CUDA=1

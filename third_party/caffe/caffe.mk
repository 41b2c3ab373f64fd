# BVLC Caffe: where it comes from and how it is built. The rest of the project knows only
#   build/caffe/current -> the Caffe in use (shaped like a Caffe checkout: python/, build/tools/)
# and that `import caffe` works in .venv.
CAFFE_SRC ?=
CAFFE_ROOT ?=
JOBS ?= $(shell nproc)
CAFFE_VARIANT := cpu
CAFFE_DIR := build/caffe/$(CAFFE_VARIANT)
CAFFE_BUILD := PYTHON=$(PYTHON) CAFFE_SRC="$(CAFFE_SRC)" JOBS=$(JOBS) third_party/caffe/build.sh

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

$(CAFFE_DIR)/.configured: $(CAFFE_DIR)/.source third_party/caffe/build.sh .venv/.requirements
	@$(CAFFE_BUILD) configure $(CAFFE_VARIANT)
	@touch $@

$(CAFFE_DIR)/.built: $(CAFFE_DIR)/.configured
	@echo "caffe: compiling libcaffe, pycaffe and the tools (about 3 minutes on 2 cores; log: build/caffe/$(CAFFE_VARIANT)-compile.log)"
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

.PHONY: caffe caffe-test
caffe: $(CAFFE_READY)  ## build BVLC Caffe into build/caffe (CAFFE_SRC=dir or tarball, CAFFE_ROOT=existing build)

# The layers and the solver that the nets of this project use, in Caffe's own C++ tests.
CAFFE_TESTS ?= *InnerProduct*:*Sigmoid*:*Convolution*:*LRN*:*Softmax*:*DataLayer*:*DataTransform*:*SGDSolver*:*Accuracy*:*Dropout*:*Neuron*:*Pooling*
caffe-test: $(CAFFE_DIR)/.built  ## build and run Caffe's own C++ tests of the layers used here (3 minutes on 2 cores)
	@$(CAFFE_BUILD) cpptests $(CAFFE_VARIANT)
	@cd $(CAFFE_DIR) && build/test/test.testbin --gtest_filter='$(CAFFE_TESTS)' --gtest_color=no > ../$(CAFFE_VARIANT)-cpptests-run.log 2>&1 \
	    || { grep -E '^\[  FAILED' ../$(CAFFE_VARIANT)-cpptests-run.log; echo "caffe-test: failed; log: build/caffe/$(CAFFE_VARIANT)-cpptests-run.log" >&2; exit 1; }
	@grep -E '^\[==========\].*ran|^\[  PASSED' build/caffe/$(CAFFE_VARIANT)-cpptests-run.log

"""Everything about GPUs: what the driver tells, which one Caffe can use, how much memory a net needs."""

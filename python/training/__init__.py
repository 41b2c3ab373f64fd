"""Fine-tuning with Caffe's solver: the problem, the loop, snapshots, log, test phase, several GPUs."""

"""What Caffe reads: databases of images, and the mean image."""

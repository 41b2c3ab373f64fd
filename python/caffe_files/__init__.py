"""Caffe's own files: prototxt, caffemodels, databases, mean images, and the tools that come with Caffe."""

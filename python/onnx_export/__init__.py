"""A deploy net and its weights as ONNX, checked against Caffe."""

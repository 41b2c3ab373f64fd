"""The layers that nets are made of, with the learning rates and fillers of the authors' nets."""
from typing import Any

from caffe import layers as L
from caffe import params as P


def learned(lr: tuple[int, int] = (1, 2)) -> list[dict]:
    """The two `param` blocks of a layer: weights, then bias, which is never decayed (decay_mult 1 and 0)."""
    return [dict(lr_mult=lr[0], decay_mult=1), dict(lr_mult=lr[1], decay_mult=0)]


def gaussian(std: float, bias: float) -> dict:
    """Fillers of a layer: weights from a normal distribution, a constant bias."""
    return dict(weight_filler=dict(type="gaussian", std=std), bias_filler=dict(type="constant", value=bias))


XAVIER = dict(weight_filler=dict(type="xavier"), bias_filler=dict(type="constant", value=0))


def conv(bottom: Any, channels: int, kernel: int, filler: dict, **options: int) -> Any:
    """A learned convolution."""
    return L.Convolution(bottom, param=learned(), num_output=channels, kernel_size=kernel, **options, **filler)


def max_pool(bottom: Any, kernel: int) -> Any:
    """Max pooling with stride 2."""
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=kernel, stride=2)


def hidden(bottom: Any, outputs: int, filler: dict) -> Any:
    """A learned fully connected layer."""
    return L.InnerProduct(bottom, param=learned(), num_output=outputs, **filler)


def lrn(bottom: Any) -> Any:
    """CaffeNet's normalisation across channels."""
    return L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)

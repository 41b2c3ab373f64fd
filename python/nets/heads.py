"""Nets from fc7 on: the latent layer that makes the codes, the classifier, and the losses."""
from dataclasses import dataclass
from typing import Any

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P

from nets.blobs import CVPRW, SSDH, Names
from nets.layers import gaussian, hidden, learned


@dataclass(frozen=True)
class Head:
    """names: of its layers. latent, classifier: (std of the weights, constant bias) that they start from.

    ssdh_terms: with the two terms that SSDH adds to the classification loss.
    """
    names: Names
    latent: tuple[float, float]
    classifier: tuple[float, float]
    ssdh_terms: bool = False

    def scores(self, n: NetSpec, bottom: Any, bits: int, classes: int) -> Any:
        """Latent layer H of `bits` units (section 3.1 of the paper) and a classifier that sees H's activations only."""
        latent = hidden(bottom, bits, gaussian(*self.latent))
        codes = L.Sigmoid(latent)
        scores = L.InnerProduct(codes, param=learned((10, 20)), num_output=classes, **gaussian(*self.classifier))
        for name, top in ((self.names.latent, latent), (self.names.codes, codes), (self.names.classifier, scores)):
            setattr(n, name, top)
        return scores

    def losses(self, n: NetSpec, scores: Any, several: bool) -> None:
        """What training minimises: the classification loss, and SSDH's terms where the head has them.

        several: labels an image has; each is told on its own then, and their cross-entropies are added.
        """
        n.loss = (L.SigmoidCrossEntropyLoss if several else L.SoftmaxWithLoss)(scores, n.label)
        if self.ssdh_terms:
            add_ssdh_terms(n, getattr(n, self.names.codes))


def add_ssdh_terms(n: NetSpec, codes: Any) -> None:
    """Adds SSDH's forcing-binary and fire-rate terms, each with weight 1, on codes a of shape (N, h).

    forcing_binary: -(1/(2 N h)) sum over all of (a - 0.5)^2, so that activations leave 0.5.
    fire_rate: (1/(2 N)) sum over images of (mean of its h activations - 0.5)^2, so that half of an image's bits are 1.
    The authors' Caffe has layers of its own for both; Power, Reduction and means say the same at any N and h.
    """
    n.binary_squares = L.Power(codes, power=2, shift=-0.5)
    n.forcing_binary = L.Reduction(n.binary_squares, operation=P.Reduction.MEAN, coeff=-0.5, loss_weight=1)
    n.fire_mean = L.Reduction(codes, operation=P.Reduction.MEAN, axis=1)
    n.fire_squares = L.Power(n.fire_mean, power=2, shift=-0.5)
    n.fire_rate = L.Reduction(n.fire_squares, operation=P.Reduction.MEAN, coeff=0.5, loss_weight=1)


CVPRW_HEAD = Head(CVPRW, (0.005, 1), (0.01, 0))
SSDH_HEAD = Head(SSDH, (0.01, 0), (0.2, 0), ssdh_terms=True)

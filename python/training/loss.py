"""The training loss that Caffe's net shows."""
import caffe


class IterationLoss:
    """The loss of an iteration: the mean over its iter_size passes, of which the net shows the last."""

    def __init__(self, net: caffe.Net, iter_size: int) -> None:
        self.net, self.passes, last = net, [], len(net.layers) - 1
        self.watching = iter_size > 1
        if self.watching:
            net.after_forward(lambda layer: self.passes.append(current_loss(net)) if layer == last else None)

    def start(self) -> None:
        """Before an iteration."""
        self.passes.clear()

    def value(self) -> float:
        """After it."""
        return sum(self.passes) / len(self.passes) if self.watching else current_loss(self.net)


def current_loss(net: caffe.Net) -> float:
    """The weighted sum of the net's losses in the last forward pass."""
    return sum(float(weight * net.blobs[name].data.sum()) for name, weight in net.blob_loss_weights.items() if weight)

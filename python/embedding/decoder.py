"""Decoding in a process of its own: an image that breaks it, or takes too long, costs that process and nothing else."""
import contextlib
import os
import select
import subprocess
import sys
from dataclasses import asdict

from embedding.decoding import NoImage
from embedding.framing import BrokenPipe, Frame, read_frame, write_frame
from features.preprocess import Preprocessor
from process.modules import DRIVER

PATIENCE_S = 20.0
PREVIEW_SIDE = 256


class Decoder:
    """decode(data) -> Frame with the parts "preview" (PNG) and "input" (C, H, W) float32 of `preprocess`."""

    def __init__(self, preprocess: Preprocessor) -> None:
        self.preprocess = preprocess
        self.worker: subprocess.Popen | None = None
        self._start()

    def decode(self, data: bytes, side: int = PREVIEW_SIDE, net_input: bool = True) -> Frame:
        """NoImage, with a sentence, for what cannot be taken."""
        if self.worker is None:
            self._start()
        try:
            write_frame(self.worker.stdin, {"side": side, "input": net_input}, {"image": data})
            answer = self._answer()
        except (BrokenPipe, OSError):
            self.close()
            raise NoImage("the image broke the process that decodes images: save it again as JPEG or PNG") from None
        if "error" in answer.header:
            raise NoImage(answer.header["error"])
        return answer

    def _answer(self) -> Frame:
        ready, _, _ = select.select([self.worker.stdout], [], [], PATIENCE_S)
        if not ready:
            self.close()
            raise NoImage(f"the image was not decoded within {PATIENCE_S:.0f} s: make it smaller")
        answer = read_frame(self.worker.stdout)
        if answer is None:
            raise BrokenPipe("it ended")
        return answer

    def _start(self) -> None:
        # -P: the user's current directory is no place to import from
        command = [sys.executable, "-P", "-m", "embedding.decoder_worker", str(os.getpid())]
        self.worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1,
                                       env={**os.environ, "PYTHONPATH": str(DRIVER), "OPENBLAS_NUM_THREADS": "1"})
        fields = asdict(self.preprocess)
        mean = fields.pop("mean")
        write_frame(self.worker.stdin, {"preprocess": fields}, {} if mean is None else {"mean": mean})

    def close(self) -> None:
        """Ends the process; the next image starts another."""
        if self.worker:
            self.worker.kill()
            self.worker.wait()
            for stream in (self.worker.stdin, self.worker.stdout):
                with contextlib.suppress(OSError):  # what it had not read is lost with it
                    stream.close()
        self.worker = None

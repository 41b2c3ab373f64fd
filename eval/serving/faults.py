"""What goes wrong with a request, with the HTTP status that says so."""


class Fault(Exception):
    """A request that cannot be answered: `status` of HTTP, the sentence for a person, and whether to try again."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after

"""An opener of addresses whose servers have a limited time for the head of their answer.

A timeout of sockets is the longest silence: a server that sends a byte of its head now and then would hold it for ever.
"""
import http.client
import socket
import threading
import urllib.request


def opener(seconds: float) -> urllib.request.OpenerDirector:
    """For http, https and files. A connection without the whole head of an answer after `seconds` is closed."""
    return urllib.request.build_opener(_handler(urllib.request.HTTPHandler, http.client.HTTPConnection, seconds),
                                       _handler(urllib.request.HTTPSHandler, http.client.HTTPSConnection, seconds))


def _handler(base: type, connection_class: type, seconds: float) -> urllib.request.BaseHandler:
    class Limited(connection_class):
        def getresponse(self):
            closed = threading.Event()
            late = threading.Timer(seconds, _close, [self.sock, closed])
            late.daemon = True
            late.start()
            try:
                return super().getresponse()
            finally:
                late.cancel()
                if closed.is_set():  # http.client takes the end of the connection for the end of the head
                    raise TimeoutError(f"no answer within {seconds:g} s")

    class Handler(base):
        def do_open(self, http_class, request, **options):
            return super().do_open(Limited, request, **options)

    return Handler()


def _close(connection: socket.socket, closed: threading.Event) -> None:
    closed.set()  # first: the reader wakes up at once
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed already

"""An HTTP/2 client that controls every frame, and a server, for the end-to-end tests."""
import socket
import ssl
import struct
import time

import hpack

from harness import SLOW, Backend, Closed

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)
MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, CONNECT_PROTOCOL, NO_RFC7540 = 3, 4, 5, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Stream:
    def __init__(self):
        self.headers, self.trailers, self.interims = [], [], []
        self.body = b""
        self.ended, self.reset, self.data_frames = False, None, []

    def get(self, name, default=None):
        return next((v for n, v in self.headers if n == name), default)

    @property
    def status(self):
        return int(self.get(":status", 0))

    def __repr__(self):
        return f"<{self.status} {self.body[:60]!r} ended={self.ended} reset={self.reset}>"


class H2:
    """One connection. updates: give the windows back as data comes; ack: answer SETTINGS and PING."""

    def __init__(self, port, tls=False, settings=None, preface=True, updates=True, ack=True, rcvbuf=None, timeout=10,
                 window=None, name="localhost"):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            ctx = ssl._create_unverified_context()
            ctx.set_alpn_protocols(["h2"] if tls is True else tls)
            self.sock = ctx.wrap_socket(self.sock, server_hostname=name)
            self.alpn = self.sock.selected_alpn_protocol()
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24
        self.buf, self.updates, self.ack = b"", updates, ack
        self.streams, self.goaways, self.settings, self.pongs = {}, [], None, []
        self.next_id, self.eof, self.block = 1, False, None
        if preface:
            out = PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in (settings or {}).items()))
            if window:
                out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", window))
            self.send(out)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    # ------------------------------------------------ out

    def send(self, data):
        self.sock.sendall(data)

    def frame(self, *a):
        self.send(frame(*a))

    def fields(self, path="/", method="GET", authority="localhost", scheme="http", more=()):
        return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]

    def open(self, fields, end=True, stream=None):
        """HEADERS; returns the stream's number."""
        return self.send_open(*self.make_open(fields, end, stream))

    def make_open(self, fields, end=True, stream=None):
        if stream is None:
            stream = self.next_id
        self.next_id = max(self.next_id, stream + 2)
        return stream, frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encoder.encode(fields))

    def send_open(self, stream, data):
        self.send(data)
        return stream

    def get(self, path="/", **kw):
        return self.response(self.open(self.fields(path, **kw)))

    def data(self, stream, data, end=False):
        self.frame(DATA, END_STREAM if end else 0, stream, data)

    def reset(self, stream, code=CANCEL):
        self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def window(self, stream, n):
        self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))

    # ------------------------------------------------ in

    def _read(self, n):
        while len(self.buf) < n:
            try:
                more = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                self.eof = True
                raise Closed(self.buf)
            self.buf += more
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def recv(self):
        """The next frame, taken note of."""
        head = self._read(9)
        n, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:9], "big") & 0x7fffffff
        payload = self._read(n)
        self._note(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def stream(self, n):
        return self.streams.setdefault(n, Stream())

    def _block(self, stream, flags):
        fields = [(n.decode() if isinstance(n, bytes) else n, v.decode("latin-1") if isinstance(v, bytes) else v)
                  for n, v in self.decoder.decode(self.block[1], raw=True)]
        s, self.block = self.stream(stream), None
        if fields and fields[0][0] == ":status" and fields[0][1].startswith("1"):
            s.interims.append(fields)
        elif s.headers:
            s.trailers = fields
        else:
            s.headers = fields
        return s

    def _note(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.settings = dict(struct.iter_unpack(">HI", payload))
            if self.ack:
                self.frame(SETTINGS, ACK)
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            elif self.ack:
                self.frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]) + (payload[8:],))
        elif kind == RST_STREAM:
            self.stream(stream).reset = struct.unpack(">I", payload)[0]
        elif kind == HEADERS:
            self.block = (flags, payload)
        elif kind == CONTINUATION:
            self.block = (self.block[0], self.block[1] + payload)
        elif kind == DATA:
            s = self.stream(stream)
            s.body += payload
            s.data_frames.append(len(payload))
            s.ended |= bool(flags & END_STREAM)
            if self.updates and payload:
                self.window(0, len(payload))
                if not s.ended:
                    self.window(stream, len(payload))
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS:
            first = self.block[0]
            s = self._block(stream, flags)
            s.ended |= bool(first & END_STREAM)

    def until(self, fn):
        """Reads frames until fn() is true; Closed when the connection ends before."""
        while not fn():
            self.recv()
        return fn()

    def response(self, n):
        s = self.stream(n)
        self.until(lambda: s.ended or s.reset is not None)
        return s

    def head(self, n):
        s = self.stream(n)
        self.until(lambda: s.headers or s.reset is not None)
        return s

    def ping(self):
        """Everything that was sent before has been seen by the other side."""
        n = len(self.pongs)
        self.frame(PING, 0, 0, b"p%07d" % n)
        self.until(lambda: len(self.pongs) > n)

    def wait_closed(self):
        """Reads to the end; what the last GOAWAY said: its error code, or None."""
        try:
            while True:
                self.recv()
        except Closed:
            return self.goaways[-1][1] if self.goaways else None


# ---------------------------------------------------------------- servers

OK = b"\x88"  # :status 200, as a header block


def literal(name, value):
    """A field that goes into no table, for header blocks by hand."""
    name, value = (s.encode() if isinstance(s, str) else s for s in (name, value))
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class RawConn:
    """A connection of RawServer: the test sends frames, this reads them."""

    def __init__(self, server, conn):
        self.server, self.sock, self.number = server, conn.sock, conn.number
        self.buf, self.decoder = b"", hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24
        self.goaways, self.resets, self.block = [], [], None

    def send(self, data):
        self.sock.sendall(data)

    def frame(self, *a):
        self.send(frame(*a))

    def dribble(self, data):
        """Byte by byte, as far as the other side keeps up."""
        for n in range(len(data)):
            self.send(data[n:n + 1])
            time.sleep(0.0005)  # for it to read each by itself; where it does not, less is tested

    def answer(self, stream, body=b"ok", fields=b""):
        self.send(frame(HEADERS, END_HEADERS, stream, OK + fields) + frame(DATA, END_STREAM, stream, body))

    def goaway(self, last, code=NO_ERROR):
        self.frame(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def reset(self, stream, code=CANCEL):
        self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def more(self, n):
        while len(self.buf) < n:
            data = self.sock.recv(65536)
            if not data:
                return False
            self.buf += data
        return True

    def take(self, n):
        if not self.more(n):
            return None
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def run(self):
        if self.take(len(PREFACE)) is None:
            return
        self.server.started(self)
        while (head := self.take(9)) is not None:
            n, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7fffffff
            payload = self.take(n)
            if payload is None or self.heard(kind, flags, stream, payload) is False:
                return

    def heard(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.frame(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]))
        elif kind == RST_STREAM:
            self.resets.append((stream, struct.unpack(">I", payload)[0]))
        elif kind == DATA:
            if payload:
                self.frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
            return self.server.on_data(self, stream, payload, bool(flags & END_STREAM))
        elif kind in (HEADERS, CONTINUATION):
            self.block = (flags if kind == HEADERS else self.block[0], (b"" if kind == HEADERS else self.block[1]) + payload)
            if flags & END_HEADERS:
                first, block = self.block
                fields = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in self.decoder.decode(block, raw=True)]
                with self.server.lock:
                    self.server.streams += 1
                return self.server.on_head(self, stream, fields, bool(first & END_STREAM))
        return None


class RawServer(Backend):
    """A server whose every frame is the test's. on_head(conn, stream, fields, end), on_data(conn, stream, data, end):
    False ends the connection."""

    def __init__(self, on_head=None, on_data=None, started=None, **kw):
        self.on_head = on_head or (lambda c, stream, fields, end: c.answer(stream))
        self.on_data = on_data or (lambda c, stream, data, end: None)
        self.started = started or (lambda c: c.frame(SETTINGS))
        self.streams, self.raw = 0, []

        def drive(conn):
            c = RawConn(self, conn)
            with self.lock:
                self.raw.append(c)
            c.run()
        super().__init__(handler=drive, **kw)

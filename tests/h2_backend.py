"""HTTP/2 servers for the tests, made of python3-h2: one that behaves, with hooks where a test wants it not to."""
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from harness import Backend, Closed


class H2Request:
    def __init__(self, stream, headers):
        self.stream, self.headers = stream, headers
        self.body, self.trailers, self.ended = b"", [], False

    def get(self, name, default=None):
        for k, v in self.headers:
            if k == name:
                return v
        return default


class H2Conn:
    """A connection: `run` reads and calls hooks until the client goes. Everything happens in its one thread."""

    def __init__(self, backend, conn):
        self.backend, self.conn, self.sock, self.number = backend, conn, conn.sock, conn.number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_inbound_headers=True,
            validate_outbound_headers=False, normalize_outbound_headers=False))
        self.requests, self.waiting, self.resets, self.windows, self.pings = {}, {}, [], 0, 0
        self.gone = self.acked = False  # acked: our settings are known to the client

    def flush(self):
        out = self.h2.data_to_send()
        if out:
            self.sock.sendall(out)

    def raw(self, data):
        """Bytes as they are, after what is due."""
        self.flush()
        self.sock.sendall(data)

    def start(self, settings=None):
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
                **{k: v for k, v in self.h2.local_settings.items()}, **settings})
        self.h2.initiate_connection()
        self.flush()

    def respond(self, stream, status=200, headers=(), body=b"", trailers=None, end=True):
        """A response; what flow control does not allow now goes later. trailers: list of pairs."""
        body = body.encode() if isinstance(body, str) else body
        headers = [(":status", str(status)), *headers]
        if trailers is None and end and not body:
            self.h2.send_headers(stream, headers, end_stream=True)
        else:
            self.h2.send_headers(stream, headers)
            self.waiting[stream] = [body, trailers, end]
            self.pump(stream)
        self.flush()

    def data(self, stream, data, end=False):
        w = self.waiting.setdefault(stream, [b"", None, False])
        w[0] += data
        w[2] = end
        self.pump(stream)
        self.flush()

    def pump(self, stream):
        w = self.waiting.get(stream)
        if not w:
            return
        while w[0]:
            n = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(w[0]))
            if n <= 0:
                return
            last = n == len(w[0]) and w[1] is None and w[2]
            self.h2.send_data(stream, w[0][:n], end_stream=last)
            w[0] = w[0][n:]
            if last:
                del self.waiting[stream]
                return
        if w[1] is not None:
            self.h2.send_headers(stream, w[1], end_stream=True)
            del self.waiting[stream]
        elif w[2]:
            self.h2.end_stream(stream)
            del self.waiting[stream]

    def reset(self, stream, code=8):
        self.h2.reset_stream(stream, code)
        self.waiting.pop(stream, None)
        self.flush()

    def goaway(self, last, code=0):
        from hyperframe.frame import GoAwayFrame
        self.raw(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())

    def run(self):
        b = self.backend
        b.started(self)
        while not self.gone:
            data = self.sock.recv(65536)
            if not data:
                return
            try:
                events = self.h2.receive_data(data)
            except h2.exceptions.ProtocolError as e:
                b.problems.append(e)
                self.flush()
                return
            for ev in events:
                self.event(ev)
                if self.gone:
                    return
            for stream in list(self.waiting):
                try:
                    self.pump(stream)
                except h2.exceptions.StreamClosedError:
                    self.waiting.pop(stream, None)
            self.flush()

    def event(self, ev):
        b = self.backend
        if isinstance(ev, h2.events.RequestReceived):
            r = self.requests[ev.stream_id] = H2Request(ev.stream_id, ev.headers)
            b.note(r)
            b.on_head(self, r)
        elif isinstance(ev, h2.events.DataReceived):
            r = self.requests[ev.stream_id]
            r.body += ev.data
            if b.on_data(self, r, ev.data) is not False and ev.flow_controlled_length:
                self.h2.acknowledge_received_data(ev.flow_controlled_length, ev.stream_id)
        elif isinstance(ev, h2.events.TrailersReceived):
            self.requests[ev.stream_id].trailers = ev.headers
        elif isinstance(ev, h2.events.StreamEnded):
            self.requests[ev.stream_id].ended = True
            b.on_request(self, self.requests[ev.stream_id])
        elif isinstance(ev, h2.events.SettingsAcknowledged):
            self.acked = True
        elif isinstance(ev, h2.events.StreamReset):
            self.resets.append((ev.stream_id, ev.error_code))
            self.waiting.pop(ev.stream_id, None)
        elif isinstance(ev, h2.events.WindowUpdated):
            self.windows += 1
        elif isinstance(ev, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(ev, h2.events.ConnectionTerminated):
            b.goodbyes.append(ev.error_code)


class H2Backend(Backend):
    """answer: H2Request -> dict of H2Conn.respond's arguments, or None for none. Or override the hooks by keyword:
    started(conn), on_head(conn, r), on_data(conn, r, data) (False: does not open the window), on_request(conn, r)."""

    def __init__(self, answer=None, settings=None, started=None, on_head=None, on_data=None, on_request=None, **kw):
        self.problems, self.goodbyes, self.h2conns = [], [], []
        self.started = started or (lambda c: c.start(settings))
        self.on_head = on_head or (lambda c, r: None)
        self.on_data = on_data or (lambda c, r, d: None)

        def plain(c, r):
            out = (answer or (lambda r: {"body": b"ok"}))(r)
            if out is not None:
                c.respond(r.stream, **out)
        self.on_request = on_request or plain

        def drive(conn):
            c = H2Conn(self, conn)
            with self.lock:
                self.h2conns.append(c)
            try:
                c.run()
            except (OSError, Closed):
                pass
        super().__init__(handler=drive, **kw)

    def resets(self):
        return [r for c in self.h2conns for r in c.resets]


def h2_tls(certs, pair=None, protocols=("h2",), **kw):
    ctx = certs.server_context(pair or certs.a, **kw)
    ctx.set_alpn_protocols(list(protocols))
    return ctx

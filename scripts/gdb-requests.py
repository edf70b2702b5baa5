"""gdb-requests.py: for gdb, live or with a core file. Lists every coroutine with what it serves and its backtrace.

    gdb -batch -p PID -x scripts/gdb-requests.py
    gdb -batch ./sluice core -x scripts/gdb-requests.py

Afterwards the command `requests` does it again; `requests N` shows N frames at most. Nothing in the process is
changed: frames are followed through the frame pointers, which the build keeps."""
import gdb

def pointer(value):
    return int(value.cast(gdb.lookup_type("unsigned long")))


def text(span, limit=200):
    n = min(int(span["n"]), limit)
    if n == 0:
        return ""
    return bytes(gdb.selected_inferior().read_memory(pointer(span["p"]), n)).decode("utf-8", "backslashreplace")


def word(address):
    return int.from_bytes(bytes(gdb.selected_inferior().read_memory(address, 8)), "little")


def place(pc):
    block = gdb.block_for_pc(pc)
    while block and not block.function:
        block = block.superblock
    sal = gdb.find_pc_line(pc)
    where = f" at {sal.symtab.filename}:{sal.line}" if sal.symtab else ""
    return f"{block.function if block else hex(pc)}{where}"


def frames(co, limit):
    """Where a suspended coroutine stands: the saved program counter, then the chain of frame pointers."""
    try:
        pc, fp = pointer(co["ctx"]["pc"]), pointer(co["ctx"]["fp"])
    except gdb.error:
        return ["(built with the portable context: no backtrace)"]
    lo, top = pointer(co["slot"]["lo"]), pointer(co["slot"]["top"])
    out = []
    while pc and len(out) < limit:
        out.append(place(pc if not out else pc - 1))
        if not lo <= fp < top:
            break
        pc, fp = word(fp + 8), word(fp)
    return out


def request_of(co):
    """What a connection's coroutine serves, in a line."""
    if not str(co["fn"]).endswith("<conn_main>"):
        return ""
    conn = co["arg"].cast(gdb.lookup_type("struct conn").pointer())
    req = conn["req"]
    if pointer(req) == 0:
        return f" connection *{conn['number']}, between requests"
    return (f" connection *{conn['number']} request {conn['requests']}: \"{text(req['in']['line'])}\""
            f" host \"{text(req['host'])}\" upstream \"{text(req['log_upstream'])}\"")


def coroutines():
    slab = gdb.parse_and_eval("co_stacks.slabs")
    while pointer(slab):
        slots = slab["slots"]
        first, last = slots.type.range()
        for i in range(first, last + 1):
            if pointer(slots[i]["co"]):
                yield slots[i]["co"].cast(gdb.lookup_type("struct co").pointer())
        slab = slab["next"]


def show_thread(limit):
    current = pointer(gdb.parse_and_eval("co_sched.current"))
    count = 0
    for co in coroutines():
        running = pointer(co) == current
        count += 1
        name = str(co["fn"]).split("<")[-1].rstrip(">")
        print(f"  coroutine {pointer(co):#x} {name}{' (running)' if running else ''}{request_of(co)}")
        if running:
            gdb.execute("backtrace %d" % limit)
            continue
        for i, frame in enumerate(frames(co, limit)):
            print(f"    #{i} {frame}")
    return count


class Requests(gdb.Command):
    """requests [FRAMES]: every coroutine of every thread, what it serves and where it stands."""

    def __init__(self):
        super().__init__("requests", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        limit = int(arg) if arg else 30
        before, total = gdb.selected_thread(), 0
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
            thread.switch()
            print(f"thread {thread.num} ({thread.name})")
            try:
                total += show_thread(limit)
            except gdb.error as e:
                print(f"  {e}")
        if before:
            before.switch()
        print(f"{total} coroutines")


Requests()
if gdb.selected_inferior().threads():
    gdb.execute("requests")

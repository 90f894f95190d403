# Tries to get words out of a sandbox that may reach one host and port, by every way but that one. Says what was refused at once.
import os, socket, struct, sys

to, abstract = sys.argv[1], "\0" + sys.argv[2]
mapped = "::ffff:" + to


def attempt(way, act):
    try:
        act(("secret " + way).encode())
    except OSError:
        pass


def tcp(family, address, fast=False):
    def act(text):
        s = socket.socket(family, socket.SOCK_STREAM)
        if fast:
            s.sendto(text, 0x20000000, address)  # MSG_FASTOPEN
        else:
            s.connect(address)
            s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        s.recv(1)  # until it has been read, or reset

    return act


def udp(family, address, protocol=0, connected=False):
    def act(text):
        s = socket.socket(family, socket.SOCK_DGRAM, protocol)
        if connected:
            s.connect(address)
            s.send(text)
        else:
            s.sendto(text, address)

    return act


def echo(text):  # ICMP
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + text, (to, 0))
    print("icmp was sent")


def raw(text):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + text, (to, 0))
    print("a raw packet was sent")


def unix(text):
    s = socket.socket(socket.AF_UNIX)
    s.connect(abstract)
    s.sendall(text)


def question(name):
    labels = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
    return struct.pack("!HHHHHH", 7, 256, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


attempt("tcp", tcp(socket.AF_INET, (to, 8)))
attempt("tcp in IPv6", tcp(socket.AF_INET6, (mapped, 8)))
attempt("IPv6", tcp(socket.AF_INET6, ("2001:4860:4860::8888", 8)))
attempt("fast open", tcp(socket.AF_INET, (to, 8), fast=True))
attempt("udp", udp(socket.AF_INET, (to, 8)))
attempt("udp connected", udp(socket.AF_INET, (to, 8), connected=True))
attempt("udp in IPv6", udp(socket.AF_INET6, (mapped, 8)))
attempt("udp by IPv6", udp(socket.AF_INET6, ("2001:4860:4860::8888", 8)))
attempt("a question", lambda text: udp(socket.AF_INET, (to, 53))(question("secret-question.example.test")))
attempt("icmp", echo)
attempt("a raw packet", raw)
attempt("abstract", unix)
# Labels: by the resolver, of a name that is granted and of one that is not. Nothing connects to what it leads to.
for name in "secret-label.wild.example.test", "secret-label.other.test":
    try:
        socket.getaddrinfo(name, 7)
    except OSError:
        pass

# A server of gRPC that says what it is told: grpc-server.py ADDRESS CERTIFICATE KEY
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

address, certificate, key = sys.argv[1:]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def say(request, _context):
    return b"said " + request


def talk(requests, _context):
    for request in requests:
        yield b"said " + request


server = grpc.server(ThreadPoolExecutor(2))
methods = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Refused": grpc.unary_unary_rpc_method_handler(say),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", methods),))
server.add_secure_port(address, grpc.ssl_server_credentials([(read(key), read(certificate))]))
server.start()
print("ready", flush=True)
server.wait_for_termination()
